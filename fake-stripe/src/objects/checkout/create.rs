//! `POST /v1/checkout/sessions`.

use serde_json::{Value, json};

use super::KIND;
use crate::objects::prices::{PriceData, Recurring};
use crate::objects::{Call, payment_intents};
use crate::params::Params;
use crate::refusal::Refusal;
use crate::world::{World, integer, new_id, shown, text};

const LEAST_TOTAL: i64 = 50;
const LEAST_LIFE_SECONDS: i64 = 30 * 60;
const MOST_LIFE_SECONDS: i64 = 24 * 60 * 60;
const MOST_LINE_ITEMS: usize = 100;
const MOST_REFERENCE_LENGTH: usize = 200;
const MODES: [&str; 3] = ["payment", "setup", "subscription"];

/// A line, before its price is made.
struct Line {
    price: LinePrice,
    quantity: i64,
}

enum LinePrice {
    Existing(String),
    New(PriceData),
}

/// What stands under `payment_intent_data`, `subscription_data` and `setup_intent_data`.
#[derive(Default)]
struct Passed {
    metadata: Value,
    description: Option<String>,
    receipt_email: Option<String>,
    setup_future_usage: Option<String>,
}

pub fn create(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let params = &mut call.params;
    let mode = params.choice("mode", &MODES)?;
    let Some(mode) = mode else {
        return Err(Refusal::MissingParameter { param: "mode".to_owned() });
    };
    params.choice("ui_mode", &["hosted_page"])?;
    let success_url = params.need_text("success_url")?;
    let cancel_url = params.text("cancel_url")?;
    let client_reference_id = params.text("client_reference_id")?;
    let customer = params.text("customer")?;
    let customer_email = params.text("customer_email")?;
    let customer_creation = params.choice("customer_creation", &["always", "if_required"])?;
    let metadata = params.new_metadata("metadata")?;
    let currency = match mode.as_str() {
        "setup" => Some(params.need_currency("currency")?),
        _ => params.text("currency")?,
    };
    let expires_at = params.integer("expires_at")?;
    let locale = params.text("locale")?;
    let submit_type = params.choice("submit_type", &["auto", "book", "donate", "pay", "subscribe"])?;
    for given in params.texts("payment_method_types")? {
        if given != "card" {
            let message = format!("The payment method type provided: {given} is invalid.");
            return Err(Refusal::invalid("payment_method_types".to_owned(), &message));
        }
    }
    let lines = read_lines(params)?;
    let passed = read_passed(params, &mode)?;
    params.done()?;

    let now = world.now();
    let expires_at = expires_at.unwrap_or(now + MOST_LIFE_SECONDS);
    check_urls(&success_url, cancel_url.as_deref())?;
    check_rest(&mode, &lines, client_reference_id.as_deref(), expires_at - now)?;
    if customer.is_some() && (customer_email.is_some() || customer_creation.is_some()) {
        let message =
            "You may only specify one of these parameters: customer, customer_email or customer_creation.";
        return Err(Refusal::invalid("customer".to_owned(), message));
    }
    if customer_creation.is_some() && mode != "payment" {
        let message = "`customer_creation` can only be used in `payment` mode.";
        return Err(Refusal::invalid("customer_creation".to_owned(), message));
    }
    if let Some(customer) = &customer {
        world.objects.named("customer", customer, "customer")?;
    }
    let sold = price(world, &mode, lines)?;
    let customer_creation = match mode.as_str() {
        "payment" if customer.is_none() => Some(customer_creation.unwrap_or("if_required".to_owned())),
        _ => None,
    };

    let id = new_id(if world.livemode { "cs_live_a1" } else { "cs_test_a1" });
    let amount = (mode != "setup").then_some(sold.total);
    let setup_intent = (mode == "setup")
        .then(|| crate::objects::setup_intents::new(world, customer.as_deref(), &passed.metadata));
    let object = json!({
        "id": id,
        "object": KIND,
        "_line_items": sold.items,
        "_recurring": sold.recurring.as_ref().map(|recurring| {
            json!({ "seconds": recurring.seconds() })
        }),
        "_passed": {
            "metadata": passed.metadata,
            "description": passed.description,
            "receipt_email": passed.receipt_email,
            "setup_future_usage": passed.setup_future_usage,
        },
        "_intent": null,
        "adaptive_pricing": { "enabled": false },
        "after_expiration": null,
        "allow_promotion_codes": null,
        "allowed_payment_method_types": null,
        "amount_subtotal": amount,
        "amount_total": amount,
        "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "billing_address_collection": null,
        "cancel_url": cancel_url,
        "client_reference_id": client_reference_id,
        "client_secret": null,
        "collected_information": null,
        "consent": null,
        "consent_collection": null,
        "created": now,
        "currency": sold.currency.or(currency),
        "currency_conversion": null,
        "custom_fields": [],
        "custom_text": {
            "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null,
        },
        "customer": customer,
        "customer_account": null,
        "customer_creation": customer_creation,
        "customer_details": null,
        "customer_email": customer_email,
        "discounts": [],
        "expires_at": expires_at,
        "integration_identifier": null,
        "invoice": null,
        "invoice_creation": null,
        "livemode": world.livemode,
        "locale": locale,
        "managed_payments": null,
        "metadata": metadata,
        "mode": mode,
        "origin_context": null,
        "payment_intent": null,
        "payment_link": null,
        "payment_method_collection": if mode == "payment" { "if_required" } else { "always" },
        "payment_method_configuration_details": null,
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "payment_status": if mode == "setup" { "no_payment_required" } else { "unpaid" },
        "permissions": null,
        "recovered_from": null,
        "saved_payment_method_options": null,
        "setup_intent": setup_intent,
        "shipping_address_collection": null,
        "shipping_cost": null,
        "shipping_options": [],
        "status": "open",
        "submit_type": submit_type,
        "subscription": null,
        "success_url": success_url,
        "total_details": amount.map(|_| json!({ "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 })),
        "ui_mode": "hosted_page",
        "url": format!("{}/c/pay/{id}", world.base_url),
        "wallet_options": null,
    });
    world.objects.add(object);
    Ok(shown(world.objects.expect(&id)))
}

fn read_lines(params: &mut Params) -> Result<Vec<Line>, Refusal> {
    let entries = params.list("line_items")?;
    if entries.len() > MOST_LINE_ITEMS {
        let message = format!("You can pass at most {MOST_LINE_ITEMS} line items.");
        return Err(Refusal::invalid("line_items".to_owned(), &message));
    }
    let mut lines = Vec::with_capacity(entries.len());
    for mut entry in entries {
        let quantity = entry.need_integer("quantity")?;
        if quantity < 1 {
            let message = "This value must be greater than or equal to 1.";
            return Err(Refusal::invalid(entry.path_of("quantity"), message));
        }
        let price = match (entry.text("price")?, entry.map("price_data")?) {
            (Some(id), None) => LinePrice::Existing(id),
            (None, Some(data)) => LinePrice::New(PriceData::read(data)?),
            _ => {
                let message = "One of `price` or `price_data` is required for each line item.";
                return Err(Refusal::invalid(entry.path_of("price"), message));
            }
        };
        entry.done()?;
        lines.push(Line { price, quantity });
    }
    Ok(lines)
}

fn read_passed(params: &mut Params, mode: &str) -> Result<Passed, Refusal> {
    let mut passed = Passed { metadata: json!({}), ..Passed::default() };
    for (of_mode, name) in [
        ("payment", "payment_intent_data"),
        ("subscription", "subscription_data"),
        ("setup", "setup_intent_data"),
    ] {
        let Some(mut data) = params.map(name)? else { continue };
        if of_mode != mode {
            let message = format!("You can not pass `{name}` in `{mode}` mode.");
            return Err(Refusal::invalid(name.to_owned(), &message));
        }
        passed.metadata = data.new_metadata("metadata")?;
        passed.description = data.text("description")?;
        if mode == "payment" {
            passed.receipt_email = data.text("receipt_email")?;
            passed.setup_future_usage = data.choice("setup_future_usage", &["off_session", "on_session"])?;
        }
        data.done()?;
    }
    Ok(passed)
}

fn check_urls(success_url: &str, cancel_url: Option<&str>) -> Result<(), Refusal> {
    for (param, url) in [("success_url", Some(success_url)), ("cancel_url", cancel_url)] {
        let ok = url.is_none_or(|url| url.starts_with("http://") || url.starts_with("https://"));
        if !ok {
            let message = "Not a valid URL";
            let code = Some("url_invalid");
            return Err(Refusal::Invalid { param: param.to_owned(), code, message: message.to_owned() });
        }
    }
    Ok(())
}

fn check_rest(
    mode: &str,
    lines: &[Line],
    client_reference_id: Option<&str>,
    life_seconds: i64,
) -> Result<(), Refusal> {
    if client_reference_id.is_some_and(|reference| reference.len() > MOST_REFERENCE_LENGTH) {
        let message = format!("Invalid string: must be at most {MOST_REFERENCE_LENGTH} characters");
        return Err(Refusal::invalid("client_reference_id".to_owned(), &message));
    }
    if !(LEAST_LIFE_SECONDS..=MOST_LIFE_SECONDS).contains(&life_seconds) {
        let message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session \
                       creation.";
        return Err(Refusal::invalid("expires_at".to_owned(), message));
    }
    match (mode, lines.is_empty()) {
        ("setup", false) => {
            Err(Refusal::invalid("line_items".to_owned(), "You can not pass `line_items` in `setup` mode."))
        }
        ("setup", true) | (_, false) => Ok(()),
        (_, true) => Err(Refusal::MissingParameter { param: "line_items".to_owned() }),
    }
}

struct Sold {
    items: Vec<Value>,
    total: i64,
    currency: Option<String>,
    recurring: Option<Recurring>,
}

/// Checks all prices against each other and the mode before any is made.
fn price(world: &mut World, mode: &str, lines: Vec<Line>) -> Result<Sold, Refusal> {
    let mut sold = Sold { items: Vec::new(), total: 0, currency: None, recurring: None };
    for line in &lines {
        let (currency, unit_amount, recurring) = match &line.price {
            LinePrice::New(data) => {
                data.check(world)?;
                (data.currency.clone(), data.unit_amount, data.recurring.clone())
            }
            LinePrice::Existing(id) => {
                let found = world.objects.named("price", id, "line_items[0][price]")?;
                let recurring = found["recurring"].as_object().map(|_| Recurring {
                    interval: text(&found["recurring"], "interval").to_owned(),
                    interval_count: integer(&found["recurring"], "interval_count"),
                });
                (text(found, "currency").to_owned(), integer(found, "unit_amount"), recurring)
            }
        };
        if mode == "payment" && recurring.is_some() {
            let message = "You specified `payment` mode but passed a recurring price. Either switch to `subscription` \
                           mode or use only one-time prices.";
            return Err(Refusal::invalid("mode".to_owned(), message));
        }
        if sold.currency.as_ref().is_some_and(|other| *other != currency) {
            let message = "All prices on a Checkout Session must have the same `currency` field.";
            return Err(Refusal::invalid("line_items".to_owned(), message));
        }
        sold.total = unit_amount
            .checked_mul(line.quantity)
            .and_then(|amount| sold.total.checked_add(amount))
            .ok_or_else(|| Refusal::invalid("line_items".to_owned(), "Amount too large"))?;
        sold.currency = Some(currency);
        sold.recurring = sold.recurring.or(recurring);
    }
    if mode == "subscription" && sold.recurring.is_none() {
        let message =
            "You must provide at least one recurring price in `subscription` mode when using prices.";
        return Err(Refusal::invalid("line_items".to_owned(), message));
    }
    if mode != "setup" {
        if sold.total < LEAST_TOTAL {
            return Err(Refusal::Invalid {
                param: "line_items".to_owned(),
                code: Some("amount_too_small"),
                message: "The Checkout Session's total amount must convert to at least 50 cents.".to_owned(),
            });
        }
        payment_intents::check_amount("line_items", sold.total)?;
    }
    for line in lines {
        sold.items.push(make_item(world, line));
    }
    Ok(sold)
}

fn make_item(world: &mut World, line: Line) -> Value {
    let (price, name) = match line.price {
        LinePrice::New(data) => data.make(world),
        LinePrice::Existing(id) => {
            let price = world.objects.expect(&id).clone();
            let product = world.objects.expect(text(&price, "product"));
            let name = text(product, "name").to_owned();
            (price, name)
        }
    };
    let amount = integer(&price, "unit_amount") * line.quantity;
    json!({
        "id": new_id("li_1"),
        "object": "item",
        "adjustable_quantity": null,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": name,
        "metadata": {},
        "price": price,
        "quantity": line.quantity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_url_must_be_one() {
        check_urls("https://a.example/?s={CHECKOUT_SESSION_ID}", None).expect("a URL");
        assert!(check_urls("a.example", None).is_err());
        assert!(check_urls("https://a.example", Some("javascript:alert(1)")).is_err());
    }
}
