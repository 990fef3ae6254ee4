//! `codexapi verify`: is the log what was appended, and is everything that was folded from it true?
//!
//! One repeatable-read snapshot is read, so that it works under load and what it says holds for one
//! moment. Five questions, each resting on the ones before: does every stream's hash chain hold, and
//! does an independent reader (stock postgres-es) fold it to the same state; do the seals hold, so
//! that nothing was cut off; does the money add up within and between streams; do the read tables
//! equal a fresh fold up to their checkpoints; is no hold left behind. It stops at the first
//! difference and names it: what follows from one broken event is no further news.

mod cash;
mod chains;
mod difference;
mod given;
mod holds;
mod independent;
mod money;
mod payments;
mod plans;
mod print;
mod projections;
mod rating;
mod seals;
mod settlements;
mod snapshot;
mod suspects;
mod wallets;
mod witness;

use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::time::Timestamp;
use serde::Serialize;
use sqlx::PgPool;
use std::collections::BTreeMap;

pub use difference::{Difference, EventName};
pub use print::{print, print_json};
pub use witness::note_stream_heads;

use snapshot::Snapshot;

/// What the answer depends on besides the database.
pub struct VerifyOptions {
    pub holds: HoldTerms,
    /// Told now and then how far it is; a long run wants a progress line.
    pub progress: Box<dyn Fn(Progress) + Send + Sync>,
}

/// When an open hold counts as left behind.
#[derive(Clone, Debug)]
pub struct HoldTerms {
    pub now: Timestamp,
    /// Seconds after which a hold can be expired whatever its node does.
    pub max_age_secs: i64,
    /// Seconds between sweeps; a hold may stay open two of them past the time it could be expired.
    pub sweep_secs: i64,
    /// When the lease of a dead node incarnation lapsed; its holds can be expired from then on.
    pub lapsed_leases: BTreeMap<NodeIncarnation, Timestamp>,
}

impl HoldTerms {
    /// A sweep every 10 s, a hard age of 6 h, every node alive.
    pub fn standard(now: Timestamp) -> Self {
        Self { now, max_age_secs: 6 * 3_600, sweep_secs: 10, lapsed_leases: BTreeMap::new() }
    }
}

impl VerifyOptions {
    pub fn new(holds: HoldTerms) -> Self {
        Self { holds, progress: Box::new(|_| {}) }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being checked.
    pub step: &'static str,
    pub done: u64,
    /// 0 where it is not known beforehand.
    pub of: u64,
}

/// What was checked, and the first difference if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The last position of the snapshot.
    pub position: i64,
    pub events: u64,
    pub streams: u64,
    pub wallets: u64,
    pub cash_wallets: u64,
    pub generations: u64,
    pub payments: u64,
    pub seals: u64,
    pub sealed_up_to: i64,
    /// Open holds, none of them left behind.
    pub open_holds: u64,
    pub projections: Vec<CheckedProjection>,
    pub difference: Option<Difference>,
}

/// A read model that equals a fresh fold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckedProjection {
    pub projection: String,
    pub position: i64,
    pub rows: i64,
}

/// Why a run ended early: a difference, or that it could not be carried out.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{0}")]
    Found(Box<Difference>),
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<Difference> for Stop {
    fn from(difference: Difference) -> Self {
        Self::Found(Box::new(difference))
    }
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(anyhow::Error::new(error).context("reading the snapshot"))
    }
}

/// Checks the whole database. The report carries the first difference, if any.
///
/// # Errors
/// Where it could not be carried out; that says nothing about the log.
pub async fn run(pool: &PgPool, options: &VerifyOptions) -> anyhow::Result<Report> {
    let mut snapshot = Snapshot::take(pool).await?;
    let mut report = Report { position: snapshot.position, ..Report::default() };
    let checked = check(&mut snapshot, options, &mut report).await;
    let closed = snapshot.close().await;
    match checked {
        Ok(()) => closed?,
        Err(Stop::Found(difference)) => report.difference = Some(*difference),
        Err(Stop::Failed(failure)) => return Err(failure),
    }
    Ok(report)
}

async fn check(snapshot: &mut Snapshot, options: &VerifyOptions, report: &mut Report) -> Result<(), Stop> {
    chains::check(snapshot, options, report).await?;
    seals::check(snapshot, options, report).await?;
    settlements::check(snapshot, report).await?;
    payments::check(snapshot, report).await?;
    given::check(snapshot).await?;
    projections::check(snapshot, options, report).await?;
    Ok(())
}
