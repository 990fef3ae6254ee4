//! Usage as Anthropic reports it: the input split into disjoint buckets, and a
//! stream's usage split over `message_start` and cumulative `message_delta`s.

use serde_json::{Value, json};

use crate::answer::{Answer, Billed};
use crate::directive::{SplitUsage, UsageReport};

/// The usage of a whole message.
pub fn whole(answer: &Answer) -> Option<Value> {
    raw(answer).unwrap_or_else(|| {
        let mut usage = full(&answer.billed, answer.billed.output_tokens);
        add_details(&mut usage, &answer.billed);
        Some(usage)
    })
}

/// The usage in `message_start`: the input is known, the output has just begun.
pub fn start(answer: &Answer) -> Option<Value> {
    if let Some(told) = &answer.told.usage_start_json {
        return Some(told.clone());
    }
    match answer.told.usage {
        Some(_) => reported(answer),
        None => Some(full(&answer.billed, answer.billed.output_tokens.min(1))),
    }
}

/// The cumulative usage in a `message_delta`, once `output` tokens are out.
pub fn delta(answer: &Answer, output: u64) -> Option<Value> {
    raw(answer).unwrap_or_else(|| {
        if answer.told.split_usage == Some(SplitUsage::OutputOnly) {
            return Some(json!({ "output_tokens": output }));
        }
        let billed = &answer.billed;
        let mut usage = json!({
            "input_tokens": billed.uncached_input_tokens,
            "cache_creation_input_tokens": billed.cache_write_5m + billed.cache_write_1h,
            "cache_read_input_tokens": billed.cached_tokens,
            "output_tokens": output,
        });
        add_details(&mut usage, billed);
        Some(usage)
    })
}

/// What the directive puts in place of the truth, if it does.
fn raw(answer: &Answer) -> Option<Option<Value>> {
    if let Some(told) = &answer.told.usage_json {
        return Some(Some(told.clone()));
    }
    answer.told.usage.map(|_| reported(answer))
}

fn reported(answer: &Answer) -> Option<Value> {
    let all = |number: i64| {
        json!({
            "input_tokens": number,
            "cache_creation_input_tokens": number,
            "cache_read_input_tokens": number,
            "output_tokens": number,
        })
    };
    match answer.told.usage? {
        UsageReport::Absent => None,
        UsageReport::Zero => Some(all(0)),
        UsageReport::Garbage | UsageReport::Negative => Some(all(-7)),
        UsageReport::Absurd => Some(all(i64::MAX)),
        UsageReport::Inconsistent => Some(json!({
            "input_tokens": 10,
            "cache_creation_input_tokens": 5,
            "cache_read_input_tokens": 0,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 700,
                "ephemeral_1h_input_tokens": 700,
            },
            "output_tokens": 5,
            "output_tokens_details": { "thinking_tokens": 500 },
        })),
    }
}

fn full(billed: &Billed, output: u64) -> Value {
    json!({
        "input_tokens": billed.uncached_input_tokens,
        "cache_creation_input_tokens": billed.cache_write_5m + billed.cache_write_1h,
        "cache_read_input_tokens": billed.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": billed.cache_write_5m,
            "ephemeral_1h_input_tokens": billed.cache_write_1h,
        },
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn add_details(usage: &mut Value, billed: &Billed) {
    if billed.reasoning_tokens > 0 {
        usage["output_tokens_details"] = json!({ "thinking_tokens": billed.reasoning_tokens });
    }
    if billed.web_search_calls > 0 {
        usage["server_tool_use"] =
            json!({ "web_search_requests": billed.web_search_calls, "web_fetch_requests": 0 });
    }
}
