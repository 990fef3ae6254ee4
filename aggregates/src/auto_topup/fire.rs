//! Firing: the attempt and its payment, in both streams at once.

use super::{AutoTopUp, AutoTopUpEvent, AutoTopUpRefusal};
use crate::ids::{AccountId, PaymentId};
use crate::money::MicroUsd;
use crate::payment::{
    Channel, Currency, Payment, PaymentAction, PaymentCommand, PaymentEvent, PaymentRefusal, Purpose,
    StartPayment,
};
use crate::time::Timestamp;

/// What an attempt would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fire {
    pub account_id: AccountId,
    /// Of the payment that may be started.
    pub payment_id: PaymentId,
    /// The wallet's, now.
    pub balance_micro: MicroUsd,
    pub livemode: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FiringRefusal {
    #[error(transparent)]
    AutoTopUp(#[from] AutoTopUpRefusal),
    #[error(transparent)]
    Payment(#[from] PaymentRefusal),
}

/// Events for the wallet's automatic top-up and for the payment, to be appended atomically.
pub type AutoTopUpAndPayment = (Vec<AutoTopUpEvent>, Vec<PaymentEvent>);

/// Starts a payment where one is due.
///
/// # Errors
/// Refused where none is due, with the first reason.
pub fn fire(
    auto: &AutoTopUp,
    payment: &Payment,
    fire: Fire,
    now: Timestamp,
) -> Result<AutoTopUpAndPayment, FiringRefusal> {
    let (wish, arming) = auto.due(fire.balance_micro, now)?;
    let (payment_id, price_micro) = (fire.payment_id, wish.order.price_micro);
    let start = StartPayment {
        payment_id,
        account_id: fire.account_id,
        channel: Channel::OffSession,
        purpose: Purpose::TokenCredit { credit_micro: wish.order.credit_micro },
        plan_id: wish.order.plan_id.clone(),
        quantity: 1,
        price_micro,
        currency: Currency::Usd,
        livemode: fire.livemode,
    };
    let action = PaymentAction::StartPayment(Box::new(start));
    let started = payment.decide(PaymentCommand { payment_id, action, now })?;
    let attempt = AutoTopUpEvent::AttemptStarted {
        payment_id,
        arming,
        balance_micro: fire.balance_micro,
        price_micro,
        spent_micro: auto.spent_in_month(now) + price_micro,
        at: now,
    };
    Ok((vec![attempt], started))
}
