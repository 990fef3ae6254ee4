//! Refunds: `amount_refunded` of a charge is what all of them together have given back.

use serde_json::{Value, json};

use super::Call;
use crate::listing::Page;
use crate::refusal::Refusal;
use crate::world::{World, integer, new_id, shown, text};

const KIND: &str = "refund";
const URL: &str = "/v1/refunds";
const REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

pub fn create(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let charge = call.params.text("charge")?;
    let intent = call.params.text("payment_intent")?;
    let amount = call.params.integer("amount")?;
    let reason = call.params.choice("reason", &REASONS)?;
    let metadata = call.params.new_metadata("metadata")?;
    call.params.done()?;

    let charge = match (charge, intent) {
        (Some(charge), None) => charge,
        (None, Some(intent)) => charge_of(world, &intent)?,
        (Some(_), Some(_)) => {
            let message = "You must pass either `charge` or `payment_intent`, not both.";
            return Err(Refusal::invalid("charge".to_owned(), message));
        }
        (None, None) => {
            let message =
                "One of the following params should be provided for this request: payment_intent or charge.";
            return Err(Refusal::invalid("payment_intent".to_owned(), message));
        }
    };
    let refunded = world.objects.named("charge", &charge, "charge")?;
    let left = integer(refunded, "amount_captured") - integer(refunded, "amount_refunded");
    if refunded["status"] != "succeeded" {
        let message = format!("This charge ({charge}) has not succeeded, so it cannot be refunded.");
        return Err(Refusal::not_now("charge_not_refundable", message));
    }
    if refunded["disputed"] == true && !still_refundable(world, &charge) {
        return Err(Refusal::not_now("charge_disputed", format!("Charge {charge} has been charged back.")));
    }
    if left == 0 {
        let message = format!("Charge {charge} has already been refunded.");
        return Err(Refusal::not_now("charge_already_refunded", message));
    }
    let amount = amount.unwrap_or(left);
    if amount <= 0 {
        return Err(Refusal::InvalidInteger { param: "amount".to_owned(), given: amount.to_string() });
    }
    if amount > left {
        return Err(Refusal::NotNow {
            code: None,
            param: Some("amount"),
            message: format!(
                "Refund amount ({}) is greater than unrefunded amount on charge ({})",
                dollars(amount),
                dollars(left)
            ),
            extra: Value::Null,
        });
    }
    let id = new(world, &charge, amount, reason, metadata);
    world.emit("refund.created", &id);
    world.emit("charge.refunded", &charge);
    Ok(shown(world.objects.expect(&id)))
}

/// An inquiry takes no money, so it may still be refunded.
fn still_refundable(world: &World, charge: &str) -> bool {
    let mut disputes = world.objects.of_kind("dispute").filter(|dispute| text(dispute, "charge") == charge);
    disputes.all(|dispute| dispute["is_charge_refundable"] == true)
}

fn charge_of(world: &World, intent: &str) -> Result<String, Refusal> {
    let found = world.objects.named("payment_intent", intent, "payment_intent")?;
    let charge = text(found, "latest_charge");
    if found["status"] != "succeeded" || charge.is_empty() {
        let message = format!("This PaymentIntent ({intent}) does not have a successful charge to refund.");
        return Err(Refusal::not_now("payment_intent_unexpected_state", message));
    }
    Ok(charge.to_owned())
}

fn new(world: &mut World, charge: &str, amount: i64, reason: Option<String>, metadata: Value) -> String {
    let refunded = world.objects.expect(charge);
    let object = json!({
        "id": new_id("re_3"),
        "object": KIND,
        "amount": amount,
        "balance_transaction": new_id("txn_3"),
        "charge": charge,
        "created": world.now(),
        "currency": refunded["currency"],
        "customer": refunded["customer"],
        "customer_account": null,
        "destination_details": { "card": { "reference_status": "pending", "type": "refund" }, "type": "card" },
        "metadata": metadata,
        "payment_intent": refunded["payment_intent"],
        "payment_method": refunded["payment_method"],
        "reason": reason,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": "succeeded",
        "transfer_reversal": null,
    });
    add_refunded(world, charge, amount);
    world.objects.add(object)
}

fn add_refunded(world: &mut World, charge: &str, amount: i64) {
    let changed = world.objects.expect_mut(charge);
    let refunded = integer(changed, "amount_refunded") + amount;
    changed["refunded"] = json!(refunded == integer(changed, "amount_captured"));
    changed["amount_refunded"] = json!(refunded);
}

/// The bank would not have it: the money is back with us.
pub fn fail(world: &mut World, id: &str) -> Result<(), Refusal> {
    let refund = world.objects.named(KIND, id, "refund")?;
    if refund["status"] != "succeeded" {
        return Err(Refusal::not_now("refund_not_succeeded", format!("Refund {id} has already failed.")));
    }
    let (charge, amount) = (text(refund, "charge").to_owned(), integer(refund, "amount"));
    let failed = world.objects.expect_mut(id);
    failed["status"] = json!("failed");
    failed["failure_reason"] = json!("expired_or_canceled_card");
    add_refunded(world, &charge, -amount);
    world.emit("refund.failed", id);
    world.emit("charge.updated", &charge);
    Ok(())
}

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(KIND, &call.id, "id")?))
}

pub fn update(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    world.objects.named(KIND, &call.id, "id")?;
    let metadata = call.params.metadata("metadata")?;
    call.params.done()?;
    if let Some(change) = metadata {
        change.apply(&mut world.objects.expect_mut(&call.id)["metadata"]);
        world.emit("refund.updated", &call.id);
    }
    Ok(shown(world.objects.expect(&call.id)))
}

pub fn list(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let page = Page::read(&mut call.params)?;
    let charge = call.params.text("charge")?;
    let intent = call.params.text("payment_intent")?;
    call.params.done()?;
    page.of(world, KIND, URL, |refund| {
        charge.as_deref().is_none_or(|charge| text(refund, "charge") == charge)
            && intent.as_deref().is_none_or(|intent| text(refund, "payment_intent") == intent)
    })
}

fn dollars(cents: i64) -> String {
    format!("${}.{:02}", cents / 100, cents % 100)
}
