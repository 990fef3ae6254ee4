//! Frames of our own in a stream: refusals to Codex, failures in mid-stream, signs of life.

use bytes::Bytes;
use codexapi_aggregates::usage::{ClientFamily, Protocol};
use serde_json::{Value, json};

use super::{ErrorKind, anthropic_type, openai_type, responses_code};

/// A failure that ends a stream already begun.
#[derive(Clone, Copy, Debug)]
pub struct FailureFrame<'a> {
    pub kind: ErrorKind,
    pub message: &'a str,
    /// The id the client has seen on this response, else ours.
    pub response_id: &'a str,
    /// The client's label.
    pub model: &'a str,
    pub created_at_secs: i64,
    /// What the next frame of a Responses stream is numbered.
    pub sequence_number: u64,
    pub request_id: &'a str,
}

/// A whole Responses stream that refuses: Codex hides the text of most HTTP errors, but shows this
/// one. `code` is `invalid_prompt` for what waiting cannot mend, else `rate_limit_exceeded` with
/// "try again in 10s" in the message.
pub fn codex_refusal_stream(
    response_id: &str,
    model: &str,
    code: &str,
    message: &str,
    created_at_secs: i64,
) -> Bytes {
    let mut stream = event(
        "response.created",
        &json!({
            "type": "response.created",
            "sequence_number": 0,
            "response": response(response_id, model, created_at_secs, "in_progress", Value::Null),
        }),
    );
    stream.push_str(&failed(response_id, model, code, message, created_at_secs, 1));
    stream.into()
}

/// The dialect's frame for a failure in mid-stream; nothing follows it.
pub fn failure_frame(protocol: Protocol, family: ClientFamily, failure: &FailureFrame) -> Bytes {
    match protocol {
        Protocol::Responses => responses_failure(family, failure).into(),
        Protocol::Chat | Protocol::Completions => {
            let error = json!({
                "error": {
                    "message": failure.message,
                    "type": openai_type(failure.kind),
                    "param": null,
                    "code": responses_code(failure.kind),
                }
            });
            format!("data: {error}\n\n").into()
        }
        Protocol::Messages => {
            let error = json!({
                "type": "error",
                "error": { "type": anthropic_type(failure.kind, 0), "message": failure.message },
                "request_id": failure.request_id,
            });
            event("error", &error).into()
        }
    }
}

/// What this client counts as life while the provider is silent. Codex's idle timer is reset by any
/// event, never by a comment; Anthropic's clients know `ping`; all others ignore comments.
pub fn keepalive_frame(protocol: Protocol, family: ClientFamily) -> Bytes {
    match (protocol, family) {
        (Protocol::Messages, _) => Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n"),
        (Protocol::Responses, ClientFamily::CodexCli | ClientFamily::Codexclaude) => {
            Bytes::from_static(b"event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n")
        }
        (
            Protocol::Responses,
            ClientFamily::ClaudeCode
            | ClientFamily::OpenaiSdk
            | ClientFamily::AnthropicSdk
            | ClientFamily::Other,
        )
        | (Protocol::Chat | Protocol::Completions, _) => Bytes::from_static(b": keepalive\n\n"),
    }
}

/// Codex wants `response.failed` alone. OpenAI's SDKs end quietly on that, and raise on `error`.
fn responses_failure(family: ClientFamily, failure: &FailureFrame) -> String {
    let code = responses_code(failure.kind);
    let FailureFrame { message, response_id, model, created_at_secs, sequence_number, .. } = *failure;
    let failed = |number| failed(response_id, model, code, message, created_at_secs, number);
    match family {
        ClientFamily::CodexCli | ClientFamily::Codexclaude => failed(sequence_number),
        ClientFamily::ClaudeCode
        | ClientFamily::OpenaiSdk
        | ClientFamily::AnthropicSdk
        | ClientFamily::Other => {
            let error = json!({
                "type": "error",
                "code": code,
                "message": message,
                "param": null,
                "sequence_number": sequence_number,
            });
            event("error", &error) + &failed(sequence_number + 1)
        }
    }
}

fn failed(id: &str, model: &str, code: &str, message: &str, created_at_secs: i64, number: u64) -> String {
    let error = json!({ "code": code, "message": message });
    event(
        "response.failed",
        &json!({
            "type": "response.failed",
            "sequence_number": number,
            "response": response(id, model, created_at_secs, "failed", error),
        }),
    )
}

fn response(id: &str, model: &str, created_at_secs: i64, status: &str, error: Value) -> Value {
    json!({
        "id": id,
        "object": "response",
        "created_at": created_at_secs,
        "status": status,
        "error": error,
        "incomplete_details": null,
        "instructions": null,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "tools": [],
        "usage": null,
    })
}

fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}
