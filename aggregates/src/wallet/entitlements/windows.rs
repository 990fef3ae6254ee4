//! Fair-use windows: what each has counted, and what of that a customer is shown.

use serde::{Deserialize, Serialize};

use super::terms::{EntitlementTerms, FairUse, FairUseWindow};
use super::{Entitlement, Entitlements, PlanCover, PlanUse, WindowAtHold};
use crate::catalog::FairUseInForce;
use crate::ids::PlanId;
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::Wallet;

/// Percent are shown in steps of this, so that nobody can work out the limit.
const STEP_PERCENT: u8 = 10;

/// One window that is or was open.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    pub opened_at: Timestamp,
    pub ends_at: Timestamp,
    /// Counted in USD at the plan's own rates.
    pub used_micro: MicroUsd,
    /// Σ of the estimates of its open holds.
    pub held_micro: MicroUsd,
    /// What `used_micro` was counted from.
    pub input_tokens: u64,
    pub output_tokens: u64,
}

impl Window {
    fn counted(&self) -> MicroUsd {
        self.used_micro + self.held_micro
    }
}

/// What a customer may know of a plan of theirs: no limit, no rate, no amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStatus {
    pub plan_id: PlanId,
    pub ends_at: Timestamp,
    pub windows: Vec<WindowStatus>,
}

/// What a customer may know of a fair-use window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowStatus {
    pub length_secs: u32,
    /// Of its limit, rounded down to whole steps; 100 when nothing more is covered.
    pub used_percent: u8,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// When it closes; none is open before the next request.
    pub resets_at: Option<Timestamp>,
}

impl Entitlement {
    /// The window at `place` that is open at `now`.
    pub(super) fn open_window(&self, place: usize, now: Timestamp) -> Option<&Window> {
        self.windows.get(place)?.as_ref().filter(|window| now < window.ends_at)
    }

    /// The windows a hold at `now` counts in.
    ///
    /// # Errors
    /// When the last of the windows that are full closes.
    pub(super) fn admit(&self, fair_use: &FairUse, now: Timestamp) -> Result<Vec<WindowAtHold>, Timestamp> {
        let full = fair_use.windows.iter().enumerate().filter_map(|(place, window)| {
            let open = self.open_window(place, now)?;
            (open.counted() >= window.limit_micro).then_some(open.ends_at)
        });
        if let Some(resets_at) = full.max() {
            return Err(resets_at);
        }
        let windows = fair_use.windows.iter().enumerate();
        Ok(windows
            .map(|(place, &FairUseWindow { length_secs, limit_micro })| {
                let fresh = (now, now.plus_secs(length_secs.into()));
                let (opened_at, ends_at) =
                    self.open_window(place, now).map_or(fresh, |open| (open.opened_at, open.ends_at));
                WindowAtHold { opened_at, ends_at, limit_micro }
            })
            .collect())
    }

    /// When its last window closes.
    pub(super) fn windows_end_at(&self) -> Option<Timestamp> {
        self.windows.iter().flatten().map(|window| window.ends_at).max()
    }

    fn status(&self, plan_id: &PlanId, ends_at: Timestamp, fair_use: &FairUse, now: Timestamp) -> PlanStatus {
        let windows = fair_use.windows.iter().enumerate().map(|(place, window)| {
            let open = self.open_window(place, now);
            WindowStatus {
                length_secs: window.length_secs,
                used_percent: open.map_or(0, |open| coarse_percent(open.counted(), window.limit_micro)),
                input_tokens: open.map_or(0, |open| open.input_tokens),
                output_tokens: open.map_or(0, |open| open.output_tokens),
                resets_at: open.map(|open| open.ends_at),
            }
        });
        PlanStatus { plan_id: plan_id.clone(), ends_at, windows: windows.collect() }
    }
}

fn coarse_percent(counted: MicroUsd, limit: MicroUsd) -> u8 {
    let percent = i128::from(counted.0.max(0)) * 100 / i128::from(limit.0.max(1));
    let percent = u8::try_from(percent.min(100)).unwrap_or(100);
    percent - percent % STEP_PERCENT
}

impl Entitlements {
    /// A covered hold opens the windows that were closed, and counts in all of them.
    pub(in crate::wallet) fn hold(&mut self, cover: &PlanCover) {
        self.open_holds += 1;
        let Some(plan) = self.plans.get_mut(&cover.plan_id) else { return };
        if plan.windows.len() < cover.windows.len() {
            plan.windows.resize(cover.windows.len(), None);
        }
        for (slot, at_hold) in plan.windows.iter_mut().zip(&cover.windows) {
            let is_open = slot.is_some_and(|window| window.ends_at == at_hold.ends_at);
            if !is_open {
                *slot = Some(Window {
                    opened_at: at_hold.opened_at,
                    ends_at: at_hold.ends_at,
                    used_micro: MicroUsd::ZERO,
                    held_micro: MicroUsd::ZERO,
                    input_tokens: 0,
                    output_tokens: 0,
                });
            }
            if let Some(window) = slot {
                window.held_micro += cover.counted_micro;
            }
        }
    }

    /// A covered hold is no longer open.
    pub(in crate::wallet) fn close(&mut self, cover: &PlanCover) {
        self.open_holds -= 1;
        let ends = cover.windows.iter().map(|window| window.ends_at);
        self.each_window(&cover.plan_id, ends, |window| window.held_micro -= cover.counted_micro);
    }

    /// Use counts in the windows of its hold, as far as they are still known.
    pub(in crate::wallet) fn count(&mut self, used: &PlanUse) {
        self.each_window(&used.plan_id, used.windows.iter().copied(), |window| {
            window.used_micro += used.used_micro;
            window.input_tokens = window.input_tokens.saturating_add(used.input_tokens);
            window.output_tokens = window.output_tokens.saturating_add(used.output_tokens);
        });
    }

    /// The generation was reversed: its use is given back.
    pub(in crate::wallet) fn uncount(&mut self, used: &PlanUse) {
        self.each_window(&used.plan_id, used.windows.iter().copied(), |window| {
            window.used_micro = (window.used_micro - used.used_micro).max(MicroUsd::ZERO);
            window.input_tokens = window.input_tokens.saturating_sub(used.input_tokens);
            window.output_tokens = window.output_tokens.saturating_sub(used.output_tokens);
        });
    }

    fn each_window(
        &mut self,
        plan_id: &PlanId,
        ends: impl Iterator<Item = Timestamp>,
        mut change: impl FnMut(&mut Window),
    ) {
        let Some(plan) = self.plans.get_mut(plan_id) else { return };
        for (slot, ends_at) in plan.windows.iter_mut().zip(ends) {
            if let Some(window) = slot.as_mut().filter(|window| window.ends_at == ends_at) {
                change(window);
            }
        }
    }
}

impl Wallet {
    /// The customer's running plans at `now`, soonest end first. A plan whose fair use is not among
    /// those in force has it as it was granted.
    pub fn plan_status(&self, now: Timestamp, in_force: &FairUseInForce) -> Vec<PlanStatus> {
        let active = self.entitlements.active(now).into_iter();
        active
            .map(|(plan_id, plan)| {
                let EntitlementTerms { fair_use: granted, .. } = &plan.terms;
                let ends_at = plan.told_end(now).unwrap_or(now);
                plan.status(plan_id, ends_at, in_force.get(plan_id).unwrap_or(granted), now)
            })
            .collect()
    }
}
