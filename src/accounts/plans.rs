//! Time of a plan that an operator gives or takes back, and when the wallet pays beside a plan.

use codexapi_aggregates::account::{Account, AccountRefusal};
use codexapi_aggregates::catalog::{CATALOG_STREAM, Catalog, CatalogRefusal};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, GrantId, PlanId};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::entitlements::{EntitlementEnd, EntitlementSource, EntitlementTerms};
use codexapi_aggregates::wallet::{
    Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal, WalletTerms,
};
use sha2::{Digest, Sha256};

use crate::clock;
use crate::commands::{CommandError, Committed};
use crate::event_log::{EventLog, IdempotencyKey};

const SECONDS_PER_HOUR: u32 = 3_600;

/// The most hours that one grant gives: a year.
pub const MAX_HOURS: u32 = 366 * 24;

/// Hours of a plan to be granted.
#[derive(Clone, Debug)]
pub struct GrantHours {
    pub account_id: AccountId,
    pub plan_id: PlanId,
    pub hours: u32,
    /// The caller's: the same key with the same inputs grants once and answers as the first time.
    pub idempotency_key: String,
}

/// Hours of a plan, as they were first granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoursGranted {
    pub entitlement_id: GrantId,
    pub plan_id: PlanId,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// The key had been used before; nothing was granted this time.
    pub replayed: bool,
    pub position: i64,
}

/// Why no hours were granted.
#[derive(Debug, thiserror::Error)]
pub enum HoursRefusal {
    #[error(transparent)]
    Account(AccountRefusal),
    #[error(transparent)]
    Plan(CatalogRefusal),
    #[error("1 to {most} hours can be granted at a time, not {got}")]
    HoursOutOfRange { got: u32, most: u32 },
    #[error(transparent)]
    Wallet(WalletRefusal),
}

/// Grants hours of a plan to a registered customer, after what they have of it.
pub async fn grant_hours(
    log: &EventLog,
    terms: &WalletTerms,
    metadata: &Metadata,
    grant: GrantHours,
) -> Result<HoursGranted, CommandError<HoursRefusal>> {
    let stream = grant.account_id.to_string();
    let registered = log.read(&stream, Account::is_registered).await.map_err(CommandError::unread)?;
    if !registered {
        return Err(CommandError::Refused(HoursRefusal::Account(AccountRefusal::NotRegistered)));
    }
    let entitlement = hours_of(log, &grant).await?;
    let entitlement_id = GrantId(clock::new_id());
    let key = IdempotencyKey {
        command: "grant_plan_hours",
        account: stream.clone(),
        key: grant.idempotency_key.clone(),
        inputs_digest: inputs_digest(&grant),
        keep_forever: true,
    };
    let committed = log
        .execute_once(&stream, metadata, key, |wallet: &Wallet, now| {
            let action = WalletAction::GrantEntitlement {
                entitlement_id,
                source: EntitlementSource::Admin,
                period: None,
                terms: entitlement.clone(),
            };
            wallet.decide(WalletCommand { action, terms: terms.clone(), now }).map_err(HoursRefusal::Wallet)
        })
        .await?;
    let granted = granted_in(&committed);
    granted.ok_or_else(|| CommandError::Failed(anyhow::anyhow!("a grant left no event")))
}

/// Takes back what of a grant lies ahead. Returns the position of its event; 0 where nothing was left of it.
pub async fn end_entitlement(
    log: &EventLog,
    terms: &WalletTerms,
    metadata: &Metadata,
    account_id: AccountId,
    entitlement_id: GrantId,
) -> Result<i64, CommandError<WalletRefusal>> {
    let action = WalletAction::EndEntitlement { entitlement_id, reason: EntitlementEnd::Operator };
    let ended = log
        .execute(&account_id.to_string(), metadata, |wallet: &Wallet, now| {
            wallet.decide(WalletCommand { action: action.clone(), terms: terms.clone(), now })
        })
        .await?;
    Ok(ended.position)
}

async fn hours_of(
    log: &EventLog,
    grant: &GrantHours,
) -> Result<EntitlementTerms, CommandError<HoursRefusal>> {
    if !(1..=MAX_HOURS).contains(&grant.hours) {
        let (got, most) = (grant.hours, MAX_HOURS);
        return Err(CommandError::Refused(HoursRefusal::HoursOutOfRange { got, most }));
    }
    let plan_id = grant.plan_id.clone();
    let sold = |catalog: &Catalog| catalog.plan_ever(&plan_id).map(|plan| plan.entitlement(1));
    let one = match log.read(CATALOG_STREAM, sold).await.map_err(CommandError::unread)? {
        Some(Some(terms)) => terms,
        Some(None) => {
            return Err(CommandError::Refused(HoursRefusal::Plan(CatalogRefusal::BuysCredit { plan_id })));
        }
        None => {
            return Err(CommandError::Refused(HoursRefusal::Plan(CatalogRefusal::UnknownPlan { plan_id })));
        }
    };
    Ok(EntitlementTerms { block_secs: grant.hours * SECONDS_PER_HOUR, ..one })
}

fn granted_in(committed: &Committed<WalletEvent>) -> Option<HoursGranted> {
    committed.events.iter().find_map(|event| match event {
        WalletEvent::EntitlementGranted { entitlement_id, terms, starts_at, ends_at, .. } => {
            Some(HoursGranted {
                entitlement_id: *entitlement_id,
                plan_id: terms.plan_id.clone(),
                starts_at: *starts_at,
                ends_at: *ends_at,
                replayed: committed.replayed,
                position: committed.position,
            })
        }
        _ => None,
    })
}

fn inputs_digest(grant: &GrantHours) -> [u8; 32] {
    let inputs = serde_json::json!([grant.plan_id, grant.hours]);
    Sha256::digest(inputs.to_string().as_bytes()).into()
}
