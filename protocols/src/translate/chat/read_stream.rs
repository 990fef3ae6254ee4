//! A chat provider's stream, step by step.
//!
//! The dialect has no beginnings and ends of parts, only pieces, and pieces of several calls may come mixed.
//! A piece of another kind ends what is open, except that a call stays open to the end of the answer, as
//! more of it may still come: what comes beside it is held back until then, within a limit.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::read_answer::{read_usage, thought};
use super::wire::{self, Call, Called};
use crate::conversation::{BadAnswer, Event, OutputPart, PartKind, Reasoning, Stop, ToolCall, ToolNames};
use crate::json::Object;
use crate::sse::Frame;

/// The most bytes of an answer kept: the part that is open, and what waits for its turn.
pub const MAX_HELD_BYTES: usize = 16 * 1024 * 1024;

/// What an entry costs beside its text.
const PART_BYTES: usize = 256;

#[derive(Deserialize)]
struct Chunk {
    id: Option<String>,
    choices: Option<Vec<Object<Choice>>>,
    usage: Option<Box<RawValue>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    delta: Option<Object<Delta>>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    reasoning_content: Option<String>,
    reasoning: Option<Value>,
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<Call>>,
    function_call: Option<wire::Function>,
}

/// What a piece belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Reasoning,
    Text,
    Refusal,
    Call(u64),
    /// `function_call`, of which there is one.
    FormerCall,
}

impl Channel {
    fn is_call(self) -> bool {
        matches!(self, Self::Call(_) | Self::FormerCall)
    }
}

/// A part that is open or waits.
#[derive(Debug)]
struct Building {
    channel: Channel,
    call_id: String,
    called: Option<Called>,
    text: String,
    /// Bytes of `text` that have been passed on.
    passed: usize,
    started: bool,
}

/// Reads frames of one answer.
#[derive(Debug)]
pub struct StreamReader {
    names: ToolNames,
    started: bool,
    id: Option<String>,
    open: Option<Building>,
    held: Vec<Building>,
    held_bytes: usize,
    /// Calls that have begun.
    calls: usize,
    spoke: bool,
    stop: Option<Stop>,
    /// The last of the provider's reports; some give one in every chunk.
    usage: Option<Box<RawValue>>,
    finished: bool,
}

impl StreamReader {
    pub fn new(names: ToolNames) -> Self {
        Self {
            names,
            started: false,
            id: None,
            open: None,
            held: vec![],
            held_bytes: 0,
            calls: 0,
            spoke: false,
            stop: None,
            usage: None,
            finished: false,
        }
    }

    /// What `frame` adds.
    ///
    /// # Errors
    /// Where it is not the dialect's, holds an error, or more is held back than [`MAX_HELD_BYTES`].
    pub fn read(&mut self, frame: &Frame) -> Result<Vec<Event>, BadAnswer> {
        let mut events = vec![];
        let Some(data) = frame.data() else { return Ok(events) };
        let data = data.trim_ascii();
        if self.finished || data.is_empty() {
            return Ok(events);
        }
        if data == b"[DONE]" {
            self.done(&mut events)?;
            return Ok(events);
        }
        let Object(chunk) = serde_json::from_slice(data)
            .map_err(|error| BadAnswer::new(format!("no chunk of a chat completion: {error}")))?;
        self.chunk(chunk, &mut events)?;
        Ok(events)
    }

    /// The connection has ended in good order; an answer that had not said why it ends is not finished.
    pub fn end(&mut self) -> Result<Vec<Event>, BadAnswer> {
        let mut events = vec![];
        self.finish(&mut events);
        Ok(events)
    }

