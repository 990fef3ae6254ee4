//! The order of events that clients of each dialect rely on.

use std::collections::HashSet;

use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::sse::Frame;
use serde_json::Value;

use super::check::is_json;

/// Follows one stream that was written for a client.
pub struct Order {
    client: Protocol,
    events: u64,
    over: bool,
    /// Messages: blocks that have begun, and whether the last is open.
    blocks: u64,
    in_block: bool,
    /// Responses: items that are open.
    items: HashSet<u64>,
}

impl Order {
    pub fn new(client: Protocol) -> Self {
        Self { client, events: 0, over: false, blocks: 0, in_block: false, items: HashSet::new() }
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether the stream has said that it is over.
    pub fn is_over(&self) -> bool {
        self.over
    }

    pub fn next(&mut self, frame: &Frame) {
        let Some(data) = frame.data() else { return };
        assert!(!self.over, "after the end: {}", String::from_utf8_lossy(&data));
        let event = if *data == *b"[DONE]" {
            assert!(matches!(self.client, Protocol::Chat | Protocol::Completions));
            Value::Null
        } else {
            assert!(is_json(&data), "{}", String::from_utf8_lossy(&data));
            // Beyond serde's nesting, which only the client's own echo reaches.
            serde_json::from_slice(&data).unwrap_or(Value::Null)
        };
        let kind = event["type"].as_str().unwrap_or_default();
        match self.client {
            Protocol::Responses => self.responses(frame, &event, kind),
            Protocol::Messages => self.messages(frame, &event, kind),
            Protocol::Chat | Protocol::Completions => self.over = event.is_null(),
        }
        self.events += 1;
    }

    fn responses(&mut self, frame: &Frame, event: &Value, kind: &str) {
        assert_eq!(frame.event(), Some(kind.as_bytes()));
        assert_eq!(event["sequence_number"].as_u64(), Some(self.events), "numbers rise by one");
        assert_eq!(self.events == 0, kind == "response.created");
        let index = event["output_index"].as_u64();
        match (kind, index) {
            ("response.completed" | "response.incomplete" | "response.failed", _) => {
                assert!(self.items.is_empty(), "an item is left open");
                let output = event["response"]["output"].as_array().map_or(0, Vec::len);
                assert_eq!(output as u64, self.blocks, "the answer holds every item");
                self.over = true;
            }
            ("response.output_item.added", Some(index)) => {
                assert_eq!(index, self.blocks, "items count up");
                self.blocks += 1;
                self.items.insert(index);
            }
            ("response.output_item.done", Some(index)) => assert!(self.items.remove(&index)),
            (_, Some(index)) => assert!(self.items.contains(&index), "{event}"),
            (_, None) => assert!(event["response"].is_object(), "{event}"),
        }
    }

    fn messages(&mut self, frame: &Frame, event: &Value, kind: &str) {
        assert_eq!(frame.event(), Some(kind.as_bytes()));
        assert_eq!(self.events == 0, kind == "message_start");
        let index = event["index"].as_u64();
        match kind {
            "content_block_start" => {
                assert!(!self.in_block && index == Some(self.blocks), "{event}");
                self.blocks += 1;
                self.in_block = true;
            }
            "content_block_delta" => assert!(self.in_block && index == Some(self.blocks - 1), "{event}"),
            "content_block_stop" => {
                assert!(self.in_block && index == Some(self.blocks - 1), "{event}");
                self.in_block = false;
            }
            "message_stop" => {
                assert!(!self.in_block);
                self.over = true;
            }
            "message_start" | "message_delta" | "ping" => {}
            other => panic!("an event no client knows: {other}"),
        }
    }
}
