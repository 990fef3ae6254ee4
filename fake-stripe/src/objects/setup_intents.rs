//! Setup intents: a card is kept, no money is taken.

use serde_json::{Value, json};

use super::Call;
use crate::refusal::Refusal;
use crate::world::{World, new_id, shown};

const KIND: &str = "setup_intent";

/// Returns its id.
pub fn new(world: &mut World, customer: Option<&str>, metadata: &Value) -> String {
    let id = new_id("seti_1");
    let object = json!({
        "id": id,
        "object": KIND,
        "allowed_payment_method_types": null,
        "application": null,
        "automatic_payment_methods": null,
        "cancellation_reason": null,
        "client_secret": format!("{id}_secret_{}", new_id("")),
        "created": world.now(),
        "customer": customer,
        "customer_account": null,
        "description": null,
        "excluded_payment_method_types": null,
        "flow_directions": null,
        "last_setup_error": null,
        "latest_attempt": null,
        "livemode": world.livemode,
        "mandate": null,
        "metadata": metadata,
        "next_action": null,
        "on_behalf_of": null,
        "payment_method": null,
        "payment_method_configuration_details": null,
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "single_use_mandate": null,
        "status": "requires_payment_method",
        "usage": "off_session",
    });
    world.objects.add(object);
    world.emit("setup_intent.created", &id);
    id
}

pub fn succeed(world: &mut World, id: &str, method: &str) {
    let intent = world.objects.expect_mut(id);
    intent["status"] = json!("succeeded");
    intent["payment_method"] = json!(method);
    let customer = intent["customer"].clone();
    world.emit("setup_intent.succeeded", id);
    if !customer.is_null() {
        world.objects.expect_mut(method)["customer"] = customer;
        world.emit("payment_method.attached", method);
    }
}

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(KIND, &call.id, "intent")?))
}
