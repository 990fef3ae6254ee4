//! Reads a provider's answer for what metering needs, frame by frame or as a whole body.
//!
//! Most frames carry a few words of output. Those are told by cheap tests on bytes and only their
//! length is taken; JSON is parsed for the few that may carry ids, usage, an end or an error. The
//! tests are safe because a quote inside a JSON string is always escaped: `"finish_reason":null`
//! with bare quotes cannot be something the model wrote.

mod body;
mod chat;
mod messages;
mod responses;

use codexapi_aggregates::usage::{Protocol, Usage};
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use body::meter_body;

use super::json::{Token, Walk, as_text, is_null, object, present};
use super::sse::Frame;
use super::usage::RawUsage;

/// Bytes of delivered text that count as one token where a provider reports no usage: the usual
/// figure for prose and code, in the customer's favour where in doubt.
pub const OUTPUT_BYTES_PER_TOKEN: u64 = 4;

/// The most kept of a provider's id, model name, code or finish reason.
const MAX_NAME_BYTES: usize = 256;

/// The most kept of a provider's error message.
const MAX_MESSAGE_BYTES: usize = 2_048;

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    Forward,
    /// It says *finished*, or comes after one that did: held back until the charge is durable.
    Withhold,
    /// The usage chunk the client did not ask for: never forwarded.
    Hide,
    /// The provider failed: not forwarded, the gateway says so in its own words.
    UpstreamFailed,
}

/// A provider's account of its own failure; for the log, never for the customer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError {
    pub code: Option<String>,
    pub message: Option<String>,
}

/// How an answer ended, as far as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Terminal {
    /// It did not: cut off, or not an answer at all.
    #[default]
    None,
    Completed {
        finish_reason: Option<String>,
    },
    /// `response.incomplete`: the length limit, a filter.
    Incomplete {
        reason: Option<String>,
    },
    /// The response's own status is failed.
    Failed(UpstreamError),
    /// An error frame in the stream, or an error body under status 200.
    ErrorInBand(UpstreamError),
}

impl Terminal {
    /// Ended, and not by the provider's failure: completed, incomplete, filtered or refused.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Incomplete { .. })
    }

    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::ErrorInBand(_))
    }
}

/// Everything known of an answer.
#[derive(Clone, Debug, Default)]
pub struct Metered {
    pub terminal: Terminal,
    /// The provider's final report; `None` where it gave none.
    pub usage: Option<RawUsage>,
    /// What was reported of the input before the answer ended (Anthropic's `message_start`).
    pub usage_so_far: Option<RawUsage>,
    /// The provider's id of the response.
    pub response_id: Option<String>,
    /// The model the provider says answered.
    pub served_model: Option<String>,
    /// Bytes of text, tool arguments and visible reasoning.
    pub output_bytes: u64,
    /// Whether anything the customer can use has come.
    pub output_started: bool,
    /// Web searches seen among the output items (Responses only).
    pub web_search_calls: u64,
    /// Frames seen that are events: the number the next frame of a Responses stream would have.
    pub events_seen: u64,
}

/// The name for how a stream ended.
pub type StreamEnd = Metered;

/// The same for an answer that came as one body.
pub type BodyMeter = Metered;

impl Metered {
    /// Tokens of what was delivered, for an answer without usage.
    pub fn estimated_output_tokens(&self) -> u64 {
        self.output_bytes.div_ceil(OUTPUT_BYTES_PER_TOKEN)
    }

    /// Usage where the provider's final report is missing or rejected: its own figures for the input
    /// if it gave any that hold, else `counted_input_tokens`; the output as delivered.
    pub fn estimated_usage(&self, counted_input_tokens: u64, ceiling_tokens: u64) -> Usage {
        let reported = self.usage_so_far.as_ref().and_then(|report| report.check(ceiling_tokens).ok());
        let input = reported.unwrap_or(Usage { input: counted_input_tokens, ..Usage::default() });
        Usage {
            output: self.estimated_output_tokens(),
            reasoning: 0,
            web_search_calls: self.web_search_calls.max(input.web_search_calls),
            ..input
        }
    }

    fn saw_id(&mut self, id: Option<&RawValue>, model: Option<&RawValue>) {
        if self.response_id.is_none() {
            self.response_id = name(id);
        }
        if let Some(model) = name(model) {
            self.served_model = Some(model);
        }
    }

    /// Counts `bytes` of output that the client can use.
    fn delivered(&mut self, bytes: u64) {
        self.output_bytes += bytes;
        self.output_started |= bytes > 0;
    }
}

/// What the meter must know of the request.
#[derive(Clone, Copy, Debug)]
pub struct MeterSettings {
    /// Answers the request asks for; a chat stream is complete when all have finished.
    pub choices: u64,
    /// Whether the client asked for the usage chunk of its chat stream.
    pub include_usage: bool,
}

/// Meters one stream.
#[derive(Debug)]
pub struct StreamMeter {
    dialect: Dialect,
    metered: Metered,
    withholding: bool,
}

#[derive(Debug)]
enum Dialect {
    Responses(responses::ResponsesStream),
    Chat(chat::ChatStream),
    Messages(messages::MessagesStream),
}

