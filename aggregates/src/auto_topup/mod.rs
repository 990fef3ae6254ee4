//! Topping a wallet up by its saved card, without the customer.
//!
//! One stream per wallet. It is armed unless an attempt is open or cools down; that an attempt is open is in the
//! stream, so however many requests cross the threshold at once, one of them starts it. A declined card is not asked
//! again before a pause, and not at all after a few declines in a row.

mod events;
mod fire;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use events::{AttemptFailure, AutoTopUpEvent, OffReason, TopUpOrder};
pub use fire::{AutoTopUpAndPayment, Fire, FiringRefusal, fire};

use crate::ids::PaymentId;
use crate::money::MicroUsd;
use crate::payment::{LEAST_PRICE, MOST_PRICE};
use crate::time::Timestamp;

/// The highest balance below which it may fire.
pub const MAX_THRESHOLD: MicroUsd = MicroUsd::dollars(10_000);

/// The most it may pay in a month.
pub const MAX_MONTHLY_LIMIT: MicroUsd = MicroUsd::dollars(100_000);

// Commands

/// What the operator has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoTopUpTerms {
    pub cool_down_secs: i64,
    /// After so many failures in a row it is switched off.
    pub max_failures: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AutoTopUpAction {
    SwitchOn { order: TopUpOrder, threshold_micro: MicroUsd, monthly_limit_micro: MicroUsd },
    SwitchOff { reason: OffReason },
    NoteCredited { payment_id: PaymentId },
    NoteFailed { payment_id: PaymentId, reason: AttemptFailure },
}

#[derive(Clone, Debug, PartialEq)]
pub struct AutoTopUpCommand {
    pub action: AutoTopUpAction,
    pub terms: AutoTopUpTerms,
    pub now: Timestamp,
}

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AutoTopUpRefusal {
    #[error("a threshold is more than $0 and at most ${most}; ${threshold} is not")]
    ThresholdOutOfRange { threshold: MicroUsd, most: MicroUsd },
    #[error("a top-up costs from ${least} to ${most}; ${price} is not in that")]
    PriceOutOfRange { price: MicroUsd, least: MicroUsd, most: MicroUsd },
    #[error("the monthly limit is from one top-up's ${price} to ${most}; ${limit} is not in that")]
    LimitOutOfRange { limit: MicroUsd, price: MicroUsd, most: MicroUsd },
    #[error("automatic top-up is off")]
    Off,
    #[error("payment {payment_id} is open")]
    AttemptOpen { payment_id: PaymentId },
    #[error("the last top-up failed; the next waits until {until}")]
    CoolingDown { until: Timestamp },
    #[error("the balance of ${balance} is not below ${threshold}")]
    BalanceSuffices { balance: MicroUsd, threshold: MicroUsd },
    #[error("${spent} were paid this month, and ${price} more would exceed the limit of ${limit}")]
    MonthlyLimit { spent: MicroUsd, price: MicroUsd, limit: MicroUsd },
}

// State

/// What the customer wishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    pub order: TopUpOrder,
    pub threshold_micro: MicroUsd,
    pub monthly_limit_micro: MicroUsd,
}

/// A top-up that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub payment_id: PaymentId,
    pub arming: u64,
    pub price_micro: MicroUsd,
    pub started_at: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AutoTopUp {
    /// While it is on.
    wish: Option<Wish>,
    off_reason: Option<OffReason>,
    attempt: Option<Attempt>,
    /// Attempts so far.
    armings: u64,
    /// In a row.
    failures: u32,
    cools_until: Option<Timestamp>,
    /// The calendar month of the last attempt, and what was paid in it.
    month: i64,
    spent_micro: MicroUsd,
}

impl AutoTopUp {
    pub fn wish(&self) -> Option<&Wish> {
        self.wish.as_ref()
    }

    /// Why it is off, where it was on once.
    pub fn off_reason(&self) -> Option<OffReason> {
        self.off_reason
    }

    pub fn attempt(&self) -> Option<Attempt> {
        self.attempt
    }

