//! The row of a generation, from its event.

use codexapi_aggregates::event::RecordedEvent;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::usage::{GenerationSettled, Payer};

use super::Generation;
use crate::FoldError;
use crate::rows::{count, time};

/// The row of one settled generation.
pub(super) fn generation(
    event: &RecordedEvent,
    settled: &GenerationSettled,
) -> Result<Generation, FoldError> {
    let usage = &settled.usage;
    let tokens = |field, value| count(event, field, value);
    // Each bucket first: their sum is only safe to take once every one of them is in range.
    let input_tokens = tokens("input tokens", usage.input)?;
    let cached_input_tokens = tokens("cached input tokens", usage.cached_input)?;
    let cache_write_5m_tokens = tokens("cache write tokens", usage.cache_write_5m)?;
    let cache_write_1h_tokens = tokens("cache write tokens", usage.cache_write_1h)?;
    Ok(Generation {
        generation_id: settled.generation_id.0,
        position: event.position,
        account_id: match settled.payer {
            Payer::Wallet { account_id } => Some(account_id.0),
            Payer::Operator => None,
        },
        key_id: settled.key_id.0,
        usage_stream: event.aggregate_id.clone(),
        sequence: event.sequence,
        request_id: event.metadata.request_id.clone(),
        family: settled.family,
        protocol: settled.protocol,
        model: settled.model.clone(),
        billed_model: settled.billed_model.clone(),
        served_model: settled.served_model.clone(),
        provider: settled.provider.clone(),
        provider_response_id: settled.provider_response_id.clone(),
        outcome: settled.outcome,
        usage_source: settled.usage_source,
        policy: settled.policy,
        input_tokens,
        cached_input_tokens,
        cache_write_5m_tokens,
        cache_write_1h_tokens,
        cumulative_input_tokens: input_tokens
            + cached_input_tokens
            + cache_write_5m_tokens
            + cache_write_1h_tokens,
        already_billed_tokens: tokens("already billed tokens", settled.already_billed_tokens)?,
        output_tokens: tokens("output tokens", usage.output)?,
        reasoning_tokens: tokens("reasoning tokens", usage.reasoning)?,
        web_search_calls: tokens("web searches", usage.web_search_calls)?,
        card_version: settled.card_version,
        mode: settled.mode,
        lines: settled.lines.clone(),
        remainder_pico: settled.remainder_pico,
        cost_micro: settled.cost_micro,
        charged_micro: settled.charged_micro,
        covered_micro: settled.covered_by_plan_micro,
        shortfall_micro: settled.shortfall_micro,
        insured_micro: settled.insured_micro,
        provider_cost_micro: settled.provider_cost_micro,
        attempts: settled.attempts.clone(),
        held_ms: settled.timings.held_ms,
        first_byte_ms: settled.timings.first_byte_ms,
        total_ms: settled.timings.total_ms,
        balance_micro: settled.balance_micro,
        plan_id: settled.plan.as_ref().map(|used| used.plan_id.clone()),
        settled_at: time(event, settled.at)?,
        reversed_at: None,
        reversal_reason: None,
        reversed_micro: MicroUsd::ZERO,
    })
}
