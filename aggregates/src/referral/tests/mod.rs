mod attributing;
mod earning;
mod properties;

use uuid::Uuid;

use super::{Commission, CommissionStanding, ReferralAction, ReferralCommand, ReferralEvent};
use crate::examples::{grant_id, micro, second};
use crate::ids::{AccountId, CommissionId};

pub fn account(number: u128) -> AccountId {
    AccountId(Uuid::from_u128(number))
}

pub fn commission_id(number: u128) -> CommissionId {
    CommissionId(Uuid::from_u128(number))
}

pub fn at(action: ReferralAction, seconds: i64) -> ReferralCommand {
    ReferralCommand { action, now: second(seconds) }
}

pub fn earn(payment: u128, purchase: i64, basis_points: u32) -> ReferralAction {
    ReferralAction::Earn {
        payment_id: grant_id(payment),
        referred_id: account(2),
        purchase_micro: micro(purchase),
        basis_points,
    }
}

/// A tenth of a purchase.
pub fn commission(payment: u128, purchase: i64, remaining: i64, standing: CommissionStanding) -> Commission {
    Commission {
        commission_id: commission_id(payment),
        payment_id: grant_id(payment),
        referred_id: account(2),
        purchase_micro: micro(purchase),
        basis_points: 1_000,
        amount_micro: micro(purchase / 10),
        remaining_micro: micro(remaining),
        standing,
        earned_at: second(1),
    }
}

pub fn earned(payment: u128, purchase: i64) -> ReferralEvent {
    let commission = commission(payment, purchase, purchase / 10, CommissionStanding::Pending);
    ReferralEvent::CommissionEarned { commission: Box::new(commission), at: second(1) }
}
