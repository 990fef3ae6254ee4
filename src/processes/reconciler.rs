//! Compares what Stripe has of the last 7 days with our payments and closes the gaps: a webhook that was lost costs
//! minutes, never a credit.
//!
//! One node at a time looks, under an advisory lock. What it finds ends in the commands that webhooks end in, so it
//! cannot credit twice; an object whose payment is known to be as far is passed by without asking Stripe again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::PaymentId;
use codexapi_aggregates::payment::{Payment, Reversal, Standing};
use codexapi_aggregates::subscription::Subscription;
use codexapi_aggregates::time::Timestamp;
use codexapi_projections::payments;
use futures::FutureExt;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::advisory_lock::SessionLock;
use crate::clock;
use crate::commands::CommandError;
use crate::payments::inbox::{self, Effect};
use crate::payments::settle::{SettleError, Settled};
use crate::payments::stripe::{
    CheckoutSession, Dispute, HappenedObject, Invoice, Metadata as Written, PAYMENT_ID, PaymentIntent,
    Reference, Refund, Since, StripeError, StripeSubscription,
};
use crate::payments::subscriptions::Bill;
use crate::payments::{Payments, webhook};

/// How far back it looks.
const LOOK_BACK_SECS: i64 = 7 * 86_400;

/// Pages of a hundred that it reads of each kind in one pass, newest first.
const MAX_PAGES: usize = 200;

/// What happens to objects, perhaps long after they are made, so that no list of what was made shows it.
const HAPPENINGS: [&str; 7] = [
    "invoice.paid",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "charge.dispute.closed",
    "charge.dispute.funds_reinstated",
    "refund.updated",
    "refund.failed",
];

/// The one lock of all nodes' reconcilers.
const RECONCILER_LOCK: i64 = 7_263_542_004;

/// What metrics show of it.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// When the last whole pass of this node ended, in microseconds since 1970; 0 before the first.
    ended_at: AtomicI64,
    /// Payments that it brought further.
    gaps_closed: AtomicU64,
}

impl Reconciled {
    /// Seconds since this node's last whole pass; `None` before the first.
    pub fn age_secs(&self, now: Timestamp) -> Option<i64> {
        let ended_at = self.ended_at.load(Ordering::Relaxed);
        (ended_at > 0).then(|| (now.0 - ended_at).max(0) / 1_000_000)
    }

    pub fn gaps_closed(&self) -> u64 {
        self.gaps_closed.load(Ordering::Relaxed)
    }
}

/// Looks every `interval` until `stop`.
pub async fn run(payments: Arc<Payments>, interval: Duration, stop: CancellationToken) {
    let looking = async {
        let mut due = tokio::time::interval(interval);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            match pass(&payments).await {
                Ok(Some(0) | None) => {}
                Ok(Some(gaps)) => tracing::warn!(gaps, "payments were behind Stripe, and are not any more"),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "payments were not compared with Stripe's");
                }
            }
        }
    };
    stop.run_until_cancelled(looking).await;
}

/// One look. How many payments it brought further; `None` where another node is looking.
///
/// # Errors
/// Stripe or Postgres was away; what it had come to before stands.
pub async fn pass(payments: &Payments) -> anyhow::Result<Option<u64>> {
    pass_at(payments, clock::now()).await
}

/// The same, as it is at `now`.
pub async fn pass_at(payments: &Payments, now: Timestamp) -> anyhow::Result<Option<u64>> {
    let Some(mut lock) = SessionLock::try_take(&payments.pool, RECONCILER_LOCK).await? else {
        return Ok(None);
    };
    let since = now.minus_secs(LOOK_BACK_SECS).0.div_euclid(1_000_000);
    let look = Look { payments, since, metadata: Metadata::process("reconciler") };
    let mut gaps = 0;
    gaps += look.each::<CheckoutSession>().await?;
    lock.confirm().await?;
    gaps += look.each::<PaymentIntent>().await?;
    lock.confirm().await?;
    gaps += look.each::<Invoice>().await?;
    lock.confirm().await?;
    gaps += look.happened().await?;
    lock.confirm().await?;
    gaps += look.each::<Refund>().await?;
    lock.confirm().await?;
    gaps += look.each::<Dispute>().await?;
    inbox::purge(&payments.pool, clock::now()).await.context("forgetting old webhooks")?;
    payments.reconciled.gaps_closed.fetch_add(gaps, Ordering::Relaxed);
    payments.reconciled.ended_at.store(clock::now().0, Ordering::Relaxed);
    Ok(Some(gaps))
}

