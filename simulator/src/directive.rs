//! What a request may be told: the directive and the three places it comes from.
//!
//! A gateway need not forward unknown headers and a CLI cannot set them, so a
//! directive may also stand in the last user text or wait in the script queue.
//! Where several name one field, header beats marker beats script.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::refusal::Refusal;

pub const HEADER: &str = "x-simulator";

const MARKER: &str = "[[sim:";
const TOOL_MARKER: &str = "[[tool:";

/// The most deltas one answer may be told to have.
const MOST_DELTAS: u64 = 1_000_000;
const MOST_TOKENS: u64 = 1_000_000_000;

/// Every field is optional; an empty directive leaves the default behaviour.
#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
#[serde(rename_all = "snake_case")]
pub struct Directive {
    /// All input tokens, the cached and cache-writing ones included.
    pub input_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub cache_write_5m: Option<u64>,
    pub cache_write_1h: Option<u64>,
    /// All output tokens, reasoning included.
    pub output_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub web_search_calls: Option<u64>,

    pub text: Option<String>,
    pub delta_count: Option<u64>,
    pub delta_text: Option<String>,
    pub finish: Option<Finish>,
    /// The calls this very answer makes, wherever in the conversation it stands.
    pub calls: Option<Vec<ToolMarker>>,

    pub header_delay_ms: Option<u64>,
    pub first_byte_delay_ms: Option<u64>,
    pub chunk_delay_ms: Option<u64>,
    pub stall_forever: Option<bool>,
    pub stall_after: Option<u64>,
    pub cut_at_byte: Option<u64>,
    pub clean_end_at_byte: Option<u64>,

    pub usage: Option<UsageReport>,
    pub usage_json: Option<Value>,
    pub usage_start_json: Option<Value>,
    pub split_usage: Option<SplitUsage>,

    pub error: Option<ErrorTold>,
    pub error_in_200: Option<ErrorTold>,
    pub mid_stream_error: Option<MidStreamError>,

    pub response_model: Option<String>,
    pub repeat_response_id: Option<String>,
    pub headers: Option<BTreeMap<String, String>>,
    pub tag: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    Length,
    /// The same as `length`: what the Responses API calls an incomplete response.
    Incomplete,
    ContentFilter,
    Refusal,
    /// Call the tool that the request forces, else its first.
    Tool,
}

/// How the answer's usage is reported, whatever was billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageReport {
    Absent,
    Zero,
    /// The same as `negative`.
    Garbage,
    Negative,
    /// Far more than any context window.
    Absurd,
    /// Parts that exceed their total.
    Inconsistent,
}

/// How a Messages stream spreads its usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitUsage {
    /// `message_delta` repeats nothing of the input: output tokens alone.
    OutputOnly,
    /// One more `message_delta` before the last, with half the output and no stop reason.
    Many,
}

/// An error instead of an answer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorTold {
    /// 500 where none is given.
    pub status: Option<u16>,
    pub code: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub message: Option<String>,
    /// Seconds, as the header `retry-after` has them.
    pub retry_after: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MidStreamError {
    /// Deltas sent before the error.
    pub after: u64,
    pub code: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub message: Option<String>,
    pub form: ErrorForm,
}

/// Which in-band form a Responses stream uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorForm {
    #[default]
    Failed,
    Error,
}

/// A tool call asked for by `[[tool:NAME {"json":"args"}]]`, or by the field `calls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolMarker {
    pub name: String,
    /// JSON as text; free text for custom tools.
    pub arguments: String,
}

impl Directive {
    /// The directive in force: script, then marker, then header, field by field.
    pub fn gather(
        scripted: Option<Map<String, Value>>,
        last_user_text: &str,
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        let mut fields = scripted.unwrap_or_default();
        if let Some(marked) = marked_directive(last_user_text)? {
            fields.extend(marked);
        }
        if let Some(value) = headers.get(HEADER) {
            let told: Map<String, Value> = serde_json::from_slice(value.as_bytes())
                .map_err(|error| Refusal::BadDirective(format!("header {HEADER}: {error}")))?;
            fields.extend(told);
        }
        Self::from_fields(fields)
    }

    /// Reads and checks a directive; unknown fields are refused, so that a
    /// misspelt test fails instead of testing nothing.
    pub fn from_fields(fields: Map<String, Value>) -> Result<Self, Refusal> {
        if fields.is_empty() {
            return Ok(Self::default());
        }
        let directive: Directive = serde_json::from_value(Value::Object(fields))
            .map_err(|error| Refusal::BadDirective(error.to_string()))?;
        directive.check()?;
        Ok(directive)
    }

