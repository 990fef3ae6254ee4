//! Any order and any repetition of what the payment provider can tell, with the credit spent before,
//! between or after, against sums over what was told.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::{Both, dispute, paid, payment_id, refund, start};
use crate::examples::second;
use crate::ids::PurchaseId;
use crate::money::MicroUsd;
use crate::payment::{
    DisputeStatus, FailureReason, ObservedPayment, PaymentAction, PaymentCommand, Purpose, RefundStatus,
    StartPayment, confirm, reverse,
};
use crate::wallet::{PurchaseItem, WalletAction, WalletCommand, WalletTerms};

/// Cents; small enough that everything happens to everything.
const PRICE: i64 = 1_000;

#[derive(Clone, Copy, Debug)]
enum Told {
    Paid,
    Failed,
    Expired,
    Refund {
        id: u8,
        status: RefundStatus,
    },
    Dispute {
        id: u8,
        status: DisputeStatus,
    },
    /// The customer spends up to this.
    Spend {
        micro: i64,
    },
}

fn told() -> impl Strategy<Value = Told> {
    let refund = prop_oneof![Just(RefundStatus::Made), Just(RefundStatus::Failed)];
    let dispute = prop_oneof![
        Just(DisputeStatus::Inquiry),
        Just(DisputeStatus::Open),
        Just(DisputeStatus::Lost),
        Just(DisputeStatus::Won),
    ];
    prop_oneof![
        3 => Just(Told::Paid),
        1 => Just(Told::Failed),
        1 => Just(Told::Expired),
        4 => (0..4_u8, refund).prop_map(|(id, status)| Told::Refund { id, status }),
        4 => (0..3_u8, dispute).prop_map(|(id, status)| Told::Dispute { id, status }),
        3 => (1..30_000_000_i64).prop_map(|micro| Told::Spend { micro }),
    ]
}

/// A refund's or dispute's amount is its own, however often it is told of.
fn cents(id: u8) -> i64 {
    [PRICE, 1, 333, 500][usize::from(id)]
}

fn micro_of(cents: i64) -> MicroUsd {
    MicroUsd(cents * 10_000)
}

#[derive(Default)]
struct Oracle {
    paid: bool,
    refunds: BTreeMap<u8, RefundStatus>,
    disputes: BTreeMap<u8, DisputeStatus>,
    spent: i64,
}

impl Oracle {
    /// ⌊granted × (paid − reversed) ⁄ paid⌋, by hand.
    fn remaining(&self, granted: i64) -> i64 {
        let refunded = self.refunds.iter().filter(|(_, status)| **status == RefundStatus::Made);
        let withheld = self
            .disputes
            .iter()
            .filter(|(_, status)| matches!(status, DisputeStatus::Open | DisputeStatus::Lost));
        let reversed: i64 =
            refunded.map(|(id, _)| cents(*id)).chain(withheld.map(|(id, _)| cents(*id))).sum();
        let exact = i128::from(granted) * i128::from(PRICE - reversed);
        i64::try_from(exact.div_euclid(i128::from(PRICE))).unwrap()
    }

    /// Balance less debt.
    fn net(&self, granted: i64) -> i64 {
        if self.paid { self.remaining(granted) - self.spent } else { 0 }
    }
}

struct World {
    both: Both,
    oracle: Oracle,
    granted: i64,
    now: i64,
}

impl World {
    fn new(granted: i64) -> Self {
        let purpose = Purpose::TokenCredit { credit_micro: MicroUsd(granted) };
        let start = StartPayment { purpose, price_micro: micro_of(PRICE), ..start() };
        let mut world = Self { both: Both::default(), oracle: Oracle::default(), granted, now: 0 };
        world.act(PaymentAction::StartPayment(Box::new(start)));
        world
    }

    fn act(&mut self, action: PaymentAction) {
        let command = PaymentCommand { payment_id: payment_id(), action, now: second(self.now) };
        let events = self.both.payment.decide(command).expect("agreed to");
        self.both.apply((events, vec![]));
    }

