//! Every stream, event by event: its hash chain, its fold, its money, and the independent fold.
//!
//! Streams come one after the other from one streaming SELECT, so that only one is in memory.

use anyhow::Context as _;
use codexapi_aggregates::any::AnyAggregate;
use codexapi_aggregates::event::AnyEvent;
use cqrs_es::DomainEvent;
use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use super::difference::{EventName, stream_name};
use super::independent::Comparisons;
use super::snapshot::Snapshot;
use super::suspects::{self, Suspect};
use super::{Difference, Progress, Report, Stop, VerifyOptions, money};
use crate::event_log::chain::CHAIN_START;
use crate::event_log::read::StoredEvent;

/// Broken events kept to tell a swap from an edit.
const KEPT_SUSPECTS: usize = 256;

const REPORT_EVERY: u64 = 10_000;

/// An event with the digest of its payload as it was appended.
#[derive(Clone, Debug)]
pub(super) struct AuditedEvent {
    pub stored: StoredEvent,
    pub payload_digest: Vec<u8>,
}

impl FromRow<'_, PgRow> for AuditedEvent {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { stored: StoredEvent::from_row(row)?, payload_digest: row.try_get("payload_digest")? })
    }
}

pub(super) async fn check(
    snapshot: &mut Snapshot,
    options: &VerifyOptions,
    report: &mut Report,
) -> Result<(), Stop> {
    let mut independent = Comparisons::new(snapshot.independent_reader());
    let of = snapshot.estimated_events;
    let mut suspects: Vec<Suspect> = Vec::new();
    let mut current: Option<Stream> = None;
    let mut events = sqlx::query_as::<_, AuditedEvent>(
        "SELECT position, event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, hash, recorded_at, payload_digest
         FROM events ORDER BY aggregate_type, aggregate_id, sequence",
    )
    .fetch(&mut snapshot.connection);
    while let Some(event) = events.try_next().await? {
        report.events += 1;
        if report.events.is_multiple_of(REPORT_EVERY) {
            (options.progress)(Progress { step: "streams", done: report.events, of });
        }
        if !current.as_ref().is_some_and(|stream| stream.holds(&event.stored)) {
            if let Some(finished) = current.take() {
                finished.finish(&mut independent, options, report).await?;
            }
            current = Some(Stream::begin(&event.stored)?);
        }
        let stream = current.as_mut().context("a stream was just begun")?;
        if let Some(suspect) = stream.chain(event)? {
            suspects.push(suspect);
            if suspects.len() == KEPT_SUSPECTS {
                break;
            }
        }
    }
    drop(events);
    if let Some(difference) = suspects::name_first(&suspects) {
        return Err(difference.into());
    }
    if let Some(finished) = current {
        finished.finish(&mut independent, options, report).await?;
    }
    independent.end().await
}

/// A stream under way.
struct Stream {
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    position: i64,
    last_hash: [u8; 32],
    broken: bool,
    fold: AnyAggregate,
    money: money::Audit,
}

impl Stream {
    fn begin(first: &StoredEvent) -> Result<Self, Difference> {
        let unknown = || Difference::Unreadable {
            event: EventName::of(first),
            reason: format!("no aggregate is called {:?}", first.aggregate_type),
        };
        Ok(Self {
            aggregate_type: first.aggregate_type.clone(),
            aggregate_id: first.aggregate_id.clone(),
            sequence: 0,
            position: 0,
            last_hash: CHAIN_START,
            broken: false,
            fold: AnyAggregate::new(&first.aggregate_type).ok_or_else(unknown)?,
            money: money::Audit::of(&first.aggregate_type),
        })
    }

    fn holds(&self, event: &StoredEvent) -> bool {
        self.aggregate_type == event.aggregate_type && self.aggregate_id == event.aggregate_id
    }

    /// Takes the next event in. Returns it as a suspect where its hash is not what it should be; the
    /// chain then goes on from the stored hash, so that each broken event shows by itself.
    fn chain(&mut self, event: AuditedEvent) -> Result<Option<Suspect>, Stop> {
        let stored = &event.stored;
        if stored.sequence != self.sequence + 1 {
            return Err(self.removed_before(stored).into());
        }
        let expected = stored.expected_hash(&self.last_hash).map_err(|error| Difference::Unreadable {
            event: EventName::of(stored),
            reason: error.to_string(),
        })?;
        let moved_back = stored.position < self.position;
        let suspect = (moved_back || expected[..] != stored.hash[..]).then(|| Suspect {
            event: event.clone(),
            previous_hash: self.last_hash,
            previous_position: self.position,
        });
        self.sequence = stored.sequence;
        self.position = stored.position;
        self.last_hash = stored.hash.as_slice().try_into().context("a hash has 32 bytes")?;
        self.broken |= suspect.is_some();
        if !self.broken {
            self.fold(stored)?;
        }
        Ok(suspect)
    }

    fn removed_before(&self, next: &StoredEvent) -> Difference {
        Difference::EventRemoved {
            stream: stream_name(&self.aggregate_type, &self.aggregate_id),
            sequence: self.sequence + 1,
            before_position: next.position,
        }
    }

    fn fold(&mut self, stored: &StoredEvent) -> Result<(), Stop> {
        let decoded = stored.decode().map_err(|error| Difference::Unreadable {
            event: EventName::of(stored),
            reason: error.to_string(),
        })?;
        let payload_type = type_of(&decoded.event);
        if payload_type != stored.event_type {
            let event = EventName::of(stored);
            let row_type = stored.event_type.clone();
            return Err(Difference::WrongType { event, row_type, payload_type }.into());
        }
        self.money.check(&decoded, || EventName::of(stored))?;
        self.fold.apply(decoded.event);
        Ok(())
    }

    async fn finish(
        self,
        independent: &mut Comparisons,
        options: &VerifyOptions,
        report: &mut Report,
    ) -> Result<(), Stop> {
        report.streams += 1;
        if self.broken {
            return Ok(());
        }
        let stream = stream_name(&self.aggregate_type, &self.aggregate_id);
        self.money.finish(&stream, &self.fold, &options.holds, report)?;
        independent.begin(stream, self.aggregate_id, self.fold, self.sequence).await
    }
}

fn type_of(event: &AnyEvent) -> String {
    match event {
        AnyEvent::Account(event) => event.event_type(),
        AnyEvent::AutoTopUp(event) => event.event_type(),
        AnyEvent::Bonus(event) => event.event_type(),
        AnyEvent::Cash(event) => event.event_type(),
        AnyEvent::Gumroad(event) => event.event_type(),
        AnyEvent::Catalog(event) => event.event_type(),
        AnyEvent::Log(event) => event.event_type(),
        AnyEvent::Payment(event) => event.event_type(),
        AnyEvent::Pricing(event) => event.event_type(),
        AnyEvent::Referral(event) => event.event_type(),
        AnyEvent::Routing(event) => event.event_type(),
        AnyEvent::Service(event) => event.event_type(),
        AnyEvent::Subscription(event) => event.event_type(),
        AnyEvent::Usage(event) => event.event_type(),
        AnyEvent::Wallet(event) => event.event_type(),
    }
}
