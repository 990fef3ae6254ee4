//! Somebody pays at the page.

use serde_json::{Value, json};

use super::KIND;
use crate::cards::Card;
use crate::objects::payment_intents::{self, Begun};
use crate::objects::subscriptions::{self, Beginning};
use crate::objects::{charges, customers, payment_methods, setup_intents};
use crate::refusal::Refusal;
use crate::world::{World, integer, text};

const BUYER_EMAIL: &str = "buyer@example.com";

/// Pays with a card; its holder is there. Declined, the session stays open for another try.
pub fn pay(world: &mut World, id: &str, card: Card) -> Result<(), Refusal> {
    let session = world.objects.named(KIND, id, "session")?.clone();
    if session["status"] != "open" {
        let message =
            format!("This Checkout Session is no longer active: it is {}.", text(&session, "status"));
        return Err(Refusal::not_now("checkout_session_not_open", message));
    }
    let email = session["customer_email"].as_str().unwrap_or(BUYER_EMAIL).to_owned();
    let customer = customer(world, &session, &email);
    // Kept apart from what it does later: here its holder is asked, and says yes.
    let method = payment_methods::new(world, holder_there(card), None);
    match text(&session, "mode") {
        "setup" => {
            let intent = text(&session, "setup_intent").to_owned();
            world.objects.expect_mut(&intent)["customer"] = json!(customer);
            setup_intents::succeed(world, &intent, &method);
        }
        "subscription" => {
            let customer = customer.as_deref().expect("a subscription has a customer");
            subscribe(world, id, &session, customer, &method)?;
        }
        _ => {
            let intent = intent(world, id, &session, customer.as_deref());
            world.objects.expect_mut(id)["payment_intent"] = json!(intent);
            payment_intents::take(world, &intent, &method, false)?;
            if world.objects.expect(&intent)["status"] == "succeeded" {
                world.objects.expect_mut(id)["payment_status"] = json!("paid");
            }
        }
    }
    payment_methods::set_card(world, &method, card);
    let completed = world.objects.expect_mut(id);
    completed["status"] = json!("complete");
    completed["url"] = Value::Null;
    completed["customer"] = json!(customer);
    completed["customer_details"] = json!({
        "address": payment_methods::billing_details()["address"], "business_name": null, "email": email,
        "individual_name": null, "name": null, "phone": null, "tax_exempt": "none", "tax_ids": [],
    });
    world.emit("checkout.session.completed", id);
    Ok(())
}

fn holder_there(card: Card) -> Card {
    if card == Card::AuthenticationRequired { Card::Approves } else { card }
}

/// Whose card it is: a guest has none, and a card to be kept needs one.
fn customer(world: &mut World, session: &Value, email: &str) -> Option<String> {
    if let Some(customer) = session["customer"].as_str() {
        return Some(customer.to_owned());
    }
    let keeps = session["mode"] != "payment"
        || session["customer_creation"] == "always"
        || !session["_passed"]["setup_future_usage"].is_null();
    keeps.then(|| {
        let customer = customers::new(world, Some(email), json!({}));
        world.emit("customer.created", &customer);
        // A second try after a decline finds it again.
        let session = text(session, "id").to_owned();
        world.objects.expect_mut(&session)["customer"] = json!(customer);
        customer
    })
}

/// The session's payment intent, which is made at the first try.
fn intent(world: &mut World, id: &str, session: &Value, customer: Option<&str>) -> String {
    if let Some(intent) = session["_intent"].as_str() {
        return intent.to_owned();
    }
    let passed = &session["_passed"];
    let intent = payment_intents::new(
        world,
        &Begun {
            amount: integer(session, "amount_total"),
            currency: text(session, "currency").to_owned(),
            customer: customer.map(str::to_owned),
            description: passed["description"].as_str().map(str::to_owned),
            metadata: if session["mode"] == "payment" { passed["metadata"].clone() } else { json!({}) },
            receipt_email: passed["receipt_email"].as_str().map(str::to_owned),
            setup_future_usage: match session["mode"] == "subscription" {
                true => Some("off_session".to_owned()),
                false => passed["setup_future_usage"].as_str().map(str::to_owned),
            },
        },
    );
    world.objects.expect_mut(id)["_intent"] = json!(intent);
    intent
}

fn subscribe(
    world: &mut World,
    id: &str,
    session: &Value,
    customer: &str,
    method: &str,
) -> Result<(), Refusal> {
    let intent = intent(world, id, session, Some(customer));
    payment_intents::take(world, &intent, method, false)?;
    let subscription = subscriptions::begin(
        world,
        &Beginning {
            customer,
            method,
            intent: &intent,
            items: session["_line_items"].as_array().map(Vec::as_slice).unwrap_or_default(),
            period_seconds: integer(&session["_recurring"], "seconds"),
            currency: text(session, "currency"),
            description: session["_passed"]["description"].as_str(),
            metadata: &session["_passed"]["metadata"],
        },
    );
    let invoice = world.objects.expect(&subscription)["latest_invoice"].clone();
    let paid = world.objects.expect(&intent)["status"] == "succeeded";
    let subscribed = world.objects.expect_mut(id);
    subscribed["subscription"] = json!(subscription);
    subscribed["invoice"] = invoice;
    if paid {
        subscribed["payment_status"] = json!("paid");
    }
    Ok(())
}

/// A payment that was neither yes nor no becomes one of them.
pub fn settle(world: &mut World, intent: &str, card: Card) -> Result<(), Refusal> {
    let found = world.objects.named("payment_intent", intent, "intent")?;
    if found["status"] != "processing" {
        let message = format!("This payment is {}, not processing.", text(found, "status"));
        return Err(Refusal::not_now("payment_intent_unexpected_state", message));
    }
    let decline = card.decline();
    match &decline {
        None => charges::succeed(world, intent),
        // That it is declined is what was asked for.
        Some(decline) => drop(charges::fail(world, intent, decline)),
    }
    let session = world
        .objects
        .of_kind(KIND)
        .find(|session| text(session, "payment_intent") == intent)
        .map(|session| text(session, "id").to_owned());
    if let Some(session) = session {
        if decline.is_none() {
            world.objects.expect_mut(&session)["payment_status"] = json!("paid");
        }
        let outcome = if decline.is_none() { "succeeded" } else { "failed" };
        world.emit(&format!("checkout.session.async_payment_{outcome}"), &session);
    }
    Ok(())
}
