//! Invoices of subscriptions, and what was tried to have them paid.

use serde_json::{Value, json};

use super::payment_intents::{self, Begun};
use super::{Call, subscriptions};
use crate::listing::{self, Page};
use crate::refusal::Refusal;
use crate::world::{World, integer, new_id, shown, text};

const KIND: &str = "invoice";
const PAYMENT: &str = "invoice_payment";
const URL: &str = "/v1/invoices";
const PAYMENTS_URL: &str = "/v1/invoice_payments";
/// Stripe's smart retries, compressed to one rule.
const RETRY_SECONDS: i64 = 3 * 24 * 60 * 60;
const MOST_ATTEMPTS: i64 = 4;

/// What an invoice is for.
pub struct Billed {
    pub reason: &'static str,
    pub period: (i64, i64),
}

/// An open invoice for a period. Returns its id.
pub fn new(world: &mut World, subscription: &str, billed: &Billed) -> String {
    let now = world.now();
    let of = world.objects.expect(subscription).clone();
    let customer = world.objects.expect(text(&of, "customer")).clone();
    let id = new_id("in_1");
    let (start, end) = billed.period;
    let mut total = 0;
    let items = of["items"]["data"].as_array().cloned().unwrap_or_default();
    let lines: Vec<Value> = items
        .iter()
        .map(|item| {
            let amount = integer(&item["price"], "unit_amount") * integer(item, "quantity");
            total += amount;
            json!({
                "id": new_id("il_1"),
                "object": "line_item",
                "amount": amount,
                "currency": of["currency"],
                "description": null,
                "discount_amounts": [],
                "discountable": true,
                "discounts": [],
                "invoice": id,
                "livemode": world.livemode,
                "metadata": of["metadata"],
                "parent": {
                    "invoice_item_details": null,
                    "subscription_item_details": {
                        "invoice_item": null, "proration": false, "proration_details": null,
                        "subscription": subscription, "subscription_item": item["id"],
                    },
                    "type": "subscription_item_details",
                },
                "period": { "end": end, "start": start },
                "pretax_credit_amounts": [],
                "pricing": {
                    "price_details": { "price": item["price"]["id"], "product": item["price"]["product"] },
                    "type": "price_details", "unit_amount_decimal": item["price"]["unit_amount_decimal"],
                },
                "quantity": item["quantity"],
                "quantity_decimal": item["quantity"].to_string(),
                "subscription": subscription,
                "subtotal": amount,
                "taxes": [],
            })
        })
        .collect();
    let number = world.objects.of_kind(KIND).filter(|other| other["customer"] == of["customer"]).count() + 1;
    let object = json!({
        "id": id,
        "object": KIND,
        "account_country": "US",
        "account_name": "Fake Stripe",
        "account_tax_ids": null,
        "amount_due": total,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": total,
        "amount_shipping": 0,
        "application": null,
        "attempt_count": 0,
        "attempted": false,
        "auto_advance": true,
        "automatic_tax": {
            "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null,
        },
        "automatically_finalizes_at": null,
        "billing_reason": billed.reason,
        "collection_method": "charge_automatically",
        "created": now,
        "currency": of["currency"],
        "custom_fields": null,
        "customer": of["customer"],
        "customer_account": null,
        "customer_address": null,
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": null,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": null,
        "default_source": null,
        "default_tax_rates": [],
        "description": null,
        "discounts": [],
        "due_date": null,
        "effective_at": now,
        "ending_balance": 0,
        "footer": null,
        "from_invoice": null,
        "hosted_invoice_url": format!("{}/i/{id}", world.base_url),
        "invoice_pdf": null,
        "issuer": { "type": "self" },
        "last_finalization_error": null,
        "latest_revision": null,
        "lines": listing::whole(lines, &format!("{URL}/{id}/lines")),
        "livemode": world.livemode,
        "metadata": {},
        "next_payment_attempt": null,
        "number": format!("{}-{number:04}", text(&customer, "invoice_prefix")),
        "on_behalf_of": null,
        "parent": {
            "quote_details": null,
            "subscription_details": { "metadata": of["metadata"], "subscription": subscription },
            "type": "subscription_details",
        },
        "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
        "period_end": end,
        "period_start": start,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": null,
        "rendering": null,
        "shipping_cost": null,
        "shipping_details": null,
        "starting_balance": 0,
        "statement_descriptor": null,
        "status": "open",
        "status_transitions": {
            "finalized_at": now, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null,
        },
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "test_clock": null,
        "total": total,
        "total_discount_amounts": [],
        "total_excluding_tax": total,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": null,
    });
    world.objects.add(object)
}

pub fn tell_new(world: &mut World, id: &str) {
    world.emit("invoice.created", id);
    world.emit("invoice.finalized", id);
}

/// That payment intent has paid it.
pub fn paid_by(world: &mut World, id: &str, intent: &str) {
    let now = world.now();
    let total = integer(world.objects.expect(id), "total");
    record(world, id, intent, "paid");
    let invoice = world.objects.expect_mut(id);
    invoice["status"] = json!("paid");
    invoice["amount_paid"] = json!(total);
    invoice["amount_remaining"] = json!(0);
    invoice["attempted"] = json!(true);
    invoice["attempt_count"] = json!(integer(invoice, "attempt_count") + 1);
    invoice["next_payment_attempt"] = Value::Null;
    invoice["status_transitions"]["paid_at"] = json!(now);
    world.emit("invoice.paid", id);
    world.emit("invoice.payment_succeeded", id);
}

