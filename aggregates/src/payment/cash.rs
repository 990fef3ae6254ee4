//! The same two-stream rules for money that goes to the cash wallet: as much is credited as was paid.

use cqrs_es::Aggregate;

use super::credit::{Credited, CreditingRefusal};
use super::{ObservedPayment, ObservedReversal, Payment, PaymentEvent, PaymentRefusal, Purpose};
use crate::cash::{CashAction, CashCommand, CashEvent, CashRefusal, CashWallet};
use crate::ids::PaymentId;
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// Events for a payment's stream and for the payer's cash wallet, to be appended atomically.
pub type PaymentAndCash = (Vec<PaymentEvent>, Vec<CashEvent>, Credited);

/// Tops the cash wallet up with a payment that the provider says is paid.
///
/// # Errors
/// Refused where the provider's object is not exactly what was started, or is not paid.
pub fn confirm_cash(
    payment: &Payment,
    cash: &CashWallet,
    observed: &ObservedPayment,
    now: Timestamp,
) -> Result<PaymentAndCash, CreditingRefusal> {
    let payment_events = payment.credited(observed, now)?;
    let amount_micro = topped_up(payment, observed.payment_id)?;
    let mut cash = Told { cash: cash.clone(), events: vec![], now };
    if !payment_events.is_empty() {
        cash.tell(CashAction::TopUp { payment_id: observed.payment_id.grant(), amount_micro })?;
    }
    conclude(payment, payment_events, observed.payment_id, cash)
}

/// Takes a refund or dispute of a payment to the cash wallet, or gives back what no longer is reversed.
///
/// # Errors
/// Refused where the provider's object cannot be one of this payment's.
pub fn reverse_cash(
    payment: &Payment,
    cash: &CashWallet,
    observed: &ObservedReversal,
    now: Timestamp,
) -> Result<PaymentAndCash, CreditingRefusal> {
    let payment_events = payment.reversed_by(observed, now)?;
    topped_up(payment, observed.payment_id)?;
    let cash = Told { cash: cash.clone(), events: vec![], now };
    conclude(payment, payment_events, observed.payment_id, cash)
}

fn conclude(
    payment: &Payment,
    payment_events: Vec<PaymentEvent>,
    payment_id: PaymentId,
    mut cash: Told,
) -> Result<PaymentAndCash, CreditingRefusal> {
    let after = payment.after(&payment_events);
    let (change, payment_id) = (payment.change_to(&after), payment_id.grant());
    if change < MicroUsd::ZERO {
        cash.tell(CashAction::TakeBack { payment_id, amount_micro: MicroUsd::ZERO - change })?;
    } else if change.is_positive() {
        cash.tell(CashAction::Reinstate { payment_id, amount_micro: change })?;
    }
    let credited = Credited {
        remaining_micro: after.remaining_told(),
        balance_micro: cash.cash.balance(),
        repeated: payment_events.is_empty(),
    };
    Ok((payment_events, cash.events, credited))
}

fn topped_up(payment: &Payment, payment_id: PaymentId) -> Result<MicroUsd, PaymentRefusal> {
    let started = payment.wanted(payment_id)?;
    match started.purpose {
        Purpose::CashTopUp => Ok(started.price_micro),
        Purpose::TokenCredit { .. } | Purpose::Entitlement { .. } => {
            Err(PaymentRefusal::OtherPurpose { wanted: "the cash wallet" })
        }
    }
}

/// A cash wallet that is told several things in one append.
struct Told {
    cash: CashWallet,
    events: Vec<CashEvent>,
    now: Timestamp,
}

impl Told {
    fn tell(&mut self, action: CashAction) -> Result<(), CashRefusal> {
        let events = self.cash.decide(CashCommand { action, now: self.now })?;
        for event in &events {
            self.cash.apply(event.clone());
        }
        self.events.extend(events);
        Ok(())
    }
}
