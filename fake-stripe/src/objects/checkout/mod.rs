//! Checkout sessions: what is sold, the page where it is paid, and what came of it.

mod create;
mod pay;

use serde_json::{Value, json};

use super::Call;
use crate::listing::{self, Page};
use crate::refusal::Refusal;
use crate::world::{World, shown, text};

pub use create::create;
pub use pay::{pay, settle};

const KIND: &str = "checkout.session";
const URL: &str = "/v1/checkout/sessions";

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(KIND, &call.id, "session")?))
}

pub fn update(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    world.objects.named(KIND, &call.id, "session")?;
    let metadata = call.params.metadata("metadata")?;
    call.params.done()?;
    let session = world.objects.expect_mut(&call.id);
    if let Some(change) = metadata {
        change.apply(&mut session["metadata"]);
    }
    Ok(shown(session))
}

pub fn list(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    const STATUSES: [&str; 3] = ["complete", "expired", "open"];
    let page = Page::read(&mut call.params)?;
    let customer = call.params.text("customer")?;
    let intent = call.params.text("payment_intent")?;
    let subscription = call.params.text("subscription")?;
    let status = call.params.choice("status", &STATUSES)?;
    let email = match call.params.map("customer_details")? {
        None => None,
        Some(mut details) => {
            let email = details.text("email")?;
            details.done()?;
            email
        }
    };
    call.params.done()?;
    let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    page.of(world, KIND, URL, |session| {
        is(&customer, text(session, "customer"))
            && is(&intent, text(session, "payment_intent"))
            && is(&subscription, text(session, "subscription"))
            && is(&status, text(session, "status"))
            && is(&email, text(&session["customer_details"], "email"))
    })
}

pub fn expire(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let session = world.objects.named(KIND, &call.id, "session")?;
    call.params.done()?;
    if session["status"] != "open" {
        let message = format!(
            "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of \
             {}.",
            text(session, "status")
        );
        return Err(Refusal::NotNow { code: None, param: Some("session"), message, extra: Value::Null });
    }
    end(world, &call.id);
    Ok(shown(world.objects.expect(&call.id)))
}

/// Its time is over, or its merchant has ended it.
pub fn end(world: &mut World, id: &str) {
    let session = world.objects.expect_mut(id);
    session["status"] = json!("expired");
    session["url"] = Value::Null;
    world.emit("checkout.session.expired", id);
}

pub fn list_line_items(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    world.objects.named(KIND, &call.id, "session")?;
    Page::read(&mut call.params)?;
    call.params.done()?;
    Ok(line_items(world, &call.id))
}

pub fn line_items(world: &World, id: &str) -> Value {
    let items = world.objects.expect(id)["_line_items"].as_array().cloned().unwrap_or_default();
    listing::whole(items, &format!("{URL}/{id}/line_items"))
}
