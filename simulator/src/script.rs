//! Directives laid down ahead of the requests they are meant for.
//!
//! A queue, because the party that steers (a test) is often not the one that
//! sends (a CLI behind a gateway): each request takes the first entry it matches.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::directive::Directive;
use crate::refusal::Refusal;

/// The most entries that may wait.
pub const MOST_ENTRIES: usize = 10_000;

/// One waiting directive.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Only requests whose model or body contains this take the entry.
    #[serde(rename = "match", default)]
    pub matches: Option<String>,
    /// Only requests to this path take the entry.
    #[serde(default)]
    pub path: Option<String>,
    /// How many requests take it before it is used up.
    #[serde(default = "once")]
    pub times: u32,
    pub directive: Map<String, Value>,
}

#[derive(Default)]
pub struct Script {
    entries: Mutex<VecDeque<Entry>>,
}

impl Script {
    /// Adds entries at the end, all or none. Errors: an invalid directive, a full queue.
    pub fn extend(&self, entries: Vec<Entry>) -> Result<usize, Refusal> {
        for entry in &entries {
            Directive::from_fields(entry.directive.clone())?;
        }
        let mut waiting = self.lock();
        if waiting.len() + entries.len() > MOST_ENTRIES {
            return Err(Refusal::BadDirective(format!("the script holds at most {MOST_ENTRIES} entries")));
        }
        waiting.extend(entries.into_iter().filter(|entry| entry.times > 0));
        Ok(waiting.len())
    }

    /// The first entry this request matches, used up by one.
    pub fn take(&self, path: &str, body: &[u8]) -> Option<Map<String, Value>> {
        let mut waiting = self.lock();
        if waiting.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(body);
        let at = waiting.iter().position(|entry| {
            entry.path.as_deref().is_none_or(|wanted| wanted == path)
                && entry.matches.as_deref().is_none_or(|wanted| text.contains(wanted))
        })?;
        let entry = &mut waiting[at];
        entry.times -= 1;
        if entry.times > 0 {
            return Some(entry.directive.clone());
        }
        waiting.remove(at).map(|entry| entry.directive)
    }

    pub fn list(&self) -> Vec<Entry> {
        self.lock().iter().cloned().collect()
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn once() -> u32 {
    1
}
