//! `codexapi events STREAM`: what happened in one stream, or what its state was at a moment.
//!
//! It answers "why is this number what it is?" from the log itself. A stream is read in pages and
//! written as it is read, so that its length does not matter.

mod auto_topup;
mod cash;
mod line;
mod payment;
mod subscription;

use std::io::{self, Write};

use anyhow::Context as _;
use codexapi_aggregates::any::AnyAggregate;
use codexapi_aggregates::catalog::CATALOG_STREAM;
use codexapi_aggregates::event::RecordedEvent;
use codexapi_aggregates::log::SEAL_STREAM;
use codexapi_aggregates::pricing::BOOK_STREAM;
use codexapi_aggregates::printable::printable;
use codexapi_aggregates::routing::POLICY_STREAM;
use codexapi_aggregates::service::SERVICE_STREAM;
use codexapi_aggregates::time::Timestamp;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::event_log::read::{self, StoredEvent};

/// Events read at a time.
const PAGE: i64 = 500;

/// Names one stream of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName {
    pub aggregate_type: String,
    pub aggregate_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no stream; say wallet/<account id>, cash_wallet/<account id>, account/<account id>, \
     usage/<conversation>, payment/<payment id>, auto_topup/<account id>, \
     subscription/<account id>, pricing, routing, catalog, service or log"
)]
pub struct NoStream(String);

impl std::str::FromStr for StreamName {
    type Err = NoStream;

    /// `<aggregate>/<id>`; `pricing`, `routing`, `catalog`, `service` and `log` have one stream each; a bare account id is its wallet.
    fn from_str(text: &str) -> Result<Self, NoStream> {
        let (aggregate_type, aggregate_id) = match text.split_once('/') {
            Some(parts) => parts,
            None if text == "pricing" => (text, BOOK_STREAM),
            None if text == "routing" => (text, POLICY_STREAM),
            None if text == "catalog" => (text, CATALOG_STREAM),
            None if text == "service" => (text, SERVICE_STREAM),
            None if text == "log" => (text, SEAL_STREAM),
            None if text.parse::<Uuid>().is_ok() => ("wallet", text),
            None => return Err(NoStream(text.into())),
        };
        if AnyAggregate::new(aggregate_type).is_none() || aggregate_id.is_empty() {
            return Err(NoStream(text.into()));
        }
        // Ids stand in the log as lower-case hyphenated text, however they were typed.
        let aggregate_id =
            aggregate_id.parse::<Uuid>().map_or_else(|_| aggregate_id.to_owned(), |id| id.to_string());
        Ok(Self { aggregate_type: aggregate_type.into(), aggregate_id })
    }
}

/// How to show a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// One line per event, for people.
    Text,
    /// One JSON object per event.
    JsonLines,
    /// The aggregate's state after the last event recorded up to then, as JSON.
    StateAt(Timestamp),
}

/// The moment named by RFC 3339 text, e.g. `2026-11-22T10:00:00Z`.
pub fn parse_time(text: &str) -> anyhow::Result<Timestamp> {
    let time = chrono::DateTime::parse_from_rfc3339(text)
        .with_context(|| format!("{text:?} is no RFC 3339 time such as 2026-11-22T10:00:00Z"))?;
    Ok(Timestamp(time.timestamp_micros()))
}

