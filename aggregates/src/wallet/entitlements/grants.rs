//! Granting, extending, ending and running out.

use serde::{Deserialize, Serialize};

use super::terms::{EntitlementTerms, MAX_BLOCKS, PaidPeriod};
use super::{
    Entitlement, EntitlementEnd, EntitlementSource, Entitlements, MAX_AHEAD_SECS, MAX_GRANTS, MAX_PLANS,
    WalletFallback,
};
use crate::ids::{GrantId, PlanId};
use crate::time::Timestamp;
use crate::wallet::{Decision, WalletEvent, WalletRefusal};

/// Ended blocks of one plan that a reinstatement can still reach.
const ENDED_KEPT: usize = 100;

/// What one grant brought: a stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub entitlement_id: GrantId,
    pub source: EntitlementSource,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
}

impl Block {
    /// What of it lies ahead of `now`, in microseconds.
    fn remaining_us(&self, now: Timestamp) -> i64 {
        (self.ends_at.0 - self.starts_at.max(now).0).max(0)
    }
}

/// What was taken of a block, to be given back should the reason fall away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EndedBlock {
    entitlement_id: GrantId,
    source: EntitlementSource,
    taken_us: i64,
}

impl Entitlements {
    /// The plan of which `entitlement_id` is a block, and the block's place.
    fn find(&self, entitlement_id: GrantId) -> Option<(&PlanId, &Entitlement, usize)> {
        self.plans.iter().find_map(|(plan_id, plan)| {
            let place = plan.blocks.iter().position(|block| block.entitlement_id == entitlement_id)?;
            Some((plan_id, plan, place))
        })
    }

    fn find_ended(&self, entitlement_id: GrantId) -> Option<(&PlanId, &Entitlement, &EndedBlock)> {
        self.plans.iter().find_map(|(plan_id, plan)| {
            let ended = plan.ended.iter().find(|ended| ended.entitlement_id == entitlement_id)?;
            Some((plan_id, plan, ended))
        })
    }

    pub(in crate::wallet) fn grant(&mut self, terms: &EntitlementTerms, block: Block, at: Timestamp) {
        self.make_room(&terms.plan_id, at);
        let plan = self.plans.entry(terms.plan_id.clone()).or_insert_with(|| Entitlement {
            terms: terms.clone(),
            blocks: vec![],
            ended: vec![],
            windows: vec![],
            grace_secs: 0,
        });
        plan.terms = terms.clone();
        plan.blocks.retain(|block| block.ends_at > at);
        plan.blocks.push(block);
    }

    /// Those after the ended block move up.
    pub(in crate::wallet) fn end(&mut self, plan_id: &PlanId, ended: GrantId, taken_us: i64, at: Timestamp) {
        let Some(plan) = self.plans.get_mut(plan_id) else { return };
        let Some(place) = plan.blocks.iter().position(|block| block.entitlement_id == ended) else { return };
        let block = plan.blocks.remove(place);
        for later in &mut plan.blocks[place..] {
            later.starts_at.0 -= taken_us;
            later.ends_at.0 -= taken_us;
        }
        plan.blocks.retain(|block| block.ends_at > at);
        if plan.blocks.is_empty() {
            plan.grace_secs = 0;
        }
        plan.ended.push(EndedBlock { entitlement_id: ended, source: block.source, taken_us });
        if plan.ended.len() > ENDED_KEPT {
            plan.ended.remove(0);
        }
    }

    pub(in crate::wallet) fn reinstate(
        &mut self,
        plan_id: &PlanId,
        entitlement_id: GrantId,
        starts_at: Timestamp,
        ends_at: Timestamp,
    ) {
        let Some(plan) = self.plans.get_mut(plan_id) else { return };
        let Some(place) = plan.ended.iter().position(|ended| ended.entitlement_id == entitlement_id) else {
            return;
        };
        let source = plan.ended.remove(place).source;
        plan.blocks.push(Block { entitlement_id, source, starts_at, ends_at });
    }

    pub(in crate::wallet) fn expire(&mut self, plan_id: &PlanId) {
        if let Some(plan) = self.plans.get_mut(plan_id) {
            plan.blocks.clear();
            plan.grace_secs = 0;
        }
    }

    pub(in crate::wallet) fn set_grace(&mut self, plan_id: &PlanId, grace_secs: u32) {
        if let Some(plan) = self.plans.get_mut(plan_id) {
            plan.grace_secs = grace_secs;
        }
    }

    /// A plan that is new here takes the place of the one that has been over longest.
    fn make_room(&mut self, plan_id: &PlanId, at: Timestamp) {
        if self.plans.contains_key(plan_id) || self.plans.len() < MAX_PLANS {
            return;
        }
        let over = self.plans.iter().filter(|(_, plan)| !plan.is_active(at));
        let oldest = over.min_by_key(|(_, plan)| plan.windows_end_at()).map(|(plan_id, _)| plan_id.clone());
        if let Some(oldest) = oldest {
            self.plans.remove(&oldest);
        }
    }
}

