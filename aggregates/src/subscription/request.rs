//! Asking for a subscription: the request and its first payment, in both streams at once.

use super::{
    Subscription, SubscriptionAction, SubscriptionCommand, SubscriptionEvent, SubscriptionSettings,
    SubscriptionTerms,
};
use crate::ids::{AccountId, PaymentId};
use crate::payment::{Channel, CreditingRefusal, Payment, PaymentAction, PaymentCommand, PaymentEvent};
use crate::time::Timestamp;

/// Events for the account's subscription and for the payment, to be appended atomically.
pub type SubscriptionAndPayment = (Vec<SubscriptionEvent>, Vec<PaymentEvent>);

/// Starts the first payment of a subscription. `over` is the payment of an earlier request, where that is known to
/// have come to nothing.
///
/// # Errors
/// Refused while the account has a subscription, or a checkout for one is open.
pub fn request(
    subscription: &Subscription,
    payment: &Payment,
    terms: &SubscriptionTerms,
    account_id: AccountId,
    over: Option<PaymentId>,
    now: Timestamp,
) -> Result<SubscriptionAndPayment, CreditingRefusal> {
    let action = SubscriptionAction::Request { terms: Box::new(terms.clone()), over };
    let settings = SubscriptionSettings { grace_secs: 0 };
    let requested = subscription.decide(SubscriptionCommand { action, settings, now })?;
    let payment_id = terms.payment_id;
    let start = terms.payment(payment_id, account_id, Channel::Checkout);
    let action = PaymentAction::StartPayment(Box::new(start));
    let started = payment.decide(PaymentCommand { payment_id, action, now })?;
    Ok((requested, started))
}
