//! The writer: one task, one connection, one statement per batch.
//!
//! A batch is whatever queued during the previous commit; there is no timer, since waiting for more
//! was measured to gain nothing. Callers are answered after the commit. What a failure means for the
//! commands of a batch is decided in `conflict.rs`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::announce::{Span, Unannounced};
use super::cache::Cache;
use super::idempotency::{IdempotencyKey, NewKey};
use super::queue::{Append, NewEvent};
use super::recent::Recent;
use super::writes::{Failure, Stored, Writes};
use super::{conflict, lookup, tail};

/// How long the writer tries to reach Postgres before its batch is told that it is away.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// One attempt at connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

const CONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Postgres gives a batch up after this, ...
const STATEMENT_TIMEOUT_MS: &str = "10000";

/// ... and the writer gives the connection up after this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Without a node: what is appended is announced by itself.
const APPEND: &str = "SELECT append_events(NULL, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
                                           $12, $13, $14, $15, $16)";

pub(super) struct Writer {
    options: PgConnectOptions,
    cache: Arc<Cache>,
    told: Told,
    connection: Option<Session>,
    /// Server processes that may still be at work on a batch whose connection was lost.
    pub(super) orphans: Vec<Backend>,
}

/// Who hears of what was committed.
pub(super) struct Told {
    pub appended: watch::Sender<i64>,
    pub recent: Arc<Recent>,
    pub unannounced: Unannounced,
}

/// A server process, told apart from a later one of the same number.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub(super) struct Backend {
    pub pid: i32,
    pub started: chrono::DateTime<chrono::Utc>,
}

struct Session {
    connection: PgConnection,
    backend: Backend,
}

impl Writer {
    /// Runs until every handle on the log is gone and the queue is empty.
    pub fn spawn(pool: &PgPool, cache: Arc<Cache>, told: Told, queued: mpsc::Receiver<Append>) {
        // An append is acknowledged to a customer, so it must be on disk, whatever the server's default is.
        let options = (*pool.connect_options())
            .clone()
            .application_name("codexapi event log")
            .options([("synchronous_commit", "on"), ("statement_timeout", STATEMENT_TIMEOUT_MS)]);
        let mut writer = Self { options, cache, told, connection: None, orphans: vec![] };
        tokio::spawn(async move { conflict::write_queued(&mut writer, queued).await });
    }

    /// The connection, made anew if need be.
    pub async fn connection(&mut self) -> anyhow::Result<&mut PgConnection> {
        Ok(&mut self.session().await?.connection)
    }

    /// Drops a connection that failed; the server may still be at work for it.
    pub fn abandon_session(&mut self) {
        if let Some(session) = self.connection.take() {
            self.orphans.push(session.backend);
        }
    }

    async fn session(&mut self) -> anyhow::Result<&mut Session> {
        if self.connection.is_none() {
            self.connection = Some(connect_persistently(&self.options).await?);
        }
        self.connection.as_mut().context("a connection that was just made")
    }
}

impl Writes for Writer {
    async fn store(&mut self, batch: &[Append]) -> Result<Vec<i64>, Failure> {
        let arguments =
            Arguments::of(batch).map_err(|reason| Failure::Data { reason: format!("{reason:#}") })?;
        let session = self.session().await.map_err(Failure::Away)?;
        let stored = timeout(ANSWER_TIMEOUT, arguments.send(&mut session.connection)).await;
        match stored {
            Ok(Ok(positions)) => Ok(positions),
            Ok(Err(error)) => {
                let failure = failure_of(error);
                if let Failure::OutcomeUnknown { .. } = failure {
                    self.abandon_session();
                }
                Err(failure)
            }
            Err(_) => {
                self.abandon_session();
                Err(Failure::OutcomeUnknown { context: "Postgres did not answer an append in time".into() })
            }
        }
    }

    async fn last_sequences(&mut self, types: &[&str], ids: &[&str]) -> anyhow::Result<Vec<i64>> {
        lookup::last_sequences(self, types, ids).await
    }

    async fn taken_keys(&mut self, keys: &[&IdempotencyKey]) -> anyhow::Result<Vec<bool>> {
        lookup::taken_keys(self, keys).await
    }

    async fn look_up(&mut self, batch: &[Append]) -> anyhow::Result<Stored> {
        lookup::look_up(self, batch).await
    }

    async fn pause(&mut self, length: Duration) {
        sleep(length).await;
    }

    fn cache(&self) -> &Cache {
        &self.cache
    }

