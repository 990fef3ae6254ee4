//! One plan: what it costs and what it buys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::PlanId;
use crate::money::MicroUsd;
use crate::wallet::entitlements::terms::{EntitlementTerms, FairUse, Scope};

/// What is sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    pub id: PlanId,
    pub name: String,
    /// Of one.
    pub price_micro: MicroUsd,
    pub buys: PlanBuys,
    pub visibility: Visibility,
    pub sold: Sold,
    /// How many may be bought at a time.
    pub max_quantity: u32,
}

/// What one of a plan gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanBuys {
    /// Credit for the wallet.
    Credit { credit_micro: MicroUsd },
    /// Use for a time.
    Entitlement { scope: Scope, fair_use: FairUse, block_secs: u32 },
}

/// Who is shown a plan; whoever knows its id can buy it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    Public,
    /// Nobody; the operator names it to whom it is for.
    Private,
    /// Those who are about to leave.
    ExitIntent,
}

/// How a plan is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sold {
    Once,
    /// Again and again, every month.
    Monthly,
}

impl Plan {
    /// The credit that `quantity` of it give; `None` where it buys something else, or too much.
    pub fn credit(&self, quantity: u32) -> Option<MicroUsd> {
        match self.buys {
            PlanBuys::Credit { credit_micro } => times(credit_micro, quantity),
            PlanBuys::Entitlement { .. } => None,
        }
    }

    /// What `quantity` of it cost; `None` beyond any amount.
    pub fn price(&self, quantity: u32) -> Option<MicroUsd> {
        times(self.price_micro, quantity)
    }

    /// The entitlement that `quantity` of it give; `None` where it buys something else.
    pub fn entitlement(&self, quantity: u32) -> Option<EntitlementTerms> {
        match &self.buys {
            PlanBuys::Credit { .. } => None,
            PlanBuys::Entitlement { scope, fair_use, block_secs } => Some(EntitlementTerms {
                plan_id: self.id.clone(),
                scope: scope.clone(),
                fair_use: fair_use.clone(),
                block_secs: *block_secs,
                blocks: quantity,
            }),
        }
    }
}

fn times(amount: MicroUsd, quantity: u32) -> Option<MicroUsd> {
    amount.0.checked_mul(i64::from(quantity)).map(MicroUsd)
}
