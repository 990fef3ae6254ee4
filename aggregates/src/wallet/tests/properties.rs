//! Random lives of a wallet, each step compared with the oracle and with what must always hold.

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use proptest::prelude::*;
use proptest::sample::Index;

use super::builders::{
    Story, adjust_down, gift, grant, place, purchase, reinstate, release, request, settle, sweep, take_back,
};
use super::oracle::{Fate, Oracle, OracleHold};
use crate::examples::{generation, grant_id, micro, node, second};
use crate::ids::{GenerationId, GrantId};
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::{
    Grant, GrantPart, PlaceHold, ReversalReason, Wallet, WalletAction, WalletCommand, WalletEvent,
    WalletRefusal,
};

pub const MAX_AGE: i64 = 1_000;

#[derive(Clone, Debug)]
pub enum Step {
    Grant {
        amount: i64,
        paid: bool,
        lifetime: Option<i64>,
    },
    Hold {
        input: u64,
        max_output: u64,
        node: u128,
    },
    /// `part` per cent of the worst case; over 100 is dearer than anyone expected.
    Settle {
        which: Index,
        part: i64,
    },
    Release {
        which: Index,
    },
    Reverse {
        which: Index,
    },
    Purchase {
        amount: i64,
    },
    AdjustDown {
        amount: i64,
    },
    /// `part` per cent of what was granted; over 100 where refund and dispute overlap.
    TakeBack {
        which: Index,
        part: i64,
    },
    /// `part` per cent of what is taken back; over 100 must be refused.
    Reinstate {
        which: Index,
        part: i64,
    },
    NodeDies {
        node: u128,
    },
    Sweep,
    Wait {
        seconds: i64,
    },
}

