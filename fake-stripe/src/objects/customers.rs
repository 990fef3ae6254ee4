//! Customers: who pays, and whose cards are kept.

use serde_json::{Value, json};

use super::Call;
use crate::listing::Page;
use crate::refusal::Refusal;
use crate::world::{World, new_id, shown, text};

const KIND: &str = "customer";
const URL: &str = "/v1/customers";
const TEXTS: [&str; 4] = ["email", "name", "phone", "description"];

pub fn create(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let mut texts = Vec::new();
    for field in TEXTS {
        texts.push((field, call.params.text(field)?));
    }
    let metadata = call.params.new_metadata("metadata")?;
    call.params.done()?;
    let id = new(world, None, metadata);
    let customer = world.objects.expect_mut(&id);
    for (field, given) in texts {
        customer[field] = json!(given);
    }
    world.emit("customer.created", &id);
    Ok(shown(world.objects.expect(&id)))
}

/// A customer not told of yet. Returns its id.
pub fn new(world: &mut World, email: Option<&str>, metadata: Value) -> String {
    let object = json!({
        "id": new_id("cus_"),
        "object": KIND,
        "address": null,
        "balance": 0,
        "created": world.now(),
        "currency": null,
        "customer_account": null,
        "default_source": null,
        "delinquent": false,
        "description": null,
        "discount": null,
        "email": email,
        "invoice_prefix": new_id("").to_ascii_uppercase()[..8].to_owned(),
        "invoice_settings": {
            "custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null,
        },
        "livemode": world.livemode,
        "metadata": metadata,
        "name": null,
        "next_invoice_sequence": 1,
        "phone": null,
        "preferred_locales": [],
        "shipping": null,
        "tax_exempt": "none",
        "test_clock": null,
    });
    world.objects.add(object)
}

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(KIND, &call.id, "id")?))
}

pub fn update(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    world.objects.named(KIND, &call.id, "id")?;
    let mut texts = Vec::new();
    for field in TEXTS {
        texts.push((field, call.params.text_or_unset(field)?));
    }
    let metadata = call.params.metadata("metadata")?;
    let default = match call.params.map("invoice_settings")? {
        None => None,
        Some(mut settings) => {
            let default = settings.text("default_payment_method")?;
            settings.done()?;
            default
        }
    };
    call.params.done()?;
    if let Some(card) = &default {
        let card = world.objects.named("payment_method", card, "invoice_settings[default_payment_method]")?;
        if text(card, "customer") != call.id {
            let message = format!(
                "The customer does not have a payment method with the ID {}. The payment method must be attached to \
                 the customer.",
                text(card, "id")
            );
            return Err(Refusal::not_now("resource_missing", message));
        }
    }
    let customer = world.objects.expect_mut(&call.id);
    for (field, given) in texts {
        if let Some(given) = given {
            customer[field] = if given.is_empty() { Value::Null } else { json!(given) };
        }
    }
    if let Some(change) = metadata {
        change.apply(&mut customer["metadata"]);
    }
    if let Some(card) = default {
        customer["invoice_settings"]["default_payment_method"] = json!(card);
    }
    world.emit("customer.updated", &call.id);
    Ok(shown(world.objects.expect(&call.id)))
}

pub fn delete(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    world.objects.named(KIND, &call.id, "id")?;
    call.params.done()?;
    world.emit("customer.deleted", &call.id);
    world.objects.remove(&call.id);
    Ok(json!({ "id": call.id, "object": KIND, "deleted": true }))
}

pub fn list(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let page = Page::read(&mut call.params)?;
    let email = call.params.text("email")?;
    call.params.done()?;
    let wanted = |customer: &Value| email.as_deref().is_none_or(|email| text(customer, "email") == email);
    page.of(world, KIND, URL, wanted)
}

pub fn payment_methods(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    world.objects.named(KIND, &call.id, "customer")?;
    let page = Page::read(&mut call.params)?;
    call.params.choice("type", &["card"])?;
    call.params.done()?;
    let url = format!("{URL}/{}/payment_methods", call.id);
    page.of(world, "payment_method", &url, |card| text(card, "customer") == call.id)
}
