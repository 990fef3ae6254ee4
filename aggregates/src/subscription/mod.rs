//! A customer's subscription: asked for, paid, renewed or past due, cancelled, over.
//!
//! One stream per account, so that there is one subscription at a time. The payment provider bills it and says in any
//! order, many times or never, how that went; what is told here is what its objects say when they are fetched, so
//! telling it again changes nothing. Each period is a payment of its own: the first is the checkout's, a later one is
//! found by its invoice. How long a plan covers beyond its end is the wallet's to keep, and `note.rs` decides it
//! together with the wallet.

mod events;
mod note;
mod request;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use events::{SubscriptionEnd, SubscriptionEvent, SubscriptionTerms};
pub use note::{SubscriptionAndWallet, note};
pub use request::{SubscriptionAndPayment, request};

use crate::ids::{AccountId, PaymentId, PlanId};
use crate::payment::{Channel, Currency, MAX_PROVIDER_ID, Purpose, StartPayment};
use crate::time::Timestamp;
use crate::wallet::entitlements::PaidPeriod;

// Commands

/// What the operator has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionSettings {
    /// How long a plan covers beyond a period whose successor is not paid yet.
    pub grace_secs: u32,
}

/// An invoice of a subscription as the provider has it, fetched from the provider itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedInvoice {
    /// The subscription it names, by its first payment.
    pub subscription: PaymentId,
    /// As which it is paid here.
    pub payment_id: PaymentId,
    /// The provider's id of the subscription.
    pub provider_id: String,
    pub period: PaidPeriod,
}

/// A subscription as the provider has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSubscription {
    pub subscription: PaymentId,
    pub provider_id: String,
    /// Nothing of it will be billed any more.
    pub is_over: bool,
    /// It will be over when its period is.
    pub cancels: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SubscriptionAction {
    /// `over`: the first payment of an earlier request, of which no money comes any more.
    Request {
        terms: Box<SubscriptionTerms>,
        over: Option<PaymentId>,
    },
    NotePaid(ObservedInvoice),
    NoteUnpaid(ObservedInvoice),
    Follow(ObservedSubscription),
}

#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionCommand {
    pub action: SubscriptionAction,
    pub settings: SubscriptionSettings,
    pub now: Timestamp,
}

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionRefusal {
    #[error("this account has a subscription to plan {plan_id}; it has one at a time")]
    AlreadySubscribed { plan_id: PlanId },
    #[error("a checkout for a subscription to plan {plan_id} is open: payment {payment_id}")]
    CheckoutOpen { plan_id: PlanId, payment_id: PaymentId },
    #[error("no subscription of this account began with payment {payment_id}")]
    UnknownSubscription { payment_id: PaymentId },
    #[error("the subscription is known as {known}, not as {got}")]
    OtherSubscription { known: String, got: String },
    #[error("an id of the payment provider's is 1 to {most} visible ASCII characters")]
    BadProviderId { most: usize },
    #[error("a period begins before it ends")]
    PeriodOutOfRange,
    #[error("there is no subscription")]
    NotSubscribed,
    #[error("the subscription is over")]
    Over,
}

// State

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// Asked for last, and not known to be paid.
    requested: Option<SubscriptionTerms>,
    /// Paid for last; it may be over.
    current: Option<Current>,
}

/// A subscription of which at least one period was paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Current {
    pub terms: SubscriptionTerms,
    pub provider_id: String,
    pub started_at: Timestamp,
    /// Of the last period that was paid.
    pub period_ends_at: Timestamp,
    pub past_due: Option<PastDue>,
    /// It will not be paid for again.
    pub cancels: bool,
    /// How often that changed.
    pub cancel_changes: u64,
    pub ended: Option<SubscriptionEnd>,
}

/// A period that is not paid yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastDue {
    pub payment_id: PaymentId,
    pub period_ends_at: Timestamp,
    pub grace_ends_at: Timestamp,
}

/// What of the provider's is to be changed, so that a subscription goes on or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelChange {
    pub payment_id: PaymentId,
    pub provider_id: String,
    /// Counts the changes; with the payment's id it is the provider's idempotency key.
    pub number: u64,
    /// It is so already.
    pub is_done: bool,
}

impl Subscription {
    /// What was asked for last and is not known to be paid.
    pub fn requested(&self) -> Option<&SubscriptionTerms> {
        self.requested.as_ref()
    }

    pub fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// Whether there is nothing new for the stream in an invoice.
    pub fn knows(&self, invoice: &ObservedInvoice, is_paid: bool) -> bool {
        let awaited = |terms: &SubscriptionTerms| terms.payment_id == invoice.subscription;
        match &self.current {
            Some(current) if awaited(&current.terms) => {
                current.period_ends_at >= invoice.period.ends_at
                    || (!is_paid
                        && (current.ended.is_some()
                            || current
                                .past_due
                                .is_some_and(|due| due.period_ends_at >= invoice.period.ends_at)))
            }
            Some(_) | None => !self.requested.as_ref().is_some_and(awaited),
        }
    }

