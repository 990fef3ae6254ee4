//! What sizes the next hold: recent outputs, shortfalls, payments, and the insurance used today.
//!
//! Kept by UTC day of the events themselves, so that folding needs no clock and the state is bounded.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::WalletTerms;
use super::events::GrantSource;
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// Outputs per model from which the p95 is taken.
const RECENT_OUTPUTS: usize = 64;

/// Fewer outputs than this say nothing yet.
const ENOUGH_OUTPUTS: usize = 8;

/// Expected output of a model that this wallet has hardly used, in tokens.
const FIRST_EXPECTED_OUTPUT: u64 = 4_096;

/// Models remembered per wallet; the one not used longest goes first.
const MODELS_KEPT: usize = 16;

const SHORTFALL_DAYS: i64 = 30;
const PAYMENT_DAYS: i64 = 90;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct ModelOutputs {
    /// Output tokens of the last generations, oldest first.
    recent: VecDeque<u64>,
    /// The largest output of each day, by UTC day.
    largest_by_day: BTreeMap<i64, u64>,
    used_at: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct InsuredToday {
    day: i64,
    generations: u32,
    micro: MicroUsd,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    models: BTreeMap<String, ModelOutputs>,
    /// By UTC day.
    shortfalls: BTreeMap<i64, MicroUsd>,
    /// Unreversed payments by UTC day.
    payments: BTreeMap<i64, MicroUsd>,
    insured: InsuredToday,
}

impl History {
    pub(super) fn remember_grant(&mut self, source: GrantSource, amount: MicroUsd, at: Timestamp) {
        if source.is_paid() {
            add_to_day(&mut self.payments, at, at, amount, PAYMENT_DAYS);
        }
    }

    /// `change` of what is left of a payment of `paid_at`, negative where it was taken back.
    pub(super) fn change_payment(&mut self, paid_at: Timestamp, change: MicroUsd, at: Timestamp) {
        add_to_day(&mut self.payments, paid_at, at, change, PAYMENT_DAYS);
    }

    pub(super) fn remember_charge(
        &mut self,
        model: &str,
        output_tokens: u64,
        shortfall: MicroUsd,
        insured: MicroUsd,
        at: Timestamp,
    ) {
        self.remember_output(model, output_tokens, at);
        if shortfall.is_positive() {
            add_to_day(&mut self.shortfalls, at, at, shortfall, SHORTFALL_DAYS);
        }
        if insured.is_positive() {
            let day = at.utc_day();
            if self.insured.day != day {
                self.insured = InsuredToday { day, ..InsuredToday::default() };
            }
            self.insured.generations += 1;
            self.insured.micro += insured;
        }
    }

    fn remember_output(&mut self, model: &str, output_tokens: u64, at: Timestamp) {
        let outputs = match self.models.get_mut(model) {
            Some(outputs) => outputs,
            None => self.models.entry(model.to_owned()).or_default(),
        };
        outputs.used_at = at;
        outputs.recent.push_back(output_tokens);
        if outputs.recent.len() > RECENT_OUTPUTS {
            outputs.recent.pop_front();
        }
        let day = at.utc_day();
        let largest = outputs.largest_by_day.entry(day).or_default();
        *largest = output_tokens.max(*largest);
        outputs.largest_by_day.retain(|kept, _| *kept >= day - SHORTFALL_DAYS);
        if self.models.len() > MODELS_KEPT {
            let oldest =
                self.models.iter().min_by_key(|(_, outputs)| outputs.used_at).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.models.remove(&oldest);
            }
        }
    }

    /// Twice the moving p95 of recent outputs, in tokens; 4 096 to begin with.
    pub(super) fn expected_output(&self, model: &str) -> u64 {
        match self.models.get(model) {
            Some(outputs) if outputs.recent.len() >= ENOUGH_OUTPUTS => {
                let mut sorted: Vec<u64> = outputs.recent.iter().copied().collect();
                sorted.sort_unstable();
                let rank = (sorted.len() * 95).div_ceil(100);
                sorted[rank - 1].saturating_mul(2)
            }
            Some(_) | None => FIRST_EXPECTED_OUTPUT,
        }
    }

    /// The largest output of `model` in the last 30 days, in tokens.
    pub(super) fn largest_output(&self, model: &str, now: Timestamp) -> u64 {
        let since = now.utc_day() - SHORTFALL_DAYS;
        self.models.get(model).map_or(0, |outputs| {
            outputs.largest_by_day.range(since..).map(|(_, largest)| *largest).max().unwrap_or(0)
        })
    }

    /// Shortfalls of the last 30 days together.
    pub(super) fn shortfalls(&self, now: Timestamp) -> MicroUsd {
        self.shortfalls.range(now.utc_day() - SHORTFALL_DAYS..).map(|(_, micro)| *micro).sum()
    }

    /// What open holds may cost beyond the balance.
    pub(super) fn leak_limit(&self, terms: &WalletTerms, now: Timestamp) -> MicroUsd {
        let payments: MicroUsd =
            self.payments.range(now.utc_day() - PAYMENT_DAYS..).map(|(_, micro)| *micro).sum();
        terms.leak_floor_micro.max(payments.basis_points(terms.leak_basis_points))
    }

    /// Whether another `cost` may be borne by the operator today.
    pub(super) fn is_insured(&self, cost: MicroUsd, terms: &WalletTerms, now: Timestamp) -> bool {
        let (generations, micro) = if self.insured.day == now.utc_day() {
            (self.insured.generations, self.insured.micro)
        } else {
            (0, MicroUsd::ZERO)
        };
        generations < terms.insured_generations_per_day && micro + cost <= terms.insured_micro_per_day
    }
}

/// Adds to the day of `of`, and forgets what at `at` is older than `kept_days`.
fn add_to_day(
    days: &mut BTreeMap<i64, MicroUsd>,
    of: Timestamp,
    at: Timestamp,
    amount: MicroUsd,
    kept_days: i64,
) {
    let today = at.utc_day();
    *days.entry(of.utc_day()).or_default() += amount;
    days.retain(|day, _| *day >= today - kept_days);
}
