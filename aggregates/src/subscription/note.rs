//! What is heard of a subscription, and how long its plan covers beyond its end, in both streams at once.

use std::borrow::Cow;

use cqrs_es::Aggregate;

use super::{Subscription, SubscriptionAction, SubscriptionCommand, SubscriptionEvent, SubscriptionSettings};
use crate::ids::PaymentId;
use crate::payment::CreditingRefusal;
use crate::time::Timestamp;
use crate::wallet::{Wallet, WalletAction, WalletCommand, WalletEvent, WalletTerms};

/// Events for the account's subscription and for its wallet, to be appended atomically.
pub type SubscriptionAndWallet = (Vec<SubscriptionEvent>, Vec<WalletEvent>);

/// Tells a subscription what was heard of it, one after the other, and its wallet whether another payment is expected.
///
/// # Errors
/// Refused where that is of a subscription that is not known here, or not of that one.
pub fn note(
    subscription: &Subscription,
    wallet: &Wallet,
    actions: &[SubscriptionAction],
    (settings, terms): (SubscriptionSettings, &WalletTerms),
    now: Timestamp,
) -> Result<SubscriptionAndWallet, CreditingRefusal> {
    let mut after = Cow::Borrowed(subscription);
    let mut heard = Vec::new();
    let mut named: Option<PaymentId> = None;
    for action in actions {
        named = named_by(action).or(named);
        let events = after.decide(SubscriptionCommand { action: action.clone(), settings, now })?;
        for event in &events {
            after.to_mut().apply(event.clone());
        }
        heard.extend(events);
    }
    let grace = named.and_then(|named| after.grace_of(named, settings));
    let Some((plan_id, grace_secs)) = grace else { return Ok((heard, vec![])) };
    let action = WalletAction::SetEntitlementGrace { plan_id, grace_secs };
    let told = wallet.decide(WalletCommand { action, terms: terms.clone(), now })?;
    Ok((heard, told))
}

fn named_by(action: &SubscriptionAction) -> Option<PaymentId> {
    match action {
        SubscriptionAction::Request { .. } => None,
        SubscriptionAction::NotePaid(invoice) | SubscriptionAction::NoteUnpaid(invoice) => {
            Some(invoice.subscription)
        }
        SubscriptionAction::Follow(observed) => Some(observed.subscription),
    }
}
