//! Long wallets, folded anew after a start with other rules.
//!
//! A snapshot counts for the code that folded it alone. Without this the first request of every customer with a long
//! history would wait, after an upgrade, for the whole of it to be folded: ten seconds and more for each million events.

use codexapi_aggregates::wallet::Wallet;
use cqrs_es::Aggregate;
use tokio_util::sync::CancellationToken;

use crate::event_log::EventLog;

/// The longest ones; whoever is not among them waits for a moment at his first request.
const MOST: i64 = 10_000;

/// Folds them one after the other, the longest first, and ends, at `stop` at the latest.
pub async fn run(log: EventLog, stop: CancellationToken) {
    match stop.run_until_cancelled(fold_anew(&log)).await {
        Some(Ok(0)) | None => {}
        Some(Ok(wallets)) => tracing::info!(wallets, "long wallets are folded by the rules of this version"),
        Some(Err(error)) => {
            tracing::warn!(%error, "long wallets will be folded when they are asked for");
        }
    }
}

/// Keeps new snapshots where the code has changed; returns of how many wallets. One that cannot be folded now is left to
/// whoever asks for it.
///
/// # Errors
/// Postgres does not say which.
pub async fn fold_anew(log: &EventLog) -> sqlx::Result<usize> {
    let mut folded = 0;
    for wallet in log.outdated_snapshots(Wallet::TYPE, MOST).await? {
        match log.read(&wallet, |_: &Wallet| ()).await {
            Ok(()) => folded += 1,
            Err(error) => {
                tracing::warn!(wallet, error = %format!("{error:#}"), "a long wallet is not folded")
            }
        }
    }
    Ok(folded)
}
