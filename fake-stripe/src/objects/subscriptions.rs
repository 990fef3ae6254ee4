//! Subscriptions: a period is paid by its invoice; what is not paid is tried again, and then ends.

use serde_json::{Value, json};

use super::Call;
use super::invoices::{self, Billed};
use crate::listing::{self, Page};
use crate::refusal::Refusal;
use crate::world::{World, integer, new_id, shown, text};

const KIND: &str = "subscription";
const URL: &str = "/v1/subscriptions";
const STATUSES: [&str; 10] = [
    "active",
    "all",
    "canceled",
    "ended",
    "incomplete",
    "incomplete_expired",
    "past_due",
    "paused",
    "trialing",
    "unpaid",
];

/// What a subscription begins with: its first period is paid already.
pub struct Beginning<'a> {
    pub customer: &'a str,
    pub method: &'a str,
    pub intent: &'a str,
    pub items: &'a [Value],
    pub period_seconds: i64,
    pub currency: &'a str,
    pub description: Option<&'a str>,
    pub metadata: &'a Value,
}

/// Returns its id.
pub fn begin(world: &mut World, beginning: &Beginning<'_>) -> String {
    let now = world.now();
    let id = new_id("sub_1");
    let items: Vec<Value> = beginning
        .items
        .iter()
        .map(|item| {
            json!({
                "id": new_id("si_"),
                "object": "subscription_item",
                "billing_thresholds": null,
                "created": now,
                "current_period_end": now + beginning.period_seconds,
                "current_period_start": now,
                "current_trial": null,
                "discounts": [],
                "metadata": {},
                "plan": null,
                "price": item["price"],
                "quantity": item["quantity"],
                "subscription": id,
                "tax_rates": [],
            })
        })
        .collect();
    let object = json!({
        "id": id,
        "object": KIND,
        "_period_seconds": beginning.period_seconds,
        "application": null,
        "application_fee_percent": null,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
        "billing_cycle_anchor": now,
        "billing_cycle_anchor_config": null,
        "billing_mode": { "type": "flexible" },
        "billing_schedules": [],
        "billing_thresholds": null,
        "cancel_at": null,
        "cancel_at_period_end": false,
        "canceled_at": null,
        "cancellation_details": { "comment": null, "feedback": null, "reason": null },
        "collection_method": "charge_automatically",
        "created": now,
        "currency": beginning.currency,
        "customer": beginning.customer,
        "customer_account": null,
        "days_until_due": null,
        "default_payment_method": beginning.method,
        "default_source": null,
        "default_tax_rates": [],
        "description": beginning.description,
        "discounts": [],
        "ended_at": null,
        "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } },
        "items": listing::whole(items, &format!("/v1/subscription_items?subscription={id}")),
        "latest_invoice": null,
        "livemode": world.livemode,
        "managed_payments": null,
        "metadata": beginning.metadata,
        "next_pending_invoice_item_invoice": null,
        "on_behalf_of": null,
        "pause_collection": null,
        "payment_settings": {
            "payment_method_options": null, "payment_method_types": ["card"],
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": null,
        "pending_setup_intent": null,
        "pending_update": null,
        "schedule": null,
        "start_date": now,
        "status": "active",
        "test_clock": null,
        "transfer_data": null,
        "trial_end": null,
        "trial_settings": { "end_behavior": { "missing_payment_method": "create_invoice" } },
        "trial_start": null,
    });
    world.objects.add(object);
    let paid = Billed { reason: "subscription_create", period: (now, now + beginning.period_seconds) };
    let invoice = invoices::new(world, &id, &paid);
    world.objects.expect_mut(&id)["latest_invoice"] = json!(invoice);
    world.emit("customer.subscription.created", &id);
    invoices::tell_new(world, &invoice);
    invoices::paid_by(world, &invoice, beginning.intent);
    id
}

/// The end of the current period, in Stripe's own place for it.
pub fn period_end(subscription: &Value) -> i64 {
    subscription["items"]["data"].get(0).map_or(0, |item| integer(item, "current_period_end"))
}

/// The period is over: a new one is billed, or the subscription ends as its customer wished.
pub fn renew(world: &mut World, id: &str) -> Result<(), Refusal> {
    let subscription = world.objects.named(KIND, id, "id")?.clone();
    if subscription["status"] != "active" {
        let message =
            format!("This subscription is {}, so it does not renew.", text(&subscription, "status"));
        return Err(Refusal::not_now("subscription_not_active", message));
    }
    if subscription["cancel_at_period_end"] == true {
        end(world, id, "cancellation_requested");
        return Ok(());
    }
    let start = period_end(&subscription);
    let period = (start, start + integer(&subscription, "_period_seconds"));
    let invoice = invoices::new(world, id, &Billed { reason: "subscription_cycle", period });
    let renewed = world.objects.expect_mut(id);
    let previous = json!({
        "items": renewed["items"].clone(), "latest_invoice": renewed["latest_invoice"].clone(),
    });
    renewed["latest_invoice"] = json!(invoice);
    for item in renewed["items"]["data"].as_array_mut().into_iter().flatten() {
        item["current_period_start"] = json!(period.0);
        item["current_period_end"] = json!(period.1);
    }
    world.emit_change("customer.subscription.updated", id, previous);
    invoices::tell_new(world, &invoice);
    // A decline is no refusal of the renewal: the invoice's own events tell it.
    let _declined = invoices::try_to_pay(world, &invoice);
    Ok(())
}

pub fn set_status(world: &mut World, id: &str, status: &str) {
    let subscription = world.objects.expect_mut(id);
    if subscription["status"] == status {
        return;
    }
    let previous = json!({ "status": subscription["status"].clone() });
    subscription["status"] = json!(status);
    world.emit_change("customer.subscription.updated", id, previous);
}

/// It is over, at once.
pub fn end(world: &mut World, id: &str, reason: &str) {
    let now = world.now();
    let subscription = world.objects.expect_mut(id);
    subscription["status"] = json!("canceled");
    subscription["ended_at"] = json!(now);
    if subscription["canceled_at"].is_null() {
        subscription["canceled_at"] = json!(now);
    }
    subscription["cancellation_details"]["reason"] = json!(reason);
    world.emit("customer.subscription.deleted", id);
}

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(KIND, &call.id, "id")?))
}

