//! Payments that a code of the account's makes bring more: held with the start, given back with the end.
//!
//! Both streams are appended atomically. That a confirmed payment uses its code up is told afterwards, and any number
//! of times: until then the payment holds it, and nothing else can have it.

use super::{Payment, PaymentCommand, PaymentEvent, PaymentRefusal, Purpose, StartPayment};
use crate::bonus::{BonusAction, BonusCommand, BonusEvent, BonusRefusal, Bonuses};
use crate::money::MicroUsd;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeRefusal {
    #[error(transparent)]
    Payment(#[from] PaymentRefusal),
    #[error(transparent)]
    Bonus(#[from] BonusRefusal),
}

/// Starts a payment for token credit, which `code` makes more.
///
/// # Errors
/// Refused where the code is not the account's, or not good for this.
pub fn start_with_code(
    payment: &Payment,
    bonuses: &Bonuses,
    start: &StartPayment,
    code: &str,
    now: Timestamp,
) -> Result<(Vec<PaymentEvent>, Vec<BonusEvent>), CodeRefusal> {
    let (Purpose::TokenCredit { credit_micro }, Some(plan_id)) = (&start.purpose, &start.plan_id) else {
        return Err(PaymentRefusal::OtherPurpose { wanted: "token credit" }.into());
    };
    let action = BonusAction::ApplyCode {
        code: code.to_owned(),
        payment_id: start.payment_id.grant(),
        plan_id: plan_id.clone(),
        credit_micro: *credit_micro,
    };
    let bonus_events = bonuses.decide(BonusCommand { action, now })?;
    let added = bonus_events.iter().map(|event| match event {
        BonusEvent::CodeApplied { bonus_micro, .. } => *bonus_micro,
        BonusEvent::ShareCreditClaimed { .. }
        | BonusEvent::CodeIssued { .. }
        | BonusEvent::CodeReturned { .. }
        | BonusEvent::CodeUsed { .. } => MicroUsd::ZERO,
    });
    let credit_micro = *credit_micro + added.sum();
    let start = StartPayment { purpose: Purpose::TokenCredit { credit_micro }, ..start.clone() };
    Ok((payment.start(start, now)?, bonus_events))
}

/// Gives a payment up, and its code back.
///
/// # Errors
/// Refused where it was never started.
pub fn give_up(
    payment: &Payment,
    bonuses: &Bonuses,
    command: PaymentCommand,
) -> Result<(Vec<PaymentEvent>, Vec<BonusEvent>), CodeRefusal> {
    let (payment_id, now) = (command.payment_id.grant(), command.now);
    let payment_events = payment.decide(command)?;
    if payment_events.is_empty() {
        return Ok((vec![], vec![]));
    }
    let returned = bonuses.decide(BonusCommand { action: BonusAction::ReturnCode { payment_id }, now })?;
    Ok((payment_events, returned))
}
