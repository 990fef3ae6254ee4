//! Calls as a provider writes them, whole and in pieces, and what they mean to the client.

use serde::Deserialize;

use super::custom;
use crate::conversation::{CallKind, CallName, Stop, ToolCall, ToolNames};

/// A call, or a piece of one.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Call {
    pub index: Option<u64>,
    pub id: Option<String>,
    pub function: Option<Function>,
    pub custom: Option<Custom>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Function {
    pub name: Option<String>,
    pub arguments: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Custom {
    pub name: Option<String>,
    pub input: Option<String>,
}

/// What a call is of, and whether its free text is wrapped in a function's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Called {
    pub name: CallName,
    pub wrapped: bool,
}

impl Called {
    pub fn function(wire: &str, names: &ToolNames) -> Self {
        let name = names.original(wire);
        Self { wrapped: name.kind == CallKind::Custom, name }
    }

    pub fn custom(name: String) -> Self {
        Self { name: CallName::custom(name), wrapped: false }
    }

    /// The input of the whole call, as the client has it.
    pub fn input(&self, written: String) -> String {
        match self.name.kind {
            CallKind::Custom if self.wrapped => custom::unwrap(written),
            // Some providers write nothing where a function takes nothing.
            CallKind::Function | CallKind::ToolSearch if written.is_empty() => "{}".into(),
            CallKind::Function | CallKind::Custom | CallKind::ToolSearch => written,
        }
    }
}

/// The `nth` call of an answer that has no id of its own.
pub(super) fn made_up_id(answer_id: Option<&str>, nth: usize) -> String {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let answer: String = answer_id.unwrap_or_default().chars().filter(allowed).take(40).collect();
    format!("call_{answer}_{nth}")
}

pub(super) fn tool_call(
    call: Call,
    nth: usize,
    answer_id: Option<&str>,
    names: &ToolNames,
) -> Option<ToolCall> {
    let call_id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| made_up_id(answer_id, nth));
    let (called, written) = match (call.function, call.custom) {
        (Some(function), _) => (Called::function(&function.name?, names), function.arguments),
        (None, Some(custom)) => (Called::custom(custom.name?), custom.input),
        (None, None) => return None,
    };
    let input = called.input(written.unwrap_or_default());
    Some(ToolCall { call_id, name: called.name, input })
}

/// Why an answer ended, from its `finish_reason`; some providers say `stop` where they call.
pub(super) fn stop(finish_reason: Option<&str>, has_calls: bool) -> Stop {
    match finish_reason {
        Some("length") => Stop::Length,
        Some("content_filter") => Stop::ContentFilter,
        Some("tool_calls" | "function_call") => Stop::ToolUse,
        Some(_) | None if has_calls => Stop::ToolUse,
        Some(_) | None => Stop::Done,
    }
}

/// What Deepseek says when it had to stop for itself; such an answer is not complete.
pub(super) const BROKEN_OFF: &str = "insufficient_system_resource";
