//! Why the price book is not changed.

use super::{KEPT_CARDS, MAX_BASIS_POINTS, MAX_MODELS, MAX_POLICIES, MAX_RATE, MIN_BASIS_POINTS, Timestamp};
use crate::pricing::tariff::Mode;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PricingRefusal {
    #[error(
        "a model's name has 1 to 100 characters of letters, digits, '.', '-', '_', ':' and '/'; {model:?} has not"
    )]
    BadModelName { model: String },
    #[error("{amount} is not a rate: rates and fees are 0 to {MAX_RATE} micro-USD")]
    RateOutOfRange { amount: i64 },
    #[error("tiers of {model} must have rising thresholds")]
    TiersOutOfOrder { model: String },
    #[error("{model} needs a context and a maximum output of at least one token")]
    NoContext { model: String },
    #[error(
        "cards take effect in order: {model} has one from {latest}, this one would start at {effective_at}"
    )]
    EffectiveBeforeLatest { model: String, latest: Timestamp, effective_at: Timestamp },
    #[error("{model} has {most} cards that are yet to take effect")]
    TooManyScheduled { model: String, most: usize },
    #[error("the book is full: {MAX_MODELS} models")]
    BookFull,
    #[error("{model} is not in the price book")]
    UnknownModel { model: String },
    #[error(transparent)]
    Window(#[from] WindowRefusal),
    #[error("no card has rates of the {mode:?} mode; publish them first")]
    NoRatesOfMode { mode: Mode },
    #[error("an internal window has rates and landing rates of 1 to {MAX_MODELS} models, each once")]
    BadInternalRates,
    #[error(
        "{} % is no adjustment: it is {} to {} %, and not 0",
        percent(*basis_points), percent(MIN_BASIS_POINTS), percent(MAX_BASIS_POINTS)
    )]
    AdjustmentOutOfRange { basis_points: i32 },
    #[error(
        "the {} mode is on, and {model} is billed by it: adjusted internal rates would take it out of the \
         mode; end the mode first, or give {model} internal rates",
        format!("{mode:?}").to_lowercase()
    )]
    BilledByMode { model: String, mode: Mode },
    #[error("no model is in the price book whose rates could be adjusted")]
    NothingToAdjust,
    #[error("{got:?} is not a plan's id: it has 1 to 100 letters, digits, '.', '-' and '_'")]
    BadPlanId { got: String },
    #[error("there are {MAX_POLICIES} billing policies already")]
    TooManyPolicies,
}

/// Why a window is not scheduled, called off or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowRefusal {
    #[error("a window from {start} begins in the past: it is {now}")]
    BeginsInThePast { start: Timestamp, now: Timestamp },
    #[error("a window from {start} is too far ahead: at most {most_secs} seconds")]
    TooFarAhead { start: Timestamp, most_secs: i64 },
    #[error("a window from {start} to {end} is not one of 1 to {most_secs} seconds")]
    BadLength { start: Timestamp, end: Timestamp, most_secs: i64 },
    #[error("{start} to {end} overlaps window {number}, which is from {its_start} to {its_end}")]
    Overlaps { start: Timestamp, end: Timestamp, number: u32, its_start: Timestamp, its_end: Timestamp },
    #[error("there are {most} windows ahead already")]
    TooMany { most: usize },
    #[error("there is no window {number}")]
    Unknown { number: u32 },
    #[error("window {number} has begun at {start}; it can be ended, not cancelled")]
    HasBegun { number: u32, start: Timestamp },
    #[error("window {number} begins only at {start}; it can be cancelled, not ended")]
    HasNotBegun { number: u32, start: Timestamp },
    #[error("window {number} is over since {end}")]
    IsOver { number: u32, end: Timestamp },
}

/// Hundredths of a percent, as they are written.
fn percent(basis_points: i32) -> String {
    let (sign, of) = (if basis_points < 0 { "-" } else { "" }, basis_points.unsigned_abs());
    match of % 100 {
        0 => format!("{sign}{}", of / 100),
        hundredths => format!("{sign}{}.{hundredths:02}", of / 100),
    }
}

/// One place is for the card in force.
pub(super) const MOST_SCHEDULED: usize = KEPT_CARDS - 1;
