//! What the simulator needs to know of a request, whichever dialect it came in.

use http::HeaderMap;
use serde_json::{Map, Value};

use crate::check::Object;

/// The three protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Responses,
    Chat,
    Messages,
}

/// A request that has passed its dialect's checks.
#[derive(Debug, Default)]
pub struct Asked {
    pub model: String,
    pub stream: bool,
    /// Chat only: a usage chunk was asked for.
    pub include_usage: bool,
    pub input_tokens: u64,
    pub last_user_text: String,
    /// The conversation ends in a tool's output, so an answer in words is due.
    pub ends_in_tool_output: bool,
    pub tools: Vec<Tool>,
    /// A tool the request insists on.
    pub forced_tool: Option<String>,
    pub max_output_tokens: Option<u64>,
    /// Chat only: how many choices.
    pub choices: u64,
    /// Fields that the answer repeats (Responses only).
    pub echo: Object,
    /// How the sender may recognise the request later.
    pub client_ref: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    pub name: String,
    /// Takes free text instead of a JSON object.
    pub custom: bool,
}

/// Headers worth keeping with a bill; nothing that could be a credential.
const KEPT_HEADERS: &[&str] = &[
    "accept",
    "anthropic-beta",
    "anthropic-version",
    "content-type",
    "idempotency-key",
    "openai-beta",
    "originator",
    "session-id",
    "thread-id",
    "traceparent",
    "user-agent",
    "x-claude-code-session-id",
    "x-client-request-id",
    "x-request-id",
    "x-stainless-retry-count",
];

pub fn kept_headers(headers: &HeaderMap) -> Map<String, Value> {
    KEPT_HEADERS
        .iter()
        .filter_map(|name| {
            let value = headers.get(*name)?.to_str().ok()?;
            Some(((*name).to_owned(), Value::from(value)))
        })
        .collect()
}

/// Whatever in body and headers names the client's user, conversation or request.
pub fn client_ref(body: &Object, headers: &HeaderMap) -> Map<String, Value> {
    let from_body = ["metadata", "user", "prompt_cache_key", "safety_identifier"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), body.get(key)?.clone())));
    let from_headers = [
        ("thread-id", "thread_id"),
        ("session-id", "session_id"),
        ("x-claude-code-session-id", "claude_code_session_id"),
    ]
    .into_iter()
    .filter_map(|(header, key)| {
        let value = headers.get(header)?.to_str().ok()?;
        Some((key.to_owned(), Value::from(value)))
    });
    from_body.chain(from_headers).collect()
}
