//! What a key may use and from where. Networks are personal data: their list goes to its erasable table, and the
//! event only says that there is one.

use std::collections::BTreeSet;

use codexapi_aggregates::account::{Account, AccountCommand, AccountRefusal, KeyLimits};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, KeyId};
use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook, is_model_name};
use codexapi_aggregates::routing::{Catalog, POLICY_STREAM, RoutingPolicy};
use codexapi_projections::transaction::Transaction;
use codexapi_projections::{ReadError, api_keys};
use ipnet::IpNet;
use sqlx::PgPool;

use super::keys;
use crate::clock;
use crate::commands::CommandError;
use crate::event_log::EventLog;

/// Networks one key may be used from.
pub const MAX_NETWORKS: usize = 100;

/// The whole of what a key may use; what is absent is not limited any more.
#[derive(Clone, Debug, Default)]
pub struct SetLimits {
    /// `has_networks` counts for nothing: `networks` says it.
    pub limits: KeyLimits,
    /// Empty for everywhere.
    pub networks: Vec<IpNet>,
}

/// Why a key's limits are not set.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    #[error("there is no key {0}, or the read models lag")]
    UnknownKey(KeyId),
    #[error("a key may be used from at most {MAX_NETWORKS} networks, not {got}")]
    TooManyNetworks { got: usize },
    #[error("no model is called {unknown:?}, by its name, its label or an alias. There are: {}", .known.join(", "))]
    UnknownModel { unknown: String, known: Vec<String> },
    #[error(transparent)]
    Command(CommandError<AccountRefusal>),
    #[error("{0}")]
    Read(ReadError),
    #[error("{0}")]
    Table(sqlx::Error),
    #[error("{0:#}")]
    Unavailable(anyhow::Error),
}

/// Sets a key's limits, a customer's or the operator's. Returns the position after which they count everywhere, 0
/// where nothing changed. Models may be named as the price book, the routing policy or `catalog` do.
///
/// The list of networks is written before the event that speaks of it: between the two a key is fenced in by the new
/// list already, and by a list that was emptied it works from nowhere. Where the event is refused, the list before is
/// put back.
pub async fn set_key_limits(
    log: &EventLog,
    catalog: &Catalog,
    metadata: &Metadata,
    key_id: KeyId,
    set: SetLimits,
) -> Result<i64, LimitsError> {
    let SetLimits { mut limits, networks } = set;
    if networks.len() > MAX_NETWORKS {
        return Err(LimitsError::TooManyNetworks { got: networks.len() });
    }
    limits.has_networks = !networks.is_empty();
    refuse_unknown_models(log, catalog, &limits.allowed_models).await?;
    let key = api_keys::by_id(log.pool(), key_id.0).await.map_err(LimitsError::Read)?;
    let stream = keys::stream(key.ok_or(LimitsError::UnknownKey(key_id))?.account_id.map(AccountId));
    let networks: Vec<String> = networks.iter().map(|network| network.trunc().to_string()).collect();
    let before = replace(log.pool(), key_id, &networks).await.map_err(LimitsError::Table)?;
    let set = log
        .execute(&stream, metadata, |account: &Account, now| {
            account.decide(AccountCommand::SetKeyLimits { key_id, limits: limits.clone(), now })
        })
        .await;
    match set {
        Ok(committed) => Ok(committed.position),
        Err(error @ CommandError::Refused(_)) => {
            replace(log.pool(), key_id, &before).await.map_err(LimitsError::Table)?;
            Err(LimitsError::Command(error))
        }
        Err(error) => Err(LimitsError::Command(error)),
    }
}

async fn refuse_unknown_models(
    log: &EventLog,
    catalog: &Catalog,
    named: &[String],
) -> Result<(), LimitsError> {
    if named.is_empty() {
        return Ok(());
    }
    let now = clock::now();
    let priced = log.read(BOOK_STREAM, |book: &PriceBook| {
        book.cards_in_force(now).map(|card| card.model.clone()).collect::<BTreeSet<_>>()
    });
    let priced = priced.await.map_err(LimitsError::Unavailable)?;
    let unknown = log.read(POLICY_STREAM, |policy: &RoutingPolicy| {
        let known = |name: &String| priced.contains(name) || policy.resolve(catalog, name).is_some();
        named.iter().find(|name| !known(name)).cloned()
    });
    match unknown.await.map_err(LimitsError::Unavailable)? {
        None => Ok(()),
        // A name too long to be one is the account's to refuse.
        Some(unknown) if !is_model_name(&unknown) => Ok(()),
        Some(unknown) => Err(LimitsError::UnknownModel { unknown, known: priced.into_iter().collect() }),
    }
}

/// Puts `networks` in place of a key's list; returns the list before.
async fn replace(pool: &PgPool, key_id: KeyId, networks: &[String]) -> sqlx::Result<Vec<String>> {
    let mut transaction = Transaction::begin(pool).await?;
    let before = sqlx::query_scalar("DELETE FROM key_networks WHERE key_id = $1 RETURNING cidr::text")
        .bind(key_id.0)
        .fetch_all(&mut *transaction)
        .await?;
    sqlx::query(
        "INSERT INTO key_networks (key_id, cidr) SELECT $1, network::cidr FROM unnest($2::text[]) AS network \
         ON CONFLICT DO NOTHING",
    )
    .bind(key_id.0)
    .bind(networks)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(before)
}
