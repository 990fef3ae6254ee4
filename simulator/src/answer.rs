//! What is answered and what it costs, decided before the first byte is sent.
//!
//! The dialects only write this down. Every block knows its share of the output
//! tokens, so an answer that breaks off anywhere has an exact bill.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::directive::{Directive, Finish, ToolMarker, tool_markers};
use crate::request::{Asked, Dialect};
use crate::tokens;

const GREETING: &str = "Hello from the simulator. Every word of this answer is made up, yet counted.";
const AFTER_TOOL: &str = "The tool has answered. The simulator is done.";
const REASONING: &str = "Thinking about what to say.";
const DEFAULT_DELTA: &str = "tok ";
const CALL_DELTA_CHARS: usize = 12;

/// What the vendor bills, in tokens and calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Billed {
    /// All input: uncached + cached + cache writes.
    pub input_tokens: u64,
    pub uncached_input_tokens: u64,
    pub cached_tokens: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    /// All output, reasoning included.
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub web_search_calls: u64,
}

#[derive(Debug)]
pub struct Answer {
    pub id: String,
    pub model: String,
    pub created_s: u64,
    pub blocks: Vec<Block>,
    pub finish: Finish,
    pub billed: Billed,
    pub asked: Asked,
    pub told: Directive,
}

#[derive(Debug)]
pub struct Block {
    pub id: String,
    pub what: What,
    pub pieces: Pieces,
    /// Output tokens this block accounts for.
    pub tokens: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Reasoning,
    WebSearch,
    Text,
    Refusal,
    Call { name: String, custom: bool },
}

/// A text in the pieces it is streamed in, without holding a million copies of one.
#[derive(Debug)]
pub enum Pieces {
    Each(Vec<String>),
    Repeated { text: String, count: usize },
}

impl Pieces {
    pub fn len(&self) -> usize {
        match self {
            Pieces::Each(pieces) => pieces.len(),
            Pieces::Repeated { count, .. } => *count,
        }
    }

    pub fn get(&self, at: usize) -> &str {
        match self {
            Pieces::Each(pieces) => &pieces[at],
            Pieces::Repeated { text, .. } => text,
        }
    }

    pub fn whole(&self) -> String {
        match self {
            Pieces::Each(pieces) => pieces.concat(),
            Pieces::Repeated { text, count } => text.repeat(*count),
        }
    }
}

impl Answer {
    pub fn new(dialect: Dialect, asked: Asked, told: Directive) -> Self {
        let mut draft = draft(&asked, &told);
        let output_tokens =
            told.output_tokens.unwrap_or_else(|| draft.iter().map(|block| block.tokens).sum::<u64>())
                * asked.choices.max(1);
        let limited = told.output_tokens.is_none()
            && asked.max_output_tokens.is_some_and(|most| draft_reaches(&draft, most));
        let output_tokens = match (limited, asked.max_output_tokens) {
            (true, Some(most)) => {
                shorten(&mut draft, most);
                most * asked.choices.max(1)
            }
            _ => output_tokens,
        };
        let reasoning_tokens = told.reasoning_tokens.unwrap_or(0).min(output_tokens);
        spread(&mut draft, output_tokens, reasoning_tokens);

        let finish = match told.finish {
            Some(Finish::Incomplete) => Finish::Length,
            Some(finish) => finish,
            None if limited => Finish::Length,
            None if draft.iter().any(Block::is_call) => Finish::Tool,
            None => Finish::Stop,
        };
        Answer {
            id: told.repeat_response_id.clone().unwrap_or_else(|| new_id(dialect.id_prefix())),
            model: told.response_model.clone().unwrap_or_else(|| asked.model.clone()),
            created_s: now_ms() / 1_000,
            billed: billed(&asked, &told, output_tokens, reasoning_tokens),
            blocks: draft,
            finish,
            asked,
            told,
        }
    }

    /// The bill if the answer breaks off once `produced` output tokens exist.
    pub fn billed_at(&self, produced: u64) -> Billed {
        Billed {
            output_tokens: produced,
            reasoning_tokens: self.billed.reasoning_tokens.min(produced),
            ..self.billed
        }
    }

    /// Output tokens that exist once piece `piece` of block `block` is out. With
    /// several choices, all advance together.
    pub fn produced(&self, block: usize, piece: usize) -> u64 {
        let before: u64 = self.blocks[..block].iter().map(|block| block.tokens).sum();
        let block = &self.blocks[block];
        let pieces = block.pieces.len().max(1) as u128;
        let of_block = u128::from(block.tokens) * (piece as u128 + 1) / pieces;
        before + u64::try_from(of_block).unwrap_or(block.tokens)
    }
}

impl Block {
    pub fn is_call(&self) -> bool {
        matches!(self.what, What::Call { .. })
    }

    fn new(what: What, pieces: Pieces, tokens: u64) -> Self {
        let id = new_id(match what {
            What::Reasoning => "rs_",
            What::WebSearch => "ws_",
            What::Text | What::Refusal => "msg_",
            What::Call { .. } => "call_",
        });
        Block { id, what, pieces, tokens }
    }
}

impl Dialect {
    fn id_prefix(self) -> &'static str {
        match self {
            Dialect::Responses => "resp_",
            Dialect::Chat => "chatcmpl-",
            Dialect::Messages => "msg_",
        }
    }
}

