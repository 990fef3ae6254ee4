//! Server-sent events as the vendors write them, made lazily one at a time.

use bytes::Bytes;
use serde_json::Value;

use crate::directive::MidStreamError;

/// One event of a stream, and what it means for the bill.
#[derive(Debug)]
pub struct Event {
    /// Written as the `event:` line and as `type` of the data; `None` in Chat Completions.
    pub name: Option<&'static str>,
    pub data: Data,
    pub mark: Mark,
    /// Output tokens that exist once this event is out, where it adds any.
    pub produced: Option<u64>,
}

#[derive(Debug)]
pub enum Data {
    Json(Value),
    /// Chat Completions' last line.
    Done,
}

/// What an event is to pacing, cutting and billing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Plain,
    Delta,
    /// From here on the generation is finished and billed.
    Final,
    /// The generation has failed and is billed as far as it came.
    Failed,
}

/// A stream's events. Lazy, because an answer may have a million deltas.
pub type Events = Box<dyn Iterator<Item = Event> + Send>;

impl Event {
    pub fn named(name: &'static str, data: Value) -> Self {
        Event { name: Some(name), data: Data::Json(data), mark: Mark::Plain, produced: None }
    }

    pub fn unnamed(data: Value) -> Self {
        Event { name: None, data: Data::Json(data), mark: Mark::Plain, produced: None }
    }

    pub fn done() -> Self {
        Event { name: None, data: Data::Done, mark: Mark::Plain, produced: None }
    }

    pub fn delta(self, produced: u64) -> Self {
        Event { mark: Mark::Delta, produced: Some(produced), ..self }
    }

    pub fn last(self, produced: u64) -> Self {
        Event { mark: Mark::Final, produced: Some(produced), ..self }
    }

    pub fn failed(self) -> Self {
        Event { mark: Mark::Failed, ..self }
    }

    /// The event's lines. A named event's data begins with its `type`, as both
    /// vendors write it.
    pub fn encode(&self) -> Bytes {
        let data = match &self.data {
            Data::Json(value) => value.to_string(),
            Data::Done => "[DONE]".to_owned(),
        };
        Bytes::from(match self.name {
            Some(name) => {
                let rest = data.strip_prefix('{').unwrap_or(&data);
                let comma = if rest == "}" { "" } else { "," };
                format!("event: {name}\ndata: {{\"type\":\"{name}\"{comma}{rest}\n\n")
            }
            None => format!("data: {data}\n\n"),
        })
    }
}

/// The stream with `error` in place of everything after `told.after` deltas.
pub fn broken_off(events: Events, told: &MidStreamError, error: Event) -> Events {
    let after = told.after;
    let mut deltas = 0;
    let head = events.take_while(move |event| {
        if deltas == after && (after > 0 || event.mark == Mark::Delta) {
            return false;
        }
        if event.mark == Mark::Delta {
            deltas += 1;
        }
        event.mark != Mark::Final
    });
    Box::new(head.chain(std::iter::once(error.failed())))
}
