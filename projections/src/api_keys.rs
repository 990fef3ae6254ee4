//! Keys and System Tokens by digest, for authentication, and by account, for lists; with what each
//! may use and until when.
//!
//! The index on the digest is not unique, though two keys never ought to share a token: a unique
//! one would stop this read model at the second key, and nobody's revocations would arrive any
//! more. Of two such keys the first one issued counts, until it is revoked.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use codexapi_aggregates::account::{AccountEvent, KeyKind, KeyLimits, RevocationReason, SuspensionReason};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::rows::{self, account_of, time};
use crate::{FoldError, Page, Projection, ReadError, ReadModel, Table, WriteError, page};

pub static READ_MODEL: ReadModel = ReadModel {
    name: "api_keys",
    revision: 2,
    aggregates: &["account"],
    tables: &[TABLE],
    batch: || Box::<ApiKeys>::default(),
};

const TABLE: Table = Table {
    name: "api_keys",
    columns: "key_id uuid PRIMARY KEY, account_id uuid, kind text NOT NULL, digest text NOT NULL, \
        prefix text NOT NULL, issued_at timestamptz NOT NULL, revoked_at timestamptz, \
        revocation_reason text, expires_at timestamptz, limits jsonb NOT NULL, position bigint NOT NULL",
    indexes: &["(digest)", "(account_id, position)", "(position)"],
};

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    pub key_id: Uuid,
    /// Absent for operator and admin keys.
    pub account_id: Option<Uuid>,
    pub kind: KeyKind,
    /// HMAC-SHA256 of the token under the deployment's digest key, lower-case hex.
    pub digest: String,
    /// The token's first characters.
    pub prefix: String,
    pub issued_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub revocation_reason: Option<RevocationReason>,
    /// From when on it does not work; absent for never.
    pub expires_at: Option<DateTime<Utc>>,
    pub limits: KeyLimits,
    /// The place in the log; keys are listed by it.
    pub position: i64,
}

impl ApiKey {
    pub fn is_active(&self) -> bool {
        self.revoked_at.is_none()
    }
}

/// A key as it is presented, with everything that decides whether it may be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PresentedKey {
    pub key: ApiKey,
    /// Where its account is suspended; operator keys have none.
    pub suspended_at: Option<DateTime<Utc>>,
    pub suspension_reason: Option<SuspensionReason>,
    /// Networks it may be used from, such as `192.0.2.0/24`; empty for everywhere, unless
    /// `key.limits.has_networks` says that the list was erased.
    pub networks: Vec<String>,
}

impl PresentedKey {
    pub fn is_suspended(&self) -> bool {
        self.suspended_at.is_some()
    }
}

/// The key whose token has this digest: an active one, else a revoked one, so that the caller can
/// tell "revoked" from "unknown". One statement, because every request waits for it.
pub async fn by_digest(pool: &PgPool, digest: &str) -> Result<Option<PresentedKey>, ReadError> {
    let found = by_digests(pool, &[digest]).await?;
    Ok(found.into_iter().next())
}

/// The same for several at once, in no order; those that are unknown are missing.
pub async fn by_digests(pool: &PgPool, digests: &[&str]) -> Result<Vec<PresentedKey>, ReadError> {
    let select = rows::select(
        "SELECT DISTINCT ON (k.digest) jsonb_build_object('key', to_jsonb(k), 'suspended_at', a.suspended_at, \
         'suspension_reason', a.suspension_reason, 'networks', array(SELECT n.cidr::text FROM key_networks n \
         WHERE n.key_id = k.key_id ORDER BY n.cidr)) \
         FROM api_keys k LEFT JOIN accounts a ON a.account_id = k.account_id \
         WHERE k.digest = ANY($1) ORDER BY k.digest, k.revoked_at IS NOT NULL, k.position",
    );
    rows::fetch_all(pool, TABLE.name, select.bind(digests)).await
}

/// One key of one customer.
pub async fn get(pool: &PgPool, account: Uuid, key: Uuid) -> Result<Option<ApiKey>, ReadError> {
    let select = rows::select("SELECT to_jsonb(k) FROM api_keys k WHERE key_id = $1 AND account_id = $2");
    rows::fetch_optional(pool, TABLE.name, select.bind(key).bind(account)).await
}

/// One key, whosever it is.
pub async fn by_id(pool: &PgPool, key: Uuid) -> Result<Option<ApiKey>, ReadError> {
    let select = rows::select("SELECT to_jsonb(k) FROM api_keys k WHERE key_id = $1");
    rows::fetch_optional(pool, TABLE.name, select.bind(key)).await
}

