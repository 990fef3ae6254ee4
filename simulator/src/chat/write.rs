//! Chat Completions answers, whole and as a stream of chunks.

use std::iter::once;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::answer::{Answer, Block, What};
use crate::directive::{Finish, MidStreamError, UsageReport};
use crate::models;
use crate::refusal::openai_error;
use crate::sse::{Event, Events, broken_off};

const FINGERPRINT: &str = "fp_simulator";

/// The answer to a request that does not stream.
pub fn body(answer: &Answer) -> Value {
    let choices: Vec<Value> = (0..answer.asked.choices)
        .map(|index| {
            json!({
                "index": index,
                "message": message(answer),
                "logprobs": null,
                "finish_reason": finish_reason(answer),
            })
        })
        .collect();
    let mut body = json!({
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created_s,
        "model": answer.model,
        "choices": choices,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    });
    if let Some(usage) = usage(answer) {
        body["usage"] = usage;
    }
    body
}

/// Every chunk in OpenAI's order, `[DONE]` last.
pub fn events(answer: &Arc<Answer>) -> Events {
    let choices = answer.asked.choices;
    let opening = {
        let answer = Arc::clone(answer);
        (0..choices).map(move |choice| {
            let only_calls = answer.blocks.iter().all(|block| block.what != What::Text);
            let content = if only_calls { Value::Null } else { json!("") };
            let delta = json!({ "role": "assistant", "content": content, "refusal": null });
            Event::unnamed(chunk(&answer, choice, delta, Value::Null))
        })
    };
    let blocks = {
        let answer = Arc::clone(answer);
        (0..answer.blocks.len()).flat_map(move |at| block_events(&answer, at))
    };
    let closing = {
        let answer = Arc::clone(answer);
        once(()).flat_map(move |()| closing(&answer))
    };
    let all: Events = Box::new(opening.chain(blocks).chain(closing));
    match &answer.told.mid_stream_error {
        Some(told) => broken_off(all, told, error_event(told)),
        None => all,
    }
}

/// The in-band form of a failure.
fn error_event(told: &MidStreamError) -> Event {
    Event::unnamed(openai_error(
        told.kind.as_deref().unwrap_or("server_error"),
        told.code.as_deref(),
        None,
        told.message.as_deref().unwrap_or("The simulator failed in mid-stream, as told."),
    ))
}

fn closing(answer: &Answer) -> Vec<Event> {
    let mut events: Vec<Event> = (0..answer.asked.choices)
        .map(|choice| Event::unnamed(chunk(answer, choice, json!({}), finish_reason(answer))))
        .collect();
    if let Some(last) = events.pop() {
        events.push(last.last(answer.billed.output_tokens));
    }
    if let Some(usage) = usage(answer).filter(|_| answer.asked.include_usage) {
        let mut last = envelope(answer);
        last["choices"] = json!([]);
        last["usage"] = usage;
        events.push(Event::unnamed(last));
    }
    events.push(Event::done());
    events
}

/// Searches are not shown here, only counted; so is reasoning but for Deepseek's.
fn block_events(answer: &Arc<Answer>, at: usize) -> Events {
    let block = &answer.blocks[at];
    match block.what {
        What::WebSearch => return Box::new(std::iter::empty()),
        What::Reasoning if !shows_reasoning(answer) => return Box::new(std::iter::empty()),
        What::Reasoning | What::Text | What::Refusal | What::Call { .. } => {}
    }
    let choices = answer.asked.choices;
    let begin: Vec<Event> = call_begin(answer, at)
        .into_iter()
        .flat_map(|delta| (0..choices).map(move |choice| (choice, delta.clone())))
        .map(|(choice, delta)| Event::unnamed(chunk(answer, choice, delta, Value::Null)))
        .collect();
    let pieces = block.pieces.len();
    let answer = Arc::clone(answer);
    let deltas = (0..pieces).flat_map(move |piece| {
        let answer = Arc::clone(&answer);
        (0..choices).map(move |choice| {
            let delta = delta(&answer, at, piece);
            Event::unnamed(chunk(&answer, choice, delta, Value::Null)).delta(answer.produced(at, piece))
        })
    });
    Box::new(begin.into_iter().chain(deltas))
}

fn call_begin(answer: &Answer, at: usize) -> Option<Value> {
    let block = &answer.blocks[at];
    let mut call = call(block, String::new())?;
    call["index"] = json!(call_index(answer, at));
    Some(json!({ "tool_calls": [call] }))
}

