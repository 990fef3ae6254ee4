//! One intent to pay: started, then credited, failed or expired, and what was taken back since.
//!
//! The payment provider tells in any order, many times or never, so nothing here depends on order:
//! being credited outranks failing or expiring, a refund or dispute is known by its id and its furthest
//! status, and what should remain of the credit follows from the sums alone. Crediting is no command of
//! this stream by itself: `credit.rs` decides it together with the wallet.

mod cash;
mod credit;
mod events;
mod refusal;
mod reversal;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use cash::{PaymentAndCash, confirm_cash, reverse_cash};
pub use credit::{Credited, CreditingRefusal, PaymentAndWallet, confirm, reverse};
pub use events::{Channel, Currency, DisputeStatus, FailureReason, PaymentEvent, Purpose, RefundStatus};
pub use refusal::PaymentRefusal;
pub use reversal::{ObservedReversal, Reversal};

use crate::ids::{AccountId, PaymentId};
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::MAX_GRANT;
use crate::wallet::entitlements::PaidPeriod;

/// The least and the most that is charged at once.
pub const LEAST_PRICE: MicroUsd = MicroUsd(500_000);
pub const MOST_PRICE: MicroUsd = MicroUsd::dollars(100_000);

/// Pieces of one plan in one payment, at most.
pub const MAX_QUANTITY: u32 = 100;

/// Bytes of an id of the payment provider's.
pub const MAX_PROVIDER_ID: usize = 255;

pub(crate) const MICRO_PER_CENT: i64 = 10_000;

// Commands

/// What is bought, from whom and for how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartPayment {
    pub payment_id: PaymentId,
    pub account_id: AccountId,
    pub channel: Channel,
    pub purpose: Purpose,
    pub plan_id: Option<String>,
    pub quantity: u32,
    pub price_micro: MicroUsd,
    pub currency: Currency,
    pub livemode: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PaymentAction {
    StartPayment(Box<StartPayment>),
    NoteCheckout { session_id: String },
    FailPayment { reason: FailureReason },
    ExpirePayment,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PaymentCommand {
    pub payment_id: PaymentId,
    pub action: PaymentAction,
    pub now: Timestamp,
}

/// A payment as the provider has it, fetched from the provider itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPayment {
    pub payment_id: PaymentId,
    /// The account that the provider's object names.
    pub account_id: AccountId,
    /// The checkout it was paid at, where it was.
    pub session_id: Option<String>,
    pub payment_intent_id: Option<String>,
    pub paid: bool,
    pub amount_micro: MicroUsd,
    /// Absent for any currency but ours.
    pub currency: Option<Currency>,
    pub livemode: bool,
    /// Of a subscription, the period that is paid for.
    pub period: Option<PaidPeriod>,
}

// State

/// Where a payment stands. Later ones outrank earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standing {
    #[default]
    Open,
    Expired,
    Failed,
    Credited,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    pub account_id: AccountId,
    pub channel: Channel,
    pub purpose: Purpose,
    pub plan_id: Option<String>,
    pub quantity: u32,
    pub price_micro: MicroUsd,
    pub livemode: bool,
    pub at: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    started: Option<Started>,
    session_id: Option<String>,
    payment_intent_id: Option<String>,
    standing: Standing,
    /// Of the last failure.
    #[serde(default)]
    failure: Option<FailureReason>,
    credited_at: Option<Timestamp>,
    /// By the provider's id of it.
    refunds: BTreeMap<String, (MicroUsd, RefundStatus)>,
    disputes: BTreeMap<String, (MicroUsd, DisputeStatus)>,
}

impl Payment {
    pub fn started(&self) -> Option<&Started> {
        self.started.as_ref()
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Why it failed, where it did.
    pub fn failure(&self) -> Option<FailureReason> {
        self.failure
    }

    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    pub fn payment_intent_id(&self) -> Option<&str> {
        self.payment_intent_id.as_deref()
    }

    // Rules

    /// No event where nothing changes.
    pub fn decide(&self, command: PaymentCommand) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        let PaymentCommand { payment_id, action, now } = command;
        match action {
            PaymentAction::StartPayment(start) => self.start(*start, now),
            PaymentAction::NoteCheckout { session_id } => self.note_checkout(payment_id, session_id, now),
            PaymentAction::FailPayment { reason } => {
                let failed = PaymentEvent::PaymentFailed { payment_id, reason, at: now };
                self.end(payment_id, Standing::Failed, failed)
            }
            PaymentAction::ExpirePayment => {
                let expired = PaymentEvent::PaymentExpired { payment_id, at: now };
                self.end(payment_id, Standing::Expired, expired)
            }
        }
    }

