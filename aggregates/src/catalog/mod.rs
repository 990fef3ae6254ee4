//! The catalogue: which plans are sold, for how much, and what each buys. An entitlement's fair use
//! is the operator's to change at any time, and counts from the next hold on.

pub mod plan;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use plan::{Plan, PlanBuys, Sold, Visibility};

use crate::ids::PlanId;
use crate::money::MicroUsd;
use crate::payment::{LEAST_PRICE, MICRO_PER_CENT, MOST_PRICE};
use crate::pricing::is_model_name;
use crate::time::Timestamp;
use crate::wallet::entitlements::terms::{AssumedRates, FairUse, FairUseWindow, MAX_BLOCKS, MAX_WINDOWS};

/// The one stream of the catalogue.
pub const CATALOG_STREAM: &str = "catalog";

/// Plans that may ever be published; a limit on its state.
pub const MAX_PLANS: usize = 200;

/// The dearest plan, and the largest credit of one: $1 000 000.
const MAX_AMOUNT: MicroUsd = MicroUsd::dollars(1_000_000);

/// Characters of a plan's name.
const MAX_NAME_CHARS: usize = 100;

/// Models of a scope.
const MAX_SCOPE_MODELS: usize = 50;

/// The longest block and the longest fair-use window: ten years, in seconds.
const MAX_SECS: u32 = 10 * 366 * 86_400;

/// The dearest assumed rate, in micro-USD per million tokens ($100 000).
const MAX_RATE: i64 = 100_000_000_000;

// Events

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum CatalogEvent {
    /// A plan, new or changed; what was bought before stays as it was sold.
    PlanPublished { plan: Box<Plan>, at: Timestamp },
    /// The plan is no longer sold; what was bought of it goes on.
    PlanWithdrawn { plan_id: PlanId, at: Timestamp },
    /// How much of a plan is fair use, for every hold from now on.
    FairUseSet { plan_id: PlanId, fair_use: FairUse, at: Timestamp },
}

// Commands

#[derive(Clone, Debug, PartialEq)]
pub enum CatalogCommand {
    Publish { plan: Box<Plan>, now: Timestamp },
    Withdraw { plan_id: PlanId, now: Timestamp },
    SetFairUse { plan_id: PlanId, rates: AssumedRates, windows: Vec<FairUseWindow>, now: Timestamp },
}

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogRefusal {
    #[error("a plan's name has 1 to {most} characters, not {got}")]
    NameLength { got: usize, most: usize },
    #[error("a plan costs and gives more than $0 and at most ${most}; ${amount} is not")]
    AmountOutOfRange { amount: MicroUsd, most: MicroUsd },
    #[error("a price is whole cents, from ${least} to ${most}, so that a card can pay it; ${price} is not")]
    PriceNotPayable { price: MicroUsd, least: MicroUsd, most: MicroUsd },
    #[error("1 to {most} may be bought at a time, not {got}")]
    QuantityOutOfRange { got: u32, most: u32 },
    #[error("{most} of this plan would be beyond any amount")]
    QuantityBeyondAmounts { most: u32 },
    #[error("a monthly plan is bought one at a time, not {got}")]
    MonthlyBuysOne { got: u32 },
    #[error("a scope names at least one client family and 1 to {most} models, not {families} and {models}")]
    ScopeSize { families: usize, models: usize, most: usize },
    #[error("{model:?} is not a model's name")]
    BadModelName { model: String },
    #[error("a time has 1 to {most} seconds, not {got}")]
    LengthOutOfRange { got: u32, most: u32 },
    #[error("fair use is counted in 1 to {most} windows, not {got}")]
    WindowCount { got: usize, most: usize },
    #[error("windows of fair use must grow in length")]
    WindowsOutOfOrder,
    #[error("a limit is more than $0 and at most ${most}; ${limit} is not")]
    LimitOutOfRange { limit: MicroUsd, most: MicroUsd },
    #[error("{amount} is not an assumed rate: those are 0 to {MAX_RATE} micro-USD per million tokens")]
    RateOutOfRange { amount: i64 },
    #[error("no plan is called {plan_id}")]
    UnknownPlan { plan_id: PlanId },
    #[error("plan {plan_id} buys credit, which has no fair use")]
    BuysCredit { plan_id: PlanId },
    #[error("plan {plan_id} buys time, not credit")]
    BuysTime { plan_id: PlanId },
    #[error("plan {plan_id} bought {before} before, and cannot buy {after} now; give it another id")]
    BuysSomethingElse { plan_id: PlanId, before: &'static str, after: &'static str },
    #[error("the catalogue is full: {most} plans")]
    CatalogFull { most: usize },
}

// State

