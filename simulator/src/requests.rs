//! Counts of the requests that came in, whatever became of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Refusals kept for reading.
const MOST_REFUSALS: usize = 100;

#[derive(Debug, Clone, Default, Serialize)]
pub struct Counts {
    pub total: u64,
    pub by_path: BTreeMap<String, u64>,
    pub by_status: BTreeMap<u16, u64>,
    /// The last refusals, oldest first.
    pub refusals: VecDeque<Refused>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Refused {
    pub path: &'static str,
    pub status: u16,
    pub message: String,
}

#[derive(Default)]
pub struct Requests {
    counts: Mutex<Counts>,
}

impl Requests {
    pub fn count(&self, path: &'static str, status: u16) {
        let mut counts = self.lock();
        counts.total += 1;
        match counts.by_path.get_mut(path) {
            Some(count) => *count += 1,
            None => {
                counts.by_path.insert(path.to_owned(), 1);
            }
        }
        *counts.by_status.entry(status).or_default() += 1;
    }

    pub fn refused(&self, refused: Refused) {
        let mut counts = self.lock();
        if counts.refusals.len() == MOST_REFUSALS {
            counts.refusals.pop_front();
        }
        counts.refusals.push_back(refused);
    }

    pub fn snapshot(&self) -> Counts {
        self.lock().clone()
    }

    pub fn reset(&self) {
        *self.lock() = Counts::default();
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