/// Writes a stream to `out`. A reader that goes away (`| head`) ends it quietly.
///
/// # Errors
/// The stream does not exist, holds an event this build cannot read, or Postgres fails.
pub async fn print(
    pool: &PgPool,
    stream: &StreamName,
    show: Show,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let printed = match show {
        Show::Text | Show::JsonLines => print_events(pool, stream, show, out).await,
        Show::StateAt(at) => print_state(pool, stream, at, out).await,
    };
    match printed {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}

async fn print_events(
    pool: &PgPool,
    stream: &StreamName,
    show: Show,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut sequence = 0;
    loop {
        let page = next_page(pool, stream, sequence).await?;
        anyhow::ensure!(sequence > 0 || !page.is_empty(), "{} has no events", described(stream));
        let Some(last) = page.last() else { return Ok(()) };
        sequence = last.sequence;
        for stored in &page {
            let event = decode(stored)?;
            let line = match show {
                Show::JsonLines => as_json(stored, &event)?.to_string(),
                Show::Text | Show::StateAt(_) => line::of(&stored.event_type, &event)?,
            };
            writeln!(out, "{}", printable(&line))?;
        }
    }
}

async fn print_state(
    pool: &PgPool,
    stream: &StreamName,
    at: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut state = AnyAggregate::new(&stream.aggregate_type).context("no such aggregate")?;
    let (mut sequence, mut position) = (0, 0);
    'folding: loop {
        let page = next_page(pool, stream, sequence).await?;
        if page.is_empty() {
            break;
        }
        for stored in &page {
            if stored.recorded_at > at {
                break 'folding;
            }
            state.apply(decode(stored)?.event);
            (sequence, position) = (stored.sequence, stored.position);
        }
    }
    anyhow::ensure!(sequence > 0, "{} has no events up to then", described(stream));
    let shown = json!({
        "stream": described(stream), "sequence": sequence, "position": position, "state": state.to_json()?,
    });
    for line in format!("{shown:#}").lines() {
        writeln!(out, "{}", printable(line))?;
    }
    Ok(())
}

async fn next_page(pool: &PgPool, stream: &StreamName, sequence: i64) -> anyhow::Result<Vec<StoredEvent>> {
    read::read_stream(pool, &stream.aggregate_type, &stream.aggregate_id, sequence, PAGE)
        .await
        .with_context(|| format!("reading {}", described(stream)))
}

fn decode(stored: &StoredEvent) -> anyhow::Result<RecordedEvent> {
    stored.decode().with_context(|| format!("event {} cannot be read", stored.sequence))
}

fn described(stream: &StreamName) -> String {
    format!("{}/{}", stream.aggregate_type, stream.aggregate_id)
}

fn as_json(stored: &StoredEvent, event: &RecordedEvent) -> anyhow::Result<serde_json::Value> {
    Ok(json!({
        "sequence": stored.sequence,
        "position": stored.position,
        "eventId": stored.event_id,
        "recordedAt": line::time(stored.recorded_at)?,
        "eventType": stored.event_type,
        "eventVersion": stored.event_version,
        "payload": serde_json::from_str::<serde_json::Value>(&stored.payload)?,
        "metadata": serde_json::to_value(&event.metadata)?,
    }))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_named_by_aggregate_and_id() {
        let named = |text: &str| text.parse::<StreamName>().map(|name| described(&name));
        let account = "0192F0C1-2B3C-7D4E-8F90-A1B2C3D4E5F6";
        assert_eq!(named(account).unwrap(), "wallet/0192f0c1-2b3c-7d4e-8f90-a1b2c3d4e5f6");
        assert_eq!(
            named(&format!("account/{account}")).unwrap(),
            format!("account/{}", account.to_lowercase())
        );
        assert_eq!(named("pricing").unwrap(), "pricing/book");
        assert_eq!(named("routing").unwrap(), "routing/policy");
        assert_eq!(named("catalog").unwrap(), "catalog/catalog");
        assert_eq!(named("service").unwrap(), "service/service");
        assert_eq!(named("log").unwrap(), "log/shard-0");
        for bad in ["wallets/x", "wallet/", "nonsense", ""] {
            assert_eq!(named(bad), Err(NoStream(bad.into())));
        }
    }

    #[test]
    fn a_time_without_a_zone_is_refused() {
        assert_eq!(parse_time("1970-01-01T00:00:01Z").unwrap(), Timestamp(1_000_000));
        assert!(parse_time("2026-11-22 10:00").is_err());
    }
}
