//! The simulator's own count of what it billed: the independent witness.
//!
//! A bill is made the moment the answer that reports it is handed to the network,
//! never later, so whoever has seen an answer finds its bill.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::answer::{Answer, Billed, now_ms};
use crate::directive::Finish;

/// Bills kept in memory; the oldest make room, the totals keep counting them.
pub const MOST_BILLS: usize = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Completed,
    /// Complete as told, but cut short by a limit or a filter.
    Incomplete,
    ClientGone,
    Cut,
    Errored,
}

#[derive(Debug, Clone, Serialize)]
pub struct Bill {
    /// Counts from 1 since the start or the last reset.
    pub n: u64,
    /// The response's id.
    pub id: String,
    pub path: &'static str,
    pub model: String,
    pub stream: bool,
    pub status: Status,
    #[serde(flatten)]
    pub billed: Billed,
    pub request_headers: Map<String, Value>,
    pub client_ref: Map<String, Value>,
    pub request_sha256: String,
    pub started_at_ms: u64,
    pub finished_at_ms: u64,
    /// Body bytes handed to the network when the bill was made.
    pub delivered_bytes: u64,
    pub tag: Option<String>,
}

/// Sums over all bills since the start or the last reset.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Totals {
    pub bills: u64,
    pub completed: u64,
    pub incomplete: u64,
    pub client_gone: u64,
    pub cut: u64,
    pub errored: u64,
    #[serde(flatten)]
    pub billed: Billed,
}

/// All bills, in the order they were made.
pub struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    bills: VecDeque<Bill>,
    totals: Totals,
    file: Option<File>,
}

impl Ledger {
    /// Errors: `file` cannot be opened for appending.
    pub fn new(file: Option<&Path>) -> anyhow::Result<Self> {
        let file = file
            .map(|path| {
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("cannot append bills to {}", path.display()))
            })
            .transpose()?;
        Ok(Ledger { inner: Mutex::new(Inner { file, ..Inner::default() }) })
    }

    /// Bills after number `after`, at most `limit`, oldest first.
    pub fn page(&self, after: u64, limit: usize, tag: Option<&str>) -> Vec<Bill> {
        let inner = self.lock();
        let first = inner.bills.front().map_or(0, |bill| bill.n);
        let skipped = (after + 1).saturating_sub(first);
        inner
            .bills
            .iter()
            .skip(usize::try_from(skipped).unwrap_or(usize::MAX))
            .filter(|bill| tag.is_none() || bill.tag.as_deref() == tag)
            .take(limit)
            .cloned()
            .collect()
    }

    /// The bills of one response id: one, unless the id was told to repeat.
    pub fn of_response(&self, id: &str) -> Vec<Bill> {
        let inner = self.lock();
        inner.bills.iter().filter(|bill| bill.id == id).cloned().collect()
    }

    pub fn totals(&self) -> Totals {
        self.lock().totals
    }

    pub fn reset(&self) {
        let mut inner = self.lock();
        inner.bills.clear();
        inner.totals = Totals::default();
    }

    fn add(&self, mut bill: Bill) {
        let mut inner = self.lock();
        inner.totals.add(&bill);
        bill.n = inner.totals.bills;
        if let Some(file) = &mut inner.file {
            let line = serde_json::to_string(&bill).expect("a bill is plain JSON");
            // A witness that cannot write down what it saw must not go on.
            writeln!(file, "{line}").expect("bills can be appended to the bills file");
        }
        if inner.bills.len() == MOST_BILLS {
            inner.bills.pop_front();
        }
        inner.bills.push_back(bill);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn add(&mut self, bill: &Bill) {
        self.bills += 1;
        match bill.status {
            Status::Completed => self.completed += 1,
            Status::Incomplete => self.incomplete += 1,
            Status::ClientGone => self.client_gone += 1,
            Status::Cut => self.cut += 1,
            Status::Errored => self.errored += 1,
        }
        let (sum, one) = (&mut self.billed, &bill.billed);
        sum.input_tokens += one.input_tokens;
        sum.uncached_input_tokens += one.uncached_input_tokens;
        sum.cached_tokens += one.cached_tokens;
        sum.cache_write_5m += one.cache_write_5m;
        sum.cache_write_1h += one.cache_write_1h;
        sum.output_tokens += one.output_tokens;
        sum.reasoning_tokens += one.reasoning_tokens;
        sum.web_search_calls += one.web_search_calls;
    }
}

/// An answer under way, which leaves exactly one bill: when it is closed, or when
/// it is dropped because its client has gone.
pub struct Receipt {
    ledger: Arc<Ledger>,
    answer: Arc<Answer>,
    draft: Option<Bill>,
    produced: u64,
    delivered: u64,
}

/// What a bill says of the request besides the answer.
pub struct Origin {
    pub path: &'static str,
    pub request_headers: Map<String, Value>,
    pub request_sha256: String,
}

impl Receipt {
    pub fn open(ledger: Arc<Ledger>, answer: Arc<Answer>, origin: Origin) -> Self {
        let draft = Bill {
            n: 0,
            id: answer.id.clone(),
            path: origin.path,
            model: answer.asked.model.clone(),
            stream: answer.asked.stream,
            status: Status::ClientGone,
            billed: answer.billed,
            request_headers: origin.request_headers,
            client_ref: answer.asked.client_ref.clone(),
            request_sha256: origin.request_sha256,
            started_at_ms: now_ms(),
            finished_at_ms: 0,
            delivered_bytes: 0,
            tag: answer.told.tag.clone(),
        };
        // An answer that is not streamed is made in full whether or not anyone waits.
        let produced = if answer.asked.stream { 0 } else { answer.billed.output_tokens };
        Receipt { ledger, answer, draft: Some(draft), produced, delivered: 0 }
    }

    pub fn produced(&mut self, tokens: u64) {
        self.produced = self.produced.max(tokens);
    }

    pub fn delivered(&mut self, bytes: usize) {
        self.delivered += bytes as u64;
    }

    /// The answer is out in full, as far as its finish reason lets it.
    pub fn finish(&mut self) {
        self.close(match self.answer.finish {
            Finish::Length | Finish::Incomplete | Finish::ContentFilter => Status::Incomplete,
            Finish::Stop | Finish::Refusal | Finish::Tool => Status::Completed,
        });
    }

    /// Makes the bill, unless it has been made.
    pub fn close(&mut self, status: Status) {
        let Some(mut bill) = self.draft.take() else {
            return;
        };
        bill.status = status;
        bill.billed = self.answer.billed_at(self.produced);
        bill.finished_at_ms = now_ms();
        bill.delivered_bytes = self.delivered;
        self.ledger.add(bill);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.close(Status::ClientGone);
    }
}
