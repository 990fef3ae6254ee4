//! The operator's margin by UTC quarter-hour × billed model × provider.
//!
//! What was charged stands with the provider that served; what an attempt cost stands with the
//! provider that was tried. A reversed charge is booked back where it was booked (see `usage`).

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use codexapi_aggregates::ids::KeyId;
use codexapi_aggregates::money::MicroUsd;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

use crate::generations::Generation;
use crate::rows;
use crate::usage::{DAY, IN_RANGE, first_day, quarter_of};
use crate::{ReadError, Table, WriteError};

pub(crate) const TABLE: Table = Table {
    name: "margin_quarters",
    columns: "quarter timestamptz NOT NULL, billed_model text NOT NULL, provider text NOT NULL, \
        requests bigint NOT NULL, charged_micro bigint NOT NULL, reversed_micro bigint NOT NULL, \
        covered_micro bigint NOT NULL, shortfall_micro bigint NOT NULL, insured_micro bigint NOT NULL, \
        provider_cost_micro bigint NOT NULL, operator_cost_micro bigint NOT NULL, \
        checks_cost_micro bigint NOT NULL, \
        PRIMARY KEY (quarter, billed_model, provider)",
    indexes: &[],
};

/// The columns that add up.
const SUMS: [&str; 9] = [
    "requests",
    "charged_micro",
    "reversed_micro",
    "covered_micro",
    "shortfall_micro",
    "insured_micro",
    "provider_cost_micro",
    "operator_cost_micro",
    "checks_cost_micro",
];

/// What generations brought in and cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MarginSums {
    pub requests: i64,
    /// Charged at first; `reversed_micro` of it went back.
    pub charged_micro: MicroUsd,
    pub reversed_micro: MicroUsd,
    /// What plans paid, at their own rates; plans are sold apart and are not in the margin.
    pub covered_micro: MicroUsd,
    pub shortfall_micro: MicroUsd,
    pub insured_micro: MicroUsd,
    pub provider_cost_micro: MicroUsd,
    /// The part of `provider_cost_micro` that operator principals caused by using models.
    pub operator_cost_micro: MicroUsd,
    /// The part of `provider_cost_micro` that checks of providers caused.
    pub checks_cost_micro: MicroUsd,
}

impl MarginSums {
    /// What was given away: unpaid, spared, taken back, or used by operator principals. Checks of providers are no
    /// loss: they are what keeping watch costs.
    pub fn loss_micro(&self) -> MicroUsd {
        self.shortfall_micro + self.insured_micro + self.reversed_micro + self.operator_cost_micro
    }

    /// What is left of charges after providers are paid; negative where they cost more.
    pub fn margin_micro(&self) -> MicroUsd {
        self.charged_micro - self.reversed_micro - self.provider_cost_micro
    }
}

/// One day's margin in the operator's zone, for one model and provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarginDay {
    pub day: NaiveDate,
    pub billed_model: String,
    pub provider: String,
    #[serde(flatten)]
    pub sums: MarginSums,
}

/// The margin by day in `zone`, model and provider, from the first to the last day given, both
/// included, in order. At most `usage::MAX_DAYS` days.
pub async fn daily(
    pool: &PgPool,
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
) -> Result<Vec<MarginDay>, ReadError> {
    let sums = SUMS.map(|column| format!("sum({column})::bigint AS {column}")).join(", ");
    let statement = format!(
        "SELECT to_jsonb(d) FROM (SELECT {DAY} AS day, billed_model, provider, {sums} FROM margin_quarters \
         WHERE {IN_RANGE} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3) d"
    );
    let select = rows::select(&statement).bind(zone.name()).bind(first_day(from, to)).bind(to);
    rows::fetch_all(pool, TABLE.name, select).await
}

/// What one model brought in and cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelMargin {
    pub billed_model: String,
    #[serde(flatten)]
    pub sums: MarginSums,
}

/// The margin by billed model, from the first to the last day given in `zone`, both included, in order. At
/// most `usage::MAX_DAYS` days.
pub async fn by_model(
    pool: &PgPool,
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
) -> Result<Vec<ModelMargin>, ReadError> {
    let sums = SUMS.map(|column| format!("sum({column})::bigint AS {column}")).join(", ");
    let statement = format!(
        "SELECT to_jsonb(m) FROM (SELECT billed_model, {sums} FROM margin_quarters \
         WHERE {IN_RANGE} GROUP BY 1 ORDER BY 1) m"
    );
    let select = rows::select(&statement).bind(zone.name()).bind(first_day(from, to)).bind(to);
    rows::fetch_all(pool, TABLE.name, select).await
}

/// The quarter-hours a batch touches, and what it adds to each.
#[derive(Default)]
pub(crate) struct MarginQuarters(BTreeMap<QuarterKey, MarginSums>);

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct QuarterKey {
    quarter: DateTime<Utc>,
    billed_model: String,
    provider: String,
}

impl MarginQuarters {
    pub(crate) fn settled(&mut self, generation: &Generation) {
        let served = self.quarter_of(generation, &generation.provider);
        served.requests += 1;
        served.charged_micro += generation.charged_micro;
        served.covered_micro += generation.covered_micro;
        served.shortfall_micro += generation.shortfall_micro;
        served.insured_micro += generation.insured_micro;
        // What the attempts do not account for stands with the provider that served.
        let mut rest = generation.provider_cost_micro;
        for attempt in &generation.attempts {
            rest -= attempt.provider_cost_micro;
            self.add_cost(generation, &attempt.attempt.provider, attempt.provider_cost_micro);
        }
        self.add_cost(generation, &generation.provider, rest);
    }

    pub(crate) fn reversed(&mut self, generation: &Generation) {
        self.quarter_of(generation, &generation.provider).reversed_micro += generation.reversed_micro;
    }

    pub(crate) async fn write(self, connection: &mut PgConnection, version: i32) -> Result<(), WriteError> {
        rows::add(connection, &TABLE, version, self.0, "quarter, billed_model, provider", &SUMS).await
    }

    fn add_cost(&mut self, generation: &Generation, provider: &str, cost: MicroUsd) {
        if cost == MicroUsd::ZERO {
            return;
        }
        let sums = self.quarter_of(generation, provider);
        sums.provider_cost_micro += cost;
        if generation.key_id == KeyId::CHECKS.0 {
            sums.checks_cost_micro += cost;
        } else if generation.account_id.is_none() {
            sums.operator_cost_micro += cost;
        }
    }

    fn quarter_of(&mut self, generation: &Generation, provider: &str) -> &mut MarginSums {
        let key = QuarterKey {
            quarter: quarter_of(generation.settled_at),
            billed_model: generation.billed_model.clone(),
            provider: provider.to_owned(),
        };
        self.0.entry(key).or_default()
    }
}
