//! A stored conversation made short: an ordinary generation that is asked for a summary to go on from.

use std::collections::HashSet;

use bytes::Bytes;
use codexapi_protocols::request::earlier_items;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{StoredError, StoredResponse};

const INSTRUCTIONS: &str = "You shorten conversations so that they can be continued from your summary alone.";

const REQUEST: &str = "Summarise the conversation above for whoever continues it without seeing it. \
    State what the user wants, what was decided and why, what has been done, with names, paths, numbers and \
    code that will be needed again, and what is still to be done. Do not answer open questions and add nothing.";

/// The request, in the Responses dialect, that has the conversation of `response` summarised by the same
/// model. Calls that were never answered are left out: no provider takes them.
///
/// # Errors
/// `Unfinished`; `Unavailable` where what is stored cannot be read.
pub fn request(response: &StoredResponse) -> Result<Bytes, StoredError> {
    if response.status.is_running() {
        let (id, status) = (response.response_id.clone(), response.status.name());
        return Err(StoredError::Unfinished { id, status });
    }
    let unreadable = |error: serde_json::Error| StoredError::Unavailable(error.into());
    let mut items = earlier_items(&response.input, &response.body).map_err(unreadable)?;
    leave_out_open_calls(&mut items);
    let ask = json!({ "type": "message", "role": "user", "content": REQUEST });
    items.push(serde_json::value::to_raw_value(&ask).map_err(unreadable)?);
    #[derive(Serialize)]
    struct Request<'a> {
        model: &'a str,
        instructions: &'static str,
        input: Vec<Box<RawValue>>,
        store: bool,
    }
    let request = Request { model: &response.model, instructions: INSTRUCTIONS, input: items, store: false };
    serde_json::to_vec(&request).map(Bytes::from).map_err(unreadable)
}

/// The answer to such a request as OpenAI's compaction object: the summary's messages and the usage.
pub fn object(answer: &[u8]) -> serde_json::Result<Value> {
    #[derive(Deserialize)]
    struct Answer {
        id: String,
        created_at: Value,
        output: Vec<Value>,
        usage: Option<Value>,
    }
    let answer: Answer = serde_json::from_slice(answer)?;
    let messages: Vec<Value> = answer.output.into_iter().filter(|item| item["type"] == "message").collect();
    Ok(json!({
        "id": answer.id,
        "object": "response.compaction",
        "created_at": answer.created_at,
        "output": messages,
        "usage": answer.usage,
    }))
}

#[derive(Deserialize)]
struct Call {
    #[serde(default, rename = "type")]
    kind: String,
    call_id: Option<String>,
}

fn leave_out_open_calls(items: &mut Vec<Box<RawValue>>) {
    let read = |item: &RawValue| serde_json::from_str::<Call>(item.get()).ok();
    let answered: HashSet<String> = items
        .iter()
        .filter_map(|item| read(item).filter(|call| call.kind.ends_with("_output"))?.call_id)
        .collect();
    items.retain(|item| match read(item) {
        Some(Call { kind, call_id: Some(id) }) if kind.ends_with("_call") => answered.contains(&id),
        Some(_) | None => true,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::Status;

    fn response(input: Value, output: Value) -> StoredResponse {
        StoredResponse {
            response_id: "resp_1".into(),
            model: "m".into(),
            status: Status::Completed,
            background: false,
            input: input.to_string(),
            body: json!({ "output": output }).to_string(),
        }
    }

    #[test]
    fn the_whole_conversation_is_sent_but_for_calls_that_were_never_answered() {
        let input = json!([
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "x"},
        ]);
        let output = json!([
            {"type": "message", "role": "assistant", "content": []},
            {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        ]);
        let request: Value = serde_json::from_slice(&request(&response(input, output)).unwrap()).unwrap();
        let items = request["input"].as_array().unwrap();
        assert_eq!(items.len(), 4);
        assert_eq!((&items[2]["role"], &items[3]["role"]), (&json!("assistant"), &json!("user")));
        assert_eq!((&request["model"], &request["store"]), (&json!("m"), &json!(false)));
    }

    #[test]
    fn an_unfinished_response_is_not_compacted() {
        let running = StoredResponse { status: Status::InProgress, ..response(json!([]), json!([])) };
        assert!(matches!(request(&running), Err(StoredError::Unfinished { .. })));
    }

    #[test]
    fn a_compaction_holds_messages_and_usage() {
        let answer = json!({"id": "r", "created_at": 1, "output": [{"type": "reasoning"}, {"type": "message"}], "usage": {"input_tokens": 1}});
        let object = object(answer.to_string().as_bytes()).unwrap();
        assert_eq!(object["output"], json!([{"type": "message"}]));
        assert_eq!(object["object"], "response.compaction");
    }
}