/// An account's keys, newest first, revoked ones included.
pub async fn of_account(
    pool: &PgPool,
    account: Uuid,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<ApiKey>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(k) FROM api_keys k WHERE account_id = $1 AND position < $2 \
         ORDER BY position DESC LIMIT $3",
    );
    let select = select.bind(account).bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |key: &ApiKey| key.position))
}

/// The customer's System Token in force.
pub async fn system_token(pool: &PgPool, account: Uuid) -> Result<Option<ApiKey>, ReadError> {
    let select = rows::select(
        "select to_jsonb(k) from api_keys k where account_id = $1 and kind = 'system_token' \
         and revoked_at is null order by position desc limit 1",
    );
    rows::fetch_optional(pool, TABLE.name, select.bind(account)).await
}

/// The keys that belong to no customer, newest first, revoked ones included.
pub async fn of_operator(pool: &PgPool, before: Option<i64>, limit: u32) -> Result<Page<ApiKey>, ReadError> {
    let select = rows::select(
        "SELECT to_jsonb(k) FROM api_keys k WHERE account_id IS NULL AND position < $1 \
         ORDER BY position DESC LIMIT $2",
    );
    let select = select.bind(before.unwrap_or(i64::MAX)).bind(page::rows_to_read(limit));
    let rows = rows::fetch_all(pool, TABLE.name, select).await?;
    Ok(Page::of(rows, limit, |key: &ApiKey| key.position))
}

#[derive(Default)]
struct ApiKeys {
    issued: Vec<ApiKey>,
    /// Revocations, of keys of this batch or of earlier ones.
    revoked: BTreeMap<Uuid, Revocation>,
    /// The last limits set in this batch.
    limited: BTreeMap<Uuid, Limitation>,
}

#[derive(Serialize)]
struct Limitation {
    key_id: Uuid,
    expires_at: Option<DateTime<Utc>>,
    limits: KeyLimits,
}

#[derive(Serialize)]
struct Revocation {
    key_id: Uuid,
    at: DateTime<Utc>,
    reason: RevocationReason,
}

impl Projection for ApiKeys {
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let AnyEvent::Account(account) = &event.event else { return Ok(()) };
        match account {
            AccountEvent::KeyIssued { key_id, kind, digest, prefix, at } => self.issued.push(ApiKey {
                key_id: key_id.0,
                account_id: match kind {
                    KeyKind::SystemToken | KeyKind::Api => Some(account_of(event)?),
                    KeyKind::Operator | KeyKind::Admin => None,
                },
                kind: *kind,
                digest: digest.clone(),
                prefix: prefix.clone(),
                issued_at: time(event, *at)?,
                revoked_at: None,
                revocation_reason: None,
                expires_at: None,
                limits: KeyLimits::default(),
                position: event.position,
            }),
            AccountEvent::KeyRevoked { key_id, reason, at } => {
                let at = time(event, *at)?;
                self.revoked.entry(key_id.0).or_insert(Revocation { key_id: key_id.0, at, reason: *reason });
            }
            AccountEvent::KeyLimitsSet { key_id, limits, .. } => {
                let expires_at = limits.expires_at.map(|at| time(event, at)).transpose()?;
                let limits = KeyLimits::clone(limits);
                self.limited.insert(key_id.0, Limitation { key_id: key_id.0, expires_at, limits });
            }
            AccountEvent::CustomerRegistered { .. }
            | AccountEvent::TokenRevealed { .. }
            | AccountEvent::AccountSuspended { .. }
            | AccountEvent::AccountReinstated { .. }
            | AccountEvent::ToolboxSet { .. } => {}
        }
        Ok(())
    }

    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let table = TABLE.version(version);
            rows::insert(&mut *connection, &TABLE, version, &self.issued, "").await?;
            let limited: Vec<Limitation> = self.limited.into_values().collect();
            if !limited.is_empty() {
                let statement = format!(
                    "UPDATE {table} k SET expires_at = l.expires_at, limits = l.limits \
                     FROM json_to_recordset($1::json) AS l (key_id uuid, expires_at timestamptz, limits jsonb) \
                     WHERE k.key_id = l.key_id"
                );
                let limited = serde_json::to_string(&limited)?;
                sqlx::query(&statement).bind(limited).execute(&mut *connection).await?;
            }
            let revoked: Vec<Revocation> = self.revoked.into_values().collect();
            if revoked.is_empty() {
                return Ok(());
            }
            let statement = format!(
                "UPDATE {table} k SET revoked_at = r.at, revocation_reason = r.reason \
                 FROM json_to_recordset($1::json) AS r (key_id uuid, at timestamptz, reason text) \
                 WHERE k.key_id = r.key_id AND k.revoked_at IS NULL"
            );
            sqlx::query(&statement).bind(serde_json::to_string(&revoked)?).execute(connection).await?;
            Ok(())
        }
        .boxed()
    }
}
