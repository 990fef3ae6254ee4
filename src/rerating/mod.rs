//! What if: the real usage of the last days, read from the log, priced anew.
//!
//! Each settled generation has its usage on record, and how much of it its conversation had been billed for before.
//! That is all a price needs, so what another card would have earned is computed exactly as a settlement computes it,
//! one generation at a time, and nothing is kept but sums. Generations of which the charge went back count for
//! nothing; those that the operator or a plan paid cost what they cost and earn nothing.

mod log;

use std::collections::{BTreeMap, BTreeSet};

use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::pricing::rating::rate;
use codexapi_aggregates::pricing::tariff::Tariff;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{GenerationSettled, Payer};
use sqlx::PgPool;

pub use log::{Reached, ReadLog};

/// The most days that are priced anew.
pub const MAX_DAYS: u32 = 90;

/// Generations that a request over HTTP prices anew; the command line has no such limit.
pub const MAX_OVER_HTTP: u64 = 200_000;

/// The prices of one model that are tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub billed: Tariff,
    /// What its provider would charge; as on record where absent.
    pub cost: Option<Tariff>,
}

/// Proposed prices by billed model; others stay as they were charged.
pub type Proposals = BTreeMap<String, Proposal>;

/// What usage came to, one way and the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rerated {
    pub generations: u64,
    pub input_tokens: u64,
    /// Input that was billed: the rest had been billed before in its conversation.
    pub billed_input_tokens: u64,
    pub output_tokens: u64,
    pub as_charged: Earned,
    pub as_proposed: Earned,
}

/// Revenue and cost, micro-USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earned {
    /// What wallets were asked for, shortfalls included.
    pub revenue_micro: MicroUsd,
    /// What providers charge.
    pub cost_micro: MicroUsd,
}

impl Earned {
    pub fn margin_micro(self) -> MicroUsd {
        self.revenue_micro - self.cost_micro
    }
}

/// Which generations are priced anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Settled at or after.
    pub from: Timestamp,
    /// The most generations that are read.
    pub most: u64,
}

/// Sums by billed model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub models: BTreeMap<String, Rerated>,
    /// `false` where there were more generations than were asked for; the sums are of the earliest.
    pub complete: bool,
}

impl Comparison {
    /// All models together.
    pub fn total(&self) -> Rerated {
        self.models.values().fold(Rerated::default(), |mut total, model| {
            total.generations += model.generations;
            total.input_tokens += model.input_tokens;
            total.billed_input_tokens += model.billed_input_tokens;
            total.output_tokens += model.output_tokens;
            for (sum, part) in
                [(&mut total.as_charged, model.as_charged), (&mut total.as_proposed, model.as_proposed)]
            {
                sum.revenue_micro += part.revenue_micro;
                sum.cost_micro += part.cost_micro;
            }
            total
        })
    }
}

/// Prices usage anew under `proposals`, telling how far it is.
///
/// # Errors
/// Postgres is away, or an event cannot be read.
pub async fn compare(
    pool: &PgPool,
    asked: Asked,
    proposals: &Proposals,
    tell: &(dyn Fn(Reached) + Sync),
) -> anyhow::Result<Comparison> {
    compare_where(pool, asked, &|_| true, proposals, tell).await
}

/// As `compare`, of the generations that `counts` lets through.
///
/// # Errors
/// As `compare`.
pub async fn compare_where(
    pool: &PgPool,
    asked: Asked,
    counts: &(dyn Fn(&GenerationSettled) -> bool + Sync),
    proposals: &Proposals,
    tell: &(dyn Fn(Reached) + Sync),
) -> anyhow::Result<Comparison> {
    let mut log = ReadLog::from(pool, asked.from).await?;
    let reversed = log.reversed().await?;
    let mut comparison = Comparison { complete: true, ..Comparison::default() };
    let mut read = 0;
    while let Some(page) = log.next_page().await? {
        for settled in &page {
            if settled.at < asked.from || !counts(settled) {
                continue;
            }
            if read == asked.most {
                comparison.complete = false;
                return Ok(comparison);
            }
            read += 1;
            let model = comparison.models.entry(settled.billed_model.clone()).or_default();
            model.add(settled, proposals.get(&settled.billed_model), &reversed);
        }
        tell(log.reached());
    }
    Ok(comparison)
}

impl Rerated {
    fn add(
        &mut self,
        settled: &GenerationSettled,
        proposal: Option<&Proposal>,
        reversed: &BTreeSet<GenerationId>,
    ) {
        let usage = &settled.usage;
        let total_input = usage.total_input();
        let billable = usage.beyond(settled.already_billed_tokens);
        self.generations += 1;
        self.input_tokens += total_input;
        self.billed_input_tokens += billable.total_input();
        self.output_tokens += usage.output;
        let recorded_cost = settled.provider_cost_micro;
        self.as_charged.cost_micro += recorded_cost;
        self.as_proposed.cost_micro += match proposal.and_then(|proposal| proposal.cost.as_ref()) {
            Some(cost) => rate(usage, total_input, cost).total_micro,
            None => recorded_cost,
        };
        let asked_of_wallet = settled.cost_micro - settled.covered_by_plan_micro;
        if !is_paid_by_wallet(settled) || reversed.contains(&settled.generation_id) {
            return;
        }
        self.as_charged.revenue_micro += asked_of_wallet;
        self.as_proposed.revenue_micro += match proposal {
            Some(proposal) => rate(&billable, total_input, &proposal.billed).total_micro,
            None => asked_of_wallet,
        };
    }
}

/// Whether a wallet was asked for it; nothing is asked for what a provider has failed at.
fn is_paid_by_wallet(settled: &GenerationSettled) -> bool {
    let spared = settled.insured_micro.is_positive() || settled.covered_by_plan_micro.is_positive();
    match settled.payer {
        Payer::Wallet { .. } => !spared,
        Payer::Operator => false,
    }
}
