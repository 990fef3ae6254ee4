use super::*;
use crate::sse::SseSplitter;

fn assembled(protocol: Protocol, limit: usize, data: &[Value]) -> Option<Value> {
    let mut assembler = Assembler::new(protocol, limit);
    for data in data {
        let text = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
        let mut frames = Vec::new();
        SseSplitter::default().push(&Bytes::from(format!("data: {text}\n\n")), &mut frames).expect("small");
        assembler.observe(&frames[0]);
    }
    assembler.finish().map(|whole| serde_json::from_slice(&whole).expect("JSON"))
}

#[test]
fn a_responses_stream_is_the_object_it_ends_with() {
    let whole = json!({"id": "resp_1", "output": [{"id": "m"}], "status": "completed"});
    let events = [
        json!({"type": "response.created", "response": {"id": "resp_1", "output": []}}),
        json!({"type": "response.output_item.done", "item": {"id": "other"}}),
        json!({"type": "response.completed", "response": whole}),
    ];
    assert_eq!(assembled(Protocol::Responses, 1_000, &events), Some(whole));
    assert_eq!(assembled(Protocol::Responses, 1_000, &events[..2]), None);
}

#[test]
fn items_left_out_of_the_end_are_put_in() {
    let events = [
        json!({"type": "response.output_item.done", "item": {"id": "a"}}),
        json!({"type": "response.output_item.done", "item": {"id": "b"}}),
        json!({"type": "response.incomplete", "response": {"id": "r", "output": []}}),
    ];
    let whole = assembled(Protocol::Responses, 1_000, &events).expect("whole");
    assert_eq!(whole["output"], json!([{"id": "a"}, {"id": "b"}]));
}

#[test]
fn a_chat_stream_adds_up_by_choice_and_by_call() {
    let chunk = |choices: Value| json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": choices});
    let call = |call: Value| json!([{"index": 1, "delta": {"tool_calls": [call]}}]);
    let chunks = [
        chunk(json!([{"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "finish_reason": null}])),
        chunk(call(
            json!({"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{"}}),
        )),
        chunk(json!([{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}])),
        chunk(call(json!({"index": 0, "function": {"arguments": "}"}}))),
        chunk(json!([{"index": 1, "delta": {}, "finish_reason": "tool_calls"}])),
        json!({"id": "c", "choices": [], "usage": {"total_tokens": 7}}),
        json!("[DONE]"),
    ];
    let whole = assembled(Protocol::Chat, 10_000, &chunks).expect("whole");
    assert_eq!((&whole["object"], &whole["usage"]["total_tokens"]), (&json!("chat.completion"), &json!(7)));
    assert_eq!(whole["choices"][0]["message"]["content"], "Hello");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    let message = &whole["choices"][1]["message"];
    assert_eq!(message["tool_calls"][0]["function"], json!({"name": "f", "arguments": "{}"}));
    assert_eq!(assembled(Protocol::Chat, 10_000, &chunks[..2]), None, "nothing says it is finished");
    assert_eq!(assembled(Protocol::Chat, 1, &chunks), None, "too long");
}

#[test]
fn a_stream_that_fails_is_not_kept() {
    let chunks = [
        json!({"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}),
        json!({"error": {"message": "broke"}}),
    ];
    assert_eq!(assembled(Protocol::Chat, 1_000, &chunks), None);
}
