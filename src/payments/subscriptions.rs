//! Bringing a subscription to where Stripe has it: each period's invoice becomes a payment of its own, and what Stripe
//! says of the subscription itself is put on record.
//!
//! The first period's payment is the one the checkout was opened with; that of a later one has an id made from the
//! invoice's, so that however often and by whom the invoice is heard of, it is one payment. Price and time are those
//! that were agreed, as the account's subscription has them; an invoice of a subscription it does not know is foreign.

use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, PaymentId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{
    CreditingRefusal, FailureReason, ObservedPayment, Payment, PaymentAction, PaymentRefusal, StartPayment,
    Started,
};
use codexapi_aggregates::subscription::{
    ObservedInvoice, ObservedSubscription, Subscription, SubscriptionAction, SubscriptionRefusal, note,
};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::Wallet;
use codexapi_aggregates::wallet::entitlements::PaidPeriod;
use sha2::{Digest, Sha256};
use uuid::Builder;

use super::Payments;
use super::inbox::Effect;
use super::settle::{Named, SettleError, Settled, named, of_payment, unpaid, weightier};
use super::stripe::{
    CheckoutSession, Invoice, InvoicePayment, Reference, StripeSubscription, currency_of, micro_of_cents,
};
use crate::commands::CommandError;
use crate::crash_points;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Before an invoice's id, where a payment's id is made from it.
const INVOICE_TAG: &[u8] = b"codexapi payment of a subscription's invoice\0";

/// An invoice of a period of a subscription, as it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    pub account_id: AccountId,
    pub observed: ObservedInvoice,
}

impl Bill {
    /// `None` where it names no subscription, or is not of one of its periods.
    pub fn of(invoice: &Invoice) -> Option<Self> {
        let details = invoice.parent.as_ref()?.subscription_details.as_ref()?;
        let Named { payment_id: subscription, account_id } = named(details.metadata.as_ref()?)?;
        let payment_id = match invoice.billing_reason.as_deref()? {
            "subscription_create" => subscription,
            "subscription_cycle" => payment_of(&invoice.id),
            _ => return None,
        };
        let period = invoice.lines.data.iter().map(|line| line.period).max_by_key(|period| period.end)?;
        let moment = |secs: i64| secs.checked_mul(MICROS_PER_SECOND).map(Timestamp);
        let period = PaidPeriod { starts_at: moment(period.start)?, ends_at: moment(period.end)? };
        let provider_id = details.subscription.id().to_owned();
        Some(Self { account_id, observed: ObservedInvoice { subscription, payment_id, provider_id, period } })
    }

    fn is_first(&self) -> bool {
        self.observed.payment_id == self.observed.subscription
    }

    fn named(&self) -> Named {
        Named { payment_id: self.observed.payment_id, account_id: self.account_id }
    }
}

/// The payment that an invoice of a further period is paid by.
pub fn payment_of(invoice_id: &str) -> PaymentId {
    let digest = Sha256::new().chain_update(INVOICE_TAG).chain_update(invoice_id).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    PaymentId(Builder::from_custom_bytes(bytes).into_uuid())
}

impl Payments {
    /// Fetches an invoice, with its subscription, refunds and disputes, and brings its payment to where they are.
    pub async fn settle_invoice(&self, id: &str, metadata: &Metadata) -> Result<Settled, SettleError> {
        let invoice = self.stripe.invoice(id).await?;
        let bill = Bill::of(&invoice).ok_or(SettleError::Foreign)?;
        self.settle_bill(&invoice, &bill, None, metadata).await
    }

    /// The same of the invoice that a checkout names, which must be of the same payment.
    pub(super) async fn settle_first_invoice(
        &self,
        id: &str,
        session: &CheckoutSession,
        named: Named,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        let invoice = self.stripe.invoice(id).await?;
        let bill = Bill::of(&invoice).ok_or(SettleError::Foreign)?;
        if bill.observed.payment_id != named.payment_id || bill.account_id != named.account_id {
            return Err(SettleError::Foreign);
        }
        self.settle_bill(&invoice, &bill, Some(&session.id), metadata).await
    }

