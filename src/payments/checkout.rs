//! Sending a customer to Stripe: first our record of what is to be paid, then Stripe's page for it.

use codexapi_aggregates::bonus::{Bonuses, TopUpRefusal, start_with_code};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, PaymentId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{
    Channel, CreditingRefusal, Currency, FailureReason, Payment, PaymentAction, PaymentCommand, PaymentEvent,
    PaymentRefusal, Purpose, StartPayment,
};
use sha2::{Digest, Sha256};

use super::settle::SettleError;
use super::stripe::{NewCheckout, StripeError};
use super::{Payments, profiles};
use crate::commands::{Call, CommandError};
use crate::event_log::IdempotencyKey;
use crate::{clock, crash_points};

/// What a customer wants to pay for.
#[derive(Clone, Debug)]
pub struct Order {
    pub account_id: AccountId,
    pub purpose: Purpose,
    pub plan_id: Option<String>,
    pub quantity: u32,
    /// Of the whole order.
    pub price_micro: MicroUsd,
    /// What the customer sees on the page.
    pub name: String,
    /// A code of the account's that makes a top-up bring more.
    pub code: Option<String>,
    /// The card may be charged again later, without the customer.
    pub save_card: bool,
}

/// A page where an order is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    pub payment_id: PaymentId,
    pub session_id: String,
    /// Absent where the customer has been there and is done.
    pub url: Option<String>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    #[error(transparent)]
    Command(#[from] CommandError<TopUpRefusal>),
    #[error(transparent)]
    Subscription(#[from] CommandError<CreditingRefusal>),
    #[error(transparent)]
    Settle(#[from] SettleError),
    #[error(transparent)]
    Stripe(#[from] StripeError),
    #[error(transparent)]
    Table(anyhow::Error),
}

impl Payments {
    /// A page where `order` is paid. Under the same `idempotency_key` an account gets the same page again, for
    /// the same order; without one, each call is an order of its own.
    pub async fn open_checkout(
        &self,
        order: &Order,
        idempotency_key: Option<&str>,
        public_url: &str,
        metadata: &Metadata,
    ) -> Result<Checkout, CheckoutError> {
        let payment_id = self.start(order, idempotency_key, metadata).await?;
        crash_points::reached(crash_points::PAYMENT_STARTED);
        self.open_page(payment_id, order, false, public_url, metadata).await
    }

    /// Stripe's page for a payment that is on record: the one it has, if it has one.
    pub(super) async fn open_page(
        &self,
        payment_id: PaymentId,
        order: &Order,
        monthly: bool,
        public_url: &str,
        metadata: &Metadata,
    ) -> Result<Checkout, CheckoutError> {
        let known = |payment: &Payment| payment.session_id().map(str::to_owned);
        let known = self.log.read(&payment_id.to_string(), known).await.map_err(CheckoutError::Table)?;
        if let Some(session_id) = known {
            let session = self.stripe.checkout_session(&session_id).await?;
            return Ok(Checkout { payment_id, session_id, url: session.url });
        }
        let profile = match order.save_card || monthly {
            true => profiles::get(&self.pool, order.account_id, self.livemode).await,
            false => Ok(None),
        };
        let profile = profile.map_err(CheckoutError::Table)?;
        let checkout = NewCheckout {
            payment_id,
            account_id: order.account_id,
            name: &order.name,
            price_micro: order.price_micro,
            success_url: &self.success_url(public_url),
            cancel_url: &self.cancel_url(public_url),
            save_card: order.save_card,
            monthly,
            customer_id: profile.as_ref().map(|profile| profile.customer_id.as_str()),
        };
        let session = match self.stripe.open_checkout(&checkout).await {
            Ok(session) => session,
            // A page was opened, and with other words: this says nothing against it.
            Err(error @ StripeError::Refused { .. }) if error.is_about_the_key() => return Err(error.into()),
            Err(error @ (StripeError::Refused { .. } | StripeError::NotFound { .. })) => {
                let reason = FailureReason::NotAccepted;
                self.act(payment_id, PaymentAction::FailPayment { reason }, metadata)
                    .await
                    .map_err(of_payment)?;
                return Err(error.into());
            }
            // What came of it will be seen; the customer may try again meanwhile.
            Err(error @ (StripeError::Unavailable { .. } | StripeError::Unreadable { .. })) => {
                return Err(error.into());
            }
        };
        crash_points::reached(crash_points::CHECKOUT_OPENED);
        let session_id = session.id.clone();
        self.act(payment_id, PaymentAction::NoteCheckout { session_id }, metadata)
            .await
            .map_err(of_payment)?;
        Ok(Checkout { payment_id, session_id: session.id, url: session.url })
    }

    /// Puts the intent to pay on record.
    async fn start(
        &self,
        order: &Order,
        idempotency_key: Option<&str>,
        metadata: &Metadata,
    ) -> Result<PaymentId, CommandError<TopUpRefusal>> {
        let payment_id = PaymentId(clock::new_id());
        let (stream, call) = (payment_id.to_string(), Call::new(metadata).fresh_stream());
        let start = StartPayment {
            payment_id,
            account_id: order.account_id,
            channel: Channel::Checkout,
            purpose: order.purpose.clone(),
            plan_id: order.plan_id.clone(),
            quantity: order.quantity,
            price_micro: order.price_micro,
            currency: Currency::Usd,
            livemode: self.livemode,
        };
        let decide = |payment: &Payment, bonuses: &Bonuses, now| match &order.code {
            Some(code) => {
                let (payment, bonus) = start_with_code(payment, bonuses, start.clone(), code, now)?;
                Ok::<_, TopUpRefusal>((payment, bonus, ()))
            }
            None => {
                let action = PaymentAction::StartPayment(Box::new(start.clone()));
                let started = payment.decide(PaymentCommand { payment_id, action, now })?;
                Ok((started, vec![], ()))
            }
        };
        let account = order.account_id.to_string();
        let Some(key) = idempotency_key else {
            self.log.execute_pair(&stream, &account, call, decide).await?;
            return Ok(payment_id);
        };
        let key = IdempotencyKey {
            command: "start_payment",
            account: account.clone(),
            key: key.to_owned(),
            inputs_digest: inputs_digest(order),
            keep_forever: true,
        };
        let (committed, _) = self.log.execute_pair_once(&stream, &account, call, key, decide).await?;
        let first = committed.first.events.first().map(PaymentEvent::payment_id);
        first.ok_or_else(|| CommandError::Failed(anyhow::anyhow!("starting a payment left no event")))
    }

    /// A command of the payment's stream alone.
    pub(super) async fn act(
        &self,
        payment_id: PaymentId,
        action: PaymentAction,
        metadata: &Metadata,
    ) -> Result<bool, CommandError<PaymentRefusal>> {
        let decide = |payment: &Payment, now| {
            payment.decide(PaymentCommand { payment_id, action: action.clone(), now })
        };
        let committed = self.log.execute(&payment_id.to_string(), metadata, decide).await?;
        Ok(!committed.events.is_empty())
    }
}

fn of_payment(error: CommandError<PaymentRefusal>) -> CommandError<TopUpRefusal> {
    error.map(TopUpRefusal::Payment)
}

pub(super) fn inputs_digest(order: &Order) -> [u8; 32] {
    let inputs = serde_json::json!([
        order.purpose,
        order.plan_id,
        order.quantity,
        order.price_micro,
        order.code,
        order.save_card
    ]);
    Sha256::digest(inputs.to_string().as_bytes()).into()
}
