//! A provider's stream, event by event.
//!
//! Blocks follow one another in this dialect; should a provider interleave them all the same, what belongs
//! to later ones is held back until the earlier are complete.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::block::{Block, Showing, read_block, read_stop};
use super::read_answer::TOKEN_CEILING;
use crate::conversation::{BadAnswer, Event, OutputPart, PartKind, Stop, ToolNames};
use crate::json::Object;
use crate::sse::Frame;
use crate::usage::MessagesReport;

/// The most text of blocks that are not complete, and the most blocks.
pub const MAX_HELD_BYTES: usize = 16 * 1024 * 1024;
const MAX_HELD_BLOCKS: usize = 256;

/// Reads the frames of one answer.
#[derive(Default)]
pub struct StreamReader {
    names: ToolNames,
    has_started: bool,
    has_finished: bool,
    /// In the order they began; the first is the one that is handed on.
    blocks: VecDeque<OpenBlock>,
    held_bytes: usize,
    calls_tools: bool,
    report: MessagesReport,
    /// Whether usage came with the end; what comes at the start is not all of it.
    has_final_report: bool,
    stop: Option<Stop>,
}

struct OpenBlock {
    index: u64,
    block: Block,
    showing: Showing,
    /// Bytes of the text that have been looked at.
    seen_bytes: usize,
    /// Whether any of it has been handed on.
    is_shown: bool,
    is_announced: bool,
    is_complete: bool,
}

#[derive(Deserialize)]
struct Data<'a> {
    r#type: Option<String>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Start<'a> {
    id: Option<String>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BlockDelta {
    text: Option<String>,
    partial_json: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
}

#[derive(Deserialize)]
struct MessageDelta {
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

impl StreamReader {
    pub fn new(names: ToolNames) -> Self {
        Self { names, ..Self::default() }
    }

    /// What a frame brings; nothing after the end.
    ///
    /// # Errors
    /// Where the frame is not one of this dialect, reports a failure, or would have too much held back.
    pub fn read(&mut self, frame: &Frame) -> Result<Vec<Event>, BadAnswer> {
        let mut events = vec![];
        let Some(data) = frame.data().filter(|_| !self.has_finished) else { return Ok(events) };
        let data: Data = parse(&data, "an event")?;
        let kind = match (&data.r#type, frame.event()) {
            (Some(kind), _) => kind.as_bytes(),
            (None, Some(event)) => event,
            (None, None) => return Ok(events),
        };
        let index = data.index.and_then(|index| index.get().parse().ok());
        match kind {
            b"message_start" => self.start(data.message, &mut events)?,
            b"content_block_start" => self.begin(index, data.content_block, &mut events)?,
            b"content_block_delta" => self.delta(index, data.delta, &mut events)?,
            b"content_block_stop" => self.complete(index, &mut events),
            b"message_delta" => self.message_delta(data.delta, data.usage)?,
            b"message_stop" => self.finish(&mut events)?,
            b"error" => return Err(BadAnswer::new("it reports a failure")),
            _ => {}
        }
        Ok(events)
    }

    /// The connection has ended in good order. An answer that had said why it ends is finished, though its
    /// last frame is missing.
    ///
    /// # Errors
    /// Where it has ended before it has started.
    pub fn end(&mut self) -> Result<Vec<Event>, BadAnswer> {
        let mut events = vec![];
        if self.stop.is_some() && !self.has_finished {
            self.finish(&mut events)?;
        }
        Ok(events)
    }

    fn start(&mut self, message: Option<&RawValue>, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        if self.has_started {
            return Err(BadAnswer::new("it starts twice"));
        }
        self.has_started = true;
        let message = message.ok_or_else(|| BadAnswer::new("a start without a message"))?;
        let Start { id, usage } = parse(message.get().as_bytes(), "the message")?;
        let usage = usage.and_then(|usage| {
            self.report.update(usage);
            self.report.check(TOKEN_CEILING).ok()
        });
        events.push(Event::Started { id, usage });
        Ok(())
    }

    fn begin(
        &mut self,
        index: Option<u64>,
        block: Option<&RawValue>,
        events: &mut Vec<Event>,
    ) -> Result<(), BadAnswer> {
        if !self.has_started {
            return Err(BadAnswer::new("a block before the start"));
        }
        let (Some(index), Some(block)) = (index, block) else {
            return Err(BadAnswer::new("a block without its index or its content"));
        };
        if self.blocks.iter().any(|open| open.index == index) {
            return Err(BadAnswer::new("a block begins twice"));
        }
        let Some(block) = read_block(block, &self.names)? else { return Ok(()) };
        if self.blocks.len() == MAX_HELD_BLOCKS {
            return Err(BadAnswer::new("too many blocks at once"));
        }
        self.hold(block.text.len() + block.signature.len())?;
        let open = OpenBlock {
            index,
            showing: block.begun.showing(),
            block,
            seen_bytes: 0,
            is_shown: false,
            is_announced: false,
            is_complete: false,
        };
        self.blocks.push_back(open);
        self.hand_on(events);
        Ok(())
    }