    /// Fetches a subscription and notes whether it goes on.
    pub async fn settle_subscription(&self, id: &str, metadata: &Metadata) -> Result<Settled, SettleError> {
        let subscription = self.stripe.subscription(id).await?;
        let (account_id, observed) = subscription.observed().ok_or(SettleError::Foreign)?;
        let named = Named { payment_id: observed.subscription, account_id };
        let action = SubscriptionAction::Follow(observed);
        let changed = self.note(account_id, &[action], metadata).await.map_err(or_foreign)?;
        Ok(unpaid(named, if changed { Effect::SubscriptionChanged } else { Effect::NothingNew }))
    }

    async fn settle_bill(
        &self,
        invoice: &Invoice,
        bill: &Bill,
        session_id: Option<&str>,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        crash_points::reached(crash_points::PAYMENT_FETCHED);
        let nothing = unpaid(bill.named(), Effect::NothingNew);
        match invoice.status.as_deref() {
            Some("paid") => {
                let started = self.billed(bill, metadata).await?;
                self.settle_paid(invoice, bill, session_id, &started, metadata).await
            }
            // The first period is paid at a checkout, which tells how that went.
            _ if bill.is_first() => Ok(nothing),
            Some("open" | "uncollectible") if invoice.attempted => {
                let started = self.billed(bill, metadata).await?;
                self.settle_past_due(invoice, bill, &started, metadata).await
            }
            Some("void") => match self.known(bill.observed.payment_id).await? {
                Some(_) => self.give_up(bill.named(), PaymentAction::ExpirePayment, metadata).await,
                None => Ok(nothing),
            },
            // It has not been tried yet.
            Some(_) | None => Ok(nothing),
        }
    }

    async fn settle_paid(
        &self,
        invoice: &Invoice,
        bill: &Bill,
        session_id: Option<&str>,
        started: &Started,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        let intent = intent_of(invoice, "paid");
        let paid = ObservedPayment {
            payment_id: bill.observed.payment_id,
            account_id: bill.account_id,
            session_id: session_id.map(str::to_owned),
            payment_intent_id: intent.map(|intent| intent.id().to_owned()),
            paid: true,
            amount_micro: micro_of_cents(invoice.amount_paid).unwrap_or(MicroUsd::ZERO),
            currency: currency_of(&invoice.currency),
            livemode: invoice.livemode,
            period: Some(bill.observed.period),
        };
        let settled = self.confirm(&paid, started, metadata).await?;
        let (settled, refused) = match intent {
            Some(intent) => {
                let intent = self.stripe.payment_intent(intent.id()).await?;
                self.reverse_all(&intent, started, settled, metadata).await?
            }
            None => (settled, None),
        };
        let paid = SubscriptionAction::NotePaid(bill.observed.clone());
        let settled = self.note_of(bill, paid, settled, metadata).await?;
        refused.map_or(Ok(settled), Err)
    }

    /// It was tried to have it paid, in vain so far.
    async fn settle_past_due(
        &self,
        invoice: &Invoice,
        bill: &Bill,
        started: &Started,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        let settled = match intent_of(invoice, "open") {
            Some(intent) => {
                let intent = self.stripe.payment_intent(intent.id()).await?;
                self.settle_unpaid(bill.named(), started, &intent, true, metadata).await?
            }
            None => {
                let failed = PaymentAction::FailPayment { reason: FailureReason::Declined };
                self.give_up(bill.named(), failed, metadata).await?
            }
        };
        let past_due = SubscriptionAction::NoteUnpaid(bill.observed.clone());
        self.note_of(bill, past_due, settled, metadata).await
    }

