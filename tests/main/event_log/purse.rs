//! A purse: the smallest aggregate in which money can be spent twice.

use codexapi::commands::{CommandError, Committed};
use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::NodeIncarnation;
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Purse {
    pub balance: i64,
    pub movements: i64,
    pub last_note: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PurseEvent {
    Credited { amount: i64, note: String, balance: i64 },
    Debited { amount: i64, balance: i64 },
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{balance} is less than {amount}")]
pub struct TooLittle {
    pub balance: i64,
    pub amount: i64,
}

impl Purse {
    pub fn credit(&self, amount: i64, note: &str) -> Vec<PurseEvent> {
        if amount == 0 {
            return vec![];
        }
        vec![PurseEvent::Credited { amount, note: note.into(), balance: self.balance + amount }]
    }

    pub fn debit(&self, amount: i64) -> Result<Vec<PurseEvent>, TooLittle> {
        if self.balance < amount {
            return Err(TooLittle { balance: self.balance, amount });
        }
        Ok(vec![PurseEvent::Debited { amount, balance: self.balance - amount }])
    }
}

impl DomainEvent for PurseEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Credited { .. } => "purse.credited".into(),
            Self::Debited { .. } => "purse.debited".into(),
        }
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl Aggregate for Purse {
    const TYPE: &'static str = "purse";
    type Command = i64;
    type Event = PurseEvent;
    type Error = TooLittle;
    type Services = ();

    async fn handle(&mut self, amount: i64, _: &(), sink: &EventSink<Self>) -> Result<(), TooLittle> {
        for event in self.debit(amount)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: PurseEvent) {
        self.movements += 1;
        match event {
            PurseEvent::Credited { balance, note, .. } => {
                self.balance = balance;
                self.last_note = note;
            }
            PurseEvent::Debited { balance, .. } => self.balance = balance,
        }
    }
}

pub type Answer = Result<Committed<PurseEvent>, CommandError<TooLittle>>;

pub fn metadata() -> Metadata {
    Metadata { actor: "process:test".into(), request_id: Some("r".into()), cause: None }
}

pub fn options() -> EventLogOptions {
    EventLogOptions::new(NodeIncarnation(codexapi::clock::new_id()))
}

pub async fn open(pool: &PgPool) -> EventLog {
    EventLog::open(pool.clone(), options()).await.expect("the log opens")
}

pub async fn credit(log: &EventLog, id: &str, amount: i64) -> Answer {
    log.execute(id, &metadata(), |purse: &Purse, _| Ok(purse.credit(amount, "a gift"))).await
}

pub async fn debit(log: &EventLog, id: &str, amount: i64) -> Answer {
    log.execute(id, &metadata(), |purse: &Purse, _| purse.debit(amount)).await
}

/// Moves money between two purses, in one command.
pub async fn transfer(
    log: &EventLog,
    from: &str,
    to: &str,
    amount: i64,
) -> Result<(), CommandError<TooLittle>> {
    let decide = |from: &Purse, to: &Purse, _| Ok((from.debit(amount)?, to.credit(amount, "moved"), ()));
    log.execute_pair::<Purse, Purse, _, _>(from, to, &metadata(), decide).await.map(drop)
}

pub async fn balance(log: &EventLog, id: &str) -> i64 {
    log.read(id, |purse: &Purse| purse.balance).await.expect("read")
}

pub fn is_refused(answer: &Answer) -> bool {
    matches!(answer, Err(CommandError::Refused(TooLittle { .. })))
}

/// The sequences stored of a purse.
pub async fn sequences(pool: &PgPool, id: &str) -> Vec<i64> {
    sqlx::query_scalar(
        "SELECT sequence FROM events WHERE aggregate_type = 'purse' AND aggregate_id = $1 ORDER BY 1",
    )
    .bind(id)
    .fetch_all(pool)
    .await
    .expect("read")
}

/// Appends a credit as another program would, in the transaction of `connection`.
pub async fn credit_by_hand(connection: &mut PgConnection, id: &str, sequence: i64, balance: i64) {
    append_by_hand(connection, Some("elsewhere"), id, sequence, balance).await;
}

/// The same by a node that ends before it has told the others.
pub async fn credit_untold(connection: &mut PgConnection, id: &str, sequence: i64, balance: i64) {
    append_by_hand(connection, None, id, sequence, balance).await;
}

async fn append_by_hand(
    connection: &mut PgConnection,
    announced_by: Option<&str>,
    id: &str,
    sequence: i64,
    balance: i64,
) {
    let payload = serde_json::to_string(&PurseEvent::Credited { amount: 1, note: "by hand".into(), balance });
    sqlx::query(
        "SELECT append_events($4, ARRAY[gen_random_uuid()], ARRAY['purse'], ARRAY[$1], ARRAY[$2],
             ARRAY['purse.credited'], ARRAY['1'], ARRAY[$3], ARRAY['{\"actor\":\"process:hand\"}'],
             ARRAY[decode(repeat('00', 32), 'hex')], ARRAY[now()],
             '{}', '{}', '{}', '{}', '{}', '{}')",
    )
    .bind(id)
    .bind(sequence)
    .bind(payload.expect("JSON"))
    .bind(announced_by)
    .execute(connection)
    .await
    .expect("appended by hand");
}

/// Holds the log's lock, so that nothing commits until it is dropped or committed.
pub async fn block_appends(pool: &PgPool) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut blocked = pool.begin().await.expect("begun");
    sqlx::query("SELECT pg_advisory_xact_lock(7263542001)").execute(&mut *blocked).await.expect("locked");
    blocked
}

/// How many writers wait for the log's lock.
async fn blocked_writers(pool: &PgPool) -> usize {
    let blocked = sqlx::query(
        "SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'codexapi event log'
           AND wait_event = 'advisory'",
    );
    blocked.fetch_all(pool).await.expect("read").len()
}

/// Waits until the writers of `nodes` nodes are stuck in a commit.
pub async fn wait_until_blocked(pool: &PgPool, nodes: usize) {
    let blocked = async || (blocked_writers(pool).await == nodes).then_some(());
    crate::harness::wait_for("the writer waits for the lock", blocked).await;
}

/// Waits until `count` commands are queued behind a stuck commit.
pub async fn wait_until_queued(log: &EventLog, count: usize) {
    crate::harness::wait_for("commands are queued", async || (log.queued_commands() == count).then_some(()))
        .await;
}
