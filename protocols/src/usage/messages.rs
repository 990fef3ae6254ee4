//! Usage of the Messages protocol: disjoint already, but split over several reports of one stream.
//!
//! `message_start` brings the input, each `message_delta` cumulative figures; of every figure the
//! last value counts, never the sum.

use codexapi_aggregates::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Figure, UsageRejected, at_most, believable, object};

#[derive(Deserialize, Default)]
struct Report<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation: Option<&'a RawValue>,
    #[serde(borrow)]
    server_tool_use: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct CacheCreation<'a> {
    #[serde(borrow)]
    ephemeral_5m_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    ephemeral_1h_input_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct ServerToolUse<'a> {
    #[serde(borrow)]
    web_search_requests: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct OutputDetails<'a> {
    #[serde(borrow)]
    thinking_tokens: Option<&'a RawValue>,
}

/// The figures of one generation, as far as they have been reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessagesReport {
    input: Figure,
    output: Figure,
    cache_read: Figure,
    cache_write: Figure,
    cache_write_5m: Figure,
    cache_write_1h: Figure,
    web_searches: Figure,
    thinking: Figure,
    /// A report that was no object, or contradicted itself; no later one mends it.
    broken: Option<UsageRejected>,
}

impl MessagesReport {
    /// Takes a later report in: each figure it names replaces the earlier one.
    pub fn update(&mut self, report: &RawValue) {
        if let Err(broken) = self.merge(report) {
            self.broken = Some(broken);
        }
    }

    fn merge(&mut self, report: &RawValue) -> Result<(), UsageRejected> {
        let report: Report = object(Some(report))?;
        let writes: CacheCreation = object(report.cache_creation)?;
        let tools: ServerToolUse = object(report.server_tool_use)?;
        let output: OutputDetails = object(report.output_tokens_details)?;
        let latest =
            |figure: &mut Figure, field: Option<&RawValue>| *figure = Figure::read(field).or(*figure);
        latest(&mut self.input, report.input_tokens);
        latest(&mut self.output, report.output_tokens);
        latest(&mut self.cache_read, report.cache_read_input_tokens);
        latest(&mut self.cache_write, report.cache_creation_input_tokens);
        latest(&mut self.cache_write_5m, writes.ephemeral_5m_input_tokens);
        latest(&mut self.cache_write_1h, writes.ephemeral_1h_input_tokens);
        latest(&mut self.web_searches, tools.web_search_requests);
        latest(&mut self.thinking, output.thinking_tokens);
        if writes.ephemeral_5m_input_tokens.is_some() && report.cache_creation_input_tokens.is_some() {
            self.check_split()?;
        }
        Ok(())
    }

    /// Within one report the writes by lifetime must add up to their total.
    fn check_split(&self) -> Result<(), UsageRejected> {
        let (Figure::Count(five), Figure::Count(total)) = (self.cache_write_5m, self.cache_write) else {
            return Ok(());
        };
        let hour = if let Figure::Count(hour) = self.cache_write_1h { hour } else { 0 };
        let sum = five.saturating_add(hour);
        if sum != total { Err(UsageRejected::CacheWritesDiffer { sum, total }) } else { Ok(()) }
    }

    /// The buckets; `ceiling_tokens` as for [`super::RawUsage::check`].
    pub fn check(&self, ceiling_tokens: u64) -> Result<Usage, UsageRejected> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let output = self.output.required("output_tokens")?;
        let thinking = self.thinking.or_zero("thinking_tokens")?;
        at_most("thinking_tokens", thinking, "output_tokens", output)?;
        let (cache_write_5m, cache_write_1h) = self.cache_writes()?;
        let usage = Usage {
            input: self.input.required("input_tokens")?,
            cached_input: self.cache_read.or_zero("cache_read_input_tokens")?,
            cache_write_5m,
            cache_write_1h,
            output,
            reasoning: thinking,
            web_search_calls: self.web_searches.or_zero("web_search_requests")?,
        };
        believable(usage, None, ceiling_tokens)
    }

    /// Writes by lifetime. What the split does not name is a write of the default lifetime: a later
    /// report may raise the total without splitting it anew.
    fn cache_writes(&self) -> Result<(u64, u64), UsageRejected> {
        let five = self.cache_write_5m.or_zero("ephemeral_5m_input_tokens")?;
        let hour = self.cache_write_1h.or_zero("ephemeral_1h_input_tokens")?;
        let Some(total) = self.cache_write.optional("cache_creation_input_tokens")? else {
            return Ok((five, hour));
        };
        let sum = five.saturating_add(hour);
        let unsplit = total.checked_sub(sum).ok_or(UsageRejected::CacheWritesDiffer { sum, total })?;
        Ok((five + unsplit, hour))
    }
}

/// The buckets of a whole Messages `usage` object; `ceiling_tokens` as for [`super::RawUsage::check`].
pub fn parse_anthropic(report: &RawValue, ceiling_tokens: u64) -> Result<Usage, UsageRejected> {
    let mut merged = MessagesReport::default();
    merged.update(report);
    merged.check(ceiling_tokens)
}