    fn check(&self) -> Result<(), Refusal> {
        let bad = |why: &str| Err(Refusal::BadDirective(why.to_owned()));
        let counts = [
            self.input_tokens,
            self.cached_tokens,
            self.cache_write_5m,
            self.cache_write_1h,
            self.output_tokens,
            self.reasoning_tokens,
            self.web_search_calls,
        ];
        if counts.iter().flatten().any(|count| *count > MOST_TOKENS) {
            return bad("a count is over 1000000000");
        }
        if self.delta_count.is_some_and(|count| count > MOST_DELTAS) {
            return bad("delta_count is over 1000000");
        }
        if self.input_tokens.is_some_and(|total| total < self.input_parts()) {
            return bad("cached_tokens and cache writes exceed input_tokens, which includes them");
        }
        if let (Some(output), Some(reasoning)) = (self.output_tokens, self.reasoning_tokens)
            && reasoning > output
        {
            return bad("reasoning_tokens exceed output_tokens, which includes them");
        }
        let errors = [&self.error, &self.error_in_200];
        if errors
            .iter()
            .filter_map(|error| error.as_ref()?.status)
            .any(|status| !(400..=599).contains(&status))
        {
            return bad("an error's status is between 400 and 599");
        }
        let headers = self.headers.iter().flatten();
        for (name, value) in headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                return bad("headers holds an invalid header");
            }
        }
        Ok(())
    }

    /// Input tokens that are cached or written to the cache.
    pub fn input_parts(&self) -> u64 {
        [self.cached_tokens, self.cache_write_5m, self.cache_write_1h].into_iter().flatten().sum()
    }
}

/// The tool calls that the last user text asks for, in order.
pub fn tool_markers(text: &str) -> Vec<ToolMarker> {
    text.match_indices(TOOL_MARKER)
        .filter_map(|(at, _)| tool_marker(&text[at + TOOL_MARKER.len()..]))
        .collect()
}

fn tool_marker(rest: &str) -> Option<ToolMarker> {
    let name_end = rest.find(|c: char| c.is_whitespace() || c == ']')?;
    let (name, rest) = rest.split_at(name_end);
    let rest = rest.trim_start();
    if let Some(arguments) = json_prefix(rest) {
        return Some(ToolMarker { name: name.to_owned(), arguments: arguments.to_owned() });
    }
    let end = rest.find("]]")?;
    Some(ToolMarker { name: name.to_owned(), arguments: rest[..end].trim_end().to_owned() })
}

/// The JSON object at the beginning of `text`, as it is written there. Parsed
/// rather than searched for `]]`, which may stand inside it.
fn json_prefix(text: &str) -> Option<&str> {
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Map<String, Value>>();
    objects.next()?.ok()?;
    Some(&text[..objects.byte_offset()])
}

fn marked_directive(text: &str) -> Result<Option<Map<String, Value>>, Refusal> {
    let Some((_, rest)) = text.split_once(MARKER) else {
        return Ok(None);
    };
    let mut objects = serde_json::Deserializer::from_str(rest).into_iter::<Map<String, Value>>();
    match objects.next() {
        Some(Ok(fields)) => Ok(Some(fields)),
        Some(Err(error)) => Err(Refusal::BadDirective(format!("marker {MARKER}: {error}"))),
        None => Err(Refusal::BadDirective(format!("marker {MARKER}: empty"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_may_hold_brackets_inside_its_json() {
        let text = r#"please [[sim:{"text":"a]]b","output_tokens":3}]] thanks"#;
        let directive = Directive::gather(None, text, &HeaderMap::new()).unwrap();
        assert_eq!(directive.text.as_deref(), Some("a]]b"));
        assert_eq!(directive.output_tokens, Some(3));
    }

    #[test]
    fn the_header_beats_the_marker_and_the_marker_beats_the_script() {
        let script = serde_json::json!({ "output_tokens": 1, "input_tokens": 1, "tag": "script" });
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, r#"{"output_tokens":3}"#.parse().unwrap());
        let text = r#"[[sim:{"output_tokens":2,"input_tokens":2}]]"#;
        let directive = Directive::gather(script.as_object().cloned(), text, &headers).unwrap();
        assert_eq!(directive.output_tokens, Some(3));
        assert_eq!(directive.input_tokens, Some(2));
        assert_eq!(directive.tag.as_deref(), Some("script"));
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let fields = serde_json::json!({ "output_token": 1 });
        let refused = Directive::from_fields(fields.as_object().unwrap().clone());
        assert!(matches!(refused, Err(Refusal::BadDirective(_))));
    }

    #[test]
    fn several_tools_may_be_asked_for_with_and_without_arguments() {
        let found = tool_markers(r#"[[tool:a {"x":["]]"]}]] and [[tool:b]] [[tool:c raw text]]"#);
        let pairs: Vec<_> = found.iter().map(|tool| (tool.name.as_str(), tool.arguments.as_str())).collect();
        assert_eq!(pairs, [("a", r#"{"x":["]]"]}"#), ("b", ""), ("c", "raw text")]);
    }
}
