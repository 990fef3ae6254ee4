//! The operator's queue: what the rules let pass but a person should look at.
//!
//! An entry is an event and why it needs eyes: a hold that expired (nobody knows what was used),
//! usage the provider reported and nobody can believe, usage without any input, a provider's
//! response id seen before. Later events resolve it, and the first one counts: a late settle or a
//! release the expired hold, a reversal or an operator's dismissal whatever was open of its
//! generation.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{GenerationSettled, Outcome, Payer, UsageEvent, UsageSource};
use codexapi_aggregates::wallet::events::WalletEvent;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "operator_queue",
    revision: 5,
    aggregates: &["usage", "wallet"],
    tables: &[TABLE, RESPONSES],
    batch: || Box::<Queue>::default(),
};

const TABLE: Table = Table {
    name: "operator_queue",
    columns: "position bigint PRIMARY KEY, reasons text[] NOT NULL, generation_id uuid NOT NULL, \
        account_id uuid, provider text, model text, provider_response_id text, first_generation_id uuid, \
        amount_micro bigint NOT NULL, provider_cost_micro bigint NOT NULL, at timestamptz NOT NULL, \
        resolution text, resolved_at timestamptz",
    indexes: &["(generation_id)", "(position) WHERE resolution IS NULL"],
};

/// Each provider's response ids, and the first generation that came with one.
const RESPONSES: Table = Table {
    name: "provider_responses",
    columns: "provider text NOT NULL, provider_response_id text NOT NULL, generation_id uuid NOT NULL, \
        PRIMARY KEY (provider, provider_response_id)",
    indexes: &[],
};

/// Why an event needs eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueReason {
    /// The provider may have billed us; the customer was not charged.
    HoldExpired,
    /// The report was negative, absurd or inconsistent; an estimate was charged.
    UsageRejected,
    /// The provider reported not one token of input, which every request has: none is charged.
    UsageZero,
    /// The provider gave this response id before.
    ProviderIdRepeated,
}

/// What resolved an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// The usage of an expired hold became known after all.
    SettledLate,
    /// The charge was taken back.
    Reversed,
    /// An operator has decided that an expired hold is to cost nothing.
    Released,
    /// An operator has looked at it and leaves it as it is.
    Dismissed,
}

impl Resolution {
    pub fn name(self) -> &'static str {
        match self {
            Self::SettledLate => "settled_late",
            Self::Reversed => "reversed",
            Self::Released => "released",
            Self::Dismissed => "dismissed",
        }
    }
}

/// One entry of the queue; open while it has no resolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// The event's place in the log; the key of paging.
    pub position: i64,
    pub reasons: Vec<QueueReason>,
    pub generation_id: Uuid,
    /// Absent where the operator paid.
    pub account_id: Option<Uuid>,
    /// Of a hold that expired, the last one asked; unknown of older ones.
    pub provider: Option<String>,
    /// The provider's name of it.
    pub model: Option<String>,
    pub provider_response_id: Option<String>,
    /// The generation that came with this provider's response id first.
    pub first_generation_id: Option<Uuid>,
    /// What was held, for an expired hold; else what was charged.
    pub amount_micro: MicroUsd,
    pub provider_cost_micro: MicroUsd,
    pub at: DateTime<Utc>,
    pub resolution: Option<Resolution>,
    pub resolved_at: Option<DateTime<Utc>>,
}

/// The queue, newest first: open entries only, or all.
pub async fn page(
    pool: &PgPool,
    open_only: bool,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<QueueEntry>, ReadError> {
    let statement = if open_only {
        "SELECT to_jsonb(q) FROM operator_queue q WHERE resolution IS NULL AND position < $1 \
         ORDER BY position DESC LIMIT $2"
    } else {
        "SELECT to_jsonb(q) FROM operator_queue q WHERE position < $1 ORDER BY position DESC LIMIT $2"
    };
    let select = rows::select(statement).bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |entry: &QueueEntry| entry.position))
}

/// One entry, open or not.
pub async fn get(pool: &PgPool, position: i64) -> Result<Option<QueueEntry>, ReadError> {
    let select = rows::select("SELECT to_jsonb(q) FROM operator_queue q WHERE position = $1");
    rows::fetch_optional(pool, TABLE.name, select.bind(position)).await
}

/// How many entries are open.
pub async fn open_count(pool: &PgPool) -> Result<i64, ReadError> {
    let count = sqlx::query_scalar("SELECT count(*) FROM operator_queue WHERE resolution IS NULL");
    Ok(count.fetch_one(pool).await?)
}

