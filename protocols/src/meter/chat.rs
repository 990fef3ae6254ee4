//! Streams of the Chat Completions protocol: every choice ends with a `finish_reason`, usage comes
//! in an extra chunk after the last, `[DONE]` closes.

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Disposition, MeterSettings, Metered, Terminal, UpstreamError, after_delta, finish, name, text_bytes,
    upstream_error,
};
use crate::json::{is_null, object, present};
use crate::usage::RawUsage;

/// Keys of a delta that hold what the model wrote.
pub(super) const WRITTEN: [&str; 5] = ["content", "reasoning_content", "reasoning", "refusal", "arguments"];

#[derive(Debug)]
pub(super) struct ChatStream {
    settings: MeterSettings,
    /// Choices that have finished.
    finished: u64,
    finish_reason: Option<String>,
    done: bool,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<&'a RawValue>,
}

impl ChatStream {
    pub(super) fn new(settings: MeterSettings) -> Self {
        ChatStream { settings, finished: 0, finish_reason: None, done: false }
    }

    pub(super) fn observe(&mut self, data: &[u8], metered: &mut Metered) -> Disposition {
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Disposition::Withhold;
        }
        if metered.response_id.is_some() && is_output_only(data) {
            metered.delivered(after_delta(data).map_or(0, |delta| text_bytes(delta, &WRITTEN)));
            return Disposition::Forward;
        }
        match object(data) {
            Some(chunk) => self.chunk(chunk, metered),
            None => Disposition::Forward,
        }
    }

    fn chunk(&mut self, chunk: Chunk, metered: &mut Metered) -> Disposition {
        if let Some(error) = chunk.error.filter(|error| !is_null(error)) {
            return self.failed(upstream_error(error), metered);
        }
        metered.saw_id(chunk.id, chunk.model);
        let choices = choices(chunk.choices);
        let mut disposition = Disposition::Forward;
        for choice in &choices {
            metered.delivered(choice.delta.map_or(0, |delta| text_bytes(delta.get(), &WRITTEN)));
            if let Some(reason) = name(choice.finish_reason) {
                self.finished += 1;
                self.finish_reason.get_or_insert(reason);
                disposition = Disposition::Withhold;
            }
        }
        if let Some(report) = chunk.usage.filter(|report| !is_null(report)) {
            metered.usage = Some(RawUsage::Chat(report.to_owned()));
            if choices.is_empty() && !self.settings.include_usage {
                disposition = Disposition::Hide;
            }
        }
        if self.finished >= self.settings.choices {
            self.complete(metered);
        }
        disposition
    }

    fn complete(&mut self, metered: &mut Metered) {
        finish(metered, Terminal::Completed { finish_reason: self.finish_reason.clone() });
    }

    fn failed(&mut self, error: UpstreamError, metered: &mut Metered) -> Disposition {
        finish(metered, Terminal::ErrorInBand(error))
    }

    /// `[DONE]` also ends an answer in which not every choice said why it finished, but never makes
    /// one out of nothing.
    pub(super) fn end(&mut self, metered: &mut Metered) {
        if self.done && (self.finished > 0 || metered.output_started) {
            self.complete(metered);
        }
    }
}

/// The choices of a chunk or body; what is not written as objects is none.
pub(super) fn choices(raw: Option<&RawValue>) -> Vec<Choice<'_>> {
    let list: Vec<&RawValue> = raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    list.into_iter().filter_map(|choice| object(choice.get().as_bytes())).collect()
}

/// Whether the chunk can only be output: one choice that is not finished, no usage, no error. As
/// providers write it; with other spacing it is parsed, which is slower and comes to the same.
fn is_output_only(data: &[u8]) -> bool {
    let mut reasons = memmem::find_iter(data, br#""finish_reason""#);
    let (Some(reason), None) = (reasons.next(), reasons.next()) else { return false };
    if !data[reason..].starts_with(br#""finish_reason":null"#) {
        return false;
    }
    let usage = memmem::find(data, br#""usage""#);
    usage.is_none_or(|at| data[at..].starts_with(br#""usage":null"#))
        && memmem::find(data, br#""error""#).is_none()
}
