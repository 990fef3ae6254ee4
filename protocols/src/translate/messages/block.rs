//! The content blocks of an answer, alike whole and as a stream begins them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read_content::thinking;
use super::unwrap::Unwrapper;
use super::write_content::CUSTOM_INPUT;
use crate::conversation::{
    BadAnswer, CallKind, CallName, OutputPart, PartKind, Reasoning, Seal, Stop, ToolCall, ToolNames,
    WebSearchCall,
};

/// A block whose kind the model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    Text,
    Thinking,
    /// Thinking that is not shown.
    Redacted {
        data: String,
    },
    ToolUse {
        call_id: String,
        name: CallName,
    },
    WebSearch {
        id: String,
    },
}

/// A block taken apart: what it is, and the text it has come with.
pub(super) struct Block {
    pub(super) begun: Begun,
    /// Text, thinking, or the input as JSON text; empty for the input `{}`.
    pub(super) text: String,
    pub(super) signature: String,
}

#[derive(Deserialize)]
struct Kind {
    r#type: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Members<'a> {
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// `None` for blocks that the model leaves out: what a search found, and what is yet to be invented.
///
/// # Errors
/// Where a known block lacks what makes it one.
pub(super) fn read_block(block: &RawValue, names: &ToolNames) -> Result<Option<Block>, BadAnswer> {
    let unreadable = |error: serde_json::Error| BadAnswer::new(format!("a content block: {error}"));
    let kind: Kind = serde_json::from_str(block.get()).map_err(unreadable)?;
    let is_search = kind.r#type == "server_tool_use" && kind.name.as_deref() == Some("web_search");
    if !is_search && !["text", "thinking", "redacted_thinking", "tool_use"].contains(&kind.r#type.as_str()) {
        return Ok(None);
    }
    let members: Members = serde_json::from_str(block.get()).map_err(unreadable)?;
    let need = |member: Option<String>, name: &str| {
        member.ok_or_else(|| BadAnswer::new(format!("a `{}` block without `{name}`", kind.r#type)))
    };
    let input = members.input.map(RawValue::get).filter(|input| !is_empty_object(input)).unwrap_or_default();
    let (begun, text) = match kind.r#type.as_str() {
        "text" => (Begun::Text, need(members.text, "text")?),
        "thinking" => (Begun::Thinking, need(members.thinking, "thinking")?),
        "redacted_thinking" => (Begun::Redacted { data: need(members.data, "data")? }, String::new()),
        "tool_use" => {
            let name = names.original(&need(members.name, "name")?);
            let begun = Begun::ToolUse { call_id: need(members.id, "id")?, name };
            (begun, input.to_owned())
        }
        _ => (Begun::WebSearch { id: need(members.id, "id")? }, input.to_owned()),
    };
    Ok(Some(Block { begun, text, signature: members.signature.unwrap_or_default() }))
}

impl Begun {
    pub(super) fn kind(&self) -> PartKind {
        match self {
            Self::Text => PartKind::Text,
            Self::Thinking | Self::Redacted { .. } => PartKind::Reasoning,
            Self::ToolUse { call_id, name } => {
                PartKind::ToolCall { call_id: call_id.clone(), name: name.clone() }
            }
            Self::WebSearch { id } => PartKind::WebSearch { id: id.clone() },
        }
    }

    /// How what comes of it is handed on.
    pub(super) fn showing(&self) -> Showing {
        match self {
            Self::Text | Self::Thinking => Showing::AsItComes,
            Self::ToolUse { name, .. } => match name.kind {
                CallKind::Function | CallKind::ToolSearch => Showing::AsItComes,
                CallKind::Custom => Showing::Unwrapped(Unwrapper::default()),
            },
            Self::Redacted { .. } | Self::WebSearch { .. } => Showing::Never,
        }
    }
}

/// How the text of a block becomes deltas.
pub(super) enum Showing {
    AsItComes,
    /// The free text of a custom tool.
    Unwrapped(Unwrapper),
    Never,
}

impl Block {
    /// The complete part.
    pub(super) fn part(self) -> OutputPart {
        match self.begun {
            Begun::Text => OutputPart::Text(self.text),
            Begun::Thinking => OutputPart::Reasoning(thinking(self.text, Some(self.signature))),
            Begun::Redacted { data } => {
                OutputPart::Reasoning(Reasoning { texts: vec![], seal: Some(Seal::Redacted { data }) })
            }
            Begun::ToolUse { call_id, name } => {
                let input = call_input(name.kind, self.text);
                OutputPart::ToolCall(ToolCall { call_id, name, input })
            }
            Begun::WebSearch { id } => OutputPart::WebSearch(WebSearchCall { id, query: query(&self.text) }),
        }
    }
}

/// The input in the client's form; JSON that is broken goes on as it is.
pub(super) fn call_input(kind: CallKind, json: String) -> String {
    match kind {
        CallKind::Function | CallKind::ToolSearch if json.trim().is_empty() => "{}".into(),
        CallKind::Function | CallKind::ToolSearch => json,
        CallKind::Custom => {
            let text = crate::json::value(json.as_bytes()).ok().and_then(|mut input| {
                match input.get_mut(CUSTOM_INPUT).map(serde_json::Value::take) {
                    Some(serde_json::Value::String(text)) => Some(text),
                    Some(_) | None => None,
                }
            });
            text.unwrap_or(json)
        }
    }
}

/// Why an answer ended. A word that is not known says that it ended, and what stands in the answer says how.
pub(super) fn read_stop(reason: &str, stop_sequence: Option<String>, calls_tools: bool) -> Stop {
    match reason {
        "tool_use" => Stop::ToolUse,
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "stop_sequence" => Stop::StopText(stop_sequence.unwrap_or_default()),
        "refusal" => Stop::Refused,
        "pause_turn" => Stop::Paused,
        "end_turn" => Stop::Done,
        _ if calls_tools => Stop::ToolUse,
        _ => Stop::Done,
    }
}

fn query(input: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Input {
        query: Option<String>,
    }
    serde_json::from_str::<Input>(input).ok()?.query
}

fn is_empty_object(json: &str) -> bool {
    let inside = json.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| inside.trim().is_empty())
}