    /// A delta for a block that was left out is left out too.
    fn delta(
        &mut self,
        index: Option<u64>,
        delta: Option<&RawValue>,
        events: &mut Vec<Event>,
    ) -> Result<(), BadAnswer> {
        let Some(at) = self.blocks.iter().position(|open| Some(open.index) == index) else { return Ok(()) };
        let delta = delta.ok_or_else(|| BadAnswer::new("a delta without content"))?;
        let delta: BlockDelta = parse(delta.get().as_bytes(), "a delta")?;
        let texts = [delta.text, delta.thinking, delta.partial_json];
        let more: usize = texts.iter().flatten().chain(&delta.signature).map(String::len).sum();
        self.hold(more)?;
        let block = &mut self.blocks[at].block;
        texts.iter().flatten().for_each(|text| block.text.push_str(text));
        if let Some(signature) = delta.signature {
            block.signature.push_str(&signature);
        }
        self.hand_on(events);
        Ok(())
    }

    fn complete(&mut self, index: Option<u64>, events: &mut Vec<Event>) {
        if let Some(open) = self.blocks.iter_mut().find(|open| Some(open.index) == index) {
            open.is_complete = true;
            self.hand_on(events);
        }
    }

    fn message_delta(&mut self, delta: Option<&RawValue>, usage: Option<&RawValue>) -> Result<(), BadAnswer> {
        if let Some(usage) = usage {
            self.report.update(usage);
            self.has_final_report = true;
        }
        let Some(delta) = delta else { return Ok(()) };
        let delta: MessageDelta = parse(delta.get().as_bytes(), "a delta")?;
        if let Some(reason) = delta.stop_reason {
            self.stop = Some(read_stop(&reason, delta.stop_sequence, self.calls_tools));
        }
        Ok(())
    }

    fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        if !self.has_started {
            return Err(BadAnswer::new("an end before the start"));
        }
        let stop = self.stop.take().ok_or_else(|| BadAnswer::new("it does not say why it ends"))?;
        self.blocks.iter_mut().for_each(|open| open.is_complete = true);
        self.hand_on(events);
        self.has_finished = true;
        let usage = self.has_final_report.then(|| self.report.check(TOKEN_CEILING).ok()).flatten();
        events.push(Event::Finished { stop, usage });
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), BadAnswer> {
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        if self.held_bytes > MAX_HELD_BYTES {
            return Err(BadAnswer::new("a block is too large"));
        }
        Ok(())
    }

    /// Hands on what is new of the first block, and of those after it as far as the earlier are complete.
    fn hand_on(&mut self, events: &mut Vec<Event>) {
        while let Some(first) = self.blocks.front_mut() {
            if !first.is_announced {
                first.is_announced = true;
                let kind = first.block.begun.kind();
                self.calls_tools |= matches!(kind, PartKind::ToolCall { .. });
                events.push(Event::PartStarted(kind));
            }
            events.extend(first.news().map(Event::Delta));
            if !first.is_complete {
                return;
            }
            let Some(complete) = self.blocks.pop_front() else { return };
            self.held_bytes -= complete.block.text.len() + complete.block.signature.len();
            complete.end(events);
        }
    }
}

impl OpenBlock {
    /// What has come since the last time, in the client's form.
    fn news(&mut self) -> Option<String> {
        let text = &self.block.text;
        let news = match &mut self.showing {
            Showing::AsItComes => &text[self.seen_bytes..],
            Showing::Unwrapped(unwrapper) => unwrapper.read(text),
            Showing::Never => "",
        };
        self.seen_bytes = text.len();
        self.is_shown |= !news.is_empty();
        (!news.is_empty()).then(|| news.to_owned())
    }

    /// The part, after a last delta where none has shown its input.
    fn end(self, events: &mut Vec<Event>) {
        let unwrapped = match self.showing {
            Showing::Unwrapped(unwrapper) => unwrapper.into_text(),
            Showing::AsItComes | Showing::Never => None,
        };
        let mut part = self.block.part();
        if let OutputPart::ToolCall(call) = &mut part {
            if let Some(text) = unwrapped {
                call.input = text;
            }
            if !self.is_shown && !call.input.is_empty() {
                events.push(Event::Delta(call.input.clone()));
            }
        }
        events.push(Event::PartEnded(part));
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8], what: &str) -> Result<T, BadAnswer> {
    let read: serde_json::Result<Object<T>> = serde_json::from_slice(json);
    read.map(|Object(read)| read).map_err(|error| BadAnswer::new(format!("{what}: {error}")))
}
