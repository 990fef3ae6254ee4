//! `expand[]=payment_intent.latest_charge`: ids replaced by their objects, and what is shown only on request.

use serde_json::Value;

use crate::objects::{charges, checkout, invoices};
use crate::refusal::Refusal;
use crate::world::{World, shown, text};

const MOST_DEPTH: usize = 4;

/// Expands `path` (split at its dots) within `object`.
pub fn expand(world: &World, object: &mut Value, path: &str) -> Result<(), Refusal> {
    let steps: Vec<&str> = path.split('.').collect();
    if steps.len() > MOST_DEPTH {
        let message = format!("You cannot expand more than {MOST_DEPTH} levels of a property ({path}).");
        return Err(Refusal::invalid("expand".to_owned(), &message));
    }
    walk(world, object, &steps, path)
}

fn walk(world: &World, object: &mut Value, steps: &[&str], path: &str) -> Result<(), Refusal> {
    let Some((step, rest)) = steps.split_first() else {
        return Ok(());
    };
    if *step == "data" && object["object"] == "list" {
        for entry in object["data"].as_array_mut().into_iter().flatten() {
            walk(world, entry, rest, path)?;
        }
        return Ok(());
    }
    if let Some(included) = included(world, object, step) {
        object[*step] = included;
    }
    match &mut object[*step] {
        Value::Null => match expandable(step) {
            true => Ok(()),
            false => Err(not_expandable(path)),
        },
        Value::String(id) => match world.objects.get(id) {
            None => Err(not_expandable(path)),
            Some(found) => {
                object[*step] = shown(found);
                walk(world, &mut object[*step], rest, path)
            }
        },
        found @ Value::Object(_) => walk(world, found, rest, path),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(not_expandable(path)),
    }
}

/// Lists that objects show only where they are asked for.
fn included(world: &World, object: &Value, field: &str) -> Option<Value> {
    let id = text(object, "id");
    match (text(object, "object"), field) {
        ("checkout.session", "line_items") => Some(checkout::line_items(world, id)),
        ("charge", "refunds") => Some(charges::refunds(world, id)),
        ("invoice", "payments") => Some(invoices::payments(world, id)),
        _ => None,
    }
}

/// Fields that hold an id, when they hold anything.
fn expandable(field: &str) -> bool {
    matches!(
        field,
        "charge"
            | "customer"
            | "default_payment_method"
            | "invoice"
            | "latest_charge"
            | "latest_invoice"
            | "payment_intent"
            | "payment_method"
            | "setup_intent"
            | "subscription"
    )
}

fn not_expandable(path: &str) -> Refusal {
    Refusal::invalid("expand".to_owned(), &format!("This property cannot be expanded ({path})."))
}
