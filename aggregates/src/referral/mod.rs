//! Referring: one stream per account, which is a referrer's and a referred customer's alike.
//!
//! A new customer names a code once, before the first purchase. Each confirmed purchase of theirs then earns the
//! referrer a commission, which waits for an operator. What refunds and disputes leave of the purchase, they leave
//! of the commission, in proportion and whatever order they are heard of in.

mod events;
mod settling;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use events::{Commission, CommissionStanding, ReferralEvent, RejectionReason};
pub use settling::{ReferralAndCash, SettlingRefusal, adjust, review};

use crate::ids::{AccountId, CommissionId, GrantId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// Commissions that may wait for review at a time.
pub const MAX_PENDING: usize = 4_096;

/// Reviewed commissions remembered; those earned longest ago are forgotten.
pub const MAX_REVIEWED: usize = 4_096;

// Commands

#[derive(Clone, Debug, PartialEq)]
pub struct ReferralCommand {
    pub action: ReferralAction,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ReferralAction {
    /// Changes nothing where there is a code.
    IssueCode { code: String },
    /// Said by a customer: who named this account's code.
    Attribute(Attribute),
    /// A confirmed purchase of this account; only the first leaves a trace.
    NotePurchase { payment_id: GrantId, purchased_at: Timestamp },
    /// A confirmed purchase of a customer whom this account referred; the same one again changes nothing.
    Earn { payment_id: GrantId, referred_id: AccountId, purchase_micro: MicroUsd, basis_points: u32 },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Who speaks.
    pub account_id: AccountId,
    pub referrer_id: AccountId,
    pub code: String,
    /// Whom the referrer was referred by.
    pub referrers_referrer: Option<AccountId>,
    /// They share a device, a network or an address.
    pub is_same_person: bool,
}

/// What an operator decides about a commission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    Approve,
    Reject(RejectionReason),
}

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferralRefusal {
    #[error("nobody refers themselves, or whom they share a device, a network or an address with")]
    SelfReferral,
    #[error("two customers cannot refer each other")]
    Circular,
    #[error("this account has named a code before")]
    AlreadyAttributed { referrer_id: AccountId },
    #[error("a code is named before the first purchase")]
    AlreadyPurchased { purchased_at: Timestamp },
    #[error("commission {commission_id} is not known here")]
    UnknownCommission { commission_id: CommissionId },
    #[error("the commission was reviewed before")]
    AlreadyReviewed { standing: CommissionStanding },
    #[error("the purchase was taken back; nothing is left of its commission")]
    NothingLeft,
    #[error("{most} commissions wait for review")]
    TooManyPending { most: usize },
}

// State

/// One account's part in referring.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Referral {
    code: Option<String>,
    referred_by: Option<Attribution>,
    first_purchase_at: Option<Timestamp>,
    commissions: BTreeMap<CommissionId, Commission>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Attribution {
    referrer_id: AccountId,
    at: Timestamp,
}

impl Referral {
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Who referred this account.
    pub fn referrer(&self) -> Option<AccountId> {
        self.referred_by.map(|attribution| attribution.referrer_id)
    }

    pub fn commission(&self, commission_id: CommissionId) -> Option<&Commission> {
        self.commissions.get(&commission_id)
    }

    // Rules

    /// No event where nothing changes.
    pub fn decide(&self, command: ReferralCommand) -> Result<Vec<ReferralEvent>, ReferralRefusal> {
        let ReferralCommand { action, now } = command;
        match action {
            ReferralAction::IssueCode { .. } if self.code.is_some() => Ok(vec![]),
            ReferralAction::IssueCode { code } => Ok(vec![ReferralEvent::CodeIssued { code, at: now }]),
            ReferralAction::Attribute(attribute) => self.attribute(attribute, now),
            ReferralAction::NotePurchase { payment_id, purchased_at } => {
                Ok(self.note_purchase(payment_id, purchased_at, now))
            }
            ReferralAction::Earn { payment_id, referred_id, purchase_micro, basis_points } => {
                self.earn(payment_id, referred_id, purchase_micro, basis_points, now)
            }
        }
    }

    fn attribute(&self, attribute: Attribute, now: Timestamp) -> Result<Vec<ReferralEvent>, ReferralRefusal> {
        let Attribute { account_id, referrer_id, code, referrers_referrer, is_same_person } = attribute;
        if account_id == referrer_id || is_same_person {
            return Err(ReferralRefusal::SelfReferral);
        }
        if referrers_referrer == Some(account_id) {
            return Err(ReferralRefusal::Circular);
        }
        match self.referred_by {
            Some(Attribution { referrer_id: known, .. }) if known == referrer_id => return Ok(vec![]),
            Some(Attribution { referrer_id, .. }) => {
                return Err(ReferralRefusal::AlreadyAttributed { referrer_id });
            }
            None => {}
        }
        if let Some(purchased_at) = self.first_purchase_at {
            return Err(ReferralRefusal::AlreadyPurchased { purchased_at });
        }
        Ok(vec![ReferralEvent::Attributed { referrer_id, code, at: now }])
    }

    fn note_purchase(
        &self,
        payment_id: GrantId,
        purchased_at: Timestamp,
        now: Timestamp,
    ) -> Vec<ReferralEvent> {
        if self.first_purchase_at.is_some() {
            return vec![];
        }
        let noted = ReferralEvent::FirstPurchaseNoted { payment_id, purchased_at, at: now };
        let voided = self
            .referred_by
            .filter(|attribution| attribution.at > purchased_at)
            .map(|Attribution { referrer_id, .. }| ReferralEvent::AttributionVoided { referrer_id, at: now });
        [noted].into_iter().chain(voided).collect()
    }

    fn earn(
        &self,
        payment_id: GrantId,
        referred_id: AccountId,
        purchase_micro: MicroUsd,
        basis_points: u32,
        now: Timestamp,
    ) -> Result<Vec<ReferralEvent>, ReferralRefusal> {
        let commission_id = CommissionId(payment_id.0);
        let amount_micro = purchase_micro.basis_points(basis_points);
        if self.commissions.contains_key(&commission_id) || !amount_micro.is_positive() {
            return Ok(vec![]);
        }
        let pending = self.commissions.values().filter(|known| known.standing == CommissionStanding::Pending);
        if pending.count() >= MAX_PENDING {
            return Err(ReferralRefusal::TooManyPending { most: MAX_PENDING });
        }
        let commission = Box::new(Commission {
            commission_id,
            payment_id,
            referred_id,
            purchase_micro,
            basis_points,
            amount_micro,
            remaining_micro: amount_micro,
            standing: CommissionStanding::Pending,
            earned_at: now,
        });
        Ok(vec![ReferralEvent::CommissionEarned { commission, at: now }])
    }

    fn known(&self, commission_id: CommissionId) -> Result<&Commission, ReferralRefusal> {
        self.commissions.get(&commission_id).ok_or(ReferralRefusal::UnknownCommission { commission_id })
    }

    fn evolve(&mut self, event: ReferralEvent) {
        match event {
            ReferralEvent::CodeIssued { code, .. } => self.code = Some(code),
            ReferralEvent::Attributed { referrer_id, at, .. } => {
                self.referred_by = Some(Attribution { referrer_id, at });
            }
            ReferralEvent::FirstPurchaseNoted { purchased_at, .. } => {
                self.first_purchase_at = Some(purchased_at);
            }
            ReferralEvent::AttributionVoided { .. } => self.referred_by = None,
            ReferralEvent::CommissionEarned { commission, .. }
            | ReferralEvent::CommissionAdjusted { commission, .. }
            | ReferralEvent::CommissionApproved { commission, .. }
            | ReferralEvent::CommissionRejected { commission, .. } => {
                self.commissions.insert(commission.commission_id, *commission);
                self.forget_oldest_reviewed();
            }
        }
    }

    fn forget_oldest_reviewed(&mut self) {
        if self.commissions.len() <= MAX_REVIEWED {
            return;
        }
        let reviewed =
            self.commissions.values().filter(|known| known.standing != CommissionStanding::Pending);
        if reviewed.clone().count() <= MAX_REVIEWED {
            return;
        }
        let oldest = reviewed.min_by_key(|known| (known.earned_at, known.commission_id));
        if let Some(oldest) = oldest.map(|known| known.commission_id) {
            self.commissions.remove(&oldest);
        }
    }
}

impl Commission {
    /// What is left of it when `reversed_micro` of the purchase is taken back. A purchase that was taken back twice
    /// over leaves nothing, not less.
    fn left_after(&self, reversed_micro: MicroUsd) -> MicroUsd {
        let (amount, purchase) = (i128::from(self.amount_micro.0), i128::from(self.purchase_micro.0));
        let kept = (purchase - i128::from(reversed_micro.0)).clamp(0, purchase);
        let left = amount * kept / purchase;
        MicroUsd(i64::try_from(left).expect("at most the commission"))
    }
}

// cqrs-es

impl Aggregate for Referral {
    const TYPE: &'static str = "referral";
    type Command = ReferralCommand;
    type Event = ReferralEvent;
    type Error = ReferralRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: ReferralCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ReferralRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ReferralEvent) {
        self.evolve(event);
    }
}
