//! What a tool is called at a provider that knows only functions, and what the client called it.
//!
//! Anthropic and most chat providers take names of letters, digits, `_` and `-`, at most 64 of them, and
//! functions only. Custom tools, tool search and namespaced functions are offered there as functions under
//! a name of their own; this table brings the calls back to what the client declared.

use std::collections::HashMap;

use super::tools::{CallKind, Tool};

/// The longest name every provider takes.
pub const MAX_WIRE_NAME: usize = 64;

/// The function under which Codex's tool search is offered.
const TOOL_SEARCH: &str = "tool_search";

/// A tool as its client knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallName {
    pub kind: CallKind,
    pub name: String,
    pub namespace: Option<String>,
}

impl CallName {
    pub fn function(name: impl Into<String>) -> Self {
        Self { kind: CallKind::Function, name: name.into(), namespace: None }
    }

    pub fn custom(name: impl Into<String>) -> Self {
        Self { kind: CallKind::Custom, name: name.into(), namespace: None }
    }

    pub fn tool_search() -> Self {
        Self { kind: CallKind::ToolSearch, name: TOOL_SEARCH.into(), namespace: None }
    }

    /// The name of a tool, where calls of it are the client's to run.
    pub fn of(tool: &Tool) -> Option<Self> {
        match tool {
            Tool::Function(function) => {
                Some(Self { namespace: function.namespace.clone(), ..Self::function(&function.name) })
            }
            Tool::Custom { name, .. } => Some(Self::custom(name)),
            Tool::ToolSearch { .. } => Some(Self::tool_search()),
            Tool::WebSearch { .. } => None,
        }
    }
}

/// Both directions; the same tools give the same names on every turn.
#[derive(Clone, Debug, Default)]
pub struct ToolNames {
    originals: HashMap<String, CallName>,
}

impl ToolNames {
    pub fn new(tools: &[Tool]) -> Self {
        let names = tools.iter().filter_map(CallName::of);
        Self { originals: names.map(|name| (wire_name(&name), name)).collect() }
    }

    /// What a call by a provider means; a name nobody declared is taken for a function's.
    pub fn original(&self, wire: &str) -> CallName {
        self.originals.get(wire).cloned().unwrap_or_else(|| CallName::function(wire))
    }
}

/// The function name that stands for a tool: its own where it fits, else shortened and told apart by a
/// digest of the whole.
pub fn wire_name(name: &CallName) -> String {
    let whole = match &name.namespace {
        Some(namespace) => format!("{namespace}__{}", name.name),
        None => name.name.clone(),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !whole.is_empty() && whole.len() <= MAX_WIRE_NAME && whole.chars().all(allowed) {
        return whole;
    }
    let kept: String =
        whole.chars().map(|c| if allowed(c) { c } else { '_' }).take(MAX_WIRE_NAME - 9).collect();
    let digest = blake3::hash(whole.as_bytes()).to_hex();
    format!("{kept}_{}", &digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::FunctionTool;
    use serde_json::json;

    #[test]
    fn every_declared_tool_is_found_by_the_name_its_provider_uses() {
        let long = "x".repeat(80);
        let tools = [
            Tool::Function(FunctionTool { name: "shell".into(), ..FunctionTool::default() }),
            Tool::Function(FunctionTool {
                name: "read".into(),
                namespace: Some("mcp__files".into()),
                ..FunctionTool::default()
            }),
            Tool::Function(FunctionTool { name: long.clone(), ..FunctionTool::default() }),
            Tool::Function(FunctionTool { name: "größe.v2".into(), ..FunctionTool::default() }),
            Tool::Custom { name: "apply_patch".into(), description: None, grammar: None },
            Tool::ToolSearch { description: None, parameters: json!({}) },
        ];
        let names = ToolNames::new(&tools);
        for tool in &tools {
            let name = CallName::of(tool).expect("a client's tool");
            let wire = wire_name(&name);
            assert!(wire.len() <= MAX_WIRE_NAME && wire.is_ascii(), "{wire}");
            assert_eq!(names.original(&wire), name);
        }
        assert_eq!(names.original("never_declared"), CallName::function("never_declared"));
    }

    #[test]
    fn long_names_that_begin_alike_stay_apart() {
        let name = |last: char| CallName::function(format!("{}{last}", "x".repeat(80)));
        assert_ne!(wire_name(&name('a')), wire_name(&name('b')));
    }
}
