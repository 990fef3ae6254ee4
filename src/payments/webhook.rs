//! One delivery of Stripe's: believed, put on record, looked into, and what came of it put on record.
//!
//! It answers "received" only when there is nothing left to do about it; on anything else Stripe sends it again.

use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::payment::{CreditingRefusal, PaymentRefusal};
use codexapi_aggregates::subscription::SubscriptionRefusal;
use serde::Deserialize;

use super::Payments;
use super::inbox::{self, Delivery, Effect, Outcome};
use super::settle::{SettleError, Settled};
use super::signature::{self, BadSignature};
use super::stripe::{Reference, StripeError};
use crate::commands::CommandError;
use crate::{clock, crash_points};

/// Bytes of an event's or object's id, and of an event's type.
const MAX_NAME_BYTES: usize = 255;

/// Why a delivery is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error(transparent)]
    BadSignature(#[from] BadSignature),
    #[error("the body is no event of Stripe's")]
    NotAnEvent,
    /// Stripe sends it again.
    #[error("{0:#}")]
    Later(anyhow::Error),
}

/// What of an event is read: which object to look at.
#[derive(Deserialize)]
struct Event {
    id: String,
    r#type: String,
    livemode: bool,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    id: Option<String>,
}

/// The kinds of objects that events of the types we know are about.
#[derive(Clone, Copy)]
enum Kind {
    Session,
    Intent,
    Charge,
    Refund,
    Dispute,
    Invoice,
    Subscription,
}

fn kind_of(event_type: &str) -> Option<Kind> {
    Some(match event_type {
        "checkout.session.completed"
        | "checkout.session.async_payment_succeeded"
        | "checkout.session.async_payment_failed"
        | "checkout.session.expired" => Kind::Session,
        "payment_intent.succeeded" | "payment_intent.payment_failed" | "payment_intent.canceled" => {
            Kind::Intent
        }
        "charge.refunded" => Kind::Charge,
        "charge.refund.updated" | "refund.created" | "refund.updated" | "refund.failed" => Kind::Refund,
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => Kind::Dispute,
        "invoice.paid"
        | "invoice.payment_succeeded"
        | "invoice.payment_failed"
        | "invoice.payment_action_required"
        | "invoice.marked_uncollectible"
        | "invoice.voided" => Kind::Invoice,
        "customer.subscription.updated" | "customer.subscription.deleted" => Kind::Subscription,
        _ => return None,
    })
}

