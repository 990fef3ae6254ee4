//! A provider's stream in the Responses dialect, event by event.
//!
//! Items are told one after the other: what comes of a later item while an earlier one is open is held back,
//! within a limit. An item is believed as it stands when it is done; what its deltas left out is made up
//! for, so that providers that send whole items only, or only the response object at the end, are read too.

use std::collections::VecDeque;

use serde_json::Value;

use super::fields::Fields;
use super::item_reader::{Channel, ItemReader, Key};
use super::read_output::{Ending, Seen, bad, read_ending, read_output_item};
use crate::conversation::{BadAnswer, Event, ToolNames};
use crate::sse::Frame;

/// The most held back of items that wait for an earlier one, in bytes of text.
pub const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;

/// The most items of one answer.
pub const MAX_ITEMS: usize = 4_096;

/// Reads one stream.
#[derive(Debug)]
pub struct StreamReader {
    names: ToolNames,
    started: bool,
    finished: bool,
    /// Begun and not told to the end; only the first is told as it comes.
    open: VecDeque<ItemReader>,
    told: Vec<Key>,
    seen: Seen,
}

impl StreamReader {
    /// `names` are those of the tools offered in the request.
    #[must_use]
    pub fn new(names: ToolNames) -> Self {
        Self {
            names,
            started: false,
            finished: false,
            open: VecDeque::new(),
            told: Vec::new(),
            seen: Seen::default(),
        }
    }

