//! Requests that wait for credit here, while another node frees it.

use std::sync::Arc;

use codexapi_aggregates::wallet::Wallet;
use cqrs_es::Aggregate;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::event_log::EventLog;
use crate::gateway::admission::Admission;

/// Asks anew for whoever waits on a wallet that another process has written, until `stop`.
pub async fn run(log: EventLog, admission: Arc<Admission>, stop: CancellationToken) {
    let mut written = log.written_elsewhere();
    let waking = async {
        loop {
            match written.recv().await {
                Ok(stream) if stream.aggregate_type == Wallet::TYPE => {
                    if let Ok(account_id) = stream.aggregate_id.parse() {
                        admission.wake(account_id);
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => admission.wake_all(),
                Err(RecvError::Closed) => return,
            }
        }
    };
    stop.run_until_cancelled(waking).await;
}
