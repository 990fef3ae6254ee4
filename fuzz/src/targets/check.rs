//! What the targets have in common: choosing by a byte, reading back what was written.

use bytes::Bytes;
use codexapi_aggregates::usage::{Protocol, Usage};
use codexapi_protocols::sse::{Frame, SseSplitter};
use codexapi_protocols::usage::MAX_WEB_SEARCH_CALLS;
use serde_json::Value;
use serde_json::value::RawValue;

/// The most tokens one generation is believed to have.
pub const CEILING_TOKENS: u64 = 2_000_000;

/// Bytes that anything written may have however little was read.
const SLACK_BYTES: usize = 64 * 1024;

/// Bytes written for one that was read: a delta of one letter becomes an event with ids, is repeated whole
/// where its part, its item and the answer end, and may be escaped twice.
const MOST_GROWTH: usize = 64;

pub const CLIENTS: [Protocol; 4] =
    [Protocol::Responses, Protocol::Chat, Protocol::Messages, Protocol::Completions];

/// What providers speak.
pub const UPSTREAMS: [Protocol; 3] = [Protocol::Responses, Protocol::Chat, Protocol::Messages];

/// The first byte and what follows it; a digit chooses what it says.
pub fn choice(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (usize::from(first.wrapping_sub(b'0')), rest))
}

pub fn client(chosen: usize) -> Protocol {
    CLIENTS[chosen % CLIENTS.len()]
}

pub fn upstream(chosen: usize) -> Protocol {
    UPSTREAMS[chosen % UPSTREAMS.len()]
}

/// What stands before and after the first zero byte, which no JSON has.
pub fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    (&data[..at], data.get(at + 1..).unwrap_or_default())
}

pub fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

/// As a value; `None` also where its nesting or a lone surrogate is beyond serde.
pub fn value(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

/// The frames of a stream, the last even if its blank line is missing.
pub fn frames(stream: &[u8]) -> Vec<Frame> {
    let mut splitter = SseSplitter::default();
    let mut frames = Vec::new();
    splitter.push(&Bytes::copy_from_slice(stream), &mut frames).expect("an input is no larger than a frame");
    frames.extend(splitter.finish());
    frames
}

/// The frames of what was written, which must end where a frame does.
#[track_caller]
pub fn whole_frames(written: &[u8]) -> Vec<Frame> {
    let mut splitter = SseSplitter::default();
    let mut frames = Vec::new();
    splitter.push(&Bytes::copy_from_slice(written), &mut frames).expect("frames that are written are small");
    let split: usize = frames.iter().map(|frame| frame.bytes().len()).sum();
    assert_eq!(split, written.len(), "a frame is left open: {}", String::from_utf8_lossy(written));
    frames
}

#[track_caller]
pub fn assert_bounded(written: usize, read: usize) {
    assert!(written <= SLACK_BYTES + MOST_GROWTH * read, "{read} bytes became {written}");
}

/// A report that was believed bills nothing that could not be.
#[track_caller]
pub fn assert_believable(usage: &Usage) {
    let tokens = usage.total_input().checked_add(usage.output).expect("the sum of tokens fits");
    assert!(tokens <= CEILING_TOKENS, "{usage:?}");
    assert!(usage.reasoning <= usage.output, "{usage:?}");
    assert!(usage.web_search_calls <= MAX_WEB_SEARCH_CALLS, "{usage:?}");
}
