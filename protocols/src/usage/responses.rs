//! Usage of the Responses protocol: input contains what was cached, output the reasoning.

use codexapi_aggregates::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Figure, OpenAiFigures, UsageRejected, object};

#[derive(Deserialize, Default)]
struct Report<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct InputDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct OutputDetails<'a> {
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
}

/// The buckets of a Responses `usage` object; `ceiling_tokens` as for [`super::RawUsage::check`].
pub fn parse_openai_responses(report: &RawValue, ceiling_tokens: u64) -> Result<Usage, UsageRejected> {
    let report: Report = object(Some(report))?;
    let input: InputDetails = object(report.input_tokens_details)?;
    let output: OutputDetails = object(report.output_tokens_details)?;
    OpenAiFigures {
        input: ("input_tokens", Figure::read(report.input_tokens)),
        output: ("output_tokens", Figure::read(report.output_tokens)),
        cached: Figure::read(input.cached_tokens),
        cache_write: Figure::read(input.cache_write_tokens),
        reasoning: Figure::read(output.reasoning_tokens),
        total: Figure::read(report.total_tokens),
    }
    .buckets(ceiling_tokens)
}
