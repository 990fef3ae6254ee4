//! Charges: what happened when a card was asked for money.

use serde_json::{Value, json};

use super::Call;
use super::payment_methods::{self, billing_details};
use crate::cards::{Card, Decline};
use crate::listing::{self, Page};
use crate::refusal::{Declined, Refusal};
use crate::world::{World, integer, new_id, shown, text};

const KIND: &str = "charge";
const URL: &str = "/v1/charges";

/// Asks the card for the payment intent's money. The holder is there unless `off_session`.
pub fn ask(world: &mut World, intent: &str, method: &str, off_session: bool) -> Result<(), Refusal> {
    world.objects.expect_mut(intent)["payment_method"] = json!(method);
    let card = payment_methods::card(world, method);
    match card.decline() {
        None if card == Card::Processing => pend(world, intent),
        None => succeed(world, intent),
        Some(_) if card == Card::AuthenticationRequired && !off_session => ask_the_holder(world, intent),
        Some(decline) => return Err(fail(world, intent, &decline)),
    }
    Ok(())
}

fn ask_the_holder(world: &mut World, intent: &str) {
    let changed = world.objects.expect_mut(intent);
    changed["status"] = json!("requires_action");
    changed["next_action"] = json!({ "type": "use_stripe_sdk", "use_stripe_sdk": {} });
    world.emit("payment_intent.requires_action", intent);
}

fn pend(world: &mut World, intent: &str) {
    let charge = new(world, intent, "pending", None);
    let changed = world.objects.expect_mut(intent);
    changed["status"] = json!("processing");
    changed["latest_charge"] = json!(charge);
    world.emit("charge.pending", &charge);
    world.emit("payment_intent.processing", intent);
}

/// The money is there.
pub fn succeed(world: &mut World, intent: &str) {
    let pending = pending_charge(world, intent);
    let charge = match pending {
        Some(charge) => {
            let amount = integer(world.objects.expect(&charge), "amount");
            let settled = world.objects.expect_mut(&charge);
            settled["status"] = json!("succeeded");
            settled["paid"] = json!(true);
            settled["amount_captured"] = json!(amount);
            charge
        }
        None => new(world, intent, "succeeded", None),
    };
    let changed = world.objects.expect_mut(intent);
    changed["status"] = json!("succeeded");
    changed["amount_received"] = changed["amount"].clone();
    changed["latest_charge"] = json!(charge);
    changed["last_payment_error"] = Value::Null;
    changed["next_action"] = Value::Null;
    world.emit("charge.succeeded", &charge);
    world.emit("payment_intent.succeeded", intent);
}

/// The card has said no; the payment intent may be tried with another.
pub fn fail(world: &mut World, intent: &str, decline: &Decline) -> Refusal {
    let charge = match pending_charge(world, intent) {
        Some(charge) => {
            let failed = world.objects.expect_mut(&charge);
            failed["status"] = json!("failed");
            failed["failure_code"] = json!(decline.code);
            failed["failure_message"] = json!(decline.message);
            charge
        }
        None => new(world, intent, "failed", Some(decline)),
    };
    let method = shown(world.objects.expect(text(world.objects.expect(intent), "payment_method")));
    let mut declined = Declined {
        code: decline.code,
        decline_code: decline.decline_code,
        message: decline.message,
        charge: charge.clone(),
        payment_intent: Value::Null,
        payment_method: method,
    };
    let changed = world.objects.expect_mut(intent);
    changed["status"] = json!("requires_payment_method");
    changed["payment_method"] = Value::Null;
    changed["latest_charge"] = json!(charge);
    changed["last_payment_error"] = declined.error();
    declined.payment_intent = shown(changed);
    world.emit("charge.failed", &charge);
    world.emit("payment_intent.payment_failed", intent);
    Refusal::Declined(Box::new(declined))
}

fn pending_charge(world: &World, intent: &str) -> Option<String> {
    let latest = text(world.objects.expect(intent), "latest_charge");
    let charge = world.objects.get(latest)?;
    (charge["status"] == "pending").then(|| latest.to_owned())
}

fn new(world: &mut World, intent: &str, status: &str, decline: Option<&Decline>) -> String {
    let intent = world.objects.expect(intent).clone();
    let paid = status == "succeeded";
    let id = new_id("ch_3");
    let method = world.objects.expect(text(&intent, "payment_method"));
    let outcome = match decline {
        None => json!({
            "advice_code": null, "network_advice_code": null, "network_decline_code": null,
            "network_status": "approved_by_network", "reason": null, "risk_level": "normal", "risk_score": 1,
            "seller_message": "Payment complete.", "type": "authorized",
        }),
        Some(decline) => json!({
            "advice_code": "try_again_later", "network_advice_code": null, "network_decline_code": null,
            "network_status": "declined_by_network", "reason": decline.decline_code, "risk_level": "normal",
            "risk_score": 1, "seller_message": "The bank did not return any further details with this decline.",
            "type": "issuer_declined",
        }),
    };
    let object = json!({
        "id": id,
        "object": KIND,
        "amount": intent["amount"],
        "amount_captured": if paid { integer(&intent, "amount") } else { 0 },
        "amount_refunded": 0,
        "application": null,
        "application_fee": null,
        "application_fee_amount": null,
        "balance_transaction": paid.then(|| new_id("txn_3")),
        "billing_details": billing_details(),
        "calculated_statement_descriptor": "FAKE STRIPE",
        "captured": paid,
        "created": world.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": false,
        "failure_balance_transaction": null,
        "failure_code": decline.map(|decline| decline.code),
        "failure_message": decline.map(|decline| decline.message),
        "fraud_details": {},
        "livemode": world.livemode,
        "metadata": intent["metadata"],
        "on_behalf_of": null,
        "outcome": outcome,
        "paid": paid,
        "payment_intent": intent["id"],
        "payment_method": intent["payment_method"],
        "payment_method_details": {
            "card": {
                "brand": method["card"]["brand"],
                "exp_month": method["card"]["exp_month"],
                "exp_year": method["card"]["exp_year"],
                "last4": method["card"]["last4"],
            },
            "type": "card",
        },
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": null,
        "receipt_url": format!("{}/receipts/{id}", world.base_url),
        "refunded": false,
        "review": null,
        "shipping": null,
        "source": null,
        "source_transfer": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": status,
        "transfer_data": null,
        "transfer_group": null,
    });
    world.objects.add(object)
}

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(KIND, &call.id, "id")?))
}

pub fn list(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let page = Page::read(&mut call.params)?;
    let customer = call.params.text("customer")?;
    let intent = call.params.text("payment_intent")?;
    call.params.done()?;
    page.of(world, KIND, URL, |charge| {
        customer.as_deref().is_none_or(|customer| text(charge, "customer") == customer)
            && intent.as_deref().is_none_or(|intent| text(charge, "payment_intent") == intent)
    })
}

/// All refunds of a charge, newest first.
pub fn refunds(world: &World, charge: &str) -> Value {
    let refunds = world.objects.of_kind("refund").rev().filter(|refund| text(refund, "charge") == charge);
    listing::whole(refunds.map(shown).collect(), &format!("{URL}/{charge}/refunds"))
}