    /// Whether there is nothing new for the stream in what a subscription says of itself.
    pub fn is_as(&self, observed: &ObservedSubscription) -> bool {
        self.current_of(observed.subscription).is_none_or(|current| {
            current.ended.is_some() || (!observed.is_over && current.cancels == observed.cancels)
        })
    }

    // Rules

    /// No event where nothing changes.
    pub fn decide(
        &self,
        command: SubscriptionCommand,
    ) -> Result<Vec<SubscriptionEvent>, SubscriptionRefusal> {
        let SubscriptionCommand { action, settings, now } = command;
        match action {
            SubscriptionAction::Request { terms, over } => self.ask(terms, over, now),
            SubscriptionAction::NotePaid(invoice) => self.paid(invoice, now),
            SubscriptionAction::NoteUnpaid(invoice) => self.unpaid(&invoice, settings, now),
            SubscriptionAction::Follow(observed) => self.follow(&observed, now),
        }
    }

    fn ask(
        &self,
        terms: Box<SubscriptionTerms>,
        over: Option<PaymentId>,
        now: Timestamp,
    ) -> Result<Vec<SubscriptionEvent>, SubscriptionRefusal> {
        if let Some(current) = self.current.as_ref().filter(|current| current.ended.is_none()) {
            let plan_id = current.terms.entitlement.plan_id.clone();
            return Err(SubscriptionRefusal::AlreadySubscribed { plan_id });
        }
        if let Some(open) = self.requested.as_ref().filter(|open| over != Some(open.payment_id)) {
            let (plan_id, payment_id) = (open.entitlement.plan_id.clone(), open.payment_id);
            return Err(SubscriptionRefusal::CheckoutOpen { plan_id, payment_id });
        }
        Ok(vec![SubscriptionEvent::Requested { terms, at: now }])
    }

    /// The payment that a further period is paid by, to be started before anything is credited: at the price and for
    /// the time that were agreed, whatever the invoice says.
    pub fn bill(
        &self,
        invoice: &ObservedInvoice,
        account_id: AccountId,
    ) -> Result<StartPayment, SubscriptionRefusal> {
        let terms = self.terms_of(invoice.subscription)?;
        self.check(invoice.subscription, &invoice.provider_id)?;
        check_period(invoice.period)?;
        Ok(terms.payment(invoice.payment_id, account_id, Channel::Invoice))
    }

    fn paid(
        &self,
        invoice: ObservedInvoice,
        now: Timestamp,
    ) -> Result<Vec<SubscriptionEvent>, SubscriptionRefusal> {
        let ObservedInvoice { subscription, payment_id, provider_id, period } = invoice;
        self.terms_of(subscription)?;
        check_period(period)?;
        self.check(subscription, &provider_id)?;
        let period_ends_at = period.ends_at;
        if let Some(current) = self.current_of(subscription) {
            if period_ends_at <= current.period_ends_at {
                return Ok(vec![]);
            }
            return Ok(vec![SubscriptionEvent::Renewed { payment_id, period_ends_at, at: now }]);
        }
        if let Some(current) = self.current.as_ref().filter(|current| current.ended.is_none()) {
            let plan_id = current.terms.entitlement.plan_id.clone();
            return Err(SubscriptionRefusal::AlreadySubscribed { plan_id });
        }
        let payment_id = subscription;
        Ok(vec![SubscriptionEvent::Started { payment_id, provider_id, period_ends_at, at: now }])
    }

    fn unpaid(
        &self,
        invoice: &ObservedInvoice,
        settings: SubscriptionSettings,
        now: Timestamp,
    ) -> Result<Vec<SubscriptionEvent>, SubscriptionRefusal> {
        self.terms_of(invoice.subscription)?;
        check_period(invoice.period)?;
        // Of one whose first period is not paid, the checkout tells.
        if self.current_of(invoice.subscription).is_none() {
            return Ok(vec![]);
        }
        self.check(invoice.subscription, &invoice.provider_id)?;
        if self.knows(invoice, false) {
            return Ok(vec![]);
        }
        Ok(vec![SubscriptionEvent::PastDue {
            payment_id: invoice.payment_id,
            period_ends_at: invoice.period.ends_at,
            grace_ends_at: invoice.period.starts_at.plus_secs(settings.grace_secs.into()),
            at: now,
        }])
    }

    fn follow(
        &self,
        observed: &ObservedSubscription,
        now: Timestamp,
    ) -> Result<Vec<SubscriptionEvent>, SubscriptionRefusal> {
        self.terms_of(observed.subscription)?;
        let Some(current) = self.current_of(observed.subscription) else { return Ok(vec![]) };
        self.check(observed.subscription, &observed.provider_id)?;
        if current.ended.is_some() {
            return Ok(vec![]);
        }
        if observed.is_over {
            let reason = match current.past_due {
                Some(_) if !current.cancels => SubscriptionEnd::Unpaid,
                Some(_) | None => SubscriptionEnd::Cancelled,
            };
            return Ok(vec![SubscriptionEvent::Ended { reason, at: now }]);
        }
        Ok(match (current.cancels, observed.cancels) {
            (false, true) => {
                vec![SubscriptionEvent::CancellationSet { ends_at: current.period_ends_at, at: now }]
            }
            (true, false) => vec![SubscriptionEvent::CancellationLifted { at: now }],
            (true, true) | (false, false) => vec![],
        })
    }