fn steps(longest_part: i64) -> impl Strategy<Value = Vec<Step>> {
    let which = any::<Index>;
    let step = prop_oneof![
        3 => (1..600_i64, any::<bool>(), prop::option::of(1..800_i64))
            .prop_map(|(amount, paid, lifetime)| Step::Grant { amount, paid, lifetime }),
        6 => (0..150_u64, 0..150_u64, 1..4_u128)
            .prop_map(|(input, max_output, node)| Step::Hold { input, max_output, node }),
        4 => (which(), 0..longest_part).prop_map(|(which, part)| Step::Settle { which, part }),
        1 => which().prop_map(|which| Step::Release { which }),
        1 => which().prop_map(|which| Step::Reverse { which }),
        1 => (1..300_i64).prop_map(|amount| Step::Purchase { amount }),
        1 => (1..300_i64).prop_map(|amount| Step::AdjustDown { amount }),
        2 => (which(), 1..120_i64).prop_map(|(which, part)| Step::TakeBack { which, part }),
        2 => (which(), 1..120_i64).prop_map(|(which, part)| Step::Reinstate { which, part }),
        1 => (1..4_u128).prop_map(|node| Step::NodeDies { node }),
        1 => Just(Step::Sweep),
        3 => (0..300_i64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..120)
}

/// A wallet and its oracle, side by side.
pub struct Life {
    pub story: Story,
    pub oracle: Oracle,
    pub seconds: i64,
    /// The events' own sums.
    sums: Sums,
    placed: BTreeMap<GenerationId, Timestamp>,
    charges: BTreeMap<GenerationId, usize>,
    expiries: BTreeMap<GrantId, Timestamp>,
}

#[derive(Default)]
struct Sums {
    granted: i64,
    charged: i64,
    given_back: i64,
    expired: i64,
    bought: i64,
    adjusted: i64,
    reversed: i64,
}

impl Life {
    pub fn begin() -> Self {
        Self {
            story: Story::begin(),
            oracle: Oracle::default(),
            seconds: 0,
            sums: Sums::default(),
            placed: BTreeMap::new(),
            charges: BTreeMap::new(),
            expiries: BTreeMap::new(),
        }
    }

    pub fn act(&mut self, action: WalletAction) -> Result<Vec<WalletEvent>, WalletRefusal> {
        let (terms, now) = (self.story.terms.clone(), self.story.now);
        let events = self.story.wallet.decide(WalletCommand { action, terms, now })?;
        self.absorb(&events);
        Ok(events)
    }

    /// Takes in what was decided, checking every event as it is folded.
    pub fn absorb(&mut self, events: &[WalletEvent]) {
        for event in events {
            let mut fold = std::mem::take(&mut self.story.wallet);
            fold.evolve(event);
            self.check(event, &fold);
            self.story.wallet = fold;
        }
        self.story.events.extend(events.iter().cloned());
        if !events.is_empty() {
            self.oracle.expire_due(self.seconds, MAX_AGE);
        }
    }

    fn check(&mut self, event: &WalletEvent, fold: &Wallet) {
        match event {
            WalletEvent::CreditGranted { grant_id, amount_micro, expires_at, .. } => {
                self.sums.granted += amount_micro.0;
                self.expiries.extend(expires_at.map(|expires_at| (*grant_id, expires_at)));
            }
            WalletEvent::GrantExpired { expired_micro, kept_micro, .. } => {
                assert!(expired_micro.0 >= 0 && kept_micro.0 >= 0);
                self.sums.expired += expired_micro.0;
            }
            WalletEvent::HoldPlaced { generation_id, at, .. } => {
                assert!(self.placed.insert(*generation_id, *at).is_none(), "one hold per generation");
            }
            WalletEvent::AttemptStarted { .. } => {}
            WalletEvent::HoldReleased { .. } | WalletEvent::HoldExpired { .. } => {}
            WalletEvent::UsageCharged { generation_id, charged_micro, from, at, .. } => {
                self.sums.charged += charged_micro.0;
                *self.charges.entry(*generation_id).or_default() += 1;
                assert_eq!(self.charges[generation_id], 1, "one charge per generation");
                self.check_payment(event, from, self.placed[generation_id], *at);
            }
            WalletEvent::ChargeReversed { amount_micro, to, debt_paid_micro, .. } => {
                assert_eq!(*amount_micro, sum(to) + *debt_paid_micro);
                self.sums.given_back += amount_micro.0;
            }
            WalletEvent::PurchaseMade { amount_micro, from, .. } => {
                assert_eq!(*amount_micro, sum(from));
                self.sums.bought += amount_micro.0;
            }
            WalletEvent::CreditAdjusted { amount_micro, from, .. } => {
                assert_eq!(*amount_micro, sum(from));
                self.sums.adjusted += amount_micro.0;
            }
            WalletEvent::PaymentReversed { amount_micro, from, debt_added_micro, debt_micro, .. } => {
                assert_eq!(*amount_micro, sum(from) + *debt_added_micro);
                assert_eq!(*debt_micro, fold.debt());
                self.sums.reversed += amount_micro.0;
            }
            WalletEvent::PaymentReinstated { amount_micro, debt_paid_micro, debt_micro, .. } => {
                assert!(debt_paid_micro <= amount_micro);
                assert_eq!(*debt_micro, fold.debt());
                self.sums.reversed -= amount_micro.0;
            }
            // Plans have properties of their own.
            WalletEvent::EntitlementGranted { .. }
            | WalletEvent::EntitlementEnded { .. }
            | WalletEvent::EntitlementReinstated { .. }
            | WalletEvent::EntitlementGraceSet { .. }
            | WalletEvent::EntitlementExpired { .. }
            | WalletEvent::WalletFallbackSet { .. } => {}
        }
        let Sums { granted, charged, given_back, expired, bought, adjusted, reversed } = self.sums;
        let moved = granted - charged + given_back - bought - adjusted - reversed - expired;
        assert_eq!(moved, event.balance().0 - fold.debt().0, "conservation");
        assert!(fold.debt().0 >= 0);
        assert_eq!(event.balance(), fold.balance(), "the event tells the balance that is folded");
        assert_eq!(event.balance(), fold.grants().iter().map(|grant| grant.remaining_micro).sum());
        assert!(fold.grants().iter().all(|grant| grant.remaining_micro.0 >= 0));
        assert_eq!(event.held(), fold.held());
        assert_eq!(event.held(), fold.open_holds().map(|(_, hold)| hold.amount_micro).sum());
    }

    fn check_payment(&self, event: &WalletEvent, from: &[GrantPart], placed_at: Timestamp, at: Timestamp) {
        let WalletEvent::UsageCharged {
            cost_micro,
            charged_micro,
            covered_by_plan_micro,
            shortfall_micro,
            ..
        } = event
        else {
            unreachable!("only charges are paid")
        };
        assert_eq!(*cost_micro, *charged_micro + *covered_by_plan_micro + *shortfall_micro);
        assert!(charged_micro.0 >= 0 && shortfall_micro.0 >= 0);
        assert_eq!(*charged_micro, sum(from));
        for part in from {
            let expires_at = self.expiries.get(&part.grant_id).copied();
            let is_entitled = expires_at.is_none_or(|expires_at| at < expires_at || placed_at < expires_at);
            assert!(is_entitled, "expired credit is for holds placed before its expiry");
        }
    }

    /// After any command, what is past its expiry is there only for an older open hold.
    pub fn check_state(&self) {
        assert_eq!(self.story.wallet.balance().0, self.oracle.balance());
        assert_eq!(self.story.wallet.held().0, self.oracle.held());
        assert_eq!(self.story.wallet.debt().0, self.oracle.debt);
        assert_eq!(self.oracle.charged, self.sums.charged);
        assert_eq!(self.oracle.granted, self.sums.granted);
        assert_eq!(self.oracle.given_back, self.sums.given_back);
        assert_eq!(self.oracle.bought, self.sums.bought);
        assert_eq!(self.oracle.adjusted, self.sums.adjusted);
        assert_eq!(self.oracle.reversed, self.sums.reversed);
        assert_eq!(self.oracle.expired, self.sums.expired);
        for grant in &self.oracle.grants {
            let left = self.story.wallet.grant(grant_id(grant.id)).map_or(0, |kept| kept.remaining_micro.0);
            assert_eq!(left, grant.left, "grant {}", grant.id);
        }
        let unexpired_paid = |grant: &&Grant| grant.source.is_paid() && !grant.expired;
        let paid: i64 =
            self.story.wallet.grants().iter().filter(unexpired_paid).map(|g| g.remaining_micro.0).sum();
        assert!(self.oracle.debt == 0 || paid == 0, "{paid} of paid credit beside a debt");
        for grant in self.story.wallet.grants().iter().filter(|grant| grant.remaining_micro.is_positive()) {
            let is_past = grant.expires_at.filter(|expires_at| *expires_at <= self.story.now);
            let mut holds = self.story.wallet.open_holds();
            let awaited = is_past.is_none_or(|expiry| holds.any(|(_, hold)| hold.placed_at < expiry));
            assert!(awaited, "nothing waits for {grant:?}");
        }
    }

    pub fn step(&mut self, number: u128, step: &Step) {
        let due_before = self.story.wallet.next_due(MAX_AGE).is_some_and(|due| due <= self.story.now);
        let applied = match step {
            Step::Grant { amount, paid, lifetime } => self.grant(number, *amount, *paid, *lifetime),
            Step::Hold { input, max_output, node: on } => {
                self.hold(number, PlaceHold { node: node(*on), ..request(number, *input, *max_output) }, *on)
            }
            Step::Settle { which, part } => self.settle(which, *part),
            Step::Release { which } => self.release(which),
            Step::Reverse { which } => self.reverse(which),
            Step::Purchase { amount } => self.buy(number, *amount),
            Step::AdjustDown { amount } => self.adjust(number, *amount),
            Step::TakeBack { which, part } => self.take_back(which, *part),
            Step::Reinstate { which, part } => self.reinstate(which, *part),
            Step::NodeDies { node } => self.node_dies(*node),
            Step::Sweep => self.act(sweep()).map(|events| assert_eq!(!events.is_empty(), due_before)).is_ok(),
            Step::Wait { seconds } => {
                self.seconds += seconds;
                self.story.now = second(self.seconds);
                false
            }
        };
        if applied {
            self.check_state();
            assert!(self.story.wallet.next_due(MAX_AGE).is_none_or(|due| due > self.story.now));
        }
    }

    fn grant(&mut self, number: u128, amount: i64, paid: bool, lifetime: Option<i64>) -> bool {
        let expires_at = lifetime.map(|lifetime| self.seconds + lifetime);
        let action = if paid { grant(number, amount, expires_at) } else { gift(number, amount, expires_at) };
        self.act(action).expect("such a grant is allowed");
        self.oracle.grant(number, amount, paid, expires_at, self.seconds);
        true
    }

    fn buy(&mut self, number: u128, amount: i64) -> bool {
        let fresh = self.oracle.fresh(self.seconds);
        match self.act(purchase(number, amount)) {
            Ok(_) => {
                let unheld = fresh - self.oracle.pressed(self.seconds, |hold| hold.estimate);
                assert!(self.oracle.debt == 0 && amount <= unheld);
                self.oracle.buy(amount, self.seconds);
                true
            }
            Err(WalletRefusal::InDebt { debt }) => {
                assert!(debt.0 == self.oracle.debt && debt.0 > 0);
                false
            }
            Err(WalletRefusal::InsufficientCredit { available, requested }) => {
                assert!(available < requested && requested.0 == amount && available.0 <= fresh);
                false
            }
            Err(WalletRefusal::MustWait { open_holds }) => {
                assert!(open_holds > 0, "nothing to wait for");
                false
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn adjust(&mut self, number: u128, amount: i64) -> bool {
        let fresh = self.oracle.fresh(self.seconds);
        match self.act(adjust_down(number, amount)) {
            Ok(_) => {
                self.oracle.adjust(amount, self.seconds);
                true
            }
            Err(refusal) => {
                let (available, requested) = (micro(fresh), micro(amount));
                assert_eq!(refusal, WalletRefusal::InsufficientCredit { available, requested });
                assert!(fresh < amount);
                false
            }
        }
    }

    fn pick_payment(&self, which: &Index) -> Option<usize> {
        let paid: Vec<usize> =
            (0..self.oracle.grants.len()).filter(|index| self.oracle.grants[*index].paid).collect();
        paid.get(which.index(paid.len().max(1))).copied()
    }

    fn take_back(&mut self, which: &Index, part: i64) -> bool {
        let Some(index) = self.pick_payment(which) else { return false };
        let id = self.oracle.grants[index].id;
        let amount = 1 + self.granted(id) * part / 100;
        self.act(take_back(id, amount)).expect("a reversal is never refused");
        self.oracle.take_back(index, amount, self.seconds);
        self.oracle.drop_unawaited(self.seconds);
        true
    }

    fn reinstate(&mut self, which: &Index, part: i64) -> bool {
        let Some(index) = self.pick_payment(which) else { return false };
        let (id, taken) = (self.oracle.grants[index].id, self.oracle.grants[index].taken_back);
        let amount = 1 + taken * part / 100;
        match self.act(reinstate(id, amount)) {
            Ok(_) => {
                assert!(amount <= taken, "more came back than was taken");
                self.oracle.reinstate(index, amount, self.seconds);
                self.oracle.drop_unawaited(self.seconds);
                true
            }
            Err(refusal) => {
                let (payment_id, taken, requested) = (grant_id(id), micro(taken), micro(amount));
                assert_eq!(refusal, WalletRefusal::MoreThanTakenBack { payment_id, taken, requested });
                assert!(taken < requested);
                false
            }
        }
    }

    /// What grant `id` was given as.
    fn granted(&self, id: u128) -> i64 {
        let granted = self.story.events.iter().find_map(|event| match event {
            WalletEvent::CreditGranted { grant_id: given, amount_micro, .. } if *given == grant_id(id) => {
                Some(amount_micro.0)
            }
            _ => None,
        });
        granted.expect("it was granted")
    }

    pub fn hold(&mut self, number: u128, request: PlaceHold, on: u128) -> bool {
        let (input, max_output) = (request.input_tokens, request.max_output_tokens);
        let fresh = self.oracle.fresh(self.seconds);
        let worst = i64::try_from(input + max_output).unwrap();
        match self.act(place(request)) {
            Ok(events) => {
                let Some(WalletEvent::HoldPlaced { amount_micro, worst_micro, .. }) = events.last() else {
                    panic!("a hold is placed last, not {events:?}")
                };
                assert_eq!(worst_micro.0, worst);
                assert_eq!(self.oracle.debt, 0, "a hold beside a debt");
                assert!(fresh >= i64::try_from(input).unwrap(), "input that no credit covers");
                let estimate = amount_micro.0;
                let (id, placed_at) = (number, self.seconds);
                let fate = Fate::Open;
                let hold = OracleHold {
                    id,
                    node: on,
                    placed_at,
                    estimate,
                    worst,
                    fate,
                    paid: vec![],
                    reversed: false,
                };
                self.oracle.holds.push(hold);
                true
            }
            Err(WalletRefusal::InDebt { debt }) => {
                assert!(debt.0 == self.oracle.debt && debt.0 > 0);
                false
            }
            Err(WalletRefusal::InsufficientCredit { available, requested }) => {
                assert_eq!(available.0, fresh);
                assert!(requested.0 > fresh && requested.0 <= worst);
                false
            }
            Err(WalletRefusal::MustWait { open_holds }) => {
                assert!(open_holds > 0, "nothing to wait for");
                false
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Any hold there ever was: closed ones must be refused.
    fn pick(&self, which: &Index) -> Option<(u128, Fate, i64)> {
        let hold = self.oracle.holds.get(which.index(self.oracle.holds.len().max(1)))?;
        Some((hold.id, hold.fate, hold.worst))
    }

    fn settle(&mut self, which: &Index, part: i64) -> bool {
        let Some((id, fate, worst)) = self.pick(which) else { return false };
        let cost = worst * part / 100;
        match self.act(settle(id, cost)) {
            Ok(events) => {
                assert!(matches!(fate, Fate::Open | Fate::Expired), "{fate:?} is closed for good");
                let late = self.oracle.hold(id).map(|hold| hold.fate) == Some(Fate::Expired);
                let shortfall = self.oracle.settle(id, cost, self.seconds);
                self.oracle.drop_unawaited(self.seconds);
                let expected = events.iter().any(|event| {
                    matches!(event, WalletEvent::UsageCharged { late: was_late, shortfall_micro, .. }
                        if *was_late == late && shortfall_micro.0 == shortfall)
                });
                assert!(expected, "late {late}, shortfall {shortfall}: {events:?}");
                true
            }
            Err(refusal) => {
                assert_eq!(refusal, WalletRefusal::UnknownHold { generation_id: generation(id) });
                assert!(matches!(fate, Fate::Settled | Fate::Released), "{fate:?} can be settled");
                false
            }
        }
    }

    fn release(&mut self, which: &Index) -> bool {
        let Some((id, fate, _)) = self.pick(which) else { return false };
        let released = self.act(release(id)).is_ok();
        assert_eq!(released, matches!(fate, Fate::Open | Fate::Expired));
        if released {
            self.oracle.hold(id).expect("it was picked").fate = Fate::Released;
            self.oracle.drop_unawaited(self.seconds);
        }
        released
    }

    fn reverse(&mut self, which: &Index) -> bool {
        let Some((id, fate, _)) = self.pick(which) else { return false };
        let hold = self.oracle.hold(id).expect("it was picked");
        if fate != Fate::Settled || hold.reversed || hold.paid.is_empty() {
            return false;
        }
        let part =
            |(id, amount): &(u128, i64)| GrantPart { grant_id: grant_id(*id), amount_micro: micro(*amount) };
        let parts = hold.paid.iter().map(part).collect();
        let (generation_id, reason) = (generation(id), ReversalReason::BadGeneration);
        let charged = None;
        self.act(WalletAction::ReverseCharge { generation_id, reason, parts, charged, plan: None })
            .expect("its grants are known");
        self.oracle.reverse(id, self.seconds);
        self.oracle.drop_unawaited(self.seconds);
        true
    }

    fn node_dies(&mut self, dead: u128) -> bool {
        self.act(WalletAction::ExpireHolds { dead_nodes: vec![node(dead)] }).expect("never refused");
        for hold in self.oracle.holds.iter_mut().filter(|hold| hold.node == dead && hold.fate == Fate::Open) {
            hold.fate = Fate::Expired;
        }
        self.oracle.drop_unawaited(self.seconds);
        true
    }
}

fn sum(parts: &[GrantPart]) -> MicroUsd {
    parts.iter().map(|part| part.amount_micro).sum()
}

fn fold(mut wallet: Wallet, events: &[WalletEvent]) -> Wallet {
    events.iter().for_each(|event| wallet.apply(event.clone()));
    wallet
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_wallet_agrees_with_the_oracle_after_every_step(steps in steps(160), cut in any::<Index>()) {
        let mut life = Life::begin();
        for (number, step) in (1..).zip(&steps) {
            life.step(number, step);
        }
        let (events, wallet) = (&life.story.events, &life.story.wallet);
        prop_assert_eq!(&fold(Wallet::default(), events), wallet);
        // A snapshot at any point, stored and read again, folds on to the same state.
        let (before, after) = events.split_at(cut.index(events.len() + 1));
        let stored = serde_json::to_string(&fold(Wallet::default(), before)).unwrap();
        let snapshot: Wallet = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(&fold(snapshot, after), wallet);
        // So do the events themselves.
        let stored = serde_json::to_string(events).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Vec<WalletEvent>>(&stored).unwrap(), events);
    }

    #[test]
    fn credit_once_spent_leaks_at_most_the_limit_and_one_worst_case(steps in steps(101), leak_limit in 0..200_i64) {
        let mut life = Life::begin();
        life.story.terms.leak_floor_micro = micro(leak_limit);
        let mut leaked_since_credit = 0;
        for (number, step) in (1..).zip(&steps) {
            // A hold that expired and is settled late spends what others were admitted on.
            let ages = |seconds| life.oracle.open().any(|hold| hold.placed_at + MAX_AGE <= life.seconds + seconds);
            match step {
                Step::NodeDies { .. } | Step::AdjustDown { .. } | Step::TakeBack { .. } => continue,
                Step::Wait { seconds } if ages(*seconds) => continue,
                _ => {}
            }
            let before = life.oracle.shortfall;
            life.step(number, step);
            leaked_since_credit += life.oracle.shortfall - before;
            if matches!(step, Step::Grant { .. } | Step::Reverse { .. }) {
                leaked_since_credit = 0;
            }
            let worst = life.oracle.holds.iter().map(|hold| hold.worst).max().unwrap_or(0);
            prop_assert!(leaked_since_credit <= leak_limit + worst, "{} leaked", leaked_since_credit);
        }
    }
}
