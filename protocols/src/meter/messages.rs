//! Streams of the Messages protocol: `message_start` with the input's usage, a `message_delta` with
//! the stop reason and the rest of the usage, `message_stop`.

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Disposition, Metered, Terminal, after_delta, error_in, event_type, finish, name, text_bytes};
use crate::json::{is_null, object, present};
use crate::usage::{MessagesReport, RawUsage};

/// Keys of a delta that hold what the model wrote.
const WRITTEN: [&str; 3] = ["text", "partial_json", "thinking"];

#[derive(Debug, Default)]
pub(super) struct MessagesStream {
    report: Option<MessagesReport>,
    /// `message_stop` has come.
    stopped: bool,
}

#[derive(Deserialize)]
struct Start<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
}

/// A message object, in `message_start` or as a whole body.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) stop_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StopReason<'a> {
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
}

impl MessagesStream {
    pub(super) fn observe(
        &mut self,
        data: &[u8],
        event: Option<&[u8]>,
        metered: &mut Metered,
    ) -> Disposition {
        let kind = event_type(data, event);
        match kind.as_deref() {
            Some("content_block_delta") => {
                metered.delivered(after_delta(data).map_or(0, |delta| text_bytes(delta, &WRITTEN)));
                Disposition::Forward
            }
            Some("message_start") => {
                let message = object::<Start>(data).and_then(|start| object(start.message.get().as_bytes()));
                if let Some(Message { id, model, usage, .. }) = message {
                    metered.saw_id(id, model);
                    self.update(usage, metered);
                }
                Disposition::Forward
            }
            Some("content_block_start") => {
                metered.output_started = true;
                Disposition::Forward
            }
            Some("message_delta") => self.delta(data, metered),
            Some("message_stop") => {
                self.stopped = true;
                Disposition::Withhold
            }
            Some("error") => finish(metered, Terminal::ErrorInBand(error_in(data).unwrap_or_default())),
            Some(_) => Disposition::Forward,
            None => untyped(data, metered),
        }
    }

    fn delta(&mut self, data: &[u8], metered: &mut Metered) -> Disposition {
        let Some(said) = object::<Delta>(data) else { return Disposition::Forward };
        let has_report = self.update(said.usage, metered);
        let stopped = said.delta.and_then(|delta| object::<StopReason>(delta.get().as_bytes()));
        let Some(reason) = name(stopped.and_then(|delta| delta.stop_reason)) else {
            return Disposition::Forward;
        };
        if has_report {
            metered.usage = metered.usage_so_far.clone();
        }
        finish(metered, Terminal::Completed { finish_reason: Some(reason) })
    }

    /// Whether there was a report.
    fn update(&mut self, usage: Option<&RawValue>, metered: &mut Metered) -> bool {
        let Some(report) = usage.filter(|report| !is_null(report)) else { return false };
        let merged = self.report.get_or_insert_default();
        merged.update(report);
        metered.usage_so_far = Some(RawUsage::Messages(merged.clone()));
        if metered.usage.is_some() {
            // A later report after the stop reason: the last value of each figure counts.
            metered.usage = metered.usage_so_far.clone();
        }
        true
    }

    /// `message_stop` alone also ends an answer, but never makes one out of nothing.
    pub(super) fn end(&mut self, metered: &mut Metered) {
        if self.stopped && metered.output_started {
            finish(metered, Terminal::Completed { finish_reason: None });
        }
    }
}

fn untyped(data: &[u8], metered: &mut Metered) -> Disposition {
    if memmem::find(data, br#""error""#).is_some()
        && let Some(error) = error_in(data)
    {
        return finish(metered, Terminal::ErrorInBand(error));
    }
    Disposition::Forward
}
