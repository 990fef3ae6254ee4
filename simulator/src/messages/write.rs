//! Messages answers, whole and as a stream of events.

use std::iter::once;
use std::sync::Arc;

use serde_json::{Value, json};

use super::usage;
use crate::answer::{Answer, Block, What};
use crate::directive::{Finish, MidStreamError, SplitUsage};
use crate::sse::{Event, Events, broken_off};

const QUERY: &str = "what the simulator was told to search";

/// The answer to a request that does not stream.
pub fn body(answer: &Answer) -> Value {
    let content: Vec<Value> = answer.blocks.iter().flat_map(finished_blocks).collect();
    let mut message = envelope(answer);
    message["content"] = json!(content);
    message["stop_reason"] = stop_reason(answer);
    if let Some(usage) = usage::whole(answer) {
        message["usage"] = usage;
    }
    message
}

/// Every event in Anthropic's order.
pub fn events(answer: &Arc<Answer>) -> Events {
    let mut message = envelope(answer);
    if let Some(usage) = usage::start(answer) {
        message["usage"] = usage;
    }
    let opening =
        [Event::named("message_start", json!({ "message": message })), Event::named("ping", json!({}))];
    let blocks = {
        let answer = Arc::clone(answer);
        (0..answer.blocks.len()).flat_map(move |at| block_events(&answer, at))
    };
    let closing = {
        let answer = Arc::clone(answer);
        once(()).flat_map(move |()| closing(&answer))
    };
    let all: Events = Box::new(opening.into_iter().chain(blocks).chain(closing));
    match &answer.told.mid_stream_error {
        Some(told) => broken_off(all, told, error_event(told)),
        None => all,
    }
}

/// The in-band form of a failure.
fn error_event(told: &MidStreamError) -> Event {
    let kind = told.kind.as_deref().unwrap_or("overloaded_error");
    let message = told.message.as_deref().unwrap_or("The simulator failed in mid-stream, as told.");
    Event::named("error", json!({ "error": { "type": kind, "message": message } }))
}

fn closing(answer: &Answer) -> Vec<Event> {
    let output = answer.billed.output_tokens;
    let mut events = Vec::new();
    if answer.told.split_usage == Some(SplitUsage::Many) {
        events.push(message_delta(answer, Value::Null, output / 2));
    }
    events.push(message_delta(answer, stop_reason(answer), output).last(output));
    events.push(Event::named("message_stop", json!({})));
    events
}

fn message_delta(answer: &Answer, stop_reason: Value, output: u64) -> Event {
    let mut data = json!({ "delta": { "stop_reason": stop_reason, "stop_sequence": null } });
    if let Some(usage) = usage::delta(answer, output) {
        data["usage"] = usage;
    }
    Event::named("message_delta", data)
}

fn block_events(answer: &Arc<Answer>, at: usize) -> Events {
    let block = &answer.blocks[at];
    let index = index_of(answer, at);
    if block.what == What::WebSearch {
        return Box::new(search_events(block, index).into_iter());
    }
    let begin =
        Event::named("content_block_start", json!({ "index": index, "content_block": begun_block(block) }));
    let deltas = {
        let answer = Arc::clone(answer);
        (0..block.pieces.len()).map(move |piece| {
            let block = &answer.blocks[at];
            block_delta(index, delta(block, piece)).delta(answer.produced(at, piece))
        })
    };
    let signature = (block.what == What::Reasoning)
        .then(|| block_delta(index, json!({ "type": "signature_delta", "signature": signature(block) })));
    let stop = Event::named("content_block_stop", json!({ "index": index }));
    Box::new(once(begin).chain(deltas).chain(signature).chain(once(stop)))
}

fn search_events(block: &Block, index: usize) -> Vec<Event> {
    let mut call = search_call(block);
    call["input"] = json!({});
    let input = json!({ "query": QUERY }).to_string();
    vec![
        Event::named("content_block_start", json!({ "index": index, "content_block": call })),
        block_delta(index, json!({ "type": "input_json_delta", "partial_json": input })),
        Event::named("content_block_stop", json!({ "index": index })),
        Event::named(
            "content_block_start",
            json!({ "index": index + 1, "content_block": search_result(block) }),
        ),
        Event::named("content_block_stop", json!({ "index": index + 1 })),
    ]
}

fn delta(block: &Block, piece: usize) -> Value {
    let text = block.pieces.get(piece);
    match block.what {
        What::Reasoning => json!({ "type": "thinking_delta", "thinking": text }),
        What::Call { .. } => json!({ "type": "input_json_delta", "partial_json": text }),
        What::Text | What::Refusal | What::WebSearch => {
            json!({ "type": "text_delta", "text": text })
        }
    }
}

fn block_delta(index: usize, delta: Value) -> Event {
    Event::named("content_block_delta", json!({ "index": index, "delta": delta }))
}

fn begun_block(block: &Block) -> Value {
    match &block.what {
        What::Reasoning => json!({ "type": "thinking", "thinking": "", "signature": "" }),
        What::Call { name, .. } => {
            json!({ "type": "tool_use", "id": tool_id(block), "name": name, "input": {} })
        }
        What::Text | What::Refusal | What::WebSearch => json!({ "type": "text", "text": "" }),
    }
}

fn finished_blocks(block: &Block) -> Vec<Value> {
    let whole = block.pieces.whole();
    match &block.what {
        What::Reasoning => {
            vec![json!({ "type": "thinking", "thinking": whole, "signature": signature(block) })]
        }
        What::WebSearch => vec![search_call(block), search_result(block)],
        What::Text | What::Refusal => vec![json!({ "type": "text", "text": whole })],
        What::Call { name, .. } => {
            let input = serde_json::from_str(&whole).unwrap_or_else(|_| json!({ "text": whole }));
            vec![json!({
                "type": "tool_use",
                "id": tool_id(block),
                "name": name,
                "input": input,
            })]
        }
    }
}

fn search_call(block: &Block) -> Value {
    json!({
        "type": "server_tool_use",
        "id": search_id(block),
        "name": "web_search",
        "input": { "query": QUERY },
    })
}

fn search_result(block: &Block) -> Value {
    json!({
        "type": "web_search_tool_result",
        "tool_use_id": search_id(block),
        "content": [{
            "type": "web_search_result",
            "url": "https://example.com/",
            "title": "Example Domain",
            "encrypted_content": "sim-encrypted",
            "page_age": null,
        }],
    })
}

/// Where a block stands in the content: a search is two blocks, its call and its result.
fn index_of(answer: &Answer, at: usize) -> usize {
    answer.blocks[..at]
        .iter()
        .map(|block| match block.what {
            What::WebSearch => 2,
            _ => 1,
        })
        .sum()
}

fn tool_id(block: &Block) -> String {
    block.id.replacen("call_", "toolu_", 1)
}

fn search_id(block: &Block) -> String {
    block.id.replacen("ws_", "srvtoolu_", 1)
}

fn signature(block: &Block) -> String {
    format!("sim-signature-{}", block.id)
}

fn stop_reason(answer: &Answer) -> Value {
    json!(match answer.finish {
        Finish::Stop => "end_turn",
        Finish::Length | Finish::Incomplete => "max_tokens",
        Finish::ContentFilter | Finish::Refusal => "refusal",
        Finish::Tool => "tool_use",
    })
}

fn envelope(answer: &Answer) -> Value {
    json!({
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
    })
}
