//! Random lives of a customer with plans, each step compared with the oracle of plans.

use proptest::prelude::*;
use proptest::sample::Index;

use super::builders::{Story, grant, place, release, request};
use super::plan_oracle::{Fate, Oracle, OracleHold, PLANS, Payer};
use super::plans::{end, grant_plan, plan, switch, terms};
use crate::examples::{generation, grant_id, micro, second};
use crate::money::MicroUsd;
use crate::usage::ClientFamily;
use crate::wallet::{
    PlaceHold, ProviderFailure, ReversalReason, SettleHold, Wallet, WalletAction, WalletEvent, WalletRefusal,
};

#[derive(Clone, Debug)]
enum Step {
    Grant { plan: usize, secs: u32, blocks: u32 },
    End { which: Index },
    Reinstate { which: Index },
    TopUp { amount: i64 },
    Switch { outside_scope: bool, past_fair_use: bool },
    Hold { tokens: u64, covered: bool },
    Settle { which: Index, cost: i64, input: u64, output: u64, insured: bool },
    Release { which: Index },
    Reverse { which: Index },
    Wait { seconds: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<Index>;
    let step = prop_oneof![
        2 => (0..2_usize, 1..400_u32, 1..4_u32)
            .prop_map(|(plan, secs, blocks)| Step::Grant { plan, secs, blocks }),
        1 => which().prop_map(|which| Step::End { which }),
        1 => which().prop_map(|which| Step::Reinstate { which }),
        1 => (1..400_i64).prop_map(|amount| Step::TopUp { amount }),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(outside_scope, past_fair_use)| Step::Switch { outside_scope, past_fair_use }),
        8 => (0..300_u64, prop::bool::weighted(0.8))
            .prop_map(|(tokens, covered)| Step::Hold { tokens, covered }),
        5 => (which(), 0..300_i64, 0..400_u64, 0..50_u64, prop::bool::weighted(0.1)).prop_map(
            |(which, cost, input, output, insured)| Step::Settle { which, cost, input, output, insured }
        ),
        1 => which().prop_map(|which| Step::Release { which }),
        1 => which().prop_map(|which| Step::Reverse { which }),
        3 => (0..400_i64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..90)
}

struct Life {
    story: Story,
    oracle: Oracle,
    entitlements: Vec<u128>,
}

impl Life {
    fn begin() -> Self {
        let oracle = Oracle { outside_scope: true, ..Oracle::default() };
        Self { story: Story::begin(), oracle, entitlements: vec![] }
    }

    fn step(&mut self, number: u128, step: &Step) {
        match step {
            Step::Grant { plan: place, secs, blocks } => {
                let action = grant_plan(number, terms(PLANS[*place], *secs, *blocks));
                self.story.act(action).expect("such a grant is allowed");
                self.oracle.left[*place].push((number, i64::from(*secs) * i64::from(*blocks)));
                self.entitlements.push(number);
            }
            Step::End { which } => self.end(which),
            Step::Reinstate { which } => self.reinstate(which),
            Step::TopUp { amount } => {
                self.story.act(grant(number, *amount, None)).expect("such a grant is allowed");
            }
            Step::Switch { outside_scope, past_fair_use } => {
                self.story.act(switch(Some(*outside_scope), Some(*past_fair_use))).expect("never refused");
                (self.oracle.outside_scope, self.oracle.past_fair_use) = (*outside_scope, *past_fair_use);
            }
            Step::Hold { tokens, covered } => self.hold(number, *tokens, *covered),
            Step::Settle { which, cost, input, output, insured } => {
                self.settle(which, *cost, *input, *output, *insured);
            }
            Step::Release { which } => self.release(which),
            Step::Reverse { which } => self.reverse(which),
            Step::Wait { seconds } => {
                self.oracle.wait(*seconds);
                self.story.now = second(self.oracle.now);
            }
        }
        self.oracle.assert_shown(&self.story);
    }

    fn end(&mut self, which: &Index) {
        let Some(id) = self.entitlements.get(which.index(self.entitlements.len().max(1))).copied() else {
            return;
        };
        let events = self.story.act(end(id)).expect("never refused");
        let taken = events.iter().any(|event| matches!(event, WalletEvent::EntitlementEnded { .. }));
        let mut expected = false;
        for (place, left) in self.oracle.left.iter_mut().enumerate() {
            if let Some(at) = left.iter().position(|(known, _)| *known == id) {
                self.oracle.taken.insert(id, (place, left.remove(at).1));
                expected = true;
            }
        }
        assert_eq!(taken, expected);
    }

    fn reinstate(&mut self, which: &Index) {
        let Some(id) = self.entitlements.get(which.index(self.entitlements.len().max(1))).copied() else {
            return;
        };
        let action = WalletAction::ReinstateEntitlement { entitlement_id: grant_id(id) };
        let events = self.story.act(action).expect("never refused");
        let given = events.iter().any(|event| matches!(event, WalletEvent::EntitlementReinstated { .. }));
        let taken = self.oracle.taken.remove(&id);
        assert_eq!(given, taken.is_some());
        if let Some((place, secs)) = taken {
            self.oracle.left[place].push((id, secs));
        }
    }