#[derive(Default)]
struct Queue {
    /// By position; those without a reason are dropped once it is known whether their id repeats.
    entries: BTreeMap<i64, QueueEntry>,
    resolved: Vec<Resolved>,
}

/// An event that resolves what stands before it of its generation.
#[derive(Serialize)]
struct Resolved {
    generation_id: Uuid,
    resolution: Resolution,
    /// It says something of the hold alone.
    expired_only: bool,
    at: DateTime<Utc>,
    position: i64,
}

#[derive(Serialize)]
struct ProviderResponse<'a> {
    provider: &'a str,
    provider_response_id: &'a str,
    generation_id: Uuid,
}

impl ProviderResponse<'_> {
    /// Its id, and its generation as the first that has it.
    fn first(&self) -> ((String, String), Uuid) {
        ((self.provider.into(), self.provider_response_id.into()), self.generation_id)
    }
}

impl Projection for Queue {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        match &event.event {
            AnyEvent::Usage(UsageEvent::GenerationSettled(settled)) => {
                self.entries.insert(event.position, settled_entry(event, settled)?);
            }
            AnyEvent::Usage(UsageEvent::ChargeReversed { generation_id, at, .. }) => {
                self.resolve(event, *generation_id, Resolution::Reversed, *at)?;
            }
            AnyEvent::Usage(UsageEvent::ReviewDismissed { generation_id, at }) => {
                self.resolve(event, *generation_id, Resolution::Dismissed, *at)?;
            }
            AnyEvent::Wallet(WalletEvent::HoldExpired {
                generation_id, attempt, amount_micro, at, ..
            }) => {
                let (provider, model) = attempt
                    .as_ref()
                    .map(|attempt| (attempt.provider.clone(), attempt.upstream_model.clone()))
                    .unzip();
                let entry = QueueEntry {
                    position: event.position,
                    reasons: vec![QueueReason::HoldExpired],
                    generation_id: generation_id.0,
                    account_id: Some(account_of(event)?),
                    provider,
                    model,
                    provider_response_id: None,
                    first_generation_id: None,
                    amount_micro: *amount_micro,
                    provider_cost_micro: MicroUsd::ZERO,
                    at: time(event, *at)?,
                    resolution: None,
                    resolved_at: None,
                };
                self.entries.insert(event.position, entry);
            }
            AnyEvent::Wallet(WalletEvent::UsageCharged { generation_id, late: true, at, .. }) => {
                self.resolve(event, *generation_id, Resolution::SettledLate, *at)?;
            }
            AnyEvent::Wallet(WalletEvent::HoldReleased { generation_id, at, .. }) => {
                self.resolve(event, *generation_id, Resolution::Released, *at)?;
            }
            AnyEvent::Usage(
                UsageEvent::GenerationOpened { .. }
                | UsageEvent::AttemptStarted { .. }
                | UsageEvent::GenerationReleased { .. },
            )
            | AnyEvent::Wallet(_)
            | AnyEvent::Account(_)
            | AnyEvent::AutoTopUp(_)
            | AnyEvent::Bonus(_)
            | AnyEvent::Cash(_)
            | AnyEvent::Gumroad(_)
            | AnyEvent::Catalog(_)
            | AnyEvent::Log(_)
            | AnyEvent::Payment(_)
            | AnyEvent::Pricing(_)
            | AnyEvent::Referral(_)
            | AnyEvent::Routing(_)
            | AnyEvent::Service(_)
            | AnyEvent::Subscription(_) => {}
        }
        Ok(())
    }

    fn write<'a>(
        mut self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            self.find_repeated(&mut *connection, version).await?;
            let table = TABLE.version(version);
            let entries: Vec<QueueEntry> =
                self.entries.into_values().filter(|entry| !entry.reasons.is_empty()).collect();
            rows::insert(&mut *connection, &TABLE, version, &entries, "").await?;
            write_resolved(connection, &table, &self.resolved).await
        }
        .boxed()
    }
}

impl Queue {
    fn resolve(
        &mut self,
        event: &RecordedEvent,
        generation_id: GenerationId,
        resolution: Resolution,
        at: Timestamp,
    ) -> Result<(), FoldError> {
        let expired_only = match resolution {
            Resolution::SettledLate | Resolution::Released => true,
            Resolution::Reversed | Resolution::Dismissed => false,
        };
        self.resolved.push(Resolved {
            generation_id: generation_id.0,
            resolution,
            expired_only,
            at: time(event, at)?,
            position: event.position,
        });
        Ok(())
    }

