//! What a test has told the fake to do wrong to the next calls.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

const MOST_FAULTS: usize = 1_000;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Any without it.
    #[serde(default)]
    pub method: Option<String>,
    /// What the path begins with.
    #[serde(default)]
    pub path: String,
    #[serde(default = "once")]
    pub times: u32,
    /// The call is refused with it, and not executed.
    #[serde(default)]
    pub status: Option<u16>,
    /// The call is executed only then; meanwhile its idempotency key is in use.
    #[serde(default)]
    pub delay_ms: u64,
    /// The call is executed, and the connection breaks before its answer.
    #[serde(default)]
    pub lose_answer: bool,
}

fn once() -> u32 {
    1
}

#[derive(Default)]
pub struct Faults {
    waiting: VecDeque<Fault>,
}

impl Faults {
    pub fn add(&mut self, fault: Fault) -> Result<usize, &'static str> {
        if self.waiting.len() >= MOST_FAULTS {
            return Err("too many faults are waiting");
        }
        self.waiting.push_back(fault);
        Ok(self.waiting.len())
    }

    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The first one that is meant for this call.
    pub fn take(&mut self, method: &str, path: &str) -> Option<Fault> {
        let meant = |fault: &Fault| {
            fault.method.as_deref().is_none_or(|wanted| wanted == method) && path.starts_with(&fault.path)
        };
        let position = self.waiting.iter().position(meant)?;
        let fault = &mut self.waiting[position];
        fault.times = fault.times.saturating_sub(1);
        let taken = fault.clone();
        if fault.times == 0 {
            self.waiting.remove(position);
        }
        Some(taken)
    }
}