    /// What the provider is to be told so that the subscription ends with its period, or goes on after it.
    ///
    /// # Errors
    /// There is none, or it is over.
    pub fn cancel_change(&self, cancels: bool) -> Result<CancelChange, SubscriptionRefusal> {
        let current = self.current.as_ref().ok_or(SubscriptionRefusal::NotSubscribed)?;
        if current.ended.is_some() {
            return Err(SubscriptionRefusal::Over);
        }
        Ok(CancelChange {
            payment_id: current.terms.payment_id,
            provider_id: current.provider_id.clone(),
            number: current.cancel_changes + 1,
            is_done: current.cancels == cancels,
        })
    }

    /// The plan of a subscription, and how long it covers beyond its end; none of one that was replaced.
    fn grace_of(&self, subscription: PaymentId, settings: SubscriptionSettings) -> Option<(PlanId, u32)> {
        let current = self.current_of(subscription)?;
        let goes_on = current.ended.is_none() && !current.cancels;
        let grace_secs = if goes_on { settings.grace_secs } else { 0 };
        Some((current.terms.entitlement.plan_id.clone(), grace_secs))
    }

    fn current_of(&self, subscription: PaymentId) -> Option<&Current> {
        self.current.as_ref().filter(|current| current.terms.payment_id == subscription)
    }

    fn terms_of(&self, payment_id: PaymentId) -> Result<&SubscriptionTerms, SubscriptionRefusal> {
        let current = self.current_of(payment_id).map(|current| &current.terms);
        let requested = self.requested.as_ref().filter(|terms| terms.payment_id == payment_id);
        current.or(requested).ok_or(SubscriptionRefusal::UnknownSubscription { payment_id })
    }

    fn check(&self, subscription: PaymentId, got: &str) -> Result<(), SubscriptionRefusal> {
        check_provider_id(got)?;
        match self.current_of(subscription) {
            Some(Current { provider_id: known, .. }) if known != got => {
                Err(SubscriptionRefusal::OtherSubscription { known: known.clone(), got: got.to_owned() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn evolve(&mut self, event: SubscriptionEvent) {
        match event {
            SubscriptionEvent::Requested { terms, .. } => self.requested = Some(*terms),
            SubscriptionEvent::Started { provider_id, period_ends_at, at, .. } => {
                let Some(terms) = self.requested.take() else { return };
                self.current = Some(Current {
                    terms,
                    provider_id,
                    started_at: at,
                    period_ends_at,
                    past_due: None,
                    cancels: false,
                    cancel_changes: 0,
                    ended: None,
                });
            }
            SubscriptionEvent::Renewed { period_ends_at, .. } => self.change(|current| {
                current.period_ends_at = period_ends_at;
                current.past_due = current.past_due.filter(|due| due.period_ends_at > period_ends_at);
            }),
            SubscriptionEvent::PastDue { payment_id, period_ends_at, grace_ends_at, .. } => {
                let past_due = PastDue { payment_id, period_ends_at, grace_ends_at };
                self.change(|current| current.past_due = Some(past_due));
            }
            SubscriptionEvent::CancellationSet { .. } => self.change(|current| {
                current.cancels = true;
                current.cancel_changes += 1;
            }),
            SubscriptionEvent::CancellationLifted { .. } => self.change(|current| {
                current.cancels = false;
                current.cancel_changes += 1;
            }),
            SubscriptionEvent::Ended { reason, .. } => self.change(|current| current.ended = Some(reason)),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Current)) {
        if let Some(current) = &mut self.current {
            change(current);
        }
    }
}

impl SubscriptionTerms {
    /// What one period is paid by.
    fn payment(&self, payment_id: PaymentId, account_id: AccountId, channel: Channel) -> StartPayment {
        StartPayment {
            payment_id,
            account_id,
            channel,
            purpose: Purpose::Entitlement { terms: Box::new(self.entitlement.clone()) },
            plan_id: Some(self.entitlement.plan_id.to_string()),
            quantity: 1,
            price_micro: self.price_micro,
            currency: Currency::Usd,
            livemode: self.livemode,
        }
    }
}

fn check_provider_id(id: &str) -> Result<(), SubscriptionRefusal> {
    let fits = (1..=MAX_PROVIDER_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(SubscriptionRefusal::BadProviderId { most: MAX_PROVIDER_ID }) }
}

fn check_period(period: PaidPeriod) -> Result<(), SubscriptionRefusal> {
    if period.starts_at < period.ends_at { Ok(()) } else { Err(SubscriptionRefusal::PeriodOutOfRange) }
}

// cqrs-es

impl Aggregate for Subscription {
    const TYPE: &'static str = "subscription";
    type Command = SubscriptionCommand;
    type Event = SubscriptionEvent;
    type Error = SubscriptionRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: SubscriptionCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), SubscriptionRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: SubscriptionEvent) {
        self.evolve(event);
    }
}
