//! The two-stream rule: a payment is started with the bonus in its credit, and holds the code that it is from, at once.

use super::{BonusAction, BonusCommand, BonusEvent, BonusRefusal, Bonuses};
use crate::payment::{
    Payment, PaymentAction, PaymentCommand, PaymentEvent, PaymentRefusal, Purpose, StartPayment,
};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopUpRefusal {
    #[error("a code is for a top-up of credit")]
    NoCredit,
    #[error(transparent)]
    Bonus(#[from] BonusRefusal),
    #[error(transparent)]
    Payment(#[from] PaymentRefusal),
}

/// Starts a payment for token credit with a code; `start` has the credit without it.
///
/// # Errors
/// The code is not good for it, or the payment is refused.
pub fn start_with_code(
    payment: &Payment,
    bonuses: &Bonuses,
    mut start: StartPayment,
    code: &str,
    now: Timestamp,
) -> Result<(Vec<PaymentEvent>, Vec<BonusEvent>), TopUpRefusal> {
    let Purpose::TokenCredit { credit_micro } = start.purpose else { return Err(TopUpRefusal::NoCredit) };
    let plan_id = start.plan_id.clone().unwrap_or_default();
    let payment_id = start.payment_id.grant();
    let bonus = bonuses.bonus_for(code, &plan_id, credit_micro, now)?;
    let apply = BonusAction::ApplyCode { code: code.to_owned(), payment_id, plan_id, credit_micro };
    let bonus_events = bonuses.decide(BonusCommand { action: apply, now })?;
    start.purpose = Purpose::TokenCredit { credit_micro: credit_micro + bonus.bonus_micro };
    let payment_id = start.payment_id;
    let action = PaymentAction::StartPayment(Box::new(start));
    let payment_events = payment.decide(PaymentCommand { payment_id, action, now })?;
    Ok((payment_events, bonus_events))
}
