//! The last requests as they came, so that a test can see what a gateway made of its client's words.
//!
//! Kept whether they are served or refused, and only so many: a body of a command-line client is 100 kB.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};

const MOST_REQUESTS: usize = 200;
const MOST_BYTES: usize = 64 * 1024 * 1024;

#[derive(Default)]
pub struct LastReceived(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    requests: VecDeque<(&'static str, Bytes)>,
    bytes: usize,
}

impl LastReceived {
    /// `body` is one JSON object.
    pub fn keep(&self, path: &'static str, body: &Bytes) {
        let mut kept = self.lock();
        kept.bytes += body.len();
        kept.requests.push_back((path, body.clone()));
        while kept.requests.len() > MOST_REQUESTS || kept.bytes > MOST_BYTES {
            let Some((_, oldest)) = kept.requests.pop_front() else { return };
            kept.bytes -= oldest.len();
        }
    }

    /// `[{"path", "body"}]` of those whose text contains `part`, oldest first.
    pub fn containing(&self, part: &str) -> Vec<Value> {
        let matching: Vec<_> = self
            .lock()
            .requests
            .iter()
            .filter(|(_, body)| String::from_utf8_lossy(body).contains(part))
            .cloned()
            .collect();
        let read = |body: &Bytes| serde_json::from_slice(body).unwrap_or(Value::Null);
        matching.iter().map(|(path, body)| json!({ "path": path, "body": read(body) })).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_requests_are_kept_and_found_by_what_they_contain() {
        let received = LastReceived::default();
        for number in 0..=MOST_REQUESTS {
            received.keep("/v1/responses", &Bytes::from(format!(r#"{{"input":"number {number}."}}"#)));
        }
        assert_eq!(received.containing("number").len(), MOST_REQUESTS);
        assert_eq!(received.containing("number 0."), Vec::<Value>::new());
        let found = received.containing("number 7.");
        assert_eq!(found, [json!({ "path": "/v1/responses", "body": { "input": "number 7." } })]);
    }
}
