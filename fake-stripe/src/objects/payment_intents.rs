//! Payment intents: one wish to take an amount, over as many attempts as it needs.

use serde_json::{Value, json};

use super::{Call, charges, payment_methods};
use crate::listing::Page;
use crate::refusal::Refusal;
use crate::world::{World, new_id, shown, text};

const KIND: &str = "payment_intent";
const URL: &str = "/v1/payment_intents";
const LEAST_AMOUNT: i64 = 50;
const MOST_AMOUNT: i64 = 99_999_999;

/// What a payment intent begins with.
pub struct Begun {
    pub amount: i64,
    pub currency: String,
    pub customer: Option<String>,
    pub description: Option<String>,
    pub metadata: Value,
    pub receipt_email: Option<String>,
    pub setup_future_usage: Option<String>,
}

/// Returns its id.
pub fn new(world: &mut World, begun: &Begun) -> String {
    let id = new_id("pi_3");
    let object = json!({
        "id": id,
        "object": KIND,
        "allowed_payment_method_types": null,
        "amount": begun.amount,
        "amount_capturable": 0,
        "amount_details": { "tip": {} },
        "amount_received": 0,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": null,
        "canceled_at": null,
        "cancellation_reason": null,
        "capture_method": "automatic_async",
        "client_secret": format!("{id}_secret_{}", new_id("")),
        "confirmation_method": "automatic",
        "created": world.now(),
        "currency": begun.currency,
        "customer": begun.customer,
        "customer_account": null,
        "description": begun.description,
        "excluded_payment_method_types": null,
        "last_payment_error": null,
        "latest_charge": null,
        "livemode": world.livemode,
        "managed_payments": null,
        "metadata": begun.metadata,
        "next_action": null,
        "on_behalf_of": null,
        "payment_method": null,
        "payment_method_configuration_details": null,
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "payment_record": null,
        "processing": null,
        "receipt_email": begun.receipt_email,
        "review": null,
        "setup_future_usage": begun.setup_future_usage,
        "shipping": null,
        "source": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": "requires_payment_method",
        "transfer_data": null,
        "transfer_group": null,
    });
    world.objects.add(object);
    world.emit("payment_intent.created", &id);
    id
}

pub fn check_amount(param: &str, amount: i64) -> Result<(), Refusal> {
    let (code, message) = match amount {
        ..0 => ("parameter_invalid_integer", "Invalid non-negative integer"),
        0..LEAST_AMOUNT => ("amount_too_small", "Amount must be at least $0.50 usd"),
        LEAST_AMOUNT..=MOST_AMOUNT => return Ok(()),
        _ => ("amount_too_large", "Amount must be no more than $999,999.99"),
    };
    Err(Refusal::Invalid { param: param.to_owned(), code: Some(code), message: message.to_owned() })
}

pub fn create(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let params = &mut call.params;
    let begun = Begun {
        amount: params.need_integer("amount")?,
        currency: params.need_currency("currency")?,
        customer: params.text("customer")?,
        description: params.text("description")?,
        metadata: params.new_metadata("metadata")?,
        receipt_email: params.text("receipt_email")?,
        setup_future_usage: params.choice("setup_future_usage", &["off_session", "on_session"])?,
    };
    let method = params.text("payment_method")?;
    let confirm = params.flag("confirm")?.unwrap_or(false);
    let off_session = params.flag("off_session")?;
    let refuse_action = params.flag("error_on_requires_action")?.unwrap_or(false);
    params.choice("capture_method", &["automatic", "automatic_async"])?;
    read_method_types(params)?;
    params.done()?;

    check_amount("amount", begun.amount)?;
    if off_session.is_some() && !confirm {
        let message = "You cannot provide `off_session` unless `confirm` is true.";
        return Err(Refusal::invalid("off_session".to_owned(), message));
    }
    if let Some(customer) = &begun.customer {
        world.objects.named("customer", customer, "customer")?;
    }
    let method = match method {
        None => None,
        Some(given) => Some(usable_method(world, &given, begun.customer.as_deref())?),
    };
    if confirm && method.is_none() {
        return Err(missing_method());
    }
    let id = new(world, &begun);
    if let Some(method) = &method {
        let created = world.objects.expect_mut(&id);
        created["payment_method"] = json!(method);
        created["status"] = json!("requires_confirmation");
        if confirm {
            take(world, &id, method, off_session == Some(true) || refuse_action)?;
        }
    }
    Ok(shown(world.objects.expect(&id)))
}

/// Confirms with a card, and keeps it where the payment intent says so.
pub fn take(world: &mut World, id: &str, method: &str, holder_is_away: bool) -> Result<(), Refusal> {
    charges::ask(world, id, method, holder_is_away)?;
    let intent = world.objects.expect(id);
    let customer = text(intent, "customer").to_owned();
    let keeps = !intent["setup_future_usage"].is_null() && !customer.is_empty();
    if keeps && world.objects.expect(method)["customer"].is_null() {
        world.objects.expect_mut(method)["customer"] = json!(customer);
        world.emit("payment_method.attached", method);
    }
    Ok(())
}