/// An id that no other answer of this or an earlier process has.
pub fn new_id(prefix: &str) -> String {
    static STARTED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let started = STARTED.get_or_init(|| now_ms() ^ (u64::from(std::process::id()) << 44));
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}{started:016x}{next:08x}")
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The blocks, each with the tokens its text counts.
fn draft(asked: &Asked, told: &Directive) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(tokens) = told.reasoning_tokens.filter(|tokens| *tokens > 0) {
        blocks.push(Block::new(What::Reasoning, words(REASONING), tokens));
    }
    for _ in 0..told.web_search_calls.unwrap_or(0) {
        blocks.push(Block::new(What::WebSearch, Pieces::Each(Vec::new()), 0));
    }
    let calls = wanted_calls(asked, told);
    if calls.is_empty() {
        blocks.push(spoken(asked, told));
    }
    for call in calls {
        let custom = asked.tools.iter().any(|tool| tool.name == call.name && tool.custom);
        let arguments = if custom { call.arguments } else { as_json_object(call.arguments) };
        let tokens = tokens::of_text(&call.name) + tokens::of_text(&arguments);
        let what = What::Call { name: call.name, custom };
        blocks.push(Block::new(what, chunks(&arguments), tokens));
    }
    blocks
}

fn spoken(asked: &Asked, told: &Directive) -> Block {
    let what = match told.finish {
        Some(Finish::Refusal) => What::Refusal,
        _ => What::Text,
    };
    if told.delta_count.is_some() || told.delta_text.is_some() {
        let count = told.delta_count.unwrap_or(1);
        let text = told.delta_text.as_deref().unwrap_or(DEFAULT_DELTA);
        let pieces = Pieces::Repeated { text: text.to_owned(), count: count as usize };
        return Block::new(what, pieces, count);
    }
    let text = match &told.text {
        Some(text) => text,
        None if asked.ends_in_tool_output => AFTER_TOOL,
        None => GREETING,
    };
    Block::new(what, words(text), tokens::of_text(text))
}

fn wanted_calls(asked: &Asked, told: &Directive) -> Vec<ToolMarker> {
    if let Some(calls) = &told.calls {
        return calls.clone();
    }
    if asked.ends_in_tool_output {
        return Vec::new();
    }
    let marked = tool_markers(&asked.last_user_text);
    if !marked.is_empty() {
        return marked;
    }
    let wanted = match (&asked.forced_tool, told.finish) {
        (Some(name), _) => Some(name.clone()),
        (None, Some(Finish::Tool)) => asked.tools.first().map(|tool| tool.name.clone()),
        (None, _) => None,
    };
    wanted.map(|name| ToolMarker { name, arguments: String::new() }).into_iter().collect()
}

/// A function takes a JSON object and nothing else.
fn as_json_object(arguments: String) -> String {
    if arguments.is_empty() {
        return "{}".to_owned();
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&arguments) {
        Ok(_) => arguments,
        Err(_) => serde_json::json!({ "input": arguments }).to_string(),
    }
}

fn draft_reaches(blocks: &[Block], most: u64) -> bool {
    blocks.iter().map(|block| block.tokens).sum::<u64>() > most
}

/// Drops pieces beyond `most` tokens, as a model that reaches its limit does.
fn shorten(blocks: &mut Vec<Block>, most: u64) {
    let mut left = most;
    for block in blocks.iter_mut() {
        if block.tokens > left {
            let pieces = block.pieces.len() as u128;
            let kept = pieces * u128::from(left) / u128::from(block.tokens.max(1));
            let kept = usize::try_from(kept).unwrap_or(usize::MAX).max(1);
            match &mut block.pieces {
                Pieces::Each(pieces) => pieces.truncate(kept),
                Pieces::Repeated { count, .. } => *count = (*count).min(kept),
            }
            block.tokens = left;
        }
        left -= block.tokens;
    }
    blocks.retain(|block| block.tokens > 0 || block.what == What::WebSearch);
}

/// Makes the blocks' tokens add up to `output`: reasoning as told, the rest on the
/// last block.
fn spread(blocks: &mut [Block], output: u64, reasoning: u64) {
    let mut left = output;
    let last = blocks.len().saturating_sub(1);
    for (at, block) in blocks.iter_mut().enumerate() {
        let wanted = match block.what {
            What::Reasoning => reasoning,
            _ => block.tokens,
        };
        block.tokens = if at == last { left } else { wanted.min(left) };
        left -= block.tokens;
    }
}

fn billed(asked: &Asked, told: &Directive, output_tokens: u64, reasoning_tokens: u64) -> Billed {
    let input_tokens = told.input_tokens.unwrap_or_else(|| asked.input_tokens + told.input_parts());
    Billed {
        input_tokens,
        uncached_input_tokens: input_tokens - told.input_parts(),
        cached_tokens: told.cached_tokens.unwrap_or(0),
        cache_write_5m: told.cache_write_5m.unwrap_or(0),
        cache_write_1h: told.cache_write_1h.unwrap_or(0),
        output_tokens,
        reasoning_tokens,
        web_search_calls: told.web_search_calls.unwrap_or(0),
    }
}

/// A text cut after each space.
fn words(text: &str) -> Pieces {
    Pieces::Each(text.split_inclusive(' ').map(str::to_owned).collect())
}

/// A text cut every few characters, as call arguments are streamed.
fn chunks(text: &str) -> Pieces {
    let letters: Vec<char> = text.chars().collect();
    Pieces::Each(letters.chunks(CALL_DELTA_CHARS).map(|chunk| chunk.iter().collect()).collect())
}