/// An object of Stripe's beside our payment: `None` where that is as far.
trait Compared: Since + DeserializeOwned + Send + Sync {
    fn compare(&self, look: &Look<'_>) -> impl Future<Output = Result<Option<Settled>, SettleError>> + Send;
}

impl Compared for CheckoutSession {
    async fn compare(&self, look: &Look<'_>) -> Result<Option<Settled>, SettleError> {
        let ended = match (self.payment_status.as_str(), self.status.as_deref()) {
            ("paid", _) => Standing::Credited,
            (_, Some("expired")) => Standing::Expired,
            (_, Some("complete")) => Standing::Failed,
            (_, _) => return Ok(None),
        };
        if look.standing(self.metadata.as_ref()).await? >= Some(ended) {
            return Ok(None);
        }
        look.payments.settle_session(&self.id, &look.metadata).await.map(Some)
    }
}

impl Compared for PaymentIntent {
    async fn compare(&self, look: &Look<'_>) -> Result<Option<Settled>, SettleError> {
        let ended = match self.status.as_str() {
            "succeeded" => Standing::Credited,
            "canceled" => Standing::Expired,
            "requires_payment_method" | "requires_action" => Standing::Failed,
            _ => return Ok(None),
        };
        if look.standing(Some(&self.metadata)).await? >= Some(ended) {
            return Ok(None);
        }
        look.payments.settle_intent(&self.id, &look.metadata).await.map(Some)
    }
}

impl Compared for Invoice {
    async fn compare(&self, look: &Look<'_>) -> Result<Option<Settled>, SettleError> {
        let (ended, is_paid) = match self.status.as_deref() {
            Some("paid") => (Standing::Credited, true),
            Some("open" | "uncollectible") if self.attempted => (Standing::Failed, false),
            _ => return Ok(None),
        };
        let Bill { account_id, observed } = Bill::of(self).ok_or(SettleError::Foreign)?;
        let stands = look.standing_of(observed.payment_id).await? >= Some(ended);
        let knows = |subscription: &Subscription| subscription.knows(&observed, is_paid);
        let noted =
            look.payments.log.read(&account_id.to_string(), knows).await.map_err(SettleError::Read)?;
        if stands && noted {
            return Ok(None);
        }
        look.payments.settle_invoice(&self.id, &look.metadata).await.map(Some)
    }
}

impl Compared for Refund {
    async fn compare(&self, look: &Look<'_>) -> Result<Option<Settled>, SettleError> {
        look.reversal(self.payment_intent.as_ref(), self.reversal()).await
    }
}

impl Compared for Dispute {
    async fn compare(&self, look: &Look<'_>) -> Result<Option<Settled>, SettleError> {
        look.reversal(self.payment_intent.as_ref(), self.reversal()).await
    }
}

struct Look<'a> {
    payments: &'a Payments,
    /// Seconds since 1970.
    since: i64,
    metadata: Metadata,
}

