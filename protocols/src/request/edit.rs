//! Edits of a body: bytes cut in and out at their places, everything else as it came.
//!
//! A member goes with its key and one comma. Which comma depends on what else goes, so removals are
//! found together, in the order in which they stand.

use std::ops::Range;

use bytes::Bytes;

/// Edits of one JSON object; they must not overlap.
pub(super) struct Edits<'a> {
    body: &'a Bytes,
    edits: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    pub fn new(body: &'a Bytes) -> Self {
        Self { body, edits: Vec::new() }
    }

    pub fn replace(&mut self, at: Range<usize>, with: String) {
        self.edits.push((at, with));
    }

    /// Puts `member`, its comma included, before the first one. A body that was parsed has at least a
    /// model, so a comma is due.
    pub fn insert_first(&mut self, member: String) {
        if let Some(open) = self.body.iter().position(|byte| *byte == b'{') {
            self.edits.push((open + 1..open + 1, member));
        }
    }

    /// Removes members, given by where their values stand. Called once per body.
    pub fn remove_members<'b>(&mut self, values: impl IntoIterator<Item = &'b Option<Range<usize>>>) {
        let mut values: Vec<Range<usize>> = values.into_iter().flatten().cloned().collect();
        values.sort_by_key(|value| value.start);
        let mut removed: Vec<Range<usize>> = Vec::new();
        for value in values {
            let key = key_start(self.body, value.start);
            let after = skip_space(self.body, value.end);
            if self.body.get(after) == Some(&b',') {
                removed.push(key..after + 1);
                continue;
            }
            // The last member: the comma before it goes, with whatever was removed in between.
            let mut start = back_over_space(self.body, key);
            while removed.last().is_some_and(|before| before.end == start) {
                start = removed.pop().map_or(start, |before| back_over_space(self.body, before.start));
            }
            if start > 0 && self.body[start - 1] == b',' {
                start -= 1;
            }
            removed.push(start..value.end);
        }
        self.edits.extend(removed.into_iter().map(|at| (at, String::new())));
    }

    /// The edited body; the same bytes where nothing changes.
    pub fn apply(mut self) -> Bytes {
        if self.edits.is_empty() {
            return self.body.clone();
        }
        self.edits.sort_by_key(|(at, _)| (at.start, at.end));
        let added: usize = self.edits.iter().map(|(_, with)| with.len()).sum();
        let mut spliced = Vec::with_capacity(self.body.len() + added);
        let mut from = 0;
        for (at, with) in &self.edits {
            spliced.extend_from_slice(&self.body[from..at.start]);
            spliced.extend_from_slice(with.as_bytes());
            from = at.end;
        }
        spliced.extend_from_slice(&self.body[from..]);
        spliced.into()
    }
}

/// Where the key of the value at `value` begins. Keys that are looked for hold no quote, however they
/// are written, so the second quote backwards opens the key.
fn key_start(body: &[u8], value: usize) -> usize {
    let close = body[..value].iter().rposition(|byte| *byte == b'"').unwrap_or(0);
    body[..close].iter().rposition(|byte| *byte == b'"').unwrap_or(0)
}

fn skip_space(body: &[u8], from: usize) -> usize {
    body[from..].iter().position(|byte| !is_space(*byte)).map_or(body.len(), |space| from + space)
}

/// The end of what stands before the space that ends at `to`.
fn back_over_space(body: &[u8], to: usize) -> usize {
    body[..to].iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
