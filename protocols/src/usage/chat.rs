//! Usage of the Chat Completions protocol, with the names others who speak it use for cached input.

use codexapi_aggregates::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Figure, OpenAiFigures, UsageRejected, object};

#[derive(Deserialize, Default)]
struct Report<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
    /// Deepseek's name for cached input.
    #[serde(borrow)]
    prompt_cache_hit_tokens: Option<&'a RawValue>,
    /// Moonshot's.
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct PromptDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct CompletionDetails<'a> {
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
}

/// The buckets of a chat `usage` object; `ceiling_tokens` as for [`super::RawUsage::check`].
pub fn parse_openai_chat(report: &RawValue, ceiling_tokens: u64) -> Result<Usage, UsageRejected> {
    let report: Report = object(Some(report))?;
    let prompt: PromptDetails = object(report.prompt_tokens_details)?;
    let completion: CompletionDetails = object(report.completion_tokens_details)?;
    let cached = Figure::read(prompt.cached_tokens)
        .or(Figure::read(report.prompt_cache_hit_tokens))
        .or(Figure::read(report.cached_tokens));
    OpenAiFigures {
        input: ("prompt_tokens", Figure::read(report.prompt_tokens)),
        output: ("completion_tokens", Figure::read(report.completion_tokens)),
        cached,
        cache_write: Figure::read(prompt.cache_write_tokens),
        reasoning: Figure::read(completion.reasoning_tokens),
        total: Figure::read(report.total_tokens),
    }
    .buckets(ceiling_tokens)
}
