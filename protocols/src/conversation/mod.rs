//! One model of a conversation: every dialect is read into it and written from it.
//!
//! With a model in the middle, three dialects of providers and four of clients need seven readers and
//! writers instead of twelve translations, and a property shown for one pair holds for all. The model
//! holds what at least two dialects can say; what only one can say is refused or dropped where it is
//! written, by the table in docs/translation.md. Where client and provider speak the same dialect none
//! of this is used: the bytes pass through.

mod answer;
mod names;
mod seal;
mod tools;

use serde_json::{Map, Number, Value};

pub use answer::{Answer, Event, OutputPart, PartKind, Stop};
pub use names::{CallName, MAX_WIRE_NAME, ToolNames, wire_name};
pub use seal::{Seal, SealedContent, has_foreign_seal};
pub use tools::{CallKind, FunctionTool, Grammar, Tool, ToolChoice};

/// Everything a client asks for in one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// Stands before all items: `instructions` of Responses, `system` of Messages.
    pub instructions: Vec<Text>,
    pub items: Vec<Item>,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    /// Tokens.
    pub max_output_tokens: Option<u64>,
    pub sampling: Sampling,
    pub thinking: Thinking,
    pub format: OutputFormat,
    /// `low`, `medium`, `high`.
    pub verbosity: Option<String>,
    pub stream: bool,
    /// Chat and completions: whether the last chunk is to report usage.
    pub include_usage: bool,
    /// Answers asked for; more than one only where the provider's dialect has them.
    pub choices: u64,
    pub prompt_cache_key: Option<String>,
    /// Members of the request which the writer of the client's dialect needs again for its answer.
    pub echo: Map<String, Value>,
}

/// One entry of a conversation, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Message(Message),
    Reasoning(Reasoning),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    WebSearch(WebSearchCall),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Text(Text),
    Image(Image),
    File(File),
    /// The assistant's own words where it declined.
    Refusal(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    pub cache: Option<CacheLifetime>,
}

impl Text {
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), cache: None }
    }
}

/// How long a provider is asked to keep the prompt up to this point (Anthropic's `cache_control`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheLifetime {
    FiveMinutes,
    OneHour,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub source: Source,
    /// `low`, `high`, `auto`, `original`.
    pub detail: Option<String>,
    pub cache: Option<CacheLifetime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub source: Source,
    pub name: Option<String>,
    pub cache: Option<CacheLifetime>,
}

/// Where a picture or a file is. Ids of files uploaded to a provider are refused by every reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Url(String),
    Data {
        /// `image/png`, `application/pdf`.
        media_type: String,
        base64: String,
    },
}

/// What the model thought, as far as it is shown, and the proof its provider wants back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// Summaries or the thinking itself, a text per part.
    pub texts: Vec<String>,
    pub seal: Option<Seal>,
}

/// A call of a tool that the client runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Pairs it with its result.
    pub call_id: String,
    pub name: CallName,
    /// JSON text for functions and tool search, free text for custom tools.
    pub input: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    pub call_id: String,
    pub kind: CallKind,
    pub parts: Vec<Part>,
    pub is_error: bool,
    pub cache: Option<CacheLifetime>,
}

/// A search that the provider ran and bills by the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSearchCall {
    pub id: String,
    pub query: Option<String>,
}

/// How the next token is picked. Numbers are passed on as written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    pub top_k: Option<u64>,
    pub presence_penalty: Option<Number>,
    pub frequency_penalty: Option<Number>,
    pub seed: Option<i64>,
    /// Texts before which the answer ends.
    pub stop: Vec<String>,
}

/// Every word for how much a model is to think, from none to most. Another is refused: guessing what it means
/// would be another answer than the one asked for.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// An effort that every dialect can be told of.
///
/// # Errors
/// What it should have been.
pub(crate) fn known_effort(effort: Option<String>) -> Result<Option<String>, &'static str> {
    match effort {
        Some(word) if !EFFORTS.contains(&word.as_str()) => {
            Err("`none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`")
        }
        known => Ok(known),
    }
}

/// How much a model is to think, in the words of any dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thinking {
    pub mode: Option<ThinkingMode>,
    /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`.
    pub effort: Option<String>,
    /// Responses: `auto`, `concise`, `detailed`.
    pub summary: Option<String>,
    /// Tokens.
    pub budget_tokens: Option<u64>,
    /// Whether the client wants `encrypted_content` (Responses' `include`).
    pub wants_seal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingMode {
    Disabled,
    Enabled,
    /// The model decides.
    Adaptive,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum OutputFormat {
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    JsonSchema {
        name: Option<String>,
        description: Option<String>,
        schema: Value,
        strict: Option<bool>,
    },
}

/// Why a request cannot be carried to a provider of another dialect: 400, in words for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untranslatable {
    #[error("the body is not one this gateway can read: {reason}")]
    NotReadable { reason: String },
    /// The value is not what the client's own dialect has there.
    #[error("`{field}` should be {expected}")]
    Wrong { field: String, expected: &'static str },
    /// It is good, but the provider that serves this model now has nothing of the kind.
    #[error("`{field}` cannot be carried to the provider that serves this model now: {reason}")]
    NotCarried { field: String, reason: &'static str },
}

impl Untranslatable {
    /// The field at fault, for OpenAI's `param`.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::NotReadable { .. } => None,
            Self::Wrong { field, .. } | Self::NotCarried { field, .. } => Some(field),
        }
    }
}

/// A provider's answer that is not what its dialect says; it counts as failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider's answer is not readable: {reason}")]
pub struct BadAnswer {
    pub reason: String,
}

impl BadAnswer {
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}
