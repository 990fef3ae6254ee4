//! Cards. Their numbers are never seen; what they do is decided by their name, or by a test.

use serde_json::{Value, json};

use super::Call;
use crate::cards::Card;
use crate::listing::Page;
use crate::refusal::Refusal;
use crate::world::{World, new_id, shown, text};

pub const KIND: &str = "payment_method";
const URL: &str = "/v1/payment_methods";

pub fn create(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let kind = call.params.choice("type", &["card"])?;
    if kind.is_none() {
        return Err(Refusal::MissingParameter { param: "type".to_owned() });
    }
    let Some(mut card) = call.params.map("card")? else {
        return Err(Refusal::MissingParameter { param: "card".to_owned() });
    };
    let token = card.need_text("token")?;
    card.done()?;
    let metadata = call.params.new_metadata("metadata")?;
    call.params.done()?;
    let card = Card::of_test_id(&token).ok_or(Refusal::NotFound {
        what: "token",
        id: token,
        param: "card[token]",
    })?;
    let id = new(world, card, None);
    world.objects.expect_mut(&id)["metadata"] = metadata;
    Ok(shown(world.objects.expect(&id)))
}

/// Returns its id.
pub fn new(world: &mut World, card: Card, customer: Option<&str>) -> String {
    let now = world.now();
    let object = json!({
        "id": new_id("pm_1"),
        "object": KIND,
        "_card": card,
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(),
        "card": {
            "brand": "visa",
            "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
            "country": "US",
            "display_brand": "visa",
            "exp_month": 12,
            "exp_year": 2040,
            "fingerprint": format!("fake{}", card.last4()),
            "funding": "credit",
            "generated_from": null,
            "last4": card.last4(),
            "networks": { "available": ["visa"], "preferred": null },
            "regulated_status": "unregulated",
            "three_d_secure_usage": { "supported": true },
            "wallet": null,
        },
        "created": now,
        "customer": customer,
        "customer_account": null,
        "livemode": world.livemode,
        "metadata": {},
        "type": "card",
    });
    world.objects.add(object)
}

pub fn billing_details() -> Value {
    let address = json!({
        "city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null,
    });
    json!({ "address": address, "email": null, "name": null, "phone": null, "tax_id": null })
}

pub fn card(world: &World, id: &str) -> Card {
    let card = &world.objects.expect(id)["_card"];
    serde_json::from_value(card.clone()).expect("a card was put there")
}

pub fn set_card(world: &mut World, id: &str, card: Card) {
    world.objects.expect_mut(id)["_card"] = json!(card);
}

/// The payment method that a caller has named; each use of a test name is a card of its own.
pub fn resolve(world: &mut World, given: &str) -> Result<String, Refusal> {
    match Card::of_test_id(given) {
        Some(card) => Ok(new(world, card, None)),
        None => {
            world.objects.named(KIND, given, "payment_method")?;
            Ok(given.to_owned())
        }
    }
}

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    let id = resolve(world, &call.id)?;
    Ok(shown(world.objects.expect(&id)))
}

pub fn list(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let page = Page::read(&mut call.params)?;
    let customer = call.params.text("customer")?;
    call.params.choice("type", &["card"])?;
    call.params.done()?;
    if let Some(customer) = &customer {
        world.objects.named("customer", customer, "customer")?;
    }
    let wanted =
        |card: &Value| customer.as_deref().is_some_and(|customer| text(card, "customer") == customer);
    page.of(world, KIND, URL, wanted)
}

pub fn attach(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let customer = call.params.need_text("customer")?;
    call.params.done()?;
    world.objects.named("customer", &customer, "customer")?;
    let id = resolve(world, &call.id)?;
    let owner = text(world.objects.expect(&id), "customer").to_owned();
    if !owner.is_empty() && owner != customer {
        let message = "The payment method you provided has already been attached to a customer.";
        return Err(Refusal::not_now("payment_method_already_attached", message));
    }
    world.objects.expect_mut(&id)["customer"] = json!(customer);
    world.emit("payment_method.attached", &id);
    Ok(shown(world.objects.expect(&id)))
}

pub fn detach(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    let card = world.objects.named(KIND, &call.id, "payment_method")?;
    if card["customer"].is_null() {
        let message =
            "The payment method you provided is not attached to a customer so detachment is impossible.";
        return Err(Refusal::not_now("payment_method_not_available", message));
    }
    world.objects.expect_mut(&call.id)["customer"] = Value::Null;
    world.emit("payment_method.detached", &call.id);
    Ok(shown(world.objects.expect(&call.id)))
}
