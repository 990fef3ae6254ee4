//! The two-stream rules: a commission is paid, taken back or given again in its referrer's stream and in the
//! referrer's Cash Wallet at once.

use std::borrow::Cow;

use cqrs_es::Aggregate;

use super::{Commission, CommissionStanding, Referral, ReferralEvent, ReferralRefusal, Review};
use crate::cash::{CashAction, CashCommand, CashEvent, CashRefusal, CashWallet};
use crate::ids::CommissionId;
use crate::money::MicroUsd;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettlingRefusal {
    #[error(transparent)]
    Referral(#[from] ReferralRefusal),
    #[error(transparent)]
    Cash(#[from] CashRefusal),
}

/// Events for a referrer's stream and Cash Wallet, to be appended atomically, and the commission after them.
pub type ReferralAndCash = (Vec<ReferralEvent>, Vec<CashEvent>, Commission);

/// What an operator decides. Approving pays what is left of the commission.
///
/// # Errors
/// It is unknown or was reviewed before, or nothing is left to pay.
pub fn review(
    referral: &Referral,
    cash: &CashWallet,
    commission_id: CommissionId,
    review: Review,
    now: Timestamp,
) -> Result<ReferralAndCash, SettlingRefusal> {
    let mut commission = referral.known(commission_id)?.clone();
    match (commission.standing, review) {
        (CommissionStanding::Pending, Review::Approve) => {}
        (CommissionStanding::Pending, Review::Reject(reason)) => {
            commission.standing = CommissionStanding::Rejected;
            let rejected = ReferralEvent::CommissionRejected {
                commission: Box::new(commission.clone()),
                reason,
                at: now,
            };
            return Ok((vec![rejected], vec![], commission));
        }
        (standing @ (CommissionStanding::Paid | CommissionStanding::Rejected), _) => {
            return Err(ReferralRefusal::AlreadyReviewed { standing }.into());
        }
    }
    if !commission.remaining_micro.is_positive() {
        return Err(ReferralRefusal::NothingLeft.into());
    }
    commission.standing = CommissionStanding::Paid;
    // Paid whole and taken back in part, so that what was taken back can be given again.
    let amount_micro = commission.amount_micro;
    let mut cash = Told { cash: Cow::Borrowed(cash), events: vec![], now };
    cash.tell(CashAction::PayCommission { commission_id, amount_micro })?;
    cash.tell_change(commission_id, commission.remaining_micro - amount_micro)?;
    let approved = ReferralEvent::CommissionApproved { commission: Box::new(commission.clone()), at: now };
    Ok((vec![approved], cash.events, commission))
}

/// Takes refunds and disputes of a purchase along: `reversed_micro` is all of it that is taken back now.
///
/// # Errors
/// The commission is unknown.
pub fn adjust(
    referral: &Referral,
    cash: &CashWallet,
    commission_id: CommissionId,
    reversed_micro: MicroUsd,
    now: Timestamp,
) -> Result<ReferralAndCash, SettlingRefusal> {
    let mut commission = referral.known(commission_id)?.clone();
    let remaining_micro = commission.left_after(reversed_micro);
    let change = remaining_micro - commission.remaining_micro;
    if change == MicroUsd::ZERO || commission.standing == CommissionStanding::Rejected {
        return Ok((vec![], vec![], commission));
    }
    commission.remaining_micro = remaining_micro;
    let mut cash = Told { cash: Cow::Borrowed(cash), events: vec![], now };
    if commission.standing == CommissionStanding::Paid {
        cash.tell_change(commission_id, change)?;
    }
    let adjusted = ReferralEvent::CommissionAdjusted { commission: Box::new(commission.clone()), at: now };
    Ok((vec![adjusted], cash.events, commission))
}

/// A Cash Wallet that is told several things in one append.
struct Told<'a> {
    cash: Cow<'a, CashWallet>,
    events: Vec<CashEvent>,
    now: Timestamp,
}

impl Told<'_> {
    fn tell(&mut self, action: CashAction) -> Result<(), CashRefusal> {
        let events = self.cash.decide(CashCommand { action, now: self.now })?;
        for event in &events {
            self.cash.to_mut().apply(event.clone());
        }
        self.events.extend(events);
        Ok(())
    }

    fn tell_change(&mut self, commission_id: CommissionId, change: MicroUsd) -> Result<(), CashRefusal> {
        if change == MicroUsd::ZERO {
            return Ok(());
        }
        if change.is_positive() {
            return self.tell(CashAction::ReinstateCommission { commission_id, amount_micro: change });
        }
        let amount_micro = MicroUsd::ZERO - change;
        self.tell(CashAction::TakeBackCommission { commission_id, amount_micro })
    }
}
