//! Responses answers, whole and as a stream of events.

use std::iter::once;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::answer::{Answer, Block, What};
use crate::directive::{ErrorForm, Finish, MidStreamError, UsageReport};
use crate::sse::{Data, Event, Events, broken_off};

const QUERY: &str = "what the simulator was told to search";

/// The answer to a request that does not stream.
pub fn body(answer: &Answer) -> Value {
    finished(answer)
}

/// Every event in OpenAI's order, numbered.
pub fn events(answer: &Arc<Answer>) -> Events {
    let opening = [
        Event::named("response.created", json!({ "response": object(answer, "in_progress", json!([])) })),
        Event::named("response.in_progress", json!({ "response": object(answer, "in_progress", json!([])) })),
    ];
    let blocks = {
        let answer = Arc::clone(answer);
        (0..answer.blocks.len()).flat_map(move |at| block_events(&answer, at))
    };
    let closing = {
        let answer = Arc::clone(answer);
        once(()).map(move |()| closing(&answer))
    };
    let all: Events = Box::new(opening.into_iter().chain(blocks).chain(closing));
    let all = match &answer.told.mid_stream_error {
        Some(told) => broken_off(all, told, error_event(answer, told)),
        None => all,
    };
    numbered(all)
}

/// The in-band form of a failure.
fn error_event(answer: &Answer, told: &MidStreamError) -> Event {
    let code = told.code.as_deref().unwrap_or("server_error");
    let message = told.message.as_deref().unwrap_or("The simulator failed in mid-stream, as told.");
    match told.form {
        ErrorForm::Failed => {
            let mut response = object(answer, "failed", json!([]));
            response["error"] = json!({ "code": code, "message": message });
            Event::named("response.failed", json!({ "response": response }))
        }
        ErrorForm::Error => Event::named("error", json!({ "code": code, "message": message, "param": null })),
    }
}

/// Adds a rising `sequence_number` to every event.
fn numbered(events: Events) -> Events {
    Box::new(events.enumerate().map(|(number, mut event)| {
        if let Data::Json(data) = &mut event.data {
            data["sequence_number"] = json!(number);
        }
        event
    }))
}

fn closing(answer: &Answer) -> Event {
    let name = if is_incomplete(answer) { "response.incomplete" } else { "response.completed" };
    Event::named(name, json!({ "response": finished(answer) })).last(answer.billed.output_tokens)
}

fn block_events(answer: &Arc<Answer>, at: usize) -> Events {
    let block = &answer.blocks[at];
    let begin: Vec<Event> = once(Event::named(
        "response.output_item.added",
        json!({ "output_index": at, "item": item(answer, block, Stage::Begun) }),
    ))
    .chain(part_event(block, at, Stage::Begun))
    .collect();
    let deltas = {
        let answer = Arc::clone(answer);
        (0..block.pieces.len()).map(move |piece| delta(&answer, at, piece))
    };
    let end = {
        let answer = Arc::clone(answer);
        once(()).flat_map(move |()| block_end(&answer, at))
    };
    Box::new(begin.into_iter().chain(deltas).chain(end))
}

fn block_end(answer: &Answer, at: usize) -> Vec<Event> {
    let block = &answer.blocks[at];
    let mut place = place(block, at);
    let done = match &block.what {
        What::Reasoning => Some(("response.reasoning_summary_text.done", "text")),
        What::Text => Some(("response.output_text.done", "text")),
        What::Refusal => Some(("response.refusal.done", "refusal")),
        What::Call { custom: false, .. } => Some(("response.function_call_arguments.done", "arguments")),
        What::Call { custom: true, .. } => Some(("response.custom_tool_call_input.done", "input")),
        What::WebSearch => None,
    };
    let mut events = Vec::new();
    if let Some((name, key)) = done {
        place[key] = json!(block.pieces.whole());
        if let What::Call { name, .. } = &block.what {
            place["name"] = json!(name);
        }
        events.push(Event::named(name, place));
    }
    events.extend(part_event(block, at, Stage::Done));
    events.push(Event::named(
        "response.output_item.done",
        json!({ "output_index": at, "item": item(answer, block, Stage::Done) }),
    ));
    events
}