    /// What a frame brings; nothing for comments, keep-alives and events that are not known.
    ///
    /// # Errors
    /// Where the frame is an error, or not what the dialect says, or more is held back than may be.
    pub fn read(&mut self, frame: &Frame) -> Result<Vec<Event>, BadAnswer> {
        let mut events = Vec::new();
        let Some(data) = frame.data().filter(|_| !self.finished) else { return Ok(events) };
        let data = data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Ok(events);
        }
        let data = crate::json::value(data)
            .map_err(|error| BadAnswer::new(format!("an event is not JSON: {error}")))?;
        let Value::Object(members) = data else { return Ok(events) };
        let mut data = Fields::new(members, "");
        let kind = match data.kind().map_err(bad)? {
            Some(kind) => kind,
            None => String::from_utf8_lossy(frame.event().unwrap_or_default()).into_owned(),
        };
        self.read_event(&kind, data, &mut events)?;
        Ok(events)
    }

    /// The connection ended in good order. All that it could add was told when the response object came.
    ///
    /// # Errors
    /// None in this dialect.
    pub fn end(&mut self) -> Result<Vec<Event>, BadAnswer> {
        Ok(Vec::new())
    }

    fn read_event(&mut self, kind: &str, mut data: Fields, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                let response = data.object("response").map_err(bad)?;
                return self.start(response, events).map(drop);
            }
            "response.completed" | "response.incomplete" => {
                let response = data.object("response").map_err(bad)?;
                return self.finish(kind, response, events);
            }
            "response.failed" | "response.cancelled" | "error" => {
                return Err(BadAnswer::new("the provider ended its stream with an error"));
            }
            _ => {}
        }
        let key = Key::read(&mut data)?;
        match kind {
            "response.output_item.added" => self.item_added(key, &mut data)?,
            "response.output_item.done" => {
                let item = data.take("item").ok_or_else(|| BadAnswer::new("an item is missing"))?;
                self.item_done(key.of_item(&item), item)?;
            }
            "response.content_part.added" => {
                if let (Some(at), Some(mut part)) =
                    (self.item(key, Channel::Text)?, data.object("part").map_err(bad)?)
                {
                    let kind = part.kind().map_err(bad)?.unwrap_or_default();
                    let index = data.whole("content_index").map_err(bad)?.unwrap_or(0);
                    self.open[at].content_added(&kind, index)?;
                }
            }
            kind => {
                let Some(channel) = Channel::of_event(kind) else { return Ok(()) };
                self.read_text(kind, channel, key, data)?;
            }
        }
        if !self.started && !self.open.is_empty() {
            self.start(None, events)?;
        }
        self.tell(events)
    }

    /// Deltas of an item, and the whole of one of its parts.
    fn read_text(
        &mut self,
        kind: &str,
        channel: Channel,
        key: Key,
        mut data: Fields,
    ) -> Result<(), BadAnswer> {
        let Some(at) = self.item(key, channel)? else { return Ok(()) };
        let index = data.whole(channel.index_key()).map_err(bad)?.unwrap_or(0);
        if kind.ends_with(".delta") {
            let delta = data.text("delta").map_err(bad)?.unwrap_or_default();
            return self.open[at].delta(channel, index, &delta);
        }
        match data.text(channel.whole_key()).map_err(bad)? {
            Some(whole) => self.open[at].whole(channel, index, &whole),
            None => Ok(()),
        }
    }

    fn start(
        &mut self,
        response: Option<Fields>,
        events: &mut Vec<Event>,
    ) -> Result<Option<Fields>, BadAnswer> {
        if self.started {
            return Ok(response);
        }
        self.started = true;
        let Some(mut response) = response else {
            events.push(Event::Started { id: None, usage: None });
            return Ok(None);
        };
        let id = response.text("id").map_err(bad)?;
        events.push(Event::Started { id, usage: None });
        Ok(Some(response))
    }

    fn item_added(&mut self, key: Key, data: &mut Fields) -> Result<(), BadAnswer> {
        let Some(item) = data.object("item").map_err(bad)? else { return Ok(()) };
        let key = key.or_id(item.get("id"));
        if self.place(&key).is_none() && !self.told.iter().any(|told| told.is(&key)) {
            let item = ItemReader::begin(key, item, &self.names)?;
            self.push(item)?;
        }
        Ok(())
    }

    fn item_done(&mut self, key: Key, item: Value) -> Result<(), BadAnswer> {
        let at = match self.place(&key) {
            Some(at) => at,
            None if self.told.iter().any(|told| told.is(&key)) => return Ok(()),
            None => self.push(ItemReader::new(key))?,
        };
        let item = read_output_item(item, &self.names)?;
        self.open[at].done(item)
    }

    fn place(&self, key: &Key) -> Option<usize> {
        self.open.iter().position(|item| item.key().is(key))
    }

    fn push(&mut self, item: ItemReader) -> Result<usize, BadAnswer> {
        if self.open.len() + self.told.len() >= MAX_ITEMS {
            return Err(BadAnswer::new(format!("it has more than {MAX_ITEMS} items")));
        }
        self.open.push_back(item);
        Ok(self.open.len() - 1)
    }

    /// The open item that `key` names. One that was never announced begins here, if its kind can be told
    /// by what comes of it.
    fn item(&mut self, key: Key, channel: Channel) -> Result<Option<usize>, BadAnswer> {
        if let Some(at) = self.place(&key) {
            return Ok(Some(at));
        }
        let is_told = self.told.iter().any(|told| told.is(&key));
        if is_told || channel == Channel::Input {
            return Ok(None);
        }
        self.push(ItemReader::new(key)).map(Some)
    }

    /// Tells what the first item has, and of those after it as soon as it is done.
    fn tell(&mut self, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        while let Some(first) = self.open.front_mut() {
            for event in first.take_events() {
                if let Event::PartEnded(part) = &event {
                    self.seen.note(part);
                }
                events.push(event);
            }
            if !first.is_done() {
                break;
            }
            self.told.extend(self.open.pop_front().map(ItemReader::into_key));
        }
        let held: usize = self.open.iter().skip(1).map(ItemReader::held_bytes).sum();
        if held > MAX_HELD_BYTES {
            return Err(BadAnswer::new(format!("more than {MAX_HELD_BYTES} bytes of it are out of order")));
        }
        Ok(())
    }

    fn finish(
        &mut self,
        kind: &str,
        response: Option<Fields>,
        events: &mut Vec<Event>,
    ) -> Result<(), BadAnswer> {
        let response = self.start(response, events)?;
        let mut response = response.unwrap_or_else(|| Fields::new(serde_json::Map::new(), ""));
        let mut output = response.list("output").map_err(bad)?.unwrap_or_default();
        if self.told.iter().chain(self.open.iter().map(ItemReader::key)).any(Key::is_unnamed) {
            // Which of them came before cannot be told; those that came are the answer.
            output.clear();
        }
        for (index, item) in output.into_iter().enumerate() {
            let key = Key::at(index as u64).of_item(&item);
            self.item_done(key, item)?;
        }
        for item in &mut self.open {
            item.close()?;
        }
        self.tell(events)?;
        let named = kind.strip_prefix("response.");
        let Ending { stop, usage } = read_ending(&mut response, named, &self.seen)?;
        self.finished = true;
        events.push(Event::Finished { stop, usage });
        Ok(())
    }
}