impl Payments {
    /// Takes one delivery: its `Stripe-Signature` and its body, byte for byte.
    ///
    /// # Errors
    /// It is not believed, or something was away that is needed for it.
    pub async fn take_webhook(&self, header: Option<&[u8]>, body: &[u8]) -> Result<Outcome, NotTaken> {
        let now = clock::now();
        if let Err(refused) = signature::verify(header, body, &self.webhook_secret, now) {
            self.strangers.receive(&self.pool, refused, now).await.map_err(NotTaken::Later)?;
            return Err(refused.into());
        }
        let event: Event = serde_json::from_slice(body).map_err(|_| NotTaken::NotAnEvent)?;
        let object_id = event.data.object.id.as_deref();
        let names = [Some(event.id.as_str()), Some(event.r#type.as_str()), object_id];
        if names
            .iter()
            .flatten()
            .any(|name| name.len() > MAX_NAME_BYTES || !name.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(NotTaken::NotAnEvent);
        }
        let (event_id, event_type, livemode) = (&*event.id, &*event.r#type, event.livemode);
        inbox::receive(&self.pool, Delivery { event_id, event_type, object_id, livemode })
            .await
            .map_err(NotTaken::Later)?;
        crash_points::reached(crash_points::WEBHOOK_RECEIVED);
        let metadata = Metadata {
            actor: "process:stripe_webhook".into(),
            request_id: None,
            cause: Some(format!("stripe:{event_id}")),
        };
        let looked = self.look_into(&event, &metadata).await;
        let (outcome, later) = match looked {
            Ok(outcome) => (outcome, None),
            Err(error) => outcome_of(error),
        };
        inbox::conclude(&self.pool, event_id, outcome).await.map_err(NotTaken::Later)?;
        match later {
            Some(error) => Err(NotTaken::Later(error)),
            None => Ok(outcome),
        }
    }

    async fn look_into(&self, event: &Event, metadata: &Metadata) -> Result<Outcome, SettleError> {
        let (Some(kind), Some(id)) = (kind_of(&event.r#type), event.data.object.id.as_deref()) else {
            return Ok(Outcome::of(Effect::Ignored));
        };
        if event.livemode != self.livemode {
            return Ok(Outcome::of(Effect::OtherMode));
        }
        let intent: Option<Reference> = match kind {
            Kind::Session => return self.settle_session(id, metadata).await.map(outcome),
            Kind::Invoice => return self.settle_invoice(id, metadata).await.map(outcome),
            Kind::Subscription => return self.settle_subscription(id, metadata).await.map(outcome),
            Kind::Intent => Some(Reference::Id(id.to_owned())),
            Kind::Charge => self.stripe.charge(id).await?.payment_intent,
            Kind::Refund => self.stripe.refund(id).await?.payment_intent,
            Kind::Dispute => self.stripe.dispute(id).await?.payment_intent,
        };
        let intent = intent.ok_or(SettleError::Foreign)?;
        self.settle_intent(intent.id(), metadata).await.map(outcome)
    }
}

fn outcome(settled: Settled) -> Outcome {
    Outcome { effect: settled.effect, reason: None, payment_id: Some(settled.payment_id) }
}

/// What is put on record of an error, and the error where the delivery is wanted again.
fn outcome_of(error: SettleError) -> (Outcome, Option<anyhow::Error>) {
    let refused = |reason| Outcome { effect: Effect::Refused, reason: Some(reason), payment_id: None };
    match error {
        SettleError::Foreign | SettleError::Stripe(StripeError::NotFound { .. }) => {
            (Outcome::of(Effect::Foreign), None)
        }
        SettleError::Command(CommandError::Refused(refusal)) => (refused(reason_of(&refusal)), None),
        error @ (SettleError::Stripe(_) | SettleError::Command(_) | SettleError::Read(_)) => {
            (Outcome::of(Effect::Failed), Some(error.into()))
        }
    }
}

/// The name of a refusal, for the inbox and for callers.
pub fn reason_of(refusal: &CreditingRefusal) -> &'static str {
    use PaymentRefusal as R;
    match refusal {
        CreditingRefusal::Payment(refusal) => match refusal {
            R::NotStarted { .. } => "payment_not_found",
            R::AlreadyStarted { .. } => "payment_exists",
            R::PriceOutOfRange { .. } => "price_out_of_range",
            R::NotWholeCents { .. } => "price_not_whole_cents",
            R::CreditOutOfRange { .. } => "credit_out_of_range",
            R::QuantityOutOfRange { .. } => "quantity_out_of_range",
            R::BadProviderId { .. } => "bad_provider_id",
            R::OtherSession { .. } => "other_session",
            R::OtherAccount { .. } => "other_account",
            R::AmountMismatch { .. } => "amount_mismatch",
            R::CurrencyMismatch => "currency_mismatch",
            R::LivemodeMismatch { .. } => "livemode_mismatch",
            R::NotPaid => "payment_not_confirmed",
            R::OtherPurpose { .. } => "other_purpose",
            R::ReversalAmountChanged { .. } => "reversal_amount_changed",
            R::ReversalOutOfRange { .. } => "reversal_out_of_range",
            R::TooManyReversals { .. } => "too_many_reversals",
        },
        CreditingRefusal::Wallet(_) => "wallet_refused",
        CreditingRefusal::Cash(_) => "cash_wallet_refused",
        CreditingRefusal::Subscription(refusal) => reason_of_subscription(refusal),
    }
}

fn reason_of_subscription(refusal: &SubscriptionRefusal) -> &'static str {
    match refusal {
        SubscriptionRefusal::AlreadySubscribed { .. } => "already_subscribed",
        SubscriptionRefusal::CheckoutOpen { .. } => "subscription_checkout_open",
        SubscriptionRefusal::UnknownSubscription { .. } => "subscription_not_found",
        SubscriptionRefusal::OtherSubscription { .. } => "other_subscription",
        SubscriptionRefusal::BadProviderId { .. } => "bad_provider_id",
        SubscriptionRefusal::PeriodOutOfRange => "period_out_of_range",
        SubscriptionRefusal::NotSubscribed => "not_subscribed",
        SubscriptionRefusal::Over => "subscription_over",
    }
}