impl StreamMeter {
    pub fn new(protocol: Protocol, settings: MeterSettings) -> StreamMeter {
        let dialect = match protocol {
            Protocol::Responses => Dialect::Responses(responses::ResponsesStream::default()),
            Protocol::Chat | Protocol::Completions => Dialect::Chat(chat::ChatStream::new(settings)),
            Protocol::Messages => Dialect::Messages(messages::MessagesStream::default()),
        };
        StreamMeter { dialect, metered: Metered::default(), withholding: false }
    }

    /// Takes the next frame in and says what is to be done with it.
    pub fn observe(&mut self, frame: &Frame) -> Disposition {
        let seen = match frame.data() {
            None => Disposition::Forward,
            Some(data) => {
                self.metered.events_seen += 1;
                let metered = &mut self.metered;
                match &mut self.dialect {
                    Dialect::Responses(stream) => stream.observe(&data, frame.event(), metered),
                    Dialect::Chat(stream) => stream.observe(&data, metered),
                    Dialect::Messages(stream) => stream.observe(&data, frame.event(), metered),
                }
            }
        };
        if self.metered.terminal.is_failed() {
            return Disposition::UpstreamFailed;
        }
        match seen {
            // A failure after the end changes nothing that was generated; nobody is told of it.
            Disposition::UpstreamFailed | Disposition::Hide => Disposition::Hide,
            Disposition::Withhold => {
                self.withholding = true;
                Disposition::Withhold
            }
            Disposition::Forward if self.withholding => Disposition::Withhold,
            Disposition::Forward => Disposition::Forward,
        }
    }

    /// What is known so far.
    pub fn so_far(&self) -> &Metered {
        &self.metered
    }

    /// At the end of the stream, wherever it came. `Terminal::None` means it was cut off.
    pub fn end(mut self) -> StreamEnd {
        match &mut self.dialect {
            Dialect::Responses(_) => {}
            Dialect::Chat(stream) => stream.end(&mut self.metered),
            Dialect::Messages(stream) => stream.end(&mut self.metered),
        }
        self.metered
    }
}

// What the dialects share

/// An end is recorded once; a later one, or a failure after it, does not undo it.
fn finish(metered: &mut Metered, terminal: Terminal) -> Disposition {
    let failed = terminal.is_failed();
    if metered.terminal == Terminal::None {
        metered.terminal = terminal;
    }
    if failed { Disposition::UpstreamFailed } else { Disposition::Withhold }
}

/// The event's type: from the data, where clients read it, else the `event:` line.
fn event_type<'a>(data: &'a [u8], event: Option<&'a [u8]>) -> Option<std::borrow::Cow<'a, str>> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        name: Option<&'a RawValue>,
    }
    // As every provider writes it: the first member, without escapes.
    if let Some(rest) = data.strip_prefix(br#"{"type":""#)
        && let Some(end) = memchr::memchr2(b'"', b'\\', rest)
        && rest[end] == b'"'
    {
        return std::str::from_utf8(&rest[..end]).ok().map(Into::into);
    }
    let typed = object::<Typed>(data).and_then(|typed| typed.name).and_then(as_text);
    typed.or_else(|| event.and_then(|event| std::str::from_utf8(event).ok()).map(Into::into))
}

/// The bytes of every text in the first value of `json` whose key is one of `keys`.
fn text_bytes(json: &str, keys: &[&str]) -> u64 {
    let mut walk = Walk::new(json);
    let mut total = 0;
    while let Some(token) = walk.next() {
        if let Token::Text { key, bytes, .. } = token
            && keys.contains(&key)
        {
            total += bytes;
        }
        if walk.depth() == 0 {
            break;
        }
    }
    total
}

/// What follows `"delta":`.
fn after_delta(data: &[u8]) -> Option<&str> {
    let at = memmem::find(data, br#""delta":"#)? + br#""delta":"#.len();
    std::str::from_utf8(&data[at..]).ok()
}

/// A short text of the provider's, cut to what may be recorded.
fn name(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(as_text).filter(|text| !text.is_empty()).map(|text| bounded(&text, MAX_NAME_BYTES))
}

/// `text` without control characters, at most `max` bytes of it.
fn bounded(text: &str, max: usize) -> String {
    let mut kept = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > max {
            break;
        }
        kept.push(c);
    }
    kept
}

#[derive(Deserialize, Default)]
struct ErrorObject<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// A provider's `error`: an object in either dialect, or a bare text.
fn upstream_error(raw: &RawValue) -> UpstreamError {
    let said: ErrorObject = object(raw.get().as_bytes()).unwrap_or_default();
    let code = name(said.code).or_else(|| said.code.map(|code| bounded(code.get(), MAX_NAME_BYTES)));
    let code = code.filter(|code| code != "null").or_else(|| name(said.kind));
    let message = said.message.and_then(as_text).or_else(|| as_text(raw));
    UpstreamError { code, message: message.map(|text| bounded(&text, MAX_MESSAGE_BYTES)) }
}

/// The `error` member of an event or body that has one.
fn error_in(data: &[u8]) -> Option<UpstreamError> {
    #[derive(Deserialize)]
    struct Failed<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        error: Option<&'a RawValue>,
    }
    let failed: Failed = object(data)?;
    failed.error.filter(|error| !is_null(error)).map(upstream_error)
}

#[cfg(test)]
mod tests;