/// The events between an item's own first and last ones and its deltas.
fn part_event(block: &Block, at: usize, stage: Stage) -> Vec<Event> {
    let (added, done, part) = match block.what {
        What::Reasoning => (
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_part.done",
            summary_part(block, stage),
        ),
        What::Text | What::Refusal => {
            ("response.content_part.added", "response.content_part.done", content_part(block, stage))
        }
        What::WebSearch if stage == Stage::Begun => {
            return [
                "response.web_search_call.in_progress",
                "response.web_search_call.searching",
                "response.web_search_call.completed",
            ]
            .into_iter()
            .map(|name| Event::named(name, place(block, at)))
            .collect();
        }
        What::WebSearch | What::Call { .. } => return Vec::new(),
    };
    let mut data = place(block, at);
    data["part"] = part;
    let name = match stage {
        Stage::Begun => added,
        Stage::Done => done,
    };
    vec![Event::named(name, data)]
}

fn delta(answer: &Answer, at: usize, piece: usize) -> Event {
    let block = &answer.blocks[at];
    let name = match &block.what {
        What::Reasoning => "response.reasoning_summary_text.delta",
        What::Refusal => "response.refusal.delta",
        What::Call { custom: false, .. } => "response.function_call_arguments.delta",
        What::Call { custom: true, .. } => "response.custom_tool_call_input.delta",
        What::Text | What::WebSearch => "response.output_text.delta",
    };
    let mut data = place(block, at);
    data["delta"] = json!(block.pieces.get(piece));
    if block.what == What::Text {
        data["logprobs"] = json!([]);
    }
    Event::named(name, data).delta(answer.produced(at, piece))
}

/// Where in the output an event belongs.
fn place(block: &Block, at: usize) -> Value {
    let mut data = json!({ "item_id": item_id(block), "output_index": at });
    match block.what {
        What::Reasoning => data["summary_index"] = json!(0),
        What::Text | What::Refusal => data["content_index"] = json!(0),
        What::WebSearch | What::Call { .. } => {}
    }
    data
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    Done,
}

fn item(answer: &Answer, block: &Block, stage: Stage) -> Value {
    let begun = stage == Stage::Begun;
    let id = item_id(block);
    let status = match stage {
        Stage::Begun => "in_progress",
        Stage::Done if is_incomplete(answer) => "incomplete",
        Stage::Done => "completed",
    };
    let whole = if begun { String::new() } else { block.pieces.whole() };
    match &block.what {
        What::Reasoning => {
            let summary = if begun { json!([]) } else { json!([summary_part(block, stage)]) };
            let mut item = json!({ "id": id, "type": "reasoning", "summary": summary });
            if wants_encrypted_reasoning(answer) {
                item["encrypted_content"] = json!(format!("sim-encrypted-{id}"));
            }
            item
        }
        What::WebSearch => json!({
            "id": id,
            "type": "web_search_call",
            "status": if begun { "in_progress" } else { "completed" },
            "action": { "type": "search", "query": QUERY, "queries": [QUERY] },
        }),
        What::Text | What::Refusal => json!({
            "id": id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": if begun { json!([]) } else { json!([content_part(block, stage)]) },
        }),
        What::Call { name, custom: false } => json!({
            "id": id,
            "type": "function_call",
            "status": status,
            "call_id": block.id,
            "name": name,
            "arguments": whole,
        }),
        What::Call { name, custom: true } => json!({
            "id": id,
            "type": "custom_tool_call",
            "status": status,
            "call_id": block.id,
            "name": name,
            "input": whole,
        }),
    }
}

fn item_id(block: &Block) -> String {
    match block.what {
        What::Call { custom: false, .. } => block.id.replacen("call_", "fc_", 1),
        What::Call { custom: true, .. } => block.id.replacen("call_", "ctc_", 1),
        _ => block.id.clone(),
    }
}

fn summary_part(block: &Block, stage: Stage) -> Value {
    json!({ "type": "summary_text", "text": text_at(block, stage) })
}