    fn chunk(&mut self, chunk: Chunk, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        if chunk.error.is_some() {
            return Err(BadAnswer::new("an error stands in the stream"));
        }
        let choices = chunk.choices.unwrap_or_default();
        if !self.started && !choices.is_empty() {
            self.started = true;
            self.id = chunk.id.filter(|id| !id.is_empty());
            events.push(Event::Started { id: self.id.clone(), usage: None });
        }
        let first =
            choices.into_iter().map(|Object(choice)| choice).find(|choice| choice.index.unwrap_or(0) == 0);
        if let Some(choice) = first
            && self.stop.is_none()
        {
            if let Some(Object(delta)) = choice.delta {
                self.delta(delta, events)?;
            }
            if let Some(reason) = choice.finish_reason {
                self.stopped(Some(&reason), events)?;
            }
        }
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
            self.finish(events);
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        if let Some(text) = thought(delta.reasoning_content, delta.reasoning) {
            self.text(Channel::Reasoning, &text, events)?;
        }
        if let Some(text) = delta.content {
            self.text(Channel::Text, &text, events)?;
        }
        if let Some(text) = delta.refusal {
            self.text(Channel::Refusal, &text, events)?;
        }
        for (at, call) in delta.tool_calls.unwrap_or_default().into_iter().enumerate() {
            let index = call.index.unwrap_or(at as u64);
            self.call(Channel::Call(index), call, events)?;
        }
        if let Some(function) = delta.function_call {
            let call = Call { function: Some(function), ..Call::default() };
            self.call(Channel::FormerCall, call, events)?;
        }
        Ok(())
    }

    fn text(&mut self, channel: Channel, piece: &str, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        if piece.is_empty() {
            return Ok(());
        }
        self.hold(piece.len())?;
        self.spoke = true;
        match &mut self.open {
            Some(open) if open.channel == channel => {
                open.text.push_str(piece);
                open.pass_on(events);
            }
            Some(open) if open.channel.is_call() => match self.held.last_mut() {
                Some(last) if last.channel == channel => last.text.push_str(piece),
                Some(_) | None => {
                    self.held.push(Building::new(channel, piece.into()));
                    self.hold(PART_BYTES)?;
                }
            },
            Some(_) | None => {
                self.close(events)?;
                self.open.insert(Building::new(channel, piece.into())).pass_on(events);
            }
        }
        Ok(())
    }

    fn call(&mut self, channel: Channel, call: Call, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        let id = call.id.unwrap_or_default();
        let (name, piece, custom) = match (call.function, call.custom) {
            (Some(function), _) => (function.name, function.arguments, false),
            (None, Some(custom)) => (custom.name, custom.input, true),
            (None, None) => (None, None, false),
        };
        let piece = piece.unwrap_or_default();
        self.hold(piece.len())?;
        self.spoke = true;
        if !self.open.as_ref().is_some_and(|open| open.channel.is_call()) {
            self.close(events)?;
            let begun = self.begin_call(channel)?;
            self.open = Some(begun);
        }
        // Providers that leave the index out are told apart by the id.
        let is_same = |building: &Building| {
            building.channel == channel
                && (id.is_empty() || building.call_id.is_empty() || building.call_id == id)
        };
        let in_open = self.open.as_ref().is_some_and(is_same);
        let at = if in_open { None } else { self.held.iter().rposition(is_same) };
        if !in_open && at.is_none() {
            let begun = self.begin_call(channel)?;
            self.held.push(begun);
        }
        let made_up = || wire::made_up_id(self.id.as_deref(), self.calls - 1);
        let building = match (in_open, at) {
            (true, _) => self.open.as_mut(),
            (false, Some(at)) => self.held.get_mut(at),
            (false, None) => self.held.last_mut(),
        };
        let Some(building) = building else { return Ok(()) };
        if building.call_id.is_empty() && !id.is_empty() {
            building.call_id = id;
        }
        if let (None, Some(name)) = (&building.called, name.filter(|name| !name.is_empty())) {
            building.called =
                Some(if custom { Called::custom(name) } else { Called::function(&name, &self.names) });
            if building.call_id.is_empty() {
                building.call_id = made_up();
            }
        }
        building.text.push_str(&piece);
        if in_open {
            building.pass_on(events);
        }
        Ok(())
    }

