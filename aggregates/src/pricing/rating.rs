//! Usage × tariff = lines, summed exactly and rounded once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tariff::Tariff;
use crate::money::{MicroUsd, PicoUsd, Rate};
use crate::usage::buckets::Usage;

/// What a charge line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    Input,
    CachedInput,
    #[serde(rename = "cache_write_5m")]
    CacheWrite5m,
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    Output,
    WebSearch,
    Call,
}

impl LineKind {
    /// Whether the unit is a token (a rate is per million) or a call (a fee is per unit).
    pub fn is_tokens(self) -> bool {
        !matches!(self, Self::WebSearch | Self::Call)
    }
}

/// One line of a charge: `units` at a price, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    pub kind: LineKind,
    /// Tokens, or calls.
    pub units: u64,
    /// Micro-USD per million tokens, or micro-USD per call.
    pub price: i64,
    pub amount_pico: PicoUsd,
}

/// A rated generation: the lines, their sum rounded once, and what the rounding left over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rated {
    pub lines: Vec<Line>,
    pub total_micro: MicroUsd,
    /// Exact sum − `total_micro`; at most half a micro-USD either way.
    pub remainder_pico: PicoUsd,
}

/// Prices `billable` usage. `total_input` (tokens) chooses the tier: a long context reprices the
/// whole request even where part of it was billed before.
pub fn rate(billable: &Usage, total_input: u64, tariff: &Tariff) -> Rated {
    let rates = tariff.rates_for(total_input);
    let tokens = |kind, units, rate: Rate| Line { kind, units, price: rate.0, amount_pico: rate.of(units) };
    let calls = |kind, units: u64, fee: MicroUsd| {
        let amount_pico = PicoUsd(PicoUsd::from(fee).0 * i128::from(units));
        Line { kind, units, price: fee.0, amount_pico }
    };
    let lines: Vec<Line> = [
        tokens(LineKind::Input, billable.input, rates.input),
        tokens(LineKind::CachedInput, billable.cached_input, rates.cached_input()),
        tokens(LineKind::CacheWrite5m, billable.cache_write_5m, rates.cache_write_5m()),
        tokens(LineKind::CacheWrite1h, billable.cache_write_1h, rates.cache_write_1h()),
        tokens(LineKind::Output, billable.output, rates.output),
        calls(LineKind::WebSearch, billable.web_search_calls, tariff.fees.web_search_micro),
        calls(LineKind::Call, 1, tariff.fees.per_call_micro),
    ]
    .into_iter()
    .filter(|line| line.units > 0 && (line.kind != LineKind::Call || line.price > 0))
    .collect();
    let (total_micro, remainder_pico) = lines.iter().map(|line| line.amount_pico).sum::<PicoUsd>().round();
    Rated { lines, total_micro, remainder_pico }
}
