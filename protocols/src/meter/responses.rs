//! Streams of the Responses protocol: one `response.completed`, `incomplete` or `failed` at the end,
//! with the usage.

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Disposition, Metered, Terminal, UpstreamError, error_in, event_type, finish, name, text_bytes,
    upstream_error,
};
use crate::json::{as_text, is_null, object, present, string_end};
use crate::usage::RawUsage;

/// Keys of an output item that hold what the model wrote.
const WRITTEN: [&str; 7] = ["text", "arguments", "input", "refusal", "code", "patch", "command"];

#[derive(Debug, Default)]
pub(super) struct ResponsesStream {
    /// Bytes counted by deltas since the last item was done; an item without any is counted whole.
    since_item_done: u64,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
}

/// A response object, in an event or as a whole body.
#[derive(Deserialize, Default)]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) model: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    incomplete_details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct IncompleteDetails<'a> {
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
}

impl ResponsesStream {
    pub(super) fn observe(
        &mut self,
        data: &[u8],
        event: Option<&[u8]>,
        metered: &mut Metered,
    ) -> Disposition {
        let Some(kind) = event_type(data, event) else { return untyped(data, metered) };
        match kind.as_ref() {
            "response.output_item.done" => self.item_done(data, metered),
            "response.created" | "response.in_progress" | "response.queued" => {
                with_response(data, |response| metered.saw_id(response.id, response.model));
                Disposition::Forward
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let word = kind.strip_prefix("response.").unwrap_or_default();
                with_response(data, |response| ended(word, response, metered))
                    .unwrap_or_else(|| unreadable(word, metered))
            }
            "error" => finish(metered, Terminal::ErrorInBand(error_event(data))),
            kind if kind.ends_with(".delta") => {
                // Sound and pictures are base64, not text.
                if !kind.contains("audio.delta") {
                    let bytes = delta_bytes(data);
                    self.since_item_done += bytes;
                    metered.delivered(bytes);
                }
                Disposition::Forward
            }
            _ => Disposition::Forward,
        }
    }

    fn item_done(&mut self, data: &[u8], metered: &mut Metered) -> Disposition {
        if let Some(Event { item: Some(item), .. }) = object(data) {
            metered.output_started = true;
            metered.web_search_calls += u64::from(is_web_search(item));
            if self.since_item_done == 0 {
                metered.delivered(text_bytes(item.get(), &WRITTEN));
            }
        }
        self.since_item_done = 0;
        Disposition::Forward
    }
}

/// What a response object of status `word` says of its end; also for whole bodies.
pub(super) fn ended(word: &str, response: Response, metered: &mut Metered) -> Disposition {
    metered.saw_id(response.id, response.model);
    if let Some(output) = response.output {
        if metered.output_bytes == 0 {
            metered.delivered(text_bytes(output.get(), &WRITTEN));
        }
        let items: Vec<&RawValue> = serde_json::from_str(output.get()).unwrap_or_default();
        metered.output_started |= !items.is_empty();
        let searches = items.iter().filter(|item| is_web_search(item)).count() as u64;
        metered.web_search_calls = metered.web_search_calls.max(searches);
    }
    if let Some(report) = response.usage.filter(|report| !is_null(report)) {
        let web_search_calls = metered.web_search_calls;
        metered.usage = Some(RawUsage::Responses { report: report.to_owned(), web_search_calls });
    }
    // The status inside counts for more than the event's name.
    let status = response.status.and_then(as_text);
    let terminal = match status.as_deref().unwrap_or(word) {
        "failed" => Terminal::Failed(response.error.map(upstream_error).unwrap_or_default()),
        "incomplete" => Terminal::Incomplete {
            reason: response
                .incomplete_details
                .and_then(|details| object::<IncompleteDetails>(details.get().as_bytes()))
                .and_then(|details| name(details.reason)),
        },
        "cancelled" => Terminal::Completed { finish_reason: Some("cancelled".into()) },
        _ if word == "failed" => Terminal::Failed(response.error.map(upstream_error).unwrap_or_default()),
        _ => Terminal::Completed { finish_reason: None },
    };
    finish(metered, terminal)
}

/// The end is named but its object cannot be read: it ended, without a report.
fn unreadable(word: &str, metered: &mut Metered) -> Disposition {
    let terminal = match word {
        "failed" => Terminal::Failed(UpstreamError::default()),
        "incomplete" => Terminal::Incomplete { reason: None },
        _ => Terminal::Completed { finish_reason: None },
    };
    finish(metered, terminal)
}

fn with_response<T>(data: &[u8], read: impl FnOnce(Response) -> T) -> Option<T> {
    let event: Event = object(data)?;
    let response: Response = object(event.response?.get().as_bytes())?;
    Some(read(response))
}

/// Data without a type: `[DONE]`, which some send, or an error in chat's form.
fn untyped(data: &[u8], metered: &mut Metered) -> Disposition {
    if memmem::find(data, br#""error""#).is_some()
        && let Some(error) = error_in(data)
    {
        return finish(metered, Terminal::ErrorInBand(error));
    }
    Disposition::Forward
}

/// `{"type":"error"}` with the error's members beside it or under `error`.
fn error_event(data: &[u8]) -> UpstreamError {
    error_in(data)
        .or_else(|| serde_json::from_slice::<&RawValue>(data).ok().map(upstream_error))
        .map(|error| UpstreamError { code: error.code.filter(|code| code != "error"), ..error })
        .unwrap_or_default()
}

/// A search, not the opening of a page found before, which is not billed.
fn is_web_search(item: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
        #[serde(borrow)]
        action: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Action<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
    }
    let Some(item) = object::<Item>(item.get().as_bytes()) else { return false };
    let action =
        item.action.and_then(|action| object::<Action>(action.get().as_bytes())?.kind).and_then(as_text);
    item.kind.and_then(as_text).as_deref() == Some("web_search_call")
        && action.is_none_or(|action| action == "search")
}

fn delta_bytes(data: &[u8]) -> u64 {
    let Some(at) = memmem::find(data, br#""delta":"#) else { return 0 };
    let rest = &data[at + br#""delta":"#.len()..];
    let value = rest.trim_ascii_start();
    if value.first() != Some(&b'"') {
        return 0;
    }
    string_end(value, 1).map_or(0, |(_, bytes)| bytes)
}