fn read_method_types(params: &mut crate::params::Params) -> Result<(), Refusal> {
    for given in params.texts("payment_method_types")? {
        if given != "card" {
            let message = format!("The payment method type \"{given}\" is invalid.");
            return Err(Refusal::invalid("payment_method_types".to_owned(), &message));
        }
    }
    if let Some(mut automatic) = params.map("automatic_payment_methods")? {
        automatic.flag("enabled")?;
        automatic.choice("allow_redirects", &["always", "never"])?;
        automatic.done()?;
    }
    Ok(())
}

fn missing_method() -> Refusal {
    let message = "You cannot confirm this PaymentIntent because it's missing a payment method. You can either \
                   update the PaymentIntent with a payment method and then confirm it again, or confirm it again \
                   directly with a payment method or ConfirmationToken.";
    Refusal::not_now("payment_intent_unexpected_state", message)
}

/// A card of a customer's can be used for that customer alone, and another's for none.
fn usable_method(world: &mut World, given: &str, customer: Option<&str>) -> Result<String, Refusal> {
    let method = payment_methods::resolve(world, given)?;
    let owner = text(world.objects.expect(&method), "customer").to_owned();
    if owner.is_empty() || Some(owner.as_str()) == customer {
        return Ok(method);
    }
    let message = match customer {
        None => format!(
            "The provided PaymentMethod cannot be attached. To reuse a PaymentMethod, you must attach it to a \
             Customer first. It belongs to the Customer {owner}. Please include the Customer in the `customer` \
             parameter on the PaymentIntent."
        ),
        Some(customer) => format!(
            "The payment method supplied ({method}) belongs to a different Customer ({owner}) than the supplied \
             Customer ({customer})."
        ),
    };
    Err(Refusal::invalid("payment_method".to_owned(), &message))
}

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(KIND, &call.id, "intent")?))
}

pub fn update(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    world.objects.named(KIND, &call.id, "intent")?;
    let description = call.params.text_or_unset("description")?;
    let metadata = call.params.metadata("metadata")?;
    call.params.done()?;
    let intent = world.objects.expect_mut(&call.id);
    if let Some(description) = description {
        intent["description"] = json!(description);
    }
    if let Some(change) = metadata {
        change.apply(&mut intent["metadata"]);
    }
    Ok(shown(intent))
}

pub fn list(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let page = Page::read(&mut call.params)?;
    let customer = call.params.text("customer")?;
    call.params.done()?;
    page.of(world, KIND, URL, |intent| {
        customer.as_deref().is_none_or(|customer| text(intent, "customer") == customer)
    })
}

pub fn confirm(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let intent = world.objects.named(KIND, &call.id, "intent")?.clone();
    let given = call.params.text("payment_method")?;
    let off_session = call.params.flag("off_session")?.unwrap_or(false);
    let refuse_action = call.params.flag("error_on_requires_action")?.unwrap_or(false);
    call.params.text("return_url")?;
    call.params.done()?;
    let confirmable = ["requires_payment_method", "requires_confirmation", "requires_action"];
    if !confirmable.contains(&text(&intent, "status")) {
        return Err(unexpected_state("confirm", &intent, &confirmable[..2]));
    }
    let customer = intent["customer"].as_str();
    let method = match (given, intent["payment_method"].as_str()) {
        (Some(given), _) => usable_method(world, &given, customer)?,
        (None, Some(there)) => there.to_owned(),
        (None, None) => return Err(missing_method()),
    };
    take(world, &call.id, &method, off_session || refuse_action)?;
    Ok(shown(world.objects.expect(&call.id)))
}

pub fn cancel(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    const REASONS: [&str; 4] = ["duplicate", "fraudulent", "requested_by_customer", "abandoned"];
    let intent = world.objects.named(KIND, &call.id, "intent")?.clone();
    let reason = call.params.choice("cancellation_reason", &REASONS)?;
    call.params.done()?;
    let cancelable = [
        "requires_payment_method",
        "requires_capture",
        "requires_confirmation",
        "requires_action",
        "processing",
    ];
    if !cancelable.contains(&text(&intent, "status")) {
        return Err(unexpected_state("cancel", &intent, &cancelable));
    }
    let now = world.now();
    let canceled = world.objects.expect_mut(&call.id);
    canceled["status"] = json!("canceled");
    canceled["canceled_at"] = json!(now);
    canceled["cancellation_reason"] = json!(reason);
    world.emit("payment_intent.canceled", &call.id);
    Ok(shown(world.objects.expect(&call.id)))
}

fn unexpected_state(verb: &str, intent: &Value, allowed: &[&str]) -> Refusal {
    let message = format!(
        "You cannot {verb} this PaymentIntent because it has a status of {}. Only a PaymentIntent with one of the \
         following statuses may be {verb}ed: {}.",
        text(intent, "status"),
        allowed.join(", ")
    );
    Refusal::NotNow {
        code: Some("payment_intent_unexpected_state"),
        param: None,
        message,
        extra: json!({ "payment_intent": shown(intent) }),
    }
}
