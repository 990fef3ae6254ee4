//! A provider's own usage report, read once into disjoint buckets, or rejected with a reason.
//!
//! Every figure is checked before it may become money: whole, not negative, parts not larger than
//! their whole, the sum equal to the provider's total where it gives one, nothing beyond what the
//! model could have done. `Some(0)` is a fact, a missing report is `None`, and neither is ever
//! turned into the other.

mod chat;
mod messages;
mod responses;

use codexapi_aggregates::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use chat::parse_openai_chat;
pub use messages::{MessagesReport, parse_anthropic};
pub use responses::parse_openai_responses;

/// Web searches of one generation beyond which a report is not believed.
pub const MAX_WEB_SEARCH_CALLS: u64 = 1_000;

/// Why a report is not believed; it is charged as an estimate and goes to the operator's queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageRejected {
    #[error("usage is not an object with figures")]
    NotAnObject,
    #[error("{field} is missing")]
    Missing { field: &'static str },
    #[error("{field} is negative")]
    Negative { field: &'static str },
    #[error("{field} is not a whole number")]
    NotWhole { field: &'static str },
    #[error("{field} is {part}, more than {whole} of {of}")]
    PartExceedsWhole { field: &'static str, part: u64, of: &'static str, whole: u64 },
    #[error("the buckets add up to {sum}, the provider's total is {total}")]
    SumDiffers { sum: u64, total: u64 },
    #[error("cache writes by lifetime add up to {sum}, their total is {total}")]
    CacheWritesDiffer { sum: u64, total: u64 },
    #[error("{field} is absurd: {figure}, at most {ceiling} is possible")]
    Absurd { field: &'static str, figure: u64, ceiling: u64 },
}

/// A report as it came, in its provider's terms; unchecked.
#[derive(Clone, Debug)]
pub enum RawUsage {
    /// With the web searches counted among the output items, which the report leaves out.
    Responses {
        report: Box<RawValue>,
        web_search_calls: u64,
    },
    Chat(Box<RawValue>),
    Messages(MessagesReport),
}

impl RawUsage {
    /// The report as buckets.
    ///
    /// `ceiling_tokens` is the most tokens, in and out, that one generation of this request can
    /// have: the model's context, plus the maximum output of every answer asked for.
    pub fn check(&self, ceiling_tokens: u64) -> Result<Usage, UsageRejected> {
        match self {
            Self::Responses { report, web_search_calls } => {
                let mut usage = parse_openai_responses(report, ceiling_tokens)?;
                usage.web_search_calls = *web_search_calls;
                believable(usage, None, ceiling_tokens)
            }
            Self::Chat(report) => parse_openai_chat(report, ceiling_tokens),
            Self::Messages(report) => report.check(ceiling_tokens),
        }
    }
}

/// One figure of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Figure {
    /// Not there, or `null`.
    #[default]
    Absent,
    Count(u64),
    Negative,
    NotWhole,
}

impl Figure {
    fn read(field: Option<&RawValue>) -> Figure {
        let Some(text) = field.map(RawValue::get) else { return Figure::Absent };
        if text == "null" {
            return Figure::Absent;
        }
        match text.parse() {
            Ok(count) => Figure::Count(count),
            Err(_) if text.starts_with('-') => Figure::Negative,
            Err(_) => Figure::NotWhole,
        }
    }

    fn or(self, other: Figure) -> Figure {
        if self == Figure::Absent { other } else { self }
    }

    fn optional(self, field: &'static str) -> Result<Option<u64>, UsageRejected> {
        match self {
            Figure::Absent => Ok(None),
            Figure::Count(count) => Ok(Some(count)),
            Figure::Negative => Err(UsageRejected::Negative { field }),
            Figure::NotWhole => Err(UsageRejected::NotWhole { field }),
        }
    }

    fn required(self, field: &'static str) -> Result<u64, UsageRejected> {
        self.optional(field)?.ok_or(UsageRejected::Missing { field })
    }

    fn or_zero(self, field: &'static str) -> Result<u64, UsageRejected> {
        Ok(self.optional(field)?.unwrap_or(0))
    }
}

/// A report, or a part of one, as its fields; absent or `null` has none.
fn object<'a, T: Deserialize<'a> + Default>(raw: Option<&'a RawValue>) -> Result<T, UsageRejected> {
    let Some(text) = raw.map(RawValue::get).filter(|text| *text != "null") else { return Ok(T::default()) };
    // serde would read an array as the fields in order.
    if !text.starts_with('{') {
        return Err(UsageRejected::NotAnObject);
    }
    serde_json::from_str(text).map_err(|_| UsageRejected::NotAnObject)
}

/// What OpenAI's two dialects report, under the names each gives it.
struct OpenAiFigures {
    input: (&'static str, Figure),
    output: (&'static str, Figure),
    cached: Figure,
    cache_write: Figure,
    reasoning: Figure,
    total: Figure,
}

impl OpenAiFigures {
    /// OpenAI's input contains the cached and the written tokens, its output the reasoning.
    fn buckets(self, ceiling_tokens: u64) -> Result<Usage, UsageRejected> {
        let (input_name, input) = self.input;
        let (output_name, output) = self.output;
        let input = input.required(input_name)?;
        let output = output.required(output_name)?;
        let cached = self.cached.or_zero("cached_tokens")?;
        let written = self.cache_write.or_zero("cache_write_tokens")?;
        let reasoning = self.reasoning.or_zero("reasoning_tokens")?;
        at_most("cached_tokens", cached, input_name, input)?;
        at_most("cache_write_tokens", written, "input that is not cached", input - cached)?;
        at_most("reasoning_tokens", reasoning, output_name, output)?;
        let usage = Usage {
            input: input - cached - written,
            cached_input: cached,
            cache_write_5m: written,
            output,
            reasoning,
            ..Usage::default()
        };
        believable(usage, self.total.optional("total_tokens")?, ceiling_tokens)
    }
}

fn at_most(field: &'static str, part: u64, of: &'static str, whole: u64) -> Result<(), UsageRejected> {
    if part > whole {
        return Err(UsageRejected::PartExceedsWhole { field, part, of, whole });
    }
    Ok(())
}

/// `usage`, if each bucket and their sum could be and the sum is the provider's total.
fn believable(usage: Usage, total: Option<u64>, ceiling: u64) -> Result<Usage, UsageRejected> {
    let buckets = [usage.input, usage.cached_input, usage.cache_write_5m, usage.cache_write_1h, usage.output];
    let mut sum = 0u64;
    for bucket in buckets {
        sum = sum.saturating_add(bucket);
    }
    if sum > ceiling {
        return Err(UsageRejected::Absurd { field: "the sum of tokens", figure: sum, ceiling });
    }
    let calls = usage.web_search_calls;
    if calls > MAX_WEB_SEARCH_CALLS {
        let field = "the number of web searches";
        return Err(UsageRejected::Absurd { field, figure: calls, ceiling: MAX_WEB_SEARCH_CALLS });
    }
    match total {
        Some(total) if total != sum => Err(UsageRejected::SumDiffers { sum, total }),
        Some(_) | None => Ok(usage),
    }
}

#[cfg(test)]
mod tests;