    /// Remembers this batch's response ids and marks every entry whose id came with an earlier
    /// generation, of this batch or before it.
    async fn find_repeated(&mut self, connection: &mut PgConnection, version: i32) -> Result<(), WriteError> {
        let first = self.remember_responses(connection, version).await?;
        for entry in self.entries.values_mut() {
            let (Some(provider), Some(id)) = (&entry.provider, &entry.provider_response_id) else { continue };
            let first = first.get(&(provider.clone(), id.clone())).copied();
            if let Some(first) = first.filter(|first| *first != entry.generation_id) {
                entry.reasons.push(QueueReason::ProviderIdRepeated);
                entry.first_generation_id = Some(first);
            }
        }
        Ok(())
    }

    /// The first generation of every response id in this batch.
    async fn remember_responses(
        &self,
        connection: &mut PgConnection,
        version: i32,
    ) -> Result<BTreeMap<(String, String), Uuid>, WriteError> {
        let mut seen = BTreeSet::new();
        let responses: Vec<ProviderResponse<'_>> = self
            .entries
            .values()
            .filter_map(|entry| {
                let (provider, id) = (entry.provider.as_deref()?, entry.provider_response_id.as_deref()?);
                let generation_id = entry.generation_id;
                seen.insert((provider, id)).then_some(ProviderResponse {
                    provider,
                    provider_response_id: id,
                    generation_id,
                })
            })
            .collect();
        if responses.is_empty() {
            return Ok(BTreeMap::new());
        }
        let table = RESPONSES.version(version);
        let new = rows::insert_new(&mut *connection, &RESPONSES, version, &responses).await?;
        if new == responses.len() as u64 {
            return Ok(responses.iter().map(ProviderResponse::first).collect());
        }
        let statement = format!(
            "SELECT provider, provider_response_id, r.generation_id FROM {table} r \
             JOIN json_to_recordset($1::json) AS b (provider text, provider_response_id text) \
             USING (provider, provider_response_id)"
        );
        let first: Vec<(String, String, Uuid)> =
            sqlx::query_as(&statement).bind(serde_json::to_string(&responses)?).fetch_all(connection).await?;
        Ok(first.into_iter().map(|(provider, id, generation)| ((provider, id), generation)).collect())
    }
}

/// Whether the provider's answer came to its end, so that its report is of all of it.
fn is_finished(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Completed | Outcome::ClientLeft => true,
        Outcome::DrainLimit | Outcome::UpstreamFailed | Outcome::ToldFailed => false,
    }
}

fn settled_entry(event: &RecordedEvent, settled: &GenerationSettled) -> Result<QueueEntry, FoldError> {
    let reasons = match settled.usage_source {
        UsageSource::Rejected => vec![QueueReason::UsageRejected],
        UsageSource::Reported if is_finished(settled.outcome) && settled.usage.lacks_input() => {
            vec![QueueReason::UsageZero]
        }
        UsageSource::Reported | UsageSource::Estimated => vec![],
    };
    Ok(QueueEntry {
        position: event.position,
        reasons,
        generation_id: settled.generation_id.0,
        account_id: match settled.payer {
            Payer::Wallet { account_id } => Some(account_id.0),
            Payer::Operator => None,
        },
        provider: Some(settled.provider.clone()),
        model: Some(settled.served_model.clone()),
        provider_response_id: settled.provider_response_id.clone(),
        first_generation_id: None,
        amount_micro: settled.charged_micro,
        provider_cost_micro: settled.provider_cost_micro,
        at: time(event, settled.at)?,
        resolution: None,
        resolved_at: None,
    })
}

/// Each entry is resolved by the first event after it that can, whichever batches they came in.
async fn write_resolved(
    connection: &mut PgConnection,
    table: &str,
    resolved: &[Resolved],
) -> Result<(), WriteError> {
    if resolved.is_empty() {
        return Ok(());
    }
    let statement = format!(
        "UPDATE {table} q SET resolution = f.resolution, resolved_at = f.at \
         FROM (SELECT DISTINCT ON (o.position) o.position, r.resolution, r.at FROM {table} o \
         JOIN json_to_recordset($1::json) AS r (generation_id uuid, resolution text, expired_only boolean, \
         at timestamptz, position bigint) ON r.generation_id = o.generation_id AND r.position > o.position \
         WHERE o.resolution IS NULL AND (NOT r.expired_only OR 'hold_expired' = any(o.reasons)) \
         ORDER BY o.position, r.position) f WHERE q.position = f.position"
    );
    sqlx::query(&statement).bind(serde_json::to_string(resolved)?).execute(connection).await?;
    Ok(())
}