/// Every plan, by id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Withdrawn ones too, because what was bought of them goes on.
    plans: BTreeMap<PlanId, Listed>,
    /// Shared with every hold that is placed.
    fair_use: Arc<FairUseInForce>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Listed {
    plan: Plan,
    withdrawn: bool,
}

/// The fair use of every plan that is or was sold, as it is now.
pub type FairUseInForce = BTreeMap<PlanId, FairUse>;

impl Catalog {
    /// A plan that is on sale.
    pub fn plan(&self, id: &PlanId) -> Option<&Plan> {
        self.plans.get(id).filter(|listed| !listed.withdrawn).map(|listed| &listed.plan)
    }

    /// A plan that is or was on sale.
    pub fn plan_ever(&self, id: &PlanId) -> Option<&Plan> {
        self.plans.get(id).map(|listed| &listed.plan)
    }

    /// Every plan that is on sale, cheapest first.
    pub fn plans(&self) -> Vec<&Plan> {
        let on_sale = self.plans.values().filter(|listed| !listed.withdrawn).map(|listed| &listed.plan);
        let mut plans: Vec<&Plan> = on_sale.collect();
        plans.sort_by_key(|plan| (plan.price_micro, &plan.id));
        plans
    }

    pub fn fair_use(&self) -> Arc<FairUseInForce> {
        Arc::clone(&self.fair_use)
    }

    // Rules

    /// No event where nothing changes.
    pub fn decide(&self, command: CatalogCommand) -> Result<Vec<CatalogEvent>, CatalogRefusal> {
        match command {
            CatalogCommand::Publish { plan, now } => self.publish(*plan, now),
            CatalogCommand::Withdraw { plan_id, now } => self.withdraw(plan_id, now),
            CatalogCommand::SetFairUse { plan_id, rates, windows, now } => {
                self.set_fair_use(plan_id, FairUse { rates, windows }, now)
            }
        }
    }

    fn publish(&self, plan: Plan, now: Timestamp) -> Result<Vec<CatalogEvent>, CatalogRefusal> {
        check_plan(&plan)?;
        match self.plans.get(&plan.id) {
            Some(listed) if listed.plan == plan && !listed.withdrawn => return Ok(vec![]),
            Some(listed) => {
                let (before, after) = (kind(&listed.plan), kind(&plan));
                if before != after {
                    return Err(CatalogRefusal::BuysSomethingElse { plan_id: plan.id, before, after });
                }
            }
            None if self.plans.len() >= MAX_PLANS => {
                return Err(CatalogRefusal::CatalogFull { most: MAX_PLANS });
            }
            None => {}
        }
        Ok(vec![CatalogEvent::PlanPublished { plan: Box::new(plan), at: now }])
    }

    fn withdraw(&self, plan_id: PlanId, now: Timestamp) -> Result<Vec<CatalogEvent>, CatalogRefusal> {
        match self.plans.get(&plan_id) {
            None => Err(CatalogRefusal::UnknownPlan { plan_id }),
            Some(listed) if listed.withdrawn => Ok(vec![]),
            Some(_) => Ok(vec![CatalogEvent::PlanWithdrawn { plan_id, at: now }]),
        }
    }

    fn set_fair_use(
        &self,
        plan_id: PlanId,
        fair_use: FairUse,
        now: Timestamp,
    ) -> Result<Vec<CatalogEvent>, CatalogRefusal> {
        check_fair_use(&fair_use)?;
        if !self.plans.contains_key(&plan_id) {
            return Err(CatalogRefusal::UnknownPlan { plan_id });
        }
        match self.fair_use.get(&plan_id) {
            None => Err(CatalogRefusal::BuysCredit { plan_id }),
            Some(before) if *before == fair_use => Ok(vec![]),
            Some(_) => Ok(vec![CatalogEvent::FairUseSet { plan_id, fair_use, at: now }]),
        }
    }

    fn evolve(&mut self, event: CatalogEvent) {
        match event {
            CatalogEvent::PlanPublished { plan, .. } => {
                if let PlanBuys::Entitlement { fair_use, .. } = &plan.buys {
                    Arc::make_mut(&mut self.fair_use).insert(plan.id.clone(), fair_use.clone());
                }
                self.plans.insert(plan.id.clone(), Listed { plan: *plan, withdrawn: false });
            }
            CatalogEvent::PlanWithdrawn { plan_id, .. } => {
                if let Some(listed) = self.plans.get_mut(&plan_id) {
                    listed.withdrawn = true;
                }
            }
            CatalogEvent::FairUseSet { plan_id, fair_use: set, .. } => {
                if let Some(Listed {
                    plan: Plan { buys: PlanBuys::Entitlement { fair_use, .. }, .. }, ..
                }) = self.plans.get_mut(&plan_id)
                {
                    *fair_use = set.clone();
                }
                Arc::make_mut(&mut self.fair_use).insert(plan_id, set);
            }
        }
    }
}