    /// Until when it does not fire after a failure.
    pub fn cools_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.cools_until.filter(|until| *until > now)
    }

    /// What was paid in the month of `now`.
    pub fn spent_in_month(&self, now: Timestamp) -> MicroUsd {
        if self.month == now.utc_month() { self.spent_micro } else { MicroUsd::ZERO }
    }

    // Rules

    /// No event where nothing changes.
    pub fn decide(&self, command: AutoTopUpCommand) -> Result<Vec<AutoTopUpEvent>, AutoTopUpRefusal> {
        let AutoTopUpCommand { action, terms, now } = command;
        match action {
            AutoTopUpAction::SwitchOn { order, threshold_micro, monthly_limit_micro } => {
                self.switch_on(Wish { order, threshold_micro, monthly_limit_micro }, now)
            }
            AutoTopUpAction::SwitchOff { .. } if self.wish.is_none() => Ok(vec![]),
            AutoTopUpAction::SwitchOff { reason } => {
                Ok(vec![AutoTopUpEvent::SwitchedOff { reason, at: now }])
            }
            AutoTopUpAction::NoteCredited { payment_id } => match self.attempt {
                Some(attempt) if attempt.payment_id == payment_id => {
                    Ok(vec![AutoTopUpEvent::AttemptCredited { payment_id, at: now }])
                }
                Some(_) | None => Ok(vec![]),
            },
            AutoTopUpAction::NoteFailed { payment_id, reason } => {
                Ok(self.note_failed(payment_id, reason, terms, now))
            }
        }
    }

    fn switch_on(&self, wish: Wish, now: Timestamp) -> Result<Vec<AutoTopUpEvent>, AutoTopUpRefusal> {
        let (threshold, limit, price) =
            (wish.threshold_micro, wish.monthly_limit_micro, wish.order.price_micro);
        if !(threshold.is_positive() && threshold <= MAX_THRESHOLD) {
            return Err(AutoTopUpRefusal::ThresholdOutOfRange { threshold, most: MAX_THRESHOLD });
        }
        if !(LEAST_PRICE..=MOST_PRICE).contains(&price) {
            return Err(AutoTopUpRefusal::PriceOutOfRange { price, least: LEAST_PRICE, most: MOST_PRICE });
        }
        if !(price..=MAX_MONTHLY_LIMIT).contains(&limit) {
            return Err(AutoTopUpRefusal::LimitOutOfRange { limit, price, most: MAX_MONTHLY_LIMIT });
        }
        if self.wish.as_ref() == Some(&wish) {
            return Ok(vec![]);
        }
        let Wish { order, threshold_micro, monthly_limit_micro } = wish;
        Ok(vec![AutoTopUpEvent::SwitchedOn { order, threshold_micro, monthly_limit_micro, at: now }])
    }

    fn note_failed(
        &self,
        payment_id: PaymentId,
        reason: AttemptFailure,
        terms: AutoTopUpTerms,
        now: Timestamp,
    ) -> Vec<AutoTopUpEvent> {
        let Some(attempt) = self.attempt.filter(|attempt| attempt.payment_id == payment_id) else {
            return vec![];
        };
        let failures = self.failures + 1;
        let mut events = vec![AutoTopUpEvent::AttemptFailed {
            payment_id,
            reason,
            failures,
            spent_micro: (self.spent_micro - attempt.price_micro).max(MicroUsd::ZERO),
            cools_until: now.plus_secs(terms.cool_down_secs),
            at: now,
        }];
        if failures >= terms.max_failures && self.wish.is_some() {
            events.push(AutoTopUpEvent::SwitchedOff { reason: OffReason::Declined, at: now });
        }
        events
    }

    /// The next attempt, where one is due.
    fn due(&self, balance: MicroUsd, now: Timestamp) -> Result<(&Wish, u64), AutoTopUpRefusal> {
        let wish = self.wish.as_ref().ok_or(AutoTopUpRefusal::Off)?;
        if let Some(Attempt { payment_id, .. }) = self.attempt {
            return Err(AutoTopUpRefusal::AttemptOpen { payment_id });
        }
        if let Some(until) = self.cools_until(now) {
            return Err(AutoTopUpRefusal::CoolingDown { until });
        }
        let threshold = wish.threshold_micro;
        if balance >= threshold {
            return Err(AutoTopUpRefusal::BalanceSuffices { balance, threshold });
        }
        let (spent, price, limit) =
            (self.spent_in_month(now), wish.order.price_micro, wish.monthly_limit_micro);
        if spent + price > limit {
            return Err(AutoTopUpRefusal::MonthlyLimit { spent, price, limit });
        }
        Ok((wish, self.armings + 1))
    }

    fn evolve(&mut self, event: AutoTopUpEvent) {
        match event {
            AutoTopUpEvent::SwitchedOn { order, threshold_micro, monthly_limit_micro, .. } => {
                if self.wish.is_none() {
                    self.failures = 0;
                }
                self.wish = Some(Wish { order, threshold_micro, monthly_limit_micro });
                self.off_reason = None;
            }
            AutoTopUpEvent::SwitchedOff { reason, .. } => {
                self.wish = None;
                self.off_reason = Some(reason);
            }
            AutoTopUpEvent::AttemptStarted { payment_id, arming, price_micro, spent_micro, at, .. } => {
                self.attempt = Some(Attempt { payment_id, arming, price_micro, started_at: at });
                self.armings = arming;
                self.month = at.utc_month();
                self.spent_micro = spent_micro;
            }
            AutoTopUpEvent::AttemptCredited { .. } => {
                self.attempt = None;
                self.failures = 0;
                self.cools_until = None;
            }
            AutoTopUpEvent::AttemptFailed { failures, spent_micro, cools_until, .. } => {
                self.attempt = None;
                self.failures = failures;
                self.spent_micro = spent_micro;
                self.cools_until = Some(cools_until);
            }
        }
    }
}

// cqrs-es

impl Aggregate for AutoTopUp {
    const TYPE: &'static str = "auto_topup";
    type Command = AutoTopUpCommand;
    type Event = AutoTopUpEvent;
    type Error = AutoTopUpRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: AutoTopUpCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AutoTopUpRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: AutoTopUpEvent) {
        self.evolve(event);
    }
}