fn delta(answer: &Answer, at: usize, piece: usize) -> Value {
    let block = &answer.blocks[at];
    let text = block.pieces.get(piece);
    match &block.what {
        What::Refusal => json!({ "refusal": text }),
        What::Call { custom: false, .. } => json!({ "tool_calls": [
            { "index": call_index(answer, at), "function": { "arguments": text } }
        ] }),
        What::Call { custom: true, .. } => json!({ "tool_calls": [
            { "index": call_index(answer, at), "custom": { "input": text } }
        ] }),
        What::Reasoning => json!({ "reasoning_content": text }),
        What::Text | What::WebSearch => json!({ "content": text }),
    }
}

fn shows_reasoning(answer: &Answer) -> bool {
    models::is_deepseek(&answer.asked.model)
}

fn call_index(answer: &Answer, at: usize) -> usize {
    answer.blocks[..at].iter().filter(|block| block.is_call()).count()
}

fn call(block: &Block, whole: String) -> Option<Value> {
    let What::Call { name, custom } = &block.what else {
        return None;
    };
    Some(if *custom {
        json!({ "id": block.id, "type": "custom", "custom": { "name": name, "input": whole } })
    } else {
        json!({ "id": block.id, "type": "function", "function": { "name": name, "arguments": whole } })
    })
}

fn message(answer: &Answer) -> Value {
    let spoken = |what: What| {
        let texts: Vec<String> = answer
            .blocks
            .iter()
            .filter(|block| block.what == what)
            .map(|block| block.pieces.whole())
            .collect();
        (!texts.is_empty()).then(|| texts.concat())
    };
    let calls: Vec<Value> =
        answer.blocks.iter().filter_map(|block| call(block, block.pieces.whole())).collect();
    let mut message = Map::new();
    message.insert("role".into(), json!("assistant"));
    message.insert("content".into(), json!(spoken(What::Text)));
    if shows_reasoning(answer) {
        message.insert("reasoning_content".into(), json!(spoken(What::Reasoning)));
    }
    message.insert("refusal".into(), json!(spoken(What::Refusal)));
    message.insert("annotations".into(), json!([]));
    if !calls.is_empty() {
        message.insert("tool_calls".into(), json!(calls));
    }
    Value::Object(message)
}

fn chunk(answer: &Answer, choice: u64, delta: Value, finish_reason: Value) -> Value {
    let mut chunk = envelope(answer);
    chunk["choices"] = json!([{
        "index": choice,
        "delta": delta,
        "logprobs": null,
        "finish_reason": finish_reason,
    }]);
    if answer.asked.include_usage {
        chunk["usage"] = Value::Null;
    }
    chunk
}

fn envelope(answer: &Answer) -> Value {
    json!({
        "id": answer.id,
        "object": "chat.completion.chunk",
        "created": answer.created_s,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    })
}

fn finish_reason(answer: &Answer) -> Value {
    json!(match answer.finish {
        Finish::Stop | Finish::Refusal => "stop",
        Finish::Length | Finish::Incomplete => "length",
        Finish::ContentFilter => "content_filter",
        Finish::Tool => "tool_calls",
    })
}

/// The usage as it is reported, which need not be what was billed.
fn usage(answer: &Answer) -> Option<Value> {
    if let Some(raw) = &answer.told.usage_json {
        return Some(raw.clone());
    }
    let billed = &answer.billed;
    let all = |number: i64| report([number; 6].map(Value::from));
    match answer.told.usage {
        None => Some(report([
            json!(billed.input_tokens),
            json!(billed.cached_tokens),
            json!(billed.cache_write_5m + billed.cache_write_1h),
            json!(billed.output_tokens),
            json!(billed.reasoning_tokens),
            json!(billed.input_tokens + billed.output_tokens),
        ])),
        Some(UsageReport::Absent) => None,
        Some(UsageReport::Zero) => Some(all(0)),
        Some(UsageReport::Garbage | UsageReport::Negative) => Some(all(-7)),
        Some(UsageReport::Absurd) => Some(all(i64::MAX)),
        Some(UsageReport::Inconsistent) => Some(report([10, 1_000, 0, 5, 500, 3].map(Value::from))),
    }
}

/// Prompt, cached, cache writes, completion, reasoning, total.
fn report([prompt, cached, cache_write, completion, reasoning, total]: [Value; 6]) -> Value {
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}