    fn tell(&mut self, told: Told) {
        self.now += 1;
        let (terms, now) = (WalletTerms::default(), second(self.now));
        let Both { payment, wallet } = &self.both;
        let events = match told {
            Told::Paid => {
                self.oracle.paid = true;
                let paid = ObservedPayment { amount_micro: micro_of(PRICE), ..paid() };
                confirm(payment, wallet, &paid, &terms, now).expect("credited")
            }
            Told::Refund { id, status } => {
                let known = self.oracle.refunds.entry(id).or_insert(status);
                *known = status.max(*known);
                let observed = refund(&format!("re_{id}"), micro_of(cents(id)), status);
                reverse(payment, wallet, &observed, &terms, now).expect("recorded")
            }
            Told::Dispute { id, status } => {
                let known = self.oracle.disputes.entry(id).or_insert(status);
                *known = status.max(*known);
                let observed = dispute(&format!("dp_{id}"), micro_of(cents(id)), status);
                reverse(payment, wallet, &observed, &terms, now).expect("recorded")
            }
            Told::Failed => {
                return self.act(PaymentAction::FailPayment { reason: FailureReason::Declined });
            }
            Told::Expired => return self.act(PaymentAction::ExpirePayment),
            Told::Spend { micro } => return self.spend(micro),
        };
        let (payment, wallet, _) = events;
        self.both.apply((payment, wallet));
    }

    /// A purchase of exactly `micro`, or of the whole balance where that is less.
    fn spend(&mut self, micro: i64) {
        let wallet = &self.both.wallet;
        let amount_micro = MicroUsd(micro).min(wallet.balance());
        if !amount_micro.is_positive() {
            return;
        }
        let purchase_id = PurchaseId(Uuid::from_u128(u128::from(self.now.unsigned_abs())));
        let action = WalletAction::Purchase { purchase_id, item: PurchaseItem::ProjectSlot, amount_micro };
        let terms = WalletTerms::default();
        let events = wallet.decide(WalletCommand { action, terms, now: second(self.now) }).expect("bought");
        self.both.apply((vec![], events));
        self.oracle.spent += amount_micro.0;
    }

    fn check(&self) {
        let wallet = &self.both.wallet;
        let (balance, debt) = (wallet.balance().0, wallet.debt().0);
        assert_eq!(balance - debt, self.oracle.net(self.granted));
        assert!(balance >= 0 && debt >= 0 && (balance == 0 || debt == 0), "balance {balance}, debt {debt}");
    }
}

proptest! {
    /// After every event the balance less the debt is what is left of the credit less what was spent.
    #[test]
    fn balance_and_debt_follow_from_what_was_told(
        granted in 1..50_000_000_i64,
        events in prop::collection::vec(told(), 0..40),
    ) {
        let mut world = World::new(granted);
        for event in events {
            world.tell(event);
            world.check();
        }
    }

    /// Two orders of the same news, each repeated at will, end alike.
    #[test]
    fn news_commutes_and_repeats(
        granted in 1..50_000_000_i64,
        events in prop::collection::vec(told(), 0..14).prop_flat_map(|events| {
            let twice: Vec<Told> = events.iter().chain(&events).copied().collect();
            (Just(events).prop_shuffle(), Just(twice).prop_shuffle())
        }),
    ) {
        let without_spending = |events: Vec<Told>| {
            let mut world = World::new(granted);
            // All of it is paid in the end, or nothing of it is.
            for event in events.into_iter().filter(|event| !matches!(event, Told::Spend { .. })) {
                world.tell(event);
            }
            let Both { payment, wallet } = world.both;
            (payment.standing(), payment.reversed(), payment.remaining(), wallet.balance(), wallet.debt())
        };
        let (once, twice) = events;
        prop_assert_eq!(without_spending(once), without_spending(twice));
    }
}

#[test]
fn granted_spent_disputed_and_won_leaves_nothing_and_mints_nothing() {
    let mut world = World::new(100);
    world.tell(Told::Paid);
    world.tell(Told::Spend { micro: 100 });
    world.tell(Told::Dispute { id: 0, status: DisputeStatus::Open });
    assert_eq!((world.both.wallet.balance(), world.both.wallet.debt()), (MicroUsd(0), MicroUsd(100)));
    world.tell(Told::Dispute { id: 0, status: DisputeStatus::Won });
    assert_eq!((world.both.wallet.balance(), world.both.wallet.debt()), (MicroUsd(0), MicroUsd(0)));
}
