//! A settled generation rated again from its own record: usage × prices = lines, lines = cost.

use codexapi_aggregates::money::{MicroUsd, PicoUsd, Rate};
use codexapi_aggregates::pricing::rating::{Line, LineKind};
use codexapi_aggregates::usage::{GenerationSettled, Payer, Usage, UsageEvent, UsageSource};

use super::Difference;
use super::difference::EventName;

/// Checks an event of a usage stream; returns how many generations it settles.
pub(super) fn check(event: &UsageEvent, name: impl Fn() -> EventName) -> Result<u64, Difference> {
    match event {
        UsageEvent::GenerationOpened { .. }
        | UsageEvent::AttemptStarted { .. }
        | UsageEvent::GenerationReleased { .. }
        | UsageEvent::ReviewDismissed { .. }
        | UsageEvent::ChargeReversed { .. } => Ok(0),
        UsageEvent::GenerationSettled(settled) => {
            rate_again(settled).map_err(|what| Difference::Rule { event: name(), what })?;
            Ok(1)
        }
    }
}

fn rate_again(settled: &GenerationSettled) -> Result<(), String> {
    let billable = settled.usage.beyond(settled.already_billed_tokens);
    for line in &settled.lines {
        let exact = amount_of(line);
        if exact != line.amount_pico {
            return Err(format!(
                "its {:?} line is {} pico-USD and should be {exact}",
                line.kind, line.amount_pico
            ));
        }
    }
    for kind in LINE_KINDS {
        let (counted, used) = (units_in(&settled.lines, kind), units_of(&billable, kind));
        if counted != used {
            return Err(format!("its lines count {counted} units of {kind:?}, its usage {used}"));
        }
    }
    let (total, remainder) = settled.lines.iter().map(|line| line.amount_pico).sum::<PicoUsd>().round();
    if remainder != settled.remainder_pico {
        return Err(format!("its lines leave {remainder} pico-USD, it says {}", settled.remainder_pico));
    }
    cost_is_met(settled, total)
}

/// Token and search lines; a per-call fee is not counted by usage.
const LINE_KINDS: [LineKind; 6] = [
    LineKind::Input,
    LineKind::CachedInput,
    LineKind::CacheWrite5m,
    LineKind::CacheWrite1h,
    LineKind::Output,
    LineKind::WebSearch,
];

/// cost = charged + covered + shortfall = the lines' total, less what insurance spared. An estimate
/// may cost less than its lines (it is capped), never more.
fn cost_is_met(settled: &GenerationSettled, total: MicroUsd) -> Result<(), String> {
    let met = settled.charged_micro + settled.covered_by_plan_micro + settled.shortfall_micro;
    if met != settled.cost_micro {
        return Err(format!("charged + covered + shortfall is ${met}, the cost is ${}", settled.cost_micro));
    }
    let parts: MicroUsd = settled.from.iter().map(|part| part.amount_micro).sum();
    if parts != settled.charged_micro {
        return Err(format!("its parts sum to ${parts}, the charge is ${}", settled.charged_micro));
    }
    let billed = settled.cost_micro + settled.insured_micro;
    let agrees = match (settled.payer, settled.usage_source) {
        (Payer::Operator, _) => billed == MicroUsd::ZERO,
        (Payer::Wallet { .. }, UsageSource::Reported) => billed == total,
        (Payer::Wallet { .. }, UsageSource::Estimated | UsageSource::Rejected) => billed <= total,
    };
    if agrees { Ok(()) } else { Err(format!("its cost is ${billed}, its lines sum to ${total}")) }
}

fn amount_of(line: &Line) -> PicoUsd {
    if line.kind.is_tokens() {
        return Rate(line.price).of(line.units);
    }
    PicoUsd(PicoUsd::from(MicroUsd(line.price)).0 * i128::from(line.units))
}

fn units_in(lines: &[Line], kind: LineKind) -> u64 {
    lines.iter().filter(|line| line.kind == kind).map(|line| line.units).sum()
}

fn units_of(usage: &Usage, kind: LineKind) -> u64 {
    match kind {
        LineKind::Input => usage.input,
        LineKind::CachedInput => usage.cached_input,
        LineKind::CacheWrite5m => usage.cache_write_5m,
        LineKind::CacheWrite1h => usage.cache_write_1h,
        LineKind::Output => usage.output,
        LineKind::WebSearch => usage.web_search_calls,
        LineKind::Call => 1,
    }
}
