//! Plans without windows and ends: the time that is left of each grant is counted down, and windows are found by
//! going through every hold there ever was.

use std::collections::BTreeMap;

use proptest::sample::Index;

use super::builders::Story;
use super::plans::{fair_use, plan};
use crate::catalog::FairUseInForce;
use crate::examples::second;
use crate::wallet::entitlements::{FairUse, PlanUse};

pub const MAX_AGE: i64 = 1_000;
pub const PLANS: [&str; 2] = ["promo", "unlimited"];

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Open,
    Settled,
    Gone,
}

pub struct OracleHold {
    pub number: u128,
    /// The plan that pays.
    pub plan: Option<usize>,
    pub placed_at: i64,
    pub estimate: i64,
    pub used: i64,
    pub fate: Fate,
    /// As the event told, for a reversal.
    pub told: Option<Box<PlanUse>>,
}

impl OracleHold {
    pub fn is_open(&self, now: i64) -> bool {
        self.fate == Fate::Open && now < self.placed_at + MAX_AGE
    }

    pub fn counts(&self, now: i64) -> i64 {
        if self.is_open(now) { self.estimate } else { self.used }
    }
}

#[derive(Debug, PartialEq)]
pub enum Payer {
    Plan(usize),
    Wallet,
    Full { plan: usize, resets_at: i64 },
    Outside,
}

#[derive(Default)]
pub struct Oracle {
    pub now: i64,
    /// Grants of each plan and the seconds left of each, in order.
    pub left: [Vec<(u128, i64)>; 2],
    /// What ending a grant took: of which plan, how much.
    pub taken: BTreeMap<u128, (usize, i64)>,
    pub holds: Vec<OracleHold>,
    pub past_fair_use: bool,
    pub outside_scope: bool,
}

impl Oracle {
    pub fn wait(&mut self, seconds: i64) {
        self.now += seconds;
        for left in &mut self.left {
            let mut passed = seconds;
            for (_, secs) in left.iter_mut() {
                let used = passed.min(*secs);
                *secs -= used;
                passed -= used;
            }
            left.retain(|(_, secs)| *secs > 0);
        }
    }

    /// Any hold there ever was.
    pub fn pick(&mut self, which: &Index) -> Option<&mut OracleHold> {
        let place = which.index(self.holds.len().max(1));
        self.holds.get_mut(place)
    }

    pub fn ends(&self, plan: usize) -> Option<i64> {
        let left: i64 = self.left[plan].iter().map(|(_, secs)| secs).sum();
        (left > 0).then_some(self.now + left)
    }

    /// When the open window of `length` closes, and what counts in it.
    pub fn window(&self, plan: usize, length: i64) -> Option<(i64, i64)> {
        let (mut ends, mut counted) = (i64::MIN, 0);
        for hold in self.holds.iter().filter(|hold| hold.plan == Some(plan)) {
            if hold.placed_at >= ends {
                (ends, counted) = (hold.placed_at + length, 0);
            }
            counted += hold.counts(self.now);
        }
        (self.now < ends).then_some((ends, counted))
    }

    pub fn payer(&self, covered: bool, paid_credit: bool) -> Payer {
        let mut running: Vec<(i64, usize)> =
            (0..PLANS.len()).filter_map(|plan| Some((self.ends(plan)?, plan))).collect();
        running.sort_unstable();
        if running.is_empty() {
            return Payer::Wallet;
        }
        if !covered {
            return if self.outside_scope && paid_credit { Payer::Wallet } else { Payer::Outside };
        }
        let FairUse { windows, .. } = fair_use();
        let mut full: Option<(i64, usize)> = None;
        for (_, plan) in running {
            let resets_at = windows
                .iter()
                .filter_map(|window| {
                    let (ends, counted) = self.window(plan, window.length_secs.into())?;
                    (counted >= window.limit_micro.0).then_some(ends)
                })
                .max();
            let Some(resets_at) = resets_at else { return Payer::Plan(plan) };
            if full.is_none_or(|(soonest, _)| resets_at < soonest) {
                full = Some((resets_at, plan));
            }
        }
        let (resets_at, plan) = full.expect("some plan is running");
        if self.past_fair_use { Payer::Wallet } else { Payer::Full { plan, resets_at } }
    }

    /// What customers are shown is what the oracle finds.
    pub fn assert_shown(&self, story: &Story) {
        let FairUse { windows, .. } = fair_use();
        let shown = story.wallet.plan_status(story.now, &FairUseInForce::default());
        let mut running: Vec<(i64, usize)> =
            (0..PLANS.len()).filter_map(|plan| Some((self.ends(plan)?, plan))).collect();
        running.sort_unstable();
        assert_eq!(shown.len(), running.len());
        for (status, (ends_at, place)) in shown.iter().zip(running) {
            assert_eq!((&status.plan_id, status.ends_at), (&plan(PLANS[place]), second(ends_at)));
            for (shown, window) in status.windows.iter().zip(&windows) {
                let open = self.window(place, window.length_secs.into());
                assert_eq!(shown.resets_at, open.map(|(ends, _)| second(ends)));
                // A hold past its age counts until something is decided; nothing is decided by looking.
                let aged = |hold: &OracleHold| hold.fate == Fate::Open && !hold.is_open(self.now);
                if !self.holds.iter().any(aged) {
                    let counted = open.map_or(0, |(_, counted)| counted);
                    let percent = (counted * 100 / window.limit_micro.0).min(100);
                    assert_eq!(i64::from(shown.used_percent), percent - percent % 10);
                }
            }
        }
    }
}