fn content_part(block: &Block, stage: Stage) -> Value {
    let text = text_at(block, stage);
    if block.what == What::Refusal {
        json!({ "type": "refusal", "refusal": text })
    } else {
        json!({ "type": "output_text", "annotations": [], "logprobs": [], "text": text })
    }
}

fn text_at(block: &Block, stage: Stage) -> String {
    match stage {
        Stage::Begun => String::new(),
        Stage::Done => block.pieces.whole(),
    }
}

fn wants_encrypted_reasoning(answer: &Answer) -> bool {
    answer.asked.echo.get("include").is_some_and(|include| {
        include.as_array().is_some_and(|list| list.contains(&json!("reasoning.encrypted_content")))
    })
}

fn is_incomplete(answer: &Answer) -> bool {
    matches!(answer.finish, Finish::Length | Finish::Incomplete | Finish::ContentFilter)
}

/// The response object as it stands at the end.
fn finished(answer: &Answer) -> Value {
    let output: Vec<Value> = answer.blocks.iter().map(|block| item(answer, block, Stage::Done)).collect();
    let incomplete = is_incomplete(answer);
    let status = if incomplete { "incomplete" } else { "completed" };
    let mut response = object(answer, status, json!(output));
    if incomplete {
        let reason = match answer.finish {
            Finish::ContentFilter => "content_filter",
            _ => "max_output_tokens",
        };
        response["incomplete_details"] = json!({ "reason": reason });
    } else {
        response["completed_at"] = json!(answer.created_s);
    }
    match usage(answer) {
        Some(usage) => response["usage"] = usage,
        None => {
            response.as_object_mut().map(|map| map.remove("usage"));
        }
    }
    if answer.billed.web_search_calls > 0 {
        response["tool_usage"] = json!({
            "image_gen": {
                "input_tokens": 0,
                "input_tokens_details": { "image_tokens": 0, "text_tokens": 0 },
                "output_tokens": 0,
                "total_tokens": 0,
            },
            "web_search": { "num_requests": answer.billed.web_search_calls },
        });
    }
    response
}

fn object(answer: &Answer, status: &str, output: Value) -> Value {
    let echo = |key: &str, otherwise: Value| answer.asked.echo.get(key).cloned().unwrap_or(otherwise);
    json!({
        "id": answer.id,
        "object": "response",
        "created_at": answer.created_s,
        "completed_at": null,
        "status": status,
        "background": echo("background", json!(false)),
        "error": null,
        "incomplete_details": null,
        "instructions": echo("instructions", Value::Null),
        "max_output_tokens": echo("max_output_tokens", Value::Null),
        "max_tool_calls": echo("max_tool_calls", Value::Null),
        "metadata": echo("metadata", json!({})),
        "model": answer.model,
        "output": output,
        "parallel_tool_calls": echo("parallel_tool_calls", json!(true)),
        "previous_response_id": echo("previous_response_id", Value::Null),
        "prompt_cache_key": echo("prompt_cache_key", Value::Null),
        "reasoning": echo("reasoning", json!({ "effort": null, "summary": null })),
        "safety_identifier": echo("safety_identifier", Value::Null),
        "service_tier": "default",
        "store": echo("store", json!(true)),
        "temperature": echo("temperature", json!(1.0)),
        "text": echo("text", json!({ "format": { "type": "text" }, "verbosity": "medium" })),
        "tool_choice": echo("tool_choice", json!("auto")),
        "tools": echo("tools", json!([])),
        "top_logprobs": echo("top_logprobs", json!(0)),
        "top_p": echo("top_p", json!(1.0)),
        "truncation": echo("truncation", json!("disabled")),
        "usage": null,
        "user": echo("user", Value::Null),
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

/// Input, cached, cache writes, output, reasoning, total.
fn report([input, cached, cache_write, output, reasoning, total]: [Value; 6]) -> Value {
    json!({
        "input_tokens": input,
        "input_tokens_details": { "cached_tokens": cached, "cache_write_tokens": cache_write },
        "output_tokens": output,
        "output_tokens_details": { "reasoning_tokens": reasoning },
        "total_tokens": total,
    })
}
