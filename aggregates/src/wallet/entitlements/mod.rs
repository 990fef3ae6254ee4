//! Plans: time bought for a scope of generations, within fair use. An entitlement is no balance: a
//! generation it covers is charged nothing, and neither balance nor debt has a say in it.
//!
//! Blocks of one plan follow one another, so that buying again extends its end. Fair use is counted
//! in fixed windows, each opened by the first hold after the last one closed. A plan that is paid for again and again
//! covers a while beyond its end, so that a payment may be late.

mod cover;
mod grants;
pub mod terms;
mod windows;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cover::{PlanCover, PlanUse, WindowAtHold};
pub use grants::Block;
pub use terms::{AssumedRates, EntitlementTerms, FairUse, FairUseWindow, PaidPeriod, Scope};
pub use windows::{PlanStatus, WindowStatus};

use crate::ids::PlanId;
use crate::time::Timestamp;
use grants::EndedBlock;
use windows::Window;

/// Plans that a wallet may have at a time.
pub const MAX_PLANS: usize = 16;

/// Grants of one plan that may follow one another.
pub const MAX_GRANTS: usize = 200;

/// The furthest end of an entitlement, in seconds from when it is granted: ten years.
pub const MAX_AHEAD_SECS: i64 = 10 * 366 * 86_400;

/// Where an entitlement came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntitlementSource {
    /// Its id is the payment's.
    Payment,
    Admin,
}

/// Why an entitlement ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntitlementEnd {
    /// The whole payment was taken back.
    PaymentReversed,
    Cancelled,
    /// The operator took it back.
    Operator,
}

/// When the wallet pays for a customer who has a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WalletFallback {
    /// For what no plan of theirs covers, as far as they hold paid credit.
    pub outside_scope: bool,
    /// For what a plan covers, once its fair use is reached.
    pub past_fair_use: bool,
}

impl Default for WalletFallback {
    fn default() -> Self {
        Self { outside_scope: true, past_fair_use: false }
    }
}

/// A wallet's plans, those that are over included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Entitlements {
    plans: BTreeMap<PlanId, Entitlement>,
    pub fallback: WalletFallback,
    /// Open holds that a plan pays for.
    pub open_holds: usize,
}

/// One plan of a wallet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entitlement {
    /// As last granted.
    terms: EntitlementTerms,
    /// One after the other; those that are over go with the next change.
    blocks: Vec<Block>,
    /// Ended before their time, as far back as a reinstatement reaches.
    ended: Vec<EndedBlock>,
    /// By their place in the plan's fair use; kept when the plan is over, since buying again opens none.
    windows: Vec<Option<Window>>,
    /// How long it covers beyond its end, while it is expected to be paid for again.
    #[serde(default)]
    grace_secs: u32,
}

impl Entitlement {
    /// When the last block ends.
    fn ends_at(&self) -> Option<Timestamp> {
        self.blocks.last().map(|block| block.ends_at)
    }

    /// When it covers nothing more: its end, or the grace after it.
    fn covers_until(&self) -> Option<Timestamp> {
        self.ends_at().map(|ends_at| ends_at.plus_secs(self.grace_secs.into()))
    }

    fn is_active(&self, now: Timestamp) -> bool {
        self.covers_until().is_some_and(|until| now < until)
    }

    /// When it ends for all that is known: its end, or that of the grace it is in.
    fn told_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.ends_at().filter(|ends_at| now < *ends_at).or_else(|| self.covers_until())
    }
}

impl Entitlements {
    /// Plans that are running at `now`, soonest end first.
    fn active(&self, now: Timestamp) -> Vec<(&PlanId, &Entitlement)> {
        let mut active: Vec<_> = self.plans.iter().filter(|(_, plan)| plan.is_active(now)).collect();
        active.sort_by_key(|(plan_id, plan)| (plan.ends_at(), *plan_id));
        active
    }

    /// The earliest end that is not recorded yet.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.plans.values().filter_map(Entitlement::covers_until).min()
    }
}
