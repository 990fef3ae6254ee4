//! One item of a provider's stream, from its first event to its last.

use serde_json::Value;

use super::fields::Fields;
use super::read_output::{OutputItem, bad, read_call_head};
use crate::conversation::{BadAnswer, CallKind, Event, OutputPart, PartKind, Reasoning, ToolCall, ToolNames};

/// The longest single part of an answer, in bytes.
pub const MAX_PART_BYTES: usize = 32 * 1024 * 1024;

/// Stands between two texts of one reasoning.
const BETWEEN_TEXTS: &str = "\n\n";

/// What an item is known by: its place, where events tell it, else its id.
#[derive(Clone, Debug, Default)]
pub(super) struct Key {
    index: Option<u64>,
    id: Option<String>,
}

impl Key {
    pub(super) fn at(index: u64) -> Self {
        Self { index: Some(index), id: None }
    }

    pub(super) fn read(data: &mut Fields) -> Result<Self, BadAnswer> {
        let index = data.whole("output_index").map_err(bad)?;
        Ok(Self { index, id: data.text("item_id").map_err(bad)? })
    }

    pub(super) fn of_item(self, item: &Value) -> Self {
        self.or_id(item.get("id"))
    }

    pub(super) fn or_id(self, id: Option<&Value>) -> Self {
        let id = self.id.or_else(|| id.and_then(Value::as_str).map(str::to_owned));
        Self { id, ..self }
    }

    pub(super) fn is_unnamed(&self) -> bool {
        self.index.is_none() && self.id.is_none()
    }

    /// Places count for more: some providers give one item several ids.
    pub(super) fn is(&self, other: &Key) -> bool {
        match (self.index, other.index) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => match (&self.id, &other.id) {
                (Some(mine), Some(theirs)) => mine == theirs,
                // Providers that name neither have one item at a time.
                _ => self.index.is_none() && other.index.is_none(),
            },
        }
    }
}

/// What a delta adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Text,
    Refusal,
    Summary,
    /// Thinking that is shown itself.
    Thinking,
    Input,
}

impl Channel {
    /// The channel of `….delta` and `….done` events; `None` for events of other kinds.
    pub(super) fn of_event(kind: &str) -> Option<Self> {
        let name = kind.strip_prefix("response.")?;
        let name = name.strip_suffix(".delta").or_else(|| name.strip_suffix(".done"))?;
        match name {
            "output_text" => Some(Self::Text),
            "refusal" => Some(Self::Refusal),
            "reasoning_summary_text" => Some(Self::Summary),
            "reasoning_text" => Some(Self::Thinking),
            "function_call_arguments" | "custom_tool_call_input" => Some(Self::Input),
            _ => None,
        }
    }

