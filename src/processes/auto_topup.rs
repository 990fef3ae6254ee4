//! Looks for wallets that have run low and want to be topped up, and for top-ups that were begun and not ended.
//!
//! One node at a time looks, under an advisory lock, so that Stripe is not asked by all; that a wallet is topped up
//! once is not the lock's doing but the stream's.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::AccountId;
use codexapi_projections::auto_topups;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::advisory_lock::SessionLock;
use crate::clock;
use crate::payments::Payments;
use crate::payments::auto_topup::AutoTopUpOutcome;

/// How often it looks: what a customer waits for at most once the wallet is low.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Wallets read at a time, and topped up at once.
const PAGE: u32 = 200;
const AT_ONCE: usize = 8;

/// The one lock of all nodes' lookers.
const AUTO_TOPUP_LOCK: i64 = 7_263_542_005;

/// Looks until `stop`.
pub async fn run(payments: Arc<Payments>, stop: CancellationToken) {
    let looking = async {
        let mut due = tokio::time::interval(LOOK_EVERY);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if let Err(error) = pass(&payments).await {
                tracing::warn!(error = format!("{error:#}"), "low wallets were not looked for");
            }
        }
    };
    stop.run_until_cancelled(looking).await;
}

/// One look at every wallet that may be due.
///
/// # Errors
/// Postgres was away. What is wrong with one wallet holds up no other.
pub async fn pass(payments: &Payments) -> anyhow::Result<()> {
    let Some(mut lock) = SessionLock::try_take(&payments.pool, AUTO_TOPUP_LOCK).await? else {
        return Ok(());
    };
    let now =
        chrono::DateTime::from_timestamp_micros(clock::now().0).context("a time beyond the calendar")?;
    let metadata = Metadata::process("auto_topup");
    let mut after = Uuid::nil();
    loop {
        let accounts = auto_topups::due(&payments.pool, now, after, PAGE).await?;
        let mut looks = Vec::with_capacity(accounts.len());
        for account in &accounts {
            looks.push(one(payments, *account, &metadata));
        }
        futures::stream::iter(looks).buffer_unordered(AT_ONCE).collect::<()>().await;
        match accounts.last() {
            Some(last) if accounts.len() == PAGE as usize => after = *last,
            Some(_) | None => return Ok(()),
        }
        lock.confirm().await?;
    }
}

async fn one(payments: &Payments, account: Uuid, metadata: &Metadata) {
    match payments.run_auto_topup(AccountId(account), metadata).await {
        Ok(AutoTopUpOutcome::NotDue(_) | AutoTopUpOutcome::Open { .. }) => {}
        Ok(AutoTopUpOutcome::Credited { payment_id }) => {
            tracing::info!(%payment_id, "a wallet was topped up by its saved card");
        }
        Ok(AutoTopUpOutcome::Failed { payment_id, reason }) => {
            tracing::info!(%payment_id, ?reason, "a saved card gave no top-up");
        }
        Err(error) => tracing::warn!(error = format!("{error:#}"), "a wallet was not topped up"),
    }
}