    fn hold(&mut self, number: u128, tokens: u64, covered: bool) {
        let balance = self.story.wallet.balance();
        let payer = self.oracle.payer(covered, balance.is_positive());
        let family = if covered { ClientFamily::CodexCli } else { ClientFamily::ClaudeCode };
        let outcome = self.story.act(place(PlaceHold { family, ..request(number, tokens, 0) }));
        let hold = |plan| OracleHold {
            number,
            plan,
            placed_at: self.oracle.now,
            estimate: 2 * i64::try_from(tokens).unwrap(),
            used: 0,
            fate: Fate::Open,
            told: None,
        };
        let hold = match (payer, outcome) {
            (Payer::Plan(place), Ok(events)) => {
                let Some(WalletEvent::HoldPlaced { plan: Some(cover), amount_micro, .. }) = events.last()
                else {
                    panic!("plan {place} should pay: {events:?}")
                };
                assert_eq!((&cover.plan_id, *amount_micro), (&plan(PLANS[place]), micro(0)));
                hold(Some(place))
            }
            (Payer::Wallet, Ok(events)) => {
                assert!(matches!(events.last(), Some(WalletEvent::HoldPlaced { plan: None, .. })));
                hold(None)
            }
            (
                Payer::Wallet,
                Err(WalletRefusal::InsufficientCredit { .. } | WalletRefusal::MustWait { .. }),
            ) => {
                return;
            }
            (Payer::Full { plan: place, resets_at }, Err(refusal)) => {
                let (plan_id, resets_at) = (plan(PLANS[place]), second(resets_at));
                assert_eq!(refusal, WalletRefusal::FairUseReached { plan_id, resets_at });
                return;
            }
            (
                Payer::Outside,
                Err(
                    WalletRefusal::OutsidePlanSwitchedOff { .. }
                    | WalletRefusal::OutsidePlanWithoutCredit { .. },
                ),
            ) => return,
            (payer, outcome) => panic!("{payer:?} was expected, not {outcome:?}"),
        };
        self.oracle.holds.push(hold);
    }

    fn settle(&mut self, which: &Index, cost: i64, input: u64, output: u64, insured: bool) {
        let Some(hold) = self.oracle.pick(which) else {
            return;
        };
        let failure = if insured { ProviderFailure::Unreported } else { ProviderFailure::None };
        let before = self.story.wallet.balance();
        let outcome = self.story.act(WalletAction::SettleHold(SettleHold {
            generation_id: generation(hold.number),
            cost_micro: micro(cost),
            new_input_tokens: input,
            output_tokens: output,
            model: crate::examples::MODEL.into(),
            provider_failure: failure,
        }));
        if hold.fate != Fate::Open {
            let generation_id = generation(hold.number);
            assert_eq!(outcome, Err(WalletRefusal::UnknownHold { generation_id }));
            return;
        }
        let events = outcome.expect("an open or expired hold can be settled");
        let charge = events.iter().find(|event| matches!(event, WalletEvent::UsageCharged { .. }));
        let Some(WalletEvent::UsageCharged {
            cost_micro,
            charged_micro,
            covered_by_plan_micro,
            shortfall_micro,
            plan: used,
            ..
        }) = charged(charge)
        else {
            unreachable!()
        };
        assert_eq!(*cost_micro, *charged_micro + *covered_by_plan_micro + *shortfall_micro);
        assert_eq!(*cost_micro, if insured { micro(0) } else { micro(cost) });
        assert_eq!(self.story.wallet.balance(), before - *charged_micro);
        match hold.plan {
            Some(_) => assert_eq!(covered_by_plan_micro, cost_micro),
            None => assert_eq!((*covered_by_plan_micro, used), (MicroUsd::ZERO, &None)),
        }
        hold.fate = Fate::Settled;
        hold.used = if insured { 0 } else { 2 * i64::try_from(input + output).unwrap() };
        hold.told.clone_from(used);
    }

    fn release(&mut self, which: &Index) {
        let Some(hold) = self.oracle.pick(which) else {
            return;
        };
        let released = self.story.act(release(hold.number)).is_ok();
        assert_eq!(released, hold.fate == Fate::Open);
        if released {
            hold.fate = Fate::Gone;
        }
    }

    fn reverse(&mut self, which: &Index) {
        let Some(hold) = self.oracle.pick(which) else {
            return;
        };
        let Some(told) = hold.told.take() else { return };
        let before = self.story.wallet.balance();
        self.story
            .act(WalletAction::ReverseCharge {
                generation_id: generation(hold.number),
                reason: ReversalReason::BadGeneration,
                parts: vec![],
                charged: None,
                plan: Some(told),
            })
            .expect("a plan's use can always be given back");
        assert_eq!(self.story.wallet.balance(), before);
        hold.used = 0;
    }
}

fn charged(charge: Option<&WalletEvent>) -> Option<&WalletEvent> {
    assert!(charge.is_some(), "settling a hold always emits its charge");
    charge
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn plans_agree_with_the_oracle_after_every_step(steps in steps(), cut in any::<Index>()) {
        let mut life = Life::begin();
        for (number, step) in (1..).zip(&steps) {
            life.step(number, step);
        }
        let (events, wallet) = (&life.story.events, &life.story.wallet);
        let fold = |mut wallet: Wallet, events: &[WalletEvent]| {
            events.iter().for_each(|event| wallet.evolve(event));
            wallet
        };
        prop_assert_eq!(&fold(Wallet::default(), events), wallet);
        // A snapshot at any point, stored and read again, folds on to the same state.
        let (before, after) = events.split_at(cut.index(events.len() + 1));
        let stored = serde_json::to_string(&fold(Wallet::default(), before)).unwrap();
        let snapshot: Wallet = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(&fold(snapshot, after), wallet);
        let stored = serde_json::to_string(events).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Vec<WalletEvent>>(&stored).unwrap(), events);
    }
}