    fn committed(&self, events: Vec<(i64, NewEvent)>) {
        let (Some((first, _)), Some((last, _))) = (events.first(), events.last()) else { return };
        let span = Span { first: *first, last: *last, events: events.len() as i64 };
        self.told.recent.push(events);
        self.told.unannounced.add(span);
        tail::raise(&self.told.appended, span.last);
    }

    fn announce(&self, position: i64) {
        // Which others of the batch were stored is not known here: every node, this one too, looks for itself.
        self.told.unannounced.add(Span { first: position, last: position, events: 0 });
        tail::raise(&self.told.appended, position);
    }
}

fn failure_of(error: sqlx::Error) -> Failure {
    let sqlx::Error::Database(database) = &error else {
        return Failure::OutcomeUnknown { context: error.to_string() };
    };
    let code = database.code().unwrap_or_default();
    match (code.as_ref(), database.constraint()) {
        ("23505", Some("events_pkey")) => Failure::SequenceTaken,
        ("23505", Some("idempotency_keys_pkey")) => Failure::KeyTaken,
        // The server process ends; whether before or after the commit is not said.
        ("57P01" | "57P02" | "57P05" | "25P03", _) => Failure::OutcomeUnknown { context: error.to_string() },
        // Serialization, deadlock, resources, locks, a cancelled statement, a server starting up,
        // a standby after a failover.
        (code, _)
            if ["40", "53", "55", "57", "58"].contains(&code.get(..2).unwrap_or_default())
                || code == "25006" =>
        {
            Failure::Transient { context: error.to_string() }
        }
        _ => Failure::Data { reason: database.to_string() },
    }
}

async fn connect_persistently(options: &PgConnectOptions) -> anyhow::Result<Session> {
    let give_up = Instant::now() + CONNECT_WITHIN;
    loop {
        let failed = match timeout(CONNECT_TIMEOUT, connect(options)).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) => anyhow::Error::from(error),
            Err(_) => anyhow::anyhow!("no answer within {CONNECT_TIMEOUT:?}"),
        };
        if Instant::now() >= give_up {
            return Err(failed.context("connecting to Postgres"));
        }
        sleep(CONNECT_PAUSE).await;
    }
}

async fn connect(options: &PgConnectOptions) -> Result<Session, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let backend = sqlx::query_as(
        "SELECT pid, backend_start AS started FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    )
    .fetch_one(&mut connection)
    .await?;
    Ok(Session { connection, backend })
}

/// A batch as the columns that append_events() takes.
struct Arguments<'a> {
    events: Vec<&'a NewEvent>,
    recorded_at: Vec<chrono::DateTime<chrono::Utc>>,
    keys: Vec<&'a NewKey>,
    key_streams: Vec<String>,
}

impl<'a> Arguments<'a> {
    fn of(batch: &'a [Append]) -> anyhow::Result<Self> {
        let events: Vec<&NewEvent> = batch.iter().flat_map(|append| &append.events).collect();
        let recorded_at = events
            .iter()
            .map(|event| super::to_datetime(event.recorded_at))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let keys: Vec<&NewKey> = batch.iter().filter_map(|append| append.key.as_ref()).collect();
        let key_streams = keys
            .iter()
            .map(|key| Ok(serde_json::to_string(&key.streams)?))
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { events, recorded_at, keys, key_streams })
    }

    async fn send(self, connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
        let Self { events, recorded_at, keys, key_streams } = self;
        let query = sqlx::query_scalar(APPEND)
            .bind(column(&events, |event| event.event_id))
            .bind(column(&events, |event| &*event.stream.aggregate_type))
            .bind(column(&events, |event| &*event.stream.aggregate_id))
            .bind(column(&events, |event| event.sequence))
            .bind(column(&events, |event| event.event_type.as_str()))
            .bind(column(&events, |event| event.event_version.as_str()))
            .bind(column(&events, |event| event.payload.as_str()))
            .bind(column(&events, |event| &*event.metadata))
            .bind(column(&events, |event| event.hash.as_slice()))
            .bind(recorded_at)
            .bind(column(&keys, |key| key.key.command))
            .bind(column(&keys, |key| key.key.account.as_str()))
            .bind(column(&keys, |key| key.key.key.as_str()))
            .bind(column(&keys, |key| key.key.inputs_digest.as_slice()))
            .bind(column(&keys, |key| key.key.keep_forever))
            .bind(key_streams);
        query.fetch_one(connection).await
    }
}

fn column<'a, Row, Value>(rows: &[&'a Row], value: impl Fn(&'a Row) -> Value) -> Vec<Value> {
    rows.iter().map(|row| value(row)).collect()
}