pub fn update(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let subscription = world.objects.named(KIND, &call.id, "id")?;
    let ended = subscription["status"] == "canceled";
    let at_period_end = call.params.flag("cancel_at_period_end")?;
    let metadata = call.params.metadata("metadata")?;
    let method = call.params.text("default_payment_method")?;
    call.params.done()?;
    if let Some(method) = &method {
        world.objects.named("payment_method", method, "default_payment_method")?;
    }
    if ended && (at_period_end.is_some() || method.is_some()) {
        let message = "A canceled subscription can only update its cancellation_details and metadata.";
        return Err(Refusal::NotNow {
            code: None,
            param: None,
            message: message.to_owned(),
            extra: Value::Null,
        });
    }
    let now = world.now();
    let changed = world.objects.expect_mut(&call.id);
    if let Some(at_period_end) = at_period_end {
        let ends_at = period_end(changed);
        changed["cancel_at_period_end"] = json!(at_period_end);
        changed["cancel_at"] = if at_period_end { json!(ends_at) } else { Value::Null };
        changed["canceled_at"] = if at_period_end { json!(now) } else { Value::Null };
        changed["cancellation_details"]["reason"] =
            if at_period_end { json!("cancellation_requested") } else { Value::Null };
    }
    if let Some(method) = method {
        changed["default_payment_method"] = json!(method);
    }
    if let Some(change) = metadata {
        change.apply(&mut changed["metadata"]);
    }
    world.emit("customer.subscription.updated", &call.id);
    Ok(shown(world.objects.expect(&call.id)))
}

pub fn cancel(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let subscription = world.objects.named(KIND, &call.id, "id")?;
    let ended = subscription["status"] == "canceled";
    call.params.flag("invoice_now")?;
    call.params.flag("prorate")?;
    call.params.done()?;
    if ended {
        return Err(Refusal::NotFound { what: "subscription", id: call.id.clone(), param: "id" });
    }
    end(world, &call.id, "cancellation_requested");
    Ok(shown(world.objects.expect(&call.id)))
}

pub fn list(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let page = Page::read(&mut call.params)?;
    let customer = call.params.text("customer")?;
    let status = call.params.choice("status", &STATUSES)?;
    call.params.done()?;
    page.of(world, KIND, URL, |subscription| {
        let found = text(subscription, "status");
        let wanted = match status.as_deref() {
            None => found != "canceled",
            Some("all") => true,
            Some("ended") => found == "canceled" || found == "incomplete_expired",
            Some(status) => found == status,
        };
        wanted && customer.as_deref().is_none_or(|customer| text(subscription, "customer") == customer)
    })
}
