//! A commission from the purchase to the Cash Wallet, and back.

use cqrs_es::Aggregate;

use super::{at, commission, commission_id, earn, earned};
use crate::cash::{CashEvent, CashWallet};
use crate::examples::{micro, second};
use crate::referral::{
    CommissionStanding as Standing, MAX_PENDING, MAX_REVIEWED, Referral, ReferralAndCash, ReferralEvent,
    ReferralRefusal, RejectionReason, Review, SettlingRefusal, adjust, review,
};

/// A referrer and the Cash Wallet beside.
#[derive(Default)]
struct Referrer {
    referral: Referral,
    cash: CashWallet,
}

impl Referrer {
    fn with(events: Vec<ReferralEvent>) -> Self {
        let mut referrer = Self::default();
        events.into_iter().for_each(|event| referrer.referral.apply(event));
        referrer
    }

    fn take_in(&mut self, settled: Result<ReferralAndCash, SettlingRefusal>) -> (usize, usize) {
        let (referral_events, cash_events, _) = settled.expect("allowed");
        let counts = (referral_events.len(), cash_events.len());
        referral_events.into_iter().for_each(|event| self.referral.apply(event));
        cash_events.into_iter().for_each(|event| self.cash.apply(event));
        counts
    }

    fn review(&mut self, what: Review) -> (usize, usize) {
        self.take_in(review(&self.referral, &self.cash, commission_id(1), what, second(5)))
    }

    fn reversed(&mut self, amount: i64) -> (usize, usize) {
        self.take_in(adjust(&self.referral, &self.cash, commission_id(1), micro(amount), second(6)))
    }

    fn net(&self) -> i64 {
        self.cash.balance().0 - self.cash.debt().0
    }
}

#[test]
fn a_purchase_earns_one_commission() {
    let none = Referral::default();
    assert_eq!(none.decide(at(earn(1, 1_000, 1_000), 1)), Ok(vec![earned(1, 1_000)]));
    let one = Referrer::with(vec![earned(1, 1_000)]).referral;
    assert_eq!(one.decide(at(earn(1, 1_000, 1_000), 2)), Ok(vec![]));
    assert_eq!(one.decide(at(earn(2, 1_000, 0), 2)), Ok(vec![]), "the club has ended");
    assert_eq!(one.decide(at(earn(2, 9, 1_000), 2)), Ok(vec![]), "less than a micro-dollar");
}

#[test]
fn an_approved_commission_is_in_the_cash_wallet() {
    let referrer = Referrer::with(vec![earned(1, 1_000)]);
    let approved = review(&referrer.referral, &referrer.cash, commission_id(1), Review::Approve, second(5));
    let paid = commission(1, 1_000, 100, Standing::Paid);
    let event = ReferralEvent::CommissionApproved { commission: Box::new(paid.clone()), at: second(5) };
    let cash = CashEvent::CommissionPaid {
        commission_id: commission_id(1),
        amount_micro: micro(100),
        balance_micro: micro(100),
        debt_micro: micro(0),
        at: second(5),
    };
    assert_eq!(approved, Ok((vec![event], vec![cash], paid)));
}

#[test]
fn a_commission_is_reviewed_once() {
    let reject = Review::Reject(RejectionReason::Abuse);
    for (first, standing) in [(Review::Approve, Standing::Paid), (reject, Standing::Rejected)] {
        let mut referrer = Referrer::with(vec![earned(1, 1_000)]);
        referrer.review(first);
        for second_review in [Review::Approve, reject] {
            let again =
                review(&referrer.referral, &referrer.cash, commission_id(1), second_review, second(6));
            let refusal = ReferralRefusal::AlreadyReviewed { standing };
            assert_eq!(again, Err(SettlingRefusal::Referral(refusal)));
        }
    }
    let referrer = Referrer::default();
    let unknown = || Err(ReferralRefusal::UnknownCommission { commission_id: commission_id(1) }.into());
    let (referral, cash) = (&referrer.referral, &referrer.cash);
    assert_eq!(review(referral, cash, commission_id(1), reject, second(6)), unknown());
    assert_eq!(adjust(referral, cash, commission_id(1), micro(1), second(6)), unknown());
}

#[test]
fn what_is_taken_back_of_the_purchase_is_taken_back_of_the_commission() {
    let mut referrer = Referrer::with(vec![earned(1, 1_000)]);
    assert_eq!(referrer.reversed(250), (1, 0), "nothing was paid yet");
    assert_eq!(referrer.reversed(250), (0, 0), "the same is heard again");
    assert_eq!(referrer.review(Review::Approve), (1, 2));
    assert_eq!(referrer.net(), 75);
    assert_eq!(referrer.reversed(1_000), (1, 1));
    assert_eq!(referrer.net(), 0);
    assert_eq!(referrer.reversed(2_000), (0, 0), "refunded and disputed leaves nothing, not less");
    assert_eq!(referrer.reversed(0), (1, 1), "the dispute is won, the refund came back");
    assert_eq!(referrer.net(), 100);
}

#[test]
fn nothing_is_paid_of_a_purchase_that_was_taken_back_and_nothing_follows_a_rejected_one() {
    let mut referrer = Referrer::with(vec![earned(1, 1_000)]);
    referrer.reversed(1_000);
    let nothing = review(&referrer.referral, &referrer.cash, commission_id(1), Review::Approve, second(6));
    assert_eq!(nothing, Err(SettlingRefusal::Referral(ReferralRefusal::NothingLeft)));
    referrer.review(Review::Reject(RejectionReason::PurchaseReversed));
    assert_eq!(referrer.reversed(0), (0, 0));
    assert_eq!(referrer.net(), 0);
}

#[test]
fn commissions_that_wait_are_limited_and_reviewed_ones_are_forgotten_in_time() {
    let waiting = (0..MAX_PENDING as u128).map(|number| earned(number, 1_000));
    let full = Referrer::with(waiting.collect()).referral;
    let refusal = Err(ReferralRefusal::TooManyPending { most: MAX_PENDING });
    assert_eq!(full.decide(at(earn(u128::MAX, 1_000, 1_000), 2)), refusal);

    let mut long = Referral::default();
    for number in 0..=MAX_REVIEWED as u128 {
        let mut reviewed = commission(number, 1_000, 100, Standing::Rejected);
        reviewed.earned_at = second(number as i64);
        let (commission, reason) = (Box::new(reviewed), RejectionReason::Abuse);
        long.apply(ReferralEvent::CommissionRejected { commission, reason, at: second(0) });
    }
    assert_eq!(long.commissions.len(), MAX_REVIEWED);
    assert_eq!(long.commission(commission_id(0)), None);
}
