//! The two-stream rules: money that is ours and the credit for it, at once; money that went back and
//! the credit it takes along, at once.
//!
//! Each function looks at both aggregates and returns the events of both; the caller appends them
//! atomically. The grant has the payment's id.

use std::borrow::Cow;

use cqrs_es::Aggregate;

use super::{ObservedPayment, ObservedReversal, Payment, PaymentEvent, PaymentRefusal, Purpose, Standing};
use crate::cash::CashRefusal;
use crate::ids::PaymentId;
use crate::money::MicroUsd;
use crate::subscription::SubscriptionRefusal;
use crate::time::Timestamp;
use crate::wallet::entitlements::{EntitlementEnd, EntitlementSource, EntitlementTerms, PaidPeriod};
use crate::wallet::{
    GrantSource, GrantTerms, Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal, WalletTerms,
};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreditingRefusal {
    #[error(transparent)]
    Payment(#[from] PaymentRefusal),
    #[error(transparent)]
    Wallet(#[from] WalletRefusal),
    #[error(transparent)]
    Cash(#[from] CashRefusal),
    #[error(transparent)]
    Subscription(#[from] SubscriptionRefusal),
}

/// What a confirmation or reversal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credited {
    /// What the payment's credit comes to now, were nothing spent.
    pub remaining_micro: MicroUsd,
    /// The wallet's balance after it.
    pub balance_micro: MicroUsd,
    /// It was known before; nothing was appended.
    pub repeated: bool,
}

/// Events for a payment's stream and for the payer's wallet, to be appended atomically.
pub type PaymentAndWallet = (Vec<PaymentEvent>, Vec<WalletEvent>, Credited);

/// Credits a payment that the provider says is paid.
///
/// # Errors
/// Refused where the provider's object is not exactly what was started, or is not paid.
pub fn confirm(
    payment: &Payment,
    wallet: &Wallet,
    observed: &ObservedPayment,
    terms: &WalletTerms,
    now: Timestamp,
) -> Result<PaymentAndWallet, CreditingRefusal> {
    let payment_events = payment.credited(observed, now)?;
    let bought = bought(payment, observed.payment_id, observed.period)?;
    let mut wallet = Told::new(wallet, terms, now);
    if !payment_events.is_empty() {
        wallet.tell(bought)?;
    }
    conclude(payment, payment_events, observed.payment_id, wallet)
}

/// Takes a refund or dispute of a payment to the credit that it bought, or gives back what no longer
/// is reversed. Of a payment that is not credited yet it is kept in mind.
///
/// # Errors
/// Refused where the provider's object cannot be one of this payment's.
pub fn reverse(
    payment: &Payment,
    wallet: &Wallet,
    observed: &ObservedReversal,
    terms: &WalletTerms,
    now: Timestamp,
) -> Result<PaymentAndWallet, CreditingRefusal> {
    let payment_events = payment.reversed_by(observed, now)?;
    bought(payment, observed.payment_id, None)?;
    conclude(payment, payment_events, observed.payment_id, Told::new(wallet, terms, now))
}

fn conclude(
    payment: &Payment,
    payment_events: Vec<PaymentEvent>,
    payment_id: PaymentId,
    mut wallet: Told<'_>,
) -> Result<PaymentAndWallet, CreditingRefusal> {
    let after = payment.after(&payment_events);
    let change = payment.change_to(&after);
    if let Some(action) = after.action_for(payment_id, change) {
        wallet.tell(action)?;
    }
    if let Some(action) = payment.entitlement_action(&after, payment_id) {
        wallet.tell(action)?;
    }
    let credited = Credited {
        remaining_micro: after.remaining_told(),
        balance_micro: wallet.wallet.balance(),
        repeated: payment_events.is_empty(),
    };
    Ok((payment_events, wallet.events, credited))
}

/// What the payment buys, as the wallet is told of it.
fn bought(
    payment: &Payment,
    payment_id: PaymentId,
    period: Option<PaidPeriod>,
) -> Result<WalletAction, PaymentRefusal> {
    let id = payment_id.grant();
    match &payment.wanted(payment_id)?.purpose {
        Purpose::TokenCredit { credit_micro } => Ok(WalletAction::GrantCredit {
            grant_id: id,
            source: GrantSource::TopUp,
            amount_micro: *credit_micro,
            expires_at: None,
        }),
        Purpose::Entitlement { terms } => Ok(WalletAction::GrantEntitlement {
            entitlement_id: id,
            source: EntitlementSource::Payment,
            terms: EntitlementTerms::clone(terms),
            period,
        }),
        Purpose::CashTopUp => Err(PaymentRefusal::OtherPurpose { wanted: "the token wallet" }),
    }
}

impl Payment {
    /// A plan ends when its whole payment was taken back, and goes on when it no longer is.
    fn entitlement_action(&self, after: &Self, payment_id: PaymentId) -> Option<WalletAction> {
        let Purpose::Entitlement { .. } = after.started.as_ref()?.purpose else { return None };
        let holds = |payment: &Self| payment.standing == Standing::Credited && !payment.is_wholly_reversed();
        let entitlement_id = payment_id.grant();
        let is_new = self.standing != Standing::Credited;
        match (holds(self) || is_new, holds(after)) {
            (true, false) if after.standing == Standing::Credited => {
                Some(WalletAction::EndEntitlement { entitlement_id, reason: EntitlementEnd::PaymentReversed })
            }
            (false, true) => Some(WalletAction::ReinstateEntitlement { entitlement_id }),
            (true | false, _) => None,
        }
    }

    fn action_for(&self, payment_id: PaymentId, change: MicroUsd) -> Option<WalletAction> {
        let payment_id = payment_id.grant();
        if change < MicroUsd::ZERO {
            let amount_micro = MicroUsd::ZERO - change;
            return Some(WalletAction::TakeBackPayment { payment_id, amount_micro });
        }
        if change == MicroUsd::ZERO {
            return None;
        }
        let recalled = self.started.as_ref().zip(self.credited_at).map(|(started, granted_at)| GrantTerms {
            source: GrantSource::TopUp,
            amount_micro: started.granted(),
            expires_at: None,
            granted_at,
        });
        Some(WalletAction::ReinstatePayment { payment_id, amount_micro: change, recalled })
    }
}

/// A wallet that is told several things in one append.
struct Told<'a> {
    wallet: Cow<'a, Wallet>,
    events: Vec<WalletEvent>,
    terms: &'a WalletTerms,
    now: Timestamp,
}

impl<'a> Told<'a> {
    fn new(wallet: &'a Wallet, terms: &'a WalletTerms, now: Timestamp) -> Self {
        Self { wallet: Cow::Borrowed(wallet), events: vec![], terms, now }
    }

    fn tell(&mut self, action: WalletAction) -> Result<(), WalletRefusal> {
        let command = WalletCommand { action, terms: self.terms.clone(), now: self.now };
        let events = self.wallet.decide(command)?;
        for event in &events {
            self.wallet.to_mut().apply(event.clone());
        }
        self.events.extend(events);
        Ok(())
    }
}