fn record(world: &mut World, id: &str, intent: &str, status: &str) {
    let now = world.now();
    let invoice = world.objects.expect(id).clone();
    let there = world
        .objects
        .of_kind(PAYMENT)
        .find(|payment| {
            text(payment, "invoice") == id && text(&payment["payment"], "payment_intent") == intent
        })
        .map(|payment| text(payment, "id").to_owned());
    let payment = there.unwrap_or_else(|| {
        let object = json!({
            "id": new_id("inpay_1"),
            "object": PAYMENT,
            "amount_paid": null,
            "amount_requested": invoice["total"],
            "created": now,
            "currency": invoice["currency"],
            "invoice": id,
            "is_default": true,
            "livemode": invoice["livemode"],
            "payment": { "payment_intent": intent, "type": "payment_intent" },
            "status": "open",
            "status_transitions": { "canceled_at": null, "paid_at": null },
        });
        world.objects.add(object)
    });
    if status == "paid" {
        let paid = world.objects.expect_mut(&payment);
        paid["status"] = json!(status);
        paid["amount_paid"] = invoice["total"].clone();
        paid["status_transitions"]["paid_at"] = json!(now);
        world.emit("invoice_payment.paid", &payment);
    }
}

/// Asks the subscription's card. What fails is tried again later, a few times, and then ends the subscription.
pub fn try_to_pay(world: &mut World, id: &str) -> Result<(), Refusal> {
    let invoice = world.objects.expect(id).clone();
    let subscription = text(&invoice["parent"]["subscription_details"], "subscription").to_owned();
    let method = text(world.objects.expect(&subscription), "default_payment_method").to_owned();
    let intent = intent(world, &invoice);
    let taken = payment_intents::take(world, &intent, &method, true);
    match &taken {
        Ok(()) => {
            paid_by(world, id, &intent);
            subscriptions::set_status(world, &subscription, "active");
        }
        Err(_) => {
            record(world, id, &intent, "open");
            failed(world, id, &subscription);
        }
    }
    taken
}

fn intent(world: &mut World, invoice: &Value) -> String {
    let payments = world.objects.of_kind(PAYMENT);
    let mut of_invoice = payments.filter(|payment| payment["invoice"] == invoice["id"]);
    if let Some(payment) = of_invoice.next() {
        return text(&payment["payment"], "payment_intent").to_owned();
    }
    drop(of_invoice);
    payment_intents::new(
        world,
        &Begun {
            amount: integer(invoice, "total"),
            currency: text(invoice, "currency").to_owned(),
            customer: invoice["customer"].as_str().map(str::to_owned),
            description: Some("Subscription update".to_owned()),
            metadata: json!({}),
            receipt_email: None,
            setup_future_usage: None,
        },
    )
}

fn failed(world: &mut World, id: &str, subscription: &str) {
    let now = world.now();
    let invoice = world.objects.expect_mut(id);
    let attempts = integer(invoice, "attempt_count") + 1;
    invoice["attempted"] = json!(true);
    invoice["attempt_count"] = json!(attempts);
    invoice["next_payment_attempt"] =
        if attempts < MOST_ATTEMPTS { json!(now + RETRY_SECONDS) } else { Value::Null };
    world.emit("invoice.payment_failed", id);
    match attempts < MOST_ATTEMPTS {
        true => subscriptions::set_status(world, subscription, "past_due"),
        false => subscriptions::end(world, subscription, "payment_failed"),
    }
}

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(KIND, &call.id, "invoice")?))
}

pub fn list(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    const STATUSES: [&str; 5] = ["draft", "open", "paid", "uncollectible", "void"];
    let page = Page::read(&mut call.params)?;
    let customer = call.params.text("customer")?;
    let subscription = call.params.text("subscription")?;
    let status = call.params.choice("status", &STATUSES)?;
    call.params.done()?;
    page.of(world, KIND, URL, |invoice| {
        let of = text(&invoice["parent"]["subscription_details"], "subscription");
        customer.as_deref().is_none_or(|customer| text(invoice, "customer") == customer)
            && subscription.as_deref().is_none_or(|subscription| of == subscription)
            && status.as_deref().is_none_or(|status| text(invoice, "status") == status)
    })
}

pub fn pay(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let invoice = world.objects.named(KIND, &call.id, "invoice")?;
    let status = text(invoice, "status").to_owned();
    call.params.done()?;
    if status != "open" {
        let message = if status == "paid" { "Invoice is already paid" } else { "Invoice is not open" };
        return Err(Refusal::not_now("invoice_not_open", message));
    }
    try_to_pay(world, &call.id)?;
    Ok(shown(world.objects.expect(&call.id)))
}

/// All payments of an invoice, newest first.
pub fn payments(world: &World, id: &str) -> Value {
    let payments = world.objects.of_kind(PAYMENT).rev().filter(|payment| text(payment, "invoice") == id);
    listing::whole(payments.map(shown).collect(), PAYMENTS_URL)
}

pub fn list_payments(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let page = Page::read(&mut call.params)?;
    let invoice = call.params.text("invoice")?;
    let status = call.params.choice("status", &["canceled", "open", "paid"])?;
    let intent = match call.params.map("payment")? {
        None => None,
        Some(mut payment) => {
            let kind = payment.choice("type", &["payment_intent"])?;
            let intent = payment.text("payment_intent")?;
            payment.done()?;
            if kind.is_none() {
                return Err(Refusal::MissingParameter { param: "payment[type]".to_owned() });
            }
            intent
        }
    };
    call.params.done()?;
    page.of(world, PAYMENT, PAYMENTS_URL, |payment| {
        invoice.as_deref().is_none_or(|invoice| text(payment, "invoice") == invoice)
            && status.as_deref().is_none_or(|status| text(payment, "status") == status)
            && intent.as_deref().is_none_or(|intent| text(&payment["payment"], "payment_intent") == intent)
    })
}

pub fn retrieve_payment(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(PAYMENT, &call.id, "invoice_payment")?))
}