impl Look<'_> {
    /// Looks at every object of a kind; how many of them brought a payment further.
    async fn each<T: Compared>(&self) -> anyhow::Result<u64> {
        let mut gaps = 0;
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = self.payments.stripe.since::<T>(self.since, after.as_deref()).await?;
            for object in &page.data {
                gaps += u64::from(brought_further(object.compare(self).await)?);
            }
            after = page.data.last().map(|object| object.id().to_owned());
            if !page.has_more || after.is_none() {
                return Ok(gaps);
            }
        }
        tracing::warn!(what = T::WHAT, pages = MAX_PAGES, "Stripe has more than one pass looks at");
        Ok(gaps)
    }

    /// Looks at what happened to subscriptions, and at invoices that were paid, disputes that were decided and refunds
    /// that failed long after they were made: none of that stands among what was made since. What an object was then says whether to fetch it as it is now.
    async fn happened(&self) -> anyhow::Result<u64> {
        let (mut gaps, mut seen) = (0, BTreeSet::new());
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = self.payments.stripe.happened_since(&HAPPENINGS, self.since, after.as_deref()).await?;
            for happening in &page.data {
                let (id, settled) = match &happening.data.object {
                    HappenedObject::Invoice(invoice) => (&invoice.id, invoice.compare(self).boxed()),
                    HappenedObject::Subscription(subscription) => {
                        (&subscription.id, self.subscription(subscription).boxed())
                    }
                    HappenedObject::Dispute(dispute) => (&dispute.id, dispute.compare(self).boxed()),
                    HappenedObject::Refund(refund) => (&refund.id, refund.compare(self).boxed()),
                    HappenedObject::Other => continue,
                };
                if seen.insert(id.clone()) {
                    gaps += u64::from(brought_further(settled.await)?);
                }
            }
            after = page.data.last().map(|happening| happening.id.clone());
            if !page.has_more || after.is_none() {
                return Ok(gaps);
            }
        }
        tracing::warn!(what = "list events", pages = MAX_PAGES, "Stripe has more than one pass looks at");
        Ok(gaps)
    }

    async fn subscription(&self, then: &StripeSubscription) -> Result<Option<Settled>, SettleError> {
        let (account_id, observed) = then.observed().ok_or(SettleError::Foreign)?;
        let look = |subscription: &Subscription| subscription.is_as(&observed);
        match self.payments.log.read(&account_id.to_string(), look).await.map_err(SettleError::Read)? {
            true => Ok(None),
            false => self.payments.settle_subscription(&then.id, &self.metadata).await.map(Some),
        }
    }

    async fn reversal(
        &self,
        intent: Option<&Reference>,
        reversal: Option<Reversal>,
    ) -> Result<Option<Settled>, SettleError> {
        let (Some(intent), Some(reversal)) = (intent, reversal) else { return Ok(None) };
        let row = payments::by_intent(&self.payments.pool, intent.id()).await;
        if let Some(row) = row.map_err(|error| SettleError::Read(error.into()))? {
            let look = |payment: &Payment| payment.knows(&reversal);
            let stream = row.payment_id.to_string();
            if self.payments.log.read(&stream, look).await.map_err(SettleError::Read)? {
                return Ok(None);
            }
        }
        self.payments.settle_intent(intent.id(), &self.metadata).await.map(Some)
    }

    /// Where the payment that an object names stands here; `None` for what was not started here.
    async fn standing(&self, written: Option<&Written>) -> Result<Option<Standing>, SettleError> {
        let named = written.and_then(|written| written.get(PAYMENT_ID));
        let Some(payment_id) = named.and_then(|id| id.parse::<PaymentId>().ok()) else {
            return Err(SettleError::Foreign);
        };
        self.standing_of(payment_id).await
    }

    async fn standing_of(&self, payment_id: PaymentId) -> Result<Option<Standing>, SettleError> {
        let look = |payment: &Payment| payment.started().map(|_| payment.standing());
        self.payments.log.read(&payment_id.to_string(), look).await.map_err(SettleError::Read)
    }
}

/// What is wrong with one object holds up no other; that Stripe or the log is away ends the pass.
fn brought_further(looked: Result<Option<Settled>, SettleError>) -> anyhow::Result<bool> {
    match looked {
        Ok(None) => Ok(false),
        Ok(Some(settled)) => Ok(settled.effect != Effect::NothingNew),
        // The account may be used for other things, too; the webhooks' inbox shows such objects.
        Err(SettleError::Foreign | SettleError::Stripe(StripeError::NotFound { .. })) => Ok(false),
        Err(SettleError::Command(CommandError::Refused(refusal))) => {
            let reason = webhook::reason_of(&refusal);
            tracing::error!(reason, "an object of Stripe's is not what was started here; it is left alone");
            Ok(false)
        }
        Err(error @ (SettleError::Stripe(_) | SettleError::Command(_) | SettleError::Read(_))) => {
            Err(error.into())
        }
    }
}
