//! Plans, worked out again from a wallet's events alone and without the wallet's rules: when each ends, which windows
//! are open and what they have counted; and that a plan or the balance pays for a generation, never both.

use std::collections::BTreeMap;

use codexapi_aggregates::ids::{GenerationId, GrantId, PlanId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::WalletEvent;
use codexapi_aggregates::wallet::entitlements::{EntitlementTerms, PaidPeriod, PlanCover, PlanUse};

#[derive(Default)]
pub(super) struct PlanAudit {
    plans: BTreeMap<PlanId, Plan>,
    /// Holds that a plan pays for, as long as they can be settled; whether they are open.
    holds: BTreeMap<GenerationId, (Box<PlanCover>, bool)>,
}

#[derive(Default)]
struct Plan {
    /// Stretches of time, one after the other.
    blocks: Vec<Block>,
    taken_us: BTreeMap<GrantId, i64>,
    /// How long it covers beyond its end.
    grace_secs: u32,
    /// By their place in the plan's fair use.
    windows: Vec<Option<Window>>,
}

struct Block {
    entitlement_id: GrantId,
    starts_at: Timestamp,
    ends_at: Timestamp,
}

#[derive(Clone, Copy)]
struct Window {
    opened_at: Timestamp,
    ends_at: Timestamp,
    used: MicroUsd,
    held: MicroUsd,
}

impl PlanAudit {
    /// Takes an event in. The error says what does not follow from the ones before it.
    pub fn check(&mut self, event: &WalletEvent) -> Result<(), String> {
        match event {
            WalletEvent::EntitlementGranted {
                entitlement_id, terms, period, starts_at, ends_at, at, ..
            } => self.granted((*entitlement_id, terms), *period, *starts_at, *ends_at, *at),
            WalletEvent::EntitlementEnded { entitlement_id, plan_id, taken_us, ends_at, at, .. } => {
                self.ended(*entitlement_id, plan_id, *taken_us, *ends_at, *at)
            }
            WalletEvent::EntitlementReinstated {
                entitlement_id, plan_id, starts_at, ends_at, at, ..
            } => self.reinstated(*entitlement_id, plan_id, *starts_at, *ends_at, *at),
            WalletEvent::EntitlementExpired { plan_id, ends_at, at, .. } => {
                let plan = self.plans.entry(plan_id.clone()).or_default();
                if plan.ends_at() != Some(*ends_at) || plan.runs(*at) {
                    return Err(format!("plan {plan_id} does not end then"));
                }
                plan.blocks.clear();
                plan.grace_secs = 0;
                Ok(())
            }
            WalletEvent::EntitlementGraceSet { plan_id, grace_secs, ends_at, at, .. } => {
                let plan = self.plans.entry(plan_id.clone()).or_default();
                if plan.ends_at() != Some(*ends_at) || !plan.runs(*at) {
                    return Err(format!("plan {plan_id} is not running, or ends at another time"));
                }
                plan.grace_secs = *grace_secs;
                Ok(())
            }
            WalletEvent::HoldPlaced { generation_id, plan: Some(cover), amount_micro, at, .. } => {
                if *amount_micro != MicroUsd::ZERO {
                    return Err(format!("plan {} pays, yet ${amount_micro} is set aside", cover.plan_id));
                }
                self.admitted(cover, *at)?;
                self.holds.insert(*generation_id, (cover.clone(), true));
                Ok(())
            }
            WalletEvent::HoldReleased { generation_id, .. } => {
                self.close(*generation_id);
                self.holds.remove(generation_id);
                Ok(())
            }
            WalletEvent::HoldExpired { generation_id, .. } => {
                self.close(*generation_id);
                Ok(())
            }
            WalletEvent::UsageCharged {
                generation_id,
                charged_micro,
                covered_by_plan_micro,
                shortfall_micro,
                plan,
                ..
            } => {
                self.close(*generation_id);
                match self.holds.remove(generation_id) {
                    None if plan.is_some() || *covered_by_plan_micro != MicroUsd::ZERO => {
                        Err("a plan pays, though its hold was the balance's".into())
                    }
                    None => Ok(()),
                    Some(_) if *charged_micro + *shortfall_micro != MicroUsd::ZERO => {
                        Err("the balance pays, though its hold was a plan's".into())
                    }
                    Some((cover, _)) => self.used(&cover, plan.as_deref()),
                }
            }
            WalletEvent::ChargeReversed { plan: Some(used), .. } => {
                self.count(used, |window| window.used = (window.used - used.used_micro).max(MicroUsd::ZERO));
                Ok(())
            }
            WalletEvent::HoldPlaced { plan: None, .. }
            | WalletEvent::ChargeReversed { plan: None, .. }
            | WalletEvent::CreditGranted { .. }
            | WalletEvent::GrantExpired { .. }
            | WalletEvent::AttemptStarted { .. }
            | WalletEvent::PurchaseMade { .. }
            | WalletEvent::CreditAdjusted { .. }
            | WalletEvent::PaymentReversed { .. }
            | WalletEvent::PaymentReinstated { .. }
            | WalletEvent::WalletFallbackSet { .. } => Ok(()),
        }
    }

    fn granted(
        &mut self,
        (entitlement_id, terms): (GrantId, &EntitlementTerms),
        period: Option<PaidPeriod>,
        starts_at: Timestamp,
        ends_at: Timestamp,
        at: Timestamp,
    ) -> Result<(), String> {
        let plan = self.plans.entry(terms.plan_id.clone()).or_default();
        let length = i64::from(terms.block_secs) * i64::from(terms.blocks);
        let running_until = plan.ends_at().filter(|_| plan.runs(at));
        let expected = match (period, running_until) {
            (None, _) => (plan.free_from(at), plan.free_from(at).plus_secs(length)),
            (Some(paid), Some(until)) => (until, Timestamp(until.0 + paid.ends_at.0 - paid.starts_at.0)),
            (Some(paid), None) => {
                let left = if paid.ends_at > at { paid.ends_at.0 - at.0 } else { i64::MAX };
                (at, Timestamp(at.0 + left.min(paid.ends_at.0 - paid.starts_at.0)))
            }
        };
        if (starts_at, ends_at) != expected {
            return Err(format!("its time of plan {} does not follow on what there is", terms.plan_id));
        }
        plan.blocks.push(Block { entitlement_id, starts_at, ends_at });
        Ok(())
    }

    fn ended(
        &mut self,
        entitlement_id: GrantId,
        plan_id: &PlanId,
        taken_us: i64,
        ends_at: Timestamp,
        at: Timestamp,
    ) -> Result<(), String> {
        let plan = self.plans.entry(plan_id.clone()).or_default();
        let last = plan.ends_at();
        let place = plan.blocks.iter().position(|block| block.entitlement_id == entitlement_id);
        let (Some(last), Some(place)) = (last, place) else {
            return Err(format!("plan {plan_id} has no grant {entitlement_id}"));
        };
        let block = plan.blocks.remove(place);
        let ahead = (block.ends_at.0 - block.starts_at.max(at).0).max(0);
        if taken_us != ahead || ends_at.0 != last.0 - ahead {
            return Err(format!("{ahead} µs of grant {entitlement_id} lay ahead, not {taken_us}"));
        }
        for later in &mut plan.blocks[place..] {
            later.starts_at.0 -= ahead;
            later.ends_at.0 -= ahead;
        }
        plan.taken_us.insert(entitlement_id, ahead);
        if !plan.blocks.iter().any(|block| block.ends_at > at) {
            plan.blocks.clear();
            plan.grace_secs = 0;
        }
        Ok(())
    }

    fn reinstated(
        &mut self,
        entitlement_id: GrantId,
        plan_id: &PlanId,
        starts_at: Timestamp,
        ends_at: Timestamp,
        at: Timestamp,
    ) -> Result<(), String> {
        let plan = self.plans.entry(plan_id.clone()).or_default();
        let taken = plan.taken_us.remove(&entitlement_id);
        if taken != Some(ends_at.0 - starts_at.0) || starts_at != plan.free_from(at) {
            return Err(format!("that is not what was taken of grant {entitlement_id}"));
        }
        plan.blocks.push(Block { entitlement_id, starts_at, ends_at });
        Ok(())
    }

    /// A plan must be running, and every window of its fair use open and below its limit.
    fn admitted(&mut self, cover: &PlanCover, at: Timestamp) -> Result<(), String> {
        let plan_id = &cover.plan_id;
        let plan = self.plans.entry(plan_id.clone()).or_default();
        if !plan.runs(at) {
            return Err(format!("plan {plan_id} pays, though it is not running"));
        }
        if plan.windows.len() < cover.windows.len() {
            plan.windows.resize(cover.windows.len(), None);
        }
        for (slot, told) in plan.windows.iter_mut().zip(&cover.windows) {
            let fresh =
                Window { opened_at: at, ends_at: told.ends_at, used: MicroUsd::ZERO, held: MicroUsd::ZERO };
            let window = slot.filter(|window| at < window.ends_at).unwrap_or(fresh);
            if (window.opened_at, window.ends_at) != (told.opened_at, told.ends_at) || told.ends_at <= at {
                return Err(format!("another window of plan {plan_id} is open then"));
            }
            if window.used + window.held >= told.limit_micro {
                return Err(format!("plan {plan_id} pays, though its fair use is reached"));
            }
            *slot = Some(Window { held: window.held + cover.counted_micro, ..window });
        }
        Ok(())
    }

    fn used(&mut self, cover: &PlanCover, used: Option<&PlanUse>) -> Result<(), String> {
        let Some(used) = used else { return Err("nothing is counted of the plan that pays".into()) };
        let windows = cover.windows.iter().map(|window| window.ends_at);
        if used.plan_id != cover.plan_id || !used.windows.iter().copied().eq(windows) {
            return Err("its use counts elsewhere than its hold".into());
        }
        let counted = cover.rates.count(used.input_tokens, used.output_tokens);
        if used.used_micro != counted {
            return Err(format!("its use counts for ${counted}, not for ${}", used.used_micro));
        }
        self.count(used, |window| window.used += used.used_micro);
        Ok(())
    }

    /// A covered hold that was open is no longer held in its windows.
    fn close(&mut self, generation_id: GenerationId) {
        let Some((cover, open)) = self.holds.get_mut(&generation_id) else { return };
        if !std::mem::replace(open, false) {
            return;
        }
        let Some(plan) = self.plans.get_mut(&cover.plan_id) else { return };
        for (slot, at_hold) in plan.windows.iter_mut().zip(&cover.windows) {
            if let Some(window) = slot.as_mut().filter(|window| window.ends_at == at_hold.ends_at) {
                window.held -= cover.counted_micro;
            }
        }
    }

    fn count(&mut self, used: &PlanUse, mut change: impl FnMut(&mut Window)) {
        let Some(plan) = self.plans.get_mut(&used.plan_id) else { return };
        for (slot, ends_at) in plan.windows.iter_mut().zip(&used.windows) {
            if let Some(window) = slot.as_mut().filter(|window| window.ends_at == *ends_at) {
                change(window);
            }
        }
    }
}

impl Plan {
    fn ends_at(&self) -> Option<Timestamp> {
        self.blocks.last().map(|block| block.ends_at)
    }

    fn runs(&self, at: Timestamp) -> bool {
        self.ends_at().is_some_and(|ends_at| at < ends_at.plus_secs(self.grace_secs.into()))
    }

    /// When more time of it begins.
    fn free_from(&self, at: Timestamp) -> Timestamp {
        self.ends_at().map_or(at, |ends_at| ends_at.max(at))
    }
}
