//! Idempotency keys as Stripe treats them.

use std::collections::HashMap;

use bytes::Bytes;
use http::StatusCode;
use sha2::{Digest, Sha256};

use crate::refusal::Refusal;

/// A key older than this is a new one.
const KEPT_SECONDS: i64 = 24 * 60 * 60;
const MOST_LENGTH: usize = 255;

#[derive(Default)]
pub struct Keys {
    by_key: HashMap<String, Use>,
}

struct Use {
    path: String,
    parameters: [u8; 32],
    began_at: i64,
    /// `None` while the first call is still being served.
    answer: Option<(StatusCode, Bytes)>,
}

/// What a key says of a call.
pub enum Found {
    New,
    /// The first call's answer.
    Saved(StatusCode, Bytes),
}

impl Keys {
    /// Takes the key for this call, unless it has been used.
    pub fn begin(&mut self, key: &str, path: &str, parameters: &[u8], now: i64) -> Result<Found, Refusal> {
        if key.len() > MOST_LENGTH {
            return Err(Refusal::KeyTooLong);
        }
        let parameters: [u8; 32] = Sha256::digest(parameters).into();
        match self.by_key.get(key).filter(|found| now - found.began_at < KEPT_SECONDS) {
            None => {
                let begun = Use { path: path.to_owned(), parameters, began_at: now, answer: None };
                self.by_key.insert(key.to_owned(), begun);
                Ok(Found::New)
            }
            Some(first) if first.path != path => Err(Refusal::KeyOfOtherPath {
                key: key.to_owned(),
                path: path.to_owned(),
                first_path: first.path.clone(),
            }),
            Some(first) if first.parameters != parameters => {
                Err(Refusal::KeyOfOtherParameters { key: key.to_owned() })
            }
            Some(Use { answer: None, .. }) => Err(Refusal::KeyInUse { key: key.to_owned() }),
            Some(Use { answer: Some((status, body)), .. }) => Ok(Found::Saved(*status, body.clone())),
        }
    }

    /// Keys whose first call is still being served.
    pub fn in_use(&self) -> usize {
        self.by_key.values().filter(|used| used.answer.is_none()).count()
    }

    pub fn save(&mut self, key: &str, status: StatusCode, body: Bytes) {
        if let Some(used) = self.by_key.get_mut(key) {
            used.answer = Some((status, body));
        }
    }

    /// The call was not executed: the key is free again.
    pub fn forget(&mut self, key: &str) {
        self.by_key.remove(key);
    }
}