    fn begin_call(&mut self, channel: Channel) -> Result<Building, BadAnswer> {
        self.hold(PART_BYTES)?;
        self.calls += 1;
        Ok(Building::new(channel, String::new()))
    }

    fn hold(&mut self, bytes: usize) -> Result<(), BadAnswer> {
        self.held_bytes += bytes;
        if self.held_bytes > MAX_HELD_BYTES {
            return Err(BadAnswer::new(format!("more than {MAX_HELD_BYTES} bytes of it have to be held")));
        }
        Ok(())
    }

    /// Ends the part that is open; where it is not a call nothing waits behind it.
    fn close(&mut self, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        if let Some(open) = self.open.take() {
            self.held_bytes = self.held_bytes.saturating_sub(open.text.len());
            open.close(events)?;
        }
        Ok(())
    }

    fn stopped(&mut self, reason: Option<&str>, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        if reason == Some(wire::BROKEN_OFF) {
            return Err(BadAnswer::new("the provider broke it off"));
        }
        self.close(events)?;
        for waiting in std::mem::take(&mut self.held) {
            waiting.close(events)?;
        }
        self.stop = Some(wire::stop(reason, self.calls > 0));
        Ok(())
    }

    /// `[DONE]` also ends an answer that did not say why, but never makes one out of nothing.
    fn done(&mut self, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        if self.stop.is_none() && self.spoke {
            self.stopped(None, events)?;
        }
        self.finish(events);
        Ok(())
    }

    /// Ends the answer, if it has said why.
    fn finish(&mut self, events: &mut Vec<Event>) {
        if !self.finished
            && let Some(stop) = self.stop.clone()
        {
            self.finished = true;
            events.push(Event::Finished { stop, usage: self.usage.take().and_then(read_usage) });
        }
    }
}

impl Building {
    fn new(channel: Channel, text: String) -> Self {
        Self { channel, call_id: String::new(), called: None, text, passed: 0, started: false }
    }

    /// What the part is, once that is known.
    fn kind(&self) -> Option<PartKind> {
        Some(match self.channel {
            Channel::Reasoning => PartKind::Reasoning,
            Channel::Text => PartKind::Text,
            Channel::Refusal => PartKind::Refusal,
            Channel::Call(_) | Channel::FormerCall => {
                let name = self.called.as_ref()?.name.clone();
                PartKind::ToolCall { call_id: self.call_id.clone(), name }
            }
        })
    }

    /// Starts the part if it can be, and passes on what has not been. Free text in a function's
    /// arguments is known only when they are complete.
    fn pass_on(&mut self, events: &mut Vec<Event>) {
        if !self.started {
            let Some(kind) = self.kind() else { return };
            self.started = true;
            events.push(Event::PartStarted(kind));
        }
        let wrapped = self.called.as_ref().is_some_and(|called| called.wrapped);
        if !wrapped && self.passed < self.text.len() {
            events.push(Event::Delta(self.text[self.passed..].to_owned()));
            self.passed = self.text.len();
        }
    }

    fn close(mut self, events: &mut Vec<Event>) -> Result<(), BadAnswer> {
        self.pass_on(events);
        if !self.started {
            return Err(BadAnswer::new("a call has no name"));
        }
        let part = match (self.channel, self.called) {
            (Channel::Reasoning, _) => {
                OutputPart::Reasoning(Reasoning { texts: vec![self.text], seal: None })
            }
            (Channel::Text, _) => OutputPart::Text(self.text),
            (Channel::Refusal, _) => OutputPart::Refusal(self.text),
            (Channel::Call(_) | Channel::FormerCall, None) => {
                return Err(BadAnswer::new("a call has no name"));
            }
            (Channel::Call(_) | Channel::FormerCall, Some(called)) => {
                let input = called.input(self.text);
                if self.passed == 0 && !input.is_empty() {
                    events.push(Event::Delta(input.clone()));
                }
                OutputPart::ToolCall(ToolCall { call_id: self.call_id, name: called.name, input })
            }
        };
        events.push(Event::PartEnded(part));
        Ok(())
    }
}