impl Decision<'_> {
    /// Emits the end of every plan whose time is over.
    pub(in crate::wallet) fn expire_entitlements(&mut self) {
        let plans = self.wallet.entitlements.plans.iter().filter(|(_, plan)| !plan.is_active(self.now));
        let due: Vec<(PlanId, Timestamp)> =
            plans.filter_map(|(plan_id, plan)| Some((plan_id.clone(), plan.ends_at()?))).collect();
        for (plan_id, ends_at) in due {
            let wallet = self.wallet.as_ref();
            let event = WalletEvent::EntitlementExpired {
                plan_id,
                ends_at,
                balance_micro: wallet.balance(),
                held_micro: wallet.held_micro,
                at: self.now,
            };
            self.emit(event);
        }
    }

    pub(in crate::wallet) fn grant_entitlement(
        &mut self,
        entitlement_id: GrantId,
        source: EntitlementSource,
        terms: EntitlementTerms,
        period: Option<PaidPeriod>,
    ) -> Result<(), WalletRefusal> {
        let wallet = self.wallet.as_ref();
        let held = &wallet.entitlements;
        if !(1..=MAX_BLOCKS).contains(&terms.blocks) {
            return Err(WalletRefusal::BlocksOutOfRange { got: terms.blocks, most: MAX_BLOCKS });
        }
        if held.find(entitlement_id).is_some() || held.find_ended(entitlement_id).is_some() {
            return Err(WalletRefusal::EntitlementExists { entitlement_id });
        }
        let known = held.plans.get(&terms.plan_id);
        if known.is_none() && held.active(self.now).len() >= MAX_PLANS {
            return Err(WalletRefusal::TooManyPlans { most: MAX_PLANS });
        }
        if known.is_some_and(|plan| plan.blocks.len() >= MAX_GRANTS) {
            return Err(WalletRefusal::TooManyEntitlements { most: MAX_GRANTS });
        }
        let running_until = known.filter(|plan| plan.is_active(self.now)).and_then(Entitlement::ends_at);
        // A period that is paid for late, but in time, began when the one before it ended.
        let (starts_at, ends_at) = match period {
            Some(period) => (running_until.unwrap_or(self.now), period.end(running_until, self.now)),
            None => {
                let starts_at = running_until.map_or(self.now, |end| end.max(self.now));
                (starts_at, starts_at.plus_secs(terms.length_secs()))
            }
        };
        if ends_at <= starts_at || ends_at > self.now.plus_secs(MAX_AHEAD_SECS) {
            return Err(WalletRefusal::EndOutOfRange { most_days: MAX_AHEAD_SECS / 86_400 });
        }
        let event = WalletEvent::EntitlementGranted {
            entitlement_id,
            source,
            terms: Box::new(terms),
            period,
            starts_at,
            ends_at,
            balance_micro: wallet.balance(),
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit_last(event);
        Ok(())
    }

    /// Takes back what of a grant lies ahead. No event where nothing of it is left.
    pub(in crate::wallet) fn end_entitlement(&mut self, entitlement_id: GrantId, reason: EntitlementEnd) {
        let wallet = self.wallet.as_ref();
        let Some((plan_id, plan, place)) = wallet.entitlements.find(entitlement_id) else { return };
        let taken_us = plan.blocks[place].remaining_us(self.now);
        if taken_us == 0 {
            return;
        }
        let last = plan.ends_at().unwrap_or(self.now);
        let event = WalletEvent::EntitlementEnded {
            entitlement_id,
            plan_id: plan_id.clone(),
            reason,
            taken_us,
            ends_at: Timestamp(last.0 - taken_us),
            balance_micro: wallet.balance(),
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit_last(event);
    }

    /// Gives back what ending a grant took. No event where none is known to have been taken.
    pub(in crate::wallet) fn reinstate_entitlement(&mut self, entitlement_id: GrantId) {
        let wallet = self.wallet.as_ref();
        let Some((plan_id, plan, ended)) = wallet.entitlements.find_ended(entitlement_id) else { return };
        let starts_at = plan.ends_at().map_or(self.now, |end| end.max(self.now));
        let event = WalletEvent::EntitlementReinstated {
            entitlement_id,
            plan_id: plan_id.clone(),
            starts_at,
            ends_at: Timestamp(starts_at.0 + ended.taken_us),
            balance_micro: wallet.balance(),
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit_last(event);
    }

    /// No event where nothing changes, or nothing of the plan runs. A plan past its end is over without grace.
    pub(in crate::wallet) fn set_entitlement_grace(&mut self, plan_id: PlanId, grace_secs: u32) {
        let wallet = self.wallet.as_ref();
        let running = wallet.entitlements.plans.get(&plan_id).filter(|plan| plan.is_active(self.now));
        let Some((plan, ends_at)) = running.and_then(|plan| Some((plan, plan.ends_at()?))) else { return };
        if plan.grace_secs == grace_secs {
            return;
        }
        let event = WalletEvent::EntitlementGraceSet {
            plan_id,
            grace_secs,
            ends_at,
            balance_micro: wallet.balance(),
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit(event);
        self.expire_entitlements();
    }

    /// No event where nothing changes.
    pub(in crate::wallet) fn set_wallet_fallback(
        &mut self,
        outside_scope: Option<bool>,
        past_fair_use: Option<bool>,
    ) {
        let wallet = self.wallet.as_ref();
        let before = wallet.entitlements.fallback;
        let fallback = WalletFallback {
            outside_scope: outside_scope.unwrap_or(before.outside_scope),
            past_fair_use: past_fair_use.unwrap_or(before.past_fair_use),
        };
        if fallback == before {
            return;
        }
        let event = WalletEvent::WalletFallbackSet {
            fallback,
            balance_micro: wallet.balance(),
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit_last(event);
    }
}