fn kind(plan: &Plan) -> &'static str {
    match plan.buys {
        PlanBuys::Credit { .. } => "credit",
        PlanBuys::Entitlement { .. } => "an entitlement",
    }
}

fn check_plan(plan: &Plan) -> Result<(), CatalogRefusal> {
    let got = plan.name.trim().chars().count();
    if !(1..=MAX_NAME_CHARS).contains(&got) {
        return Err(CatalogRefusal::NameLength { got, most: MAX_NAME_CHARS });
    }
    check_amount(plan.price_micro)?;
    let (price, least, most) = (plan.price_micro, LEAST_PRICE, MOST_PRICE);
    if !(least..=most).contains(&price) || price.0 % MICRO_PER_CENT != 0 {
        return Err(CatalogRefusal::PriceNotPayable { price, least, most });
    }
    let quantity = plan.max_quantity;
    if !(1..=MAX_BLOCKS).contains(&quantity) {
        return Err(CatalogRefusal::QuantityOutOfRange { got: quantity, most: MAX_BLOCKS });
    }
    if plan.sold == Sold::Monthly && quantity != 1 {
        return Err(CatalogRefusal::MonthlyBuysOne { got: quantity });
    }
    match &plan.buys {
        PlanBuys::Credit { credit_micro } => {
            check_amount(*credit_micro)?;
            let beyond = |amount: Option<MicroUsd>| amount.is_none_or(|amount| amount > MAX_AMOUNT);
            if beyond(plan.credit(quantity)) || beyond(plan.price(quantity)) {
                return Err(CatalogRefusal::QuantityBeyondAmounts { most: quantity });
            }
            Ok(())
        }
        PlanBuys::Entitlement { scope, fair_use, block_secs } => {
            let (families, models) = (scope.families.len(), scope.models.len());
            if families == 0 || !(1..=MAX_SCOPE_MODELS).contains(&models) {
                return Err(CatalogRefusal::ScopeSize { families, models, most: MAX_SCOPE_MODELS });
            }
            if let Some(model) = scope.models.iter().find(|model| !is_model_name(model)) {
                return Err(CatalogRefusal::BadModelName { model: model.clone() });
            }
            check_secs(*block_secs)?;
            check_fair_use(fair_use)
        }
    }
}

fn check_fair_use(fair_use: &FairUse) -> Result<(), CatalogRefusal> {
    let AssumedRates { input, output } = fair_use.rates;
    if let Some(rate) = [input, output].into_iter().find(|rate| !(0..=MAX_RATE).contains(&rate.0)) {
        return Err(CatalogRefusal::RateOutOfRange { amount: rate.0 });
    }
    let got = fair_use.windows.len();
    if !(1..=MAX_WINDOWS).contains(&got) {
        return Err(CatalogRefusal::WindowCount { got, most: MAX_WINDOWS });
    }
    for window in &fair_use.windows {
        check_secs(window.length_secs)?;
        let limit = window.limit_micro;
        if !limit.is_positive() || limit > MAX_AMOUNT {
            return Err(CatalogRefusal::LimitOutOfRange { limit, most: MAX_AMOUNT });
        }
    }
    let growing = fair_use.windows.windows(2).all(|pair| pair[0].length_secs < pair[1].length_secs);
    if growing { Ok(()) } else { Err(CatalogRefusal::WindowsOutOfOrder) }
}

fn check_amount(amount: MicroUsd) -> Result<(), CatalogRefusal> {
    let fits = amount.is_positive() && amount <= MAX_AMOUNT;
    if fits { Ok(()) } else { Err(CatalogRefusal::AmountOutOfRange { amount, most: MAX_AMOUNT }) }
}

fn check_secs(got: u32) -> Result<(), CatalogRefusal> {
    let fits = (1..=MAX_SECS).contains(&got);
    if fits { Ok(()) } else { Err(CatalogRefusal::LengthOutOfRange { got, most: MAX_SECS }) }
}

// cqrs-es

impl DomainEvent for CatalogEvent {
    fn event_type(&self) -> String {
        match self {
            Self::PlanPublished { .. } => "catalog.plan_published",
            Self::PlanWithdrawn { .. } => "catalog.plan_withdrawn",
            Self::FairUseSet { .. } => "catalog.fair_use_set",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl Aggregate for Catalog {
    const TYPE: &'static str = "catalog";
    type Command = CatalogCommand;
    type Event = CatalogEvent;
    type Error = CatalogRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: CatalogCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), CatalogRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: CatalogEvent) {
        self.evolve(event);
    }
}