    fn start(&self, start: StartPayment, now: Timestamp) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        let StartPayment { payment_id, quantity, price_micro: price, .. } = start;
        if self.started.is_some() {
            return Err(PaymentRefusal::AlreadyStarted { payment_id });
        }
        if !(1..=MAX_QUANTITY).contains(&quantity) {
            return Err(PaymentRefusal::QuantityOutOfRange { quantity, most: MAX_QUANTITY });
        }
        if !(LEAST_PRICE..=MOST_PRICE).contains(&price) {
            let (least, most) = (LEAST_PRICE, MOST_PRICE);
            return Err(PaymentRefusal::PriceOutOfRange { price, least, most });
        }
        if price.0 % MICRO_PER_CENT != 0 {
            return Err(PaymentRefusal::NotWholeCents { price });
        }
        if let Purpose::TokenCredit { credit_micro: credit } = start.purpose
            && !(credit.is_positive() && credit <= MAX_GRANT)
        {
            return Err(PaymentRefusal::CreditOutOfRange { credit, most: MAX_GRANT });
        }
        Ok(vec![PaymentEvent::PaymentStarted {
            payment_id,
            account_id: start.account_id,
            channel: start.channel,
            purpose: start.purpose,
            plan_id: start.plan_id,
            quantity,
            price_micro: price,
            currency: start.currency,
            livemode: start.livemode,
            at: now,
        }])
    }

    fn note_checkout(
        &self,
        payment_id: PaymentId,
        session_id: String,
        now: Timestamp,
    ) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        self.wanted(payment_id)?;
        check_provider_id(&session_id)?;
        self.check_session(&session_id)?;
        if self.session_id.is_some() {
            return Ok(vec![]);
        }
        Ok(vec![PaymentEvent::CheckoutOpened { payment_id, session_id, at: now }])
    }

    fn end(
        &self,
        payment_id: PaymentId,
        standing: Standing,
        event: PaymentEvent,
    ) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        self.wanted(payment_id)?;
        if self.standing >= standing { Ok(vec![]) } else { Ok(vec![event]) }
    }

    /// The money is ours. No event where that is known already.
    fn credited(
        &self,
        observed: &ObservedPayment,
        now: Timestamp,
    ) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        let started = self.wanted(observed.payment_id)?;
        if observed.account_id != started.account_id {
            let (started_by, got) = (started.account_id, observed.account_id);
            return Err(PaymentRefusal::OtherAccount { started_by, got });
        }
        self.check_mode(observed.currency, observed.livemode)?;
        if observed.amount_micro != started.price_micro {
            let (expected, got) = (started.price_micro, observed.amount_micro);
            return Err(PaymentRefusal::AmountMismatch { expected, got });
        }
        if let Some(session_id) = &observed.session_id {
            check_provider_id(session_id)?;
            self.check_session(session_id)?;
        }
        if let Some(payment_intent_id) = &observed.payment_intent_id {
            check_provider_id(payment_intent_id)?;
        }
        if !observed.paid {
            return Err(PaymentRefusal::NotPaid);
        }
        if self.standing == Standing::Credited {
            return Ok(vec![]);
        }
        Ok(vec![PaymentEvent::PaymentCredited {
            payment_id: observed.payment_id,
            payment_intent_id: observed.payment_intent_id.clone(),
            paid_micro: started.price_micro,
            granted_micro: started.granted(),
            remaining_micro: self.remaining(),
            at: now,
        }])
    }

    fn wanted(&self, payment_id: PaymentId) -> Result<&Started, PaymentRefusal> {
        self.started.as_ref().ok_or(PaymentRefusal::NotStarted { payment_id })
    }

    fn check_mode(&self, currency: Option<Currency>, livemode: bool) -> Result<(), PaymentRefusal> {
        if currency != Some(Currency::Usd) {
            return Err(PaymentRefusal::CurrencyMismatch);
        }
        match &self.started {
            Some(Started { livemode: started, .. }) if *started != livemode => {
                Err(PaymentRefusal::LivemodeMismatch { started: *started, got: livemode })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_session(&self, got: &str) -> Result<(), PaymentRefusal> {
        match &self.session_id {
            Some(known) if known != got => {
                Err(PaymentRefusal::OtherSession { known: known.clone(), got: got.to_owned() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn evolve(&mut self, event: PaymentEvent) {
        match event {
            PaymentEvent::PaymentStarted {
                account_id,
                channel,
                purpose,
                plan_id,
                quantity,
                price_micro,
                livemode,
                at,
                ..
            } => {
                self.started = Some(Started {
                    account_id,
                    channel,
                    purpose,
                    plan_id,
                    quantity,
                    price_micro,
                    livemode,
                    at,
                });
            }
            PaymentEvent::CheckoutOpened { session_id, .. } => self.session_id = Some(session_id),
            PaymentEvent::PaymentCredited { payment_intent_id, at, .. } => {
                self.payment_intent_id = payment_intent_id;
                self.credited_at = Some(at);
                self.standing = Standing::Credited;
            }
            PaymentEvent::PaymentFailed { reason, .. } => {
                self.standing = Standing::Failed;
                self.failure = Some(reason);
            }
            PaymentEvent::PaymentExpired { .. } => self.standing = Standing::Expired,
            PaymentEvent::RefundRecorded { refund_id, amount_micro, status, .. } => {
                self.refunds.insert(refund_id, (amount_micro, status));
            }
            PaymentEvent::DisputeRecorded { dispute_id, amount_micro, status, .. } => {
                self.disputes.insert(dispute_id, (amount_micro, status));
            }
        }
    }
}

impl Started {
    /// What is granted for the whole price.
    pub fn granted(&self) -> MicroUsd {
        match &self.purpose {
            Purpose::TokenCredit { credit_micro } => *credit_micro,
            Purpose::CashTopUp => self.price_micro,
            // Time is no amount: it ends with the whole payment, and a part of it is the operator's to judge.
            Purpose::Entitlement { .. } => MicroUsd::ZERO,
        }
    }
}

fn check_provider_id(id: &str) -> Result<(), PaymentRefusal> {
    let fits = (1..=MAX_PROVIDER_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(PaymentRefusal::BadProviderId { most: MAX_PROVIDER_ID }) }
}

// cqrs-es

impl Aggregate for Payment {
    const TYPE: &'static str = "payment";
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Error = PaymentRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: PaymentCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), PaymentRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: PaymentEvent) {
        self.evolve(event);
    }
}
