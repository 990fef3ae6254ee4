//! Disputes: opened, won and lost by a test; accepted by the merchant.

use serde_json::{Value, json};

use super::Call;
use crate::listing::Page;
use crate::refusal::Refusal;
use crate::world::{World, integer, new_id, shown, text};

const KIND: &str = "dispute";
const URL: &str = "/v1/disputes";
const ANSWER_SECONDS: i64 = 7 * 24 * 60 * 60;
const OPEN: [&str; 4] = ["needs_response", "under_review", "warning_needs_response", "warning_under_review"];

/// A customer contests a charge. An inquiry takes no money yet. Returns the dispute's id.
pub fn open(
    world: &mut World,
    charge: &str,
    amount: Option<i64>,
    reason: &str,
    inquiry: bool,
) -> Result<String, Refusal> {
    let disputed = world.objects.named("charge", charge, "charge")?.clone();
    if disputed["status"] != "succeeded" {
        return Err(Refusal::not_now("charge_not_disputable", format!("Charge {charge} took no money.")));
    }
    let amount = amount.unwrap_or_else(|| integer(&disputed, "amount"));
    let now = world.now();
    let id = new_id("du_1");
    let status = if inquiry { "warning_needs_response" } else { "needs_response" };
    let object = json!({
        "id": id,
        "object": KIND,
        "amount": amount,
        "balance_transactions": [],
        "charge": charge,
        "created": now,
        "currency": disputed["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": now + ANSWER_SECONDS, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
            "submission_count": 0, "submission_method": "manual",
        },
        "intended_submission_method": null,
        "is_charge_refundable": inquiry,
        "livemode": world.livemode,
        "metadata": {},
        "payment_intent": disputed["payment_intent"],
        "payment_method_details": {
            "card": { "brand": "visa", "case_type": if inquiry { "inquiry" } else { "chargeback" },
                      "network_reason_code": "10.4" },
            "type": "card",
        },
        "reason": reason,
        "status": status,
    });
    world.objects.add(object);
    world.objects.expect_mut(charge)["disputed"] = json!(true);
    world.emit("charge.dispute.created", &id);
    if !inquiry {
        move_money(world, &id, -amount);
        world.emit("charge.dispute.funds_withdrawn", &id);
    }
    Ok(id)
}

/// The bank decides for the merchant.
pub fn win(world: &mut World, id: &str) -> Result<(), Refusal> {
    let (inquiry, amount) = still_open(world, id)?;
    end(world, id, if inquiry { "warning_closed" } else { "won" });
    if !inquiry {
        move_money(world, id, amount);
        world.emit("charge.dispute.funds_reinstated", id);
    }
    Ok(())
}

/// The bank decides for the customer.
pub fn lose(world: &mut World, id: &str) -> Result<(), Refusal> {
    let (inquiry, amount) = still_open(world, id)?;
    if inquiry {
        move_money(world, id, -amount);
        world.emit("charge.dispute.funds_withdrawn", id);
    }
    end(world, id, "lost");
    Ok(())
}

fn still_open(world: &World, id: &str) -> Result<(bool, i64), Refusal> {
    let dispute = world.objects.named(KIND, id, "dispute")?;
    let status = text(dispute, "status");
    match OPEN.contains(&status) {
        true => Ok((status.starts_with("warning"), integer(dispute, "amount"))),
        false => {
            Err(Refusal::not_now("dispute_already_closed", format!("This dispute is already {status}.")))
        }
    }
}

fn end(world: &mut World, id: &str, status: &str) {
    let dispute = world.objects.expect_mut(id);
    dispute["status"] = json!(status);
    dispute["is_charge_refundable"] = json!(false);
    world.emit("charge.dispute.closed", id);
}

fn move_money(world: &mut World, id: &str, amount: i64) {
    let now = world.now();
    let dispute = world.objects.expect_mut(id);
    let currency = dispute["currency"].clone();
    let moved = json!({
        "id": new_id("txn_1"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now,
        "balance_type": "payments",
        "created": now,
        "currency": currency,
        "description": null,
        "exchange_rate": null,
        "fee": 0,
        "fee_details": [],
        "net": amount,
        "reporting_category": if amount < 0 { "dispute" } else { "dispute_reversal" },
        "source": id,
        "status": "available",
        "type": "adjustment",
    });
    if let Value::Array(transactions) = &mut dispute["balance_transactions"] {
        transactions.push(moved);
    }
}

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(KIND, &call.id, "dispute")?))
}

pub fn list(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let page = Page::read(&mut call.params)?;
    let charge = call.params.text("charge")?;
    let intent = call.params.text("payment_intent")?;
    call.params.done()?;
    page.of(world, KIND, URL, |dispute| {
        charge.as_deref().is_none_or(|charge| text(dispute, "charge") == charge)
            && intent.as_deref().is_none_or(|intent| text(dispute, "payment_intent") == intent)
    })
}

/// The merchant accepts it.
pub fn close(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    lose(world, &call.id)?;
    Ok(shown(world.objects.expect(&call.id)))
}