    /// Notes what came of an invoice, and what Stripe says of its subscription now.
    async fn note_of(
        &self,
        bill: &Bill,
        heard: SubscriptionAction,
        settled: Settled,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        let subscription = self.stripe.subscription(&bill.observed.provider_id).await?;
        let (account_id, observed) = subscription.observed().ok_or(SettleError::Foreign)?;
        if account_id != bill.account_id || observed.subscription != bill.observed.subscription {
            return Err(SettleError::Foreign);
        }
        let follow = SubscriptionAction::Follow(observed);
        let changed = match self.note(bill.account_id, &[heard, follow], metadata).await {
            // Its payment was started here, but the account has another subscription by now.
            Err(CommandError::Refused(CreditingRefusal::Subscription(
                SubscriptionRefusal::UnknownSubscription { .. },
            ))) => false,
            noted => noted?,
        };
        let noted = if changed { Effect::SubscriptionChanged } else { Effect::NothingNew };
        Ok(Settled { effect: weightier(settled.effect, noted), ..settled })
    }

    /// Whether that was new to the account's subscription or wallet.
    async fn note(
        &self,
        account_id: AccountId,
        actions: &[SubscriptionAction],
        metadata: &Metadata,
    ) -> Result<bool, CommandError<CreditingRefusal>> {
        let stream = account_id.to_string();
        let settings = (self.subscription_settings, &self.terms);
        let decide = |subscription: &Subscription, wallet: &Wallet, now| {
            let (heard, told) = note(subscription, wallet, actions, settings, now)?;
            Ok((heard, told, ()))
        };
        let (committed, ()) = self.log.execute_pair(&stream, &stream, metadata, decide).await?;
        Ok(!committed.first.events.is_empty())
    }

    /// The payment of a bill; one of a further period is started if it was not.
    async fn billed(&self, bill: &Bill, metadata: &Metadata) -> Result<Started, SettleError> {
        let payment_id = bill.observed.payment_id;
        if let Some(started) = self.known(payment_id).await? {
            return Ok(started);
        }
        if bill.is_first() {
            return Err(SettleError::Foreign);
        }
        let look = |subscription: &Subscription| subscription.bill(&bill.observed, bill.account_id);
        let agreed = self.log.read(&bill.account_id.to_string(), look).await.map_err(SettleError::Read)?;
        let start: StartPayment =
            agreed.map_err(|refusal| or_foreign(CommandError::Refused(refusal.into())))?;
        match self.act(payment_id, PaymentAction::StartPayment(Box::new(start)), metadata).await {
            // Somebody else has heard of it at the same time.
            Ok(_) | Err(CommandError::Refused(PaymentRefusal::AlreadyStarted { .. })) => {}
            Err(error) => return Err(of_payment(error)),
        }
        crash_points::reached(crash_points::PAYMENT_STARTED);
        self.known(payment_id).await?.ok_or(SettleError::Foreign)
    }

    async fn known(&self, payment_id: PaymentId) -> Result<Option<Started>, SettleError> {
        let look = |payment: &Payment| payment.started().cloned();
        self.log.read(&payment_id.to_string(), look).await.map_err(SettleError::Read)
    }
}

/// The intent that paid an invoice, or is to.
fn intent_of<'a>(invoice: &'a Invoice, status: &str) -> Option<&'a Reference> {
    let payments: &[InvoicePayment] = invoice.payments.as_ref().map_or(&[], |payments| &payments.data);
    payments.iter().find(|payment| payment.status == status)?.payment.payment_intent.as_ref()
}

impl StripeSubscription {
    /// Whose it is, and what it says of itself; `None` where it names nobody here.
    pub fn observed(&self) -> Option<(AccountId, ObservedSubscription)> {
        let Named { payment_id, account_id } = named(&self.metadata)?;
        let observed = ObservedSubscription {
            subscription: payment_id,
            provider_id: self.id.clone(),
            is_over: matches!(self.status.as_str(), "canceled" | "incomplete_expired"),
            cancels: self.cancel_at_period_end || self.cancel_at.is_some(),
        };
        Some((account_id, observed))
    }
}

/// What names a subscription that is not known here is foreign.
fn or_foreign(error: CommandError<CreditingRefusal>) -> SettleError {
    match error {
        CommandError::Refused(CreditingRefusal::Subscription(SubscriptionRefusal::UnknownSubscription {
            ..
        })) => SettleError::Foreign,
        error => SettleError::Command(error),
    }
}
