//! Tools a conversation offers to the model.

use serde_json::{Map, Value};

use super::CacheLifetime;
use super::names::CallName;

#[derive(Clone, Debug, PartialEq)]
pub enum Tool {
    Function(FunctionTool),
    /// Takes free text, held to a grammar where one is given.
    Custom {
        name: String,
        description: Option<String>,
        grammar: Option<Grammar>,
    },
    /// Codex's own: the client finds further tools by a query. Its result may bring function tools.
    ToolSearch {
        description: Option<String>,
        parameters: Value,
    },
    /// The provider searches and bills by the call. `options` in the words of the dialect they came in.
    WebSearch {
        options: Map<String, Value>,
    },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionTool {
    pub name: String,
    /// Codex groups the tools of one server under a name of its own.
    pub namespace: Option<String>,
    pub description: Option<String>,
    /// JSON schema.
    pub parameters: Value,
    pub strict: Option<bool>,
    pub cache: Option<CacheLifetime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// `lark` or `regex`.
    pub syntax: String,
    pub definition: String,
}

/// What kind of tool is called; each has its own words in Responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CallKind {
    #[default]
    Function,
    Custom,
    ToolSearch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    Named(CallName),
}