    pub(super) fn index_key(self) -> &'static str {
        match self {
            Self::Summary => "summary_index",
            Self::Text | Self::Refusal | Self::Thinking | Self::Input => "content_index",
        }
    }

    /// Where a `done` event has the whole text. A call's input is believed from its item.
    pub(super) fn whole_key(self) -> &'static str {
        match self {
            Self::Refusal => "refusal",
            Self::Text | Self::Summary | Self::Thinking | Self::Input => "text",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct ItemReader {
    key: Key,
    events: Vec<Event>,
    held_bytes: usize,
    open: Option<PartKind>,
    /// The place of the open part, or of the last one, in its item.
    index: Option<u64>,
    /// All of the open part so far.
    text: String,
    parts_ended: usize,
    /// Where the reasoning comes from, once it has begun; the other source is not told twice.
    source: Option<Channel>,
    done: bool,
}

impl ItemReader {
    pub(super) fn new(key: Key) -> Self {
        Self { key, ..Self::default() }
    }

    /// An item that was announced. Calls begin at once; all else when its first part does.
    pub(super) fn begin(key: Key, mut item: Fields, names: &ToolNames) -> Result<Self, BadAnswer> {
        let kind = match item.kind().map_err(bad)?.as_deref() {
            Some("function_call") => CallKind::Function,
            Some("custom_tool_call") => CallKind::Custom,
            Some(_) | None => return Ok(Self::new(key)),
        };
        let mut begun = Self::new(key);
        if item.get("call_id").is_some() && item.get("name").is_some() {
            let (call_id, name) = read_call_head(&mut item, kind, names)?;
            begun.start(PartKind::ToolCall { call_id, name });
        }
        Ok(begun)
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn into_key(self) -> Key {
        self.key
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        self.held_bytes = 0;
        std::mem::take(&mut self.events)
    }

    pub(super) fn content_added(&mut self, kind: &str, index: u64) -> Result<(), BadAnswer> {
        match kind {
            "output_text" => self.open_content(PartKind::Text, index),
            "refusal" => self.open_content(PartKind::Refusal, index),
            _ => Ok(()),
        }
    }

    pub(super) fn delta(&mut self, channel: Channel, index: u64, delta: &str) -> Result<(), BadAnswer> {
        match channel {
            Channel::Text => self.open_content(PartKind::Text, index)?,
            Channel::Refusal => self.open_content(PartKind::Refusal, index)?,
            Channel::Summary | Channel::Thinking => {
                if !self.open_reasoning(channel, index, delta)? {
                    return Ok(());
                }
            }
            // Without its head a call is told when it is done.
            Channel::Input if self.open.is_none() => return Ok(()),
            Channel::Input => {}
        }
        self.append(delta)
    }

    /// The end of a part of a message, with its whole text.
    pub(super) fn whole(&mut self, channel: Channel, index: u64, whole: &str) -> Result<(), BadAnswer> {
        let kind = match channel {
            Channel::Text => PartKind::Text,
            Channel::Refusal => PartKind::Refusal,
            Channel::Summary | Channel::Thinking | Channel::Input => return Ok(()),
        };
        if self.open.is_none() && self.index == Some(index) {
            return Ok(());
        }
        self.open_content(kind, index)?;
        self.catch_up(whole)?;
        self.end_content();
        Ok(())
    }

    /// The item as it stands at its end.
    pub(super) fn done(&mut self, item: OutputItem) -> Result<(), BadAnswer> {
        match item {
            OutputItem::Message(parts) => self.message_done(parts)?,
            OutputItem::Reasoning(reasoning) => self.reasoning_done(reasoning)?,
            OutputItem::Call(call) => self.call_done(call)?,
            OutputItem::WebSearch(search) => {
                self.start(PartKind::WebSearch { id: search.id.clone() });
                self.end(OutputPart::WebSearch(search));
            }
            OutputItem::Other => {}
        }
        self.close()
    }

    /// The end of an item whose last event did not come.
    pub(super) fn close(&mut self) -> Result<(), BadAnswer> {
        match self.open.clone() {
            None => {}
            Some(PartKind::Text | PartKind::Refusal) => self.end_content(),
            Some(PartKind::Reasoning) => {
                let texts = vec![std::mem::take(&mut self.text)];
                self.end(OutputPart::Reasoning(Reasoning { texts, seal: None }));
            }
            Some(PartKind::ToolCall { call_id, name }) => {
                let input = std::mem::take(&mut self.text);
                self.end(OutputPart::ToolCall(ToolCall { call_id, name, input }));
            }
            Some(PartKind::WebSearch { .. }) => {}
        }
        self.done = true;
        Ok(())
    }

    fn message_done(&mut self, parts: Vec<OutputPart>) -> Result<(), BadAnswer> {
        let ended = self.parts_ended;
        for part in parts.into_iter().skip(ended) {
            let (kind, whole) = match &part {
                OutputPart::Text(text) => (PartKind::Text, text),
                OutputPart::Refusal(text) => (PartKind::Refusal, text),
                OutputPart::Reasoning(_) | OutputPart::ToolCall(_) | OutputPart::WebSearch(_) => continue,
            };
            if self.open.is_none() {
                self.start(kind);
            }
            self.catch_up(whole)?;
            self.end_content();
        }
        Ok(())
    }

    fn reasoning_done(&mut self, reasoning: Reasoning) -> Result<(), BadAnswer> {
        let says_nothing = reasoning.texts.is_empty() && reasoning.seal.is_none();
        if self.open.is_none() {
            if says_nothing {
                return Ok(());
            }
            self.start(PartKind::Reasoning);
        }
        if self.text.is_empty() {
            self.append(&reasoning.texts.join(BETWEEN_TEXTS))?;
        }
        let told = std::mem::take(&mut self.text);
        let texts = match reasoning.texts {
            texts if texts.is_empty() && !told.is_empty() => vec![told],
            texts => texts,
        };
        self.end(OutputPart::Reasoning(Reasoning { texts, seal: reasoning.seal }));
        Ok(())
    }

    fn call_done(&mut self, mut call: ToolCall) -> Result<(), BadAnswer> {
        if self.open.is_none() {
            self.start(PartKind::ToolCall { call_id: call.call_id.clone(), name: call.name.clone() });
        }
        self.catch_up(&call.input)?;
        let told = std::mem::take(&mut self.text);
        if call.input.is_empty() {
            call.input = told;
        }
        self.end(OutputPart::ToolCall(call));
        Ok(())
    }

    /// Opens the part at `index` of a message, after ending another that is open.
    fn open_content(&mut self, kind: PartKind, index: u64) -> Result<(), BadAnswer> {
        if self.open.is_some() {
            if self.index == Some(index) {
                return Ok(());
            }
            self.end_content();
        }
        if self.index.is_some_and(|last| index <= last) {
            return Err(BadAnswer::new("text came for a part that had ended"));
        }
        self.start(kind);
        self.index = Some(index);
        Ok(())
    }

    /// Whether the delta is told: of a summary and the thinking itself, only what came first.
    fn open_reasoning(&mut self, channel: Channel, index: u64, delta: &str) -> Result<bool, BadAnswer> {
        if *self.source.get_or_insert(channel) != channel {
            return Ok(false);
        }
        if self.open.is_none() {
            self.start(PartKind::Reasoning);
        } else if self.index != Some(index) && !delta.is_empty() {
            self.append(BETWEEN_TEXTS)?;
        }
        self.index = Some(index);
        Ok(true)
    }

    fn start(&mut self, kind: PartKind) {
        self.text.clear();
        self.open = Some(kind.clone());
        self.events.push(Event::PartStarted(kind));
    }

    fn append(&mut self, delta: &str) -> Result<(), BadAnswer> {
        if delta.is_empty() {
            return Ok(());
        }
        if self.text.len() + delta.len() > MAX_PART_BYTES {
            return Err(BadAnswer::new(format!("one part of it is larger than {MAX_PART_BYTES} bytes")));
        }
        self.text.push_str(delta);
        self.held_bytes += delta.len();
        self.events.push(Event::Delta(delta.to_owned()));
        Ok(())
    }

    /// Tells what the deltas have left out of `whole`.
    fn catch_up(&mut self, whole: &str) -> Result<(), BadAnswer> {
        match whole.strip_prefix(self.text.as_str()).map(str::to_owned) {
            Some(rest) => self.append(&rest),
            None => Ok(()),
        }
    }

    fn end_content(&mut self) {
        let text = std::mem::take(&mut self.text);
        match self.open {
            Some(PartKind::Text) => self.end(OutputPart::Text(text)),
            Some(PartKind::Refusal) => self.end(OutputPart::Refusal(text)),
            Some(PartKind::Reasoning | PartKind::ToolCall { .. } | PartKind::WebSearch { .. }) | None => {}
        }
    }

    fn end(&mut self, part: OutputPart) {
        self.open = None;
        self.text.clear();
        self.parts_ended += 1;
        self.events.push(Event::PartEnded(part));
    }
}
