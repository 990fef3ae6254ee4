//! What a customer does about a subscription: asks for one, cancels it at the end of its period, takes that back.

use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, PaymentId};
use codexapi_aggregates::payment::{CreditingRefusal, Payment, PaymentEvent, Standing};
use codexapi_aggregates::subscription::{Subscription, SubscriptionRefusal, SubscriptionTerms, request};
use codexapi_aggregates::wallet::entitlements::EntitlementTerms;

use super::Payments;
use super::checkout::{Checkout, CheckoutError, Order, inputs_digest};
use super::settle::SettleError;
use crate::commands::{Call, CommandError};
use crate::event_log::IdempotencyKey;
use crate::{clock, crash_points};

impl Payments {
    /// A page where the first period of a subscription is paid. While it is open and the plan is as it was, whoever
    /// asks again gets the same page: paid at two of them, a plan would be paid for twice a month.
    pub async fn open_subscription(
        &self,
        order: &Order,
        entitlement: &EntitlementTerms,
        idempotency_key: Option<&str>,
        public_url: &str,
        metadata: &Metadata,
    ) -> Result<Checkout, CheckoutError> {
        let over = self.request_that_is_over(order.account_id, metadata).await?;
        let terms = SubscriptionTerms {
            payment_id: PaymentId(clock::new_id()),
            price_micro: order.price_micro,
            livemode: self.livemode,
            entitlement: entitlement.clone(),
        };
        let payment_id = match self.request(order, &terms, over, idempotency_key, metadata).await {
            Err(CommandError::Refused(CreditingRefusal::Subscription(
                refusal @ SubscriptionRefusal::CheckoutOpen { payment_id, .. },
            ))) => match self.is_the_same(order.account_id, payment_id, &terms).await? {
                true => payment_id,
                false => return Err(CheckoutError::Subscription(CommandError::Refused(refusal.into()))),
            },
            requested => requested?,
        };
        crash_points::reached(crash_points::PAYMENT_STARTED);
        self.open_page(payment_id, order, true, public_url, metadata).await
    }

    /// Lets the caller's subscription end with its period, or go on after it.
    pub async fn set_cancelled(
        &self,
        account_id: AccountId,
        cancels: bool,
        metadata: &Metadata,
    ) -> Result<(), SettleError> {
        let look = |subscription: &Subscription| subscription.cancel_change(cancels);
        let change = self.log.read(&account_id.to_string(), look).await.map_err(SettleError::Read)?;
        let change = change.map_err(|refusal| SettleError::Command(CommandError::Refused(refusal.into())))?;
        if !change.is_done {
            let key = format!("subscription-{}-change-{}", change.payment_id, change.number);
            self.stripe.cancel_at_period_end(&change.provider_id, cancels, &key).await?;
        }
        // Stripe may answer a repeated key with what was so the first time.
        self.settle_subscription(&change.provider_id, metadata).await.map(drop)
    }

    /// The first payment of an earlier request, where no money comes of it any more.
    async fn request_that_is_over(
        &self,
        account_id: AccountId,
        metadata: &Metadata,
    ) -> Result<Option<PaymentId>, CheckoutError> {
        let look = |subscription: &Subscription| subscription.requested().map(|terms| terms.payment_id);
        let requested = self.log.read(&account_id.to_string(), look).await.map_err(CheckoutError::Table)?;
        let Some(payment_id) = requested else { return Ok(None) };
        let look = |payment: &Payment| (payment.standing(), payment.session_id().map(str::to_owned));
        let stream = payment_id.to_string();
        let (mut standing, session) = self.log.read(&stream, look).await.map_err(CheckoutError::Table)?;
        if let (Standing::Open | Standing::Credited, Some(session_id)) = (standing, session) {
            self.settle_session(&session_id, metadata).await?;
            standing = self.log.read(&stream, Payment::standing).await.map_err(CheckoutError::Table)?;
        }
        Ok(match standing {
            Standing::Expired | Standing::Failed => Some(payment_id),
            Standing::Open | Standing::Credited => None,
        })
    }

    async fn request(
        &self,
        order: &Order,
        terms: &SubscriptionTerms,
        over: Option<PaymentId>,
        idempotency_key: Option<&str>,
        metadata: &Metadata,
    ) -> Result<PaymentId, CommandError<CreditingRefusal>> {
        let (account, payment) = (order.account_id.to_string(), terms.payment_id.to_string());
        let call = Call::new(metadata).fresh_second_stream();
        let decide = |subscription: &Subscription, payment: &Payment, now| {
            let (requested, started) = request(subscription, payment, terms, order.account_id, over, now)?;
            Ok((requested, started, ()))
        };
        let Some(key) = idempotency_key else {
            self.log.execute_pair(&account, &payment, call, decide).await?;
            return Ok(terms.payment_id);
        };
        let key = IdempotencyKey {
            command: "request_subscription",
            account: account.clone(),
            key: key.to_owned(),
            inputs_digest: inputs_digest(order),
            keep_forever: true,
        };
        let (committed, _) = self.log.execute_pair_once(&account, &payment, call, key, decide).await?;
        let first = committed.second.events.first().map(PaymentEvent::payment_id);
        first.ok_or_else(|| CommandError::Failed(anyhow::anyhow!("asking for a subscription left no event")))
    }

    /// Whether what is asked for now is what an open checkout is for.
    async fn is_the_same(
        &self,
        account_id: AccountId,
        payment_id: PaymentId,
        terms: &SubscriptionTerms,
    ) -> Result<bool, CheckoutError> {
        let look = |subscription: &Subscription| {
            let asked = SubscriptionTerms { payment_id, ..terms.clone() };
            subscription.requested() == Some(&asked)
        };
        self.log.read(&account_id.to_string(), look).await.map_err(CheckoutError::Table)
    }
}
