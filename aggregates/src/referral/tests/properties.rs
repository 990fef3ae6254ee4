//! Whatever order review, refunds, disputes and their undoing come in, the Cash Wallet has what the last sums leave.

use cqrs_es::Aggregate;
use proptest::prelude::*;

use super::{commission_id, earned};
use crate::cash::CashWallet;
use crate::examples::{micro, second};
use crate::referral::{CommissionStanding, Referral, RejectionReason, Review, adjust, review};

const PURCHASES: u128 = 3;

#[derive(Clone, Debug)]
enum Step {
    Approve { which: u128 },
    Reject { which: u128 },
    Reversed { which: u128, amount: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = || 0..PURCHASES;
    let step = prop_oneof![
        2 => which().prop_map(|which| Step::Approve { which }),
        1 => which().prop_map(|which| Step::Reject { which }),
        5 => (which(), 0..2_500_i64).prop_map(|(which, amount)| Step::Reversed { which, amount }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What an operator decided, and how much of the purchase is taken back now.
#[derive(Clone, Copy, Default)]
struct Told {
    paid: bool,
    rejected: bool,
    reversed: i64,
}

impl Told {
    /// A tenth of what is left of 997.
    fn left(self) -> i64 {
        99 * (997 - self.reversed.min(997)) / 997
    }
}

proptest! {
    #[test]
    fn the_cash_wallet_has_what_is_left_of_the_approved_commissions(steps in steps()) {
        let (mut referral, mut cash) = (Referral::default(), CashWallet::default());
        (0..PURCHASES).for_each(|number| referral.apply(earned(number, 997)));
        let mut told = [Told::default(); PURCHASES as usize];
        for step in &steps {
            let settled = match *step {
                Step::Approve { which } => {
                    let told = &mut told[which as usize];
                    let allowed = !told.paid && !told.rejected && told.left() > 0;
                    let reviewed = review(&referral, &cash, commission_id(which), Review::Approve, second(5));
                    prop_assert_eq!(reviewed.is_ok(), allowed);
                    told.paid |= allowed;
                    reviewed
                }
                Step::Reject { which } => {
                    let told = &mut told[which as usize];
                    let allowed = !told.paid && !told.rejected;
                    let reason = RejectionReason::Abuse;
                    let reviewed =
                        review(&referral, &cash, commission_id(which), Review::Reject(reason), second(5));
                    prop_assert_eq!(reviewed.is_ok(), allowed);
                    told.rejected |= allowed;
                    reviewed
                }
                Step::Reversed { which, amount } => {
                    told[which as usize].reversed = amount;
                    adjust(&referral, &cash, commission_id(which), micro(amount), second(6))
                }
            };
            let Ok((referral_events, cash_events, _)) = settled else { continue };
            referral_events.into_iter().for_each(|event| referral.apply(event));
            cash_events.into_iter().for_each(|event| cash.apply(event));
            let paid: i64 = told.iter().filter(|told| told.paid).map(|told| told.left()).sum();
            prop_assert_eq!(cash.balance().0 - cash.debt().0, paid);
        }
        for (number, told) in (0..PURCHASES).zip(told) {
            let known = referral.commission(commission_id(number)).expect("earned");
            let standing = match (told.paid, told.rejected) {
                (true, _) => CommissionStanding::Paid,
                (false, true) => CommissionStanding::Rejected,
                (false, false) => CommissionStanding::Pending,
            };
            prop_assert_eq!(known.standing, standing);
        }
    }
}
