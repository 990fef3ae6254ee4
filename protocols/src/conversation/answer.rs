//! A provider's answer, whole or as it comes.

use codexapi_aggregates::usage::Usage;

use super::{Reasoning, ToolCall, WebSearchCall};
use crate::conversation::names::CallName;

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The provider's.
    pub id: Option<String>,
    pub parts: Vec<OutputPart>,
    pub stop: Stop,
    /// `None` where the provider reported none, or none that adds up.
    pub usage: Option<Usage>,
}

/// One piece of what the model made, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputPart {
    Text(String),
    Refusal(String),
    Reasoning(Reasoning),
    ToolCall(ToolCall),
    WebSearch(WebSearchCall),
}

/// Why the answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model had said what it had to say.
    Done,
    /// It waits for its tools.
    ToolUse,
    /// The output limit, or the context, is reached.
    Length,
    ContentFilter,
    /// The model declined (Anthropic's `refusal`).
    Refused,
    /// One of the client's stop texts came.
    StopText(String),
    /// A provider's own tool needs another round (Anthropic's `pause_turn`).
    Paused,
}

/// A streamed answer, step by step. At most one part is open at a time: readers hold back what a provider
/// interleaves.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// First, once. `usage`: what is known of the input by then (Anthropic says it here).
    Started {
        id: Option<String>,
        usage: Option<Usage>,
    },
    PartStarted(PartKind),
    /// More of the open part: text, thinking, or a tool's input as JSON text or free text.
    Delta(String),
    /// The open part is complete; `OutputPart` holds all of it.
    PartEnded(OutputPart),
    /// Last, once.
    Finished {
        stop: Stop,
        usage: Option<Usage>,
    },
}

/// What kind of part begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartKind {
    Text,
    Refusal,
    Reasoning,
    ToolCall { call_id: String, name: CallName },
    WebSearch { id: String },
}
