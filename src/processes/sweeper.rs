//! Expires what time has ended: holds of dead nodes, holds past their hard age, credit and plans that ran out.
//!
//! A wallet in use expires what is due in its own appends. The sweeper is for idle wallets and for
//! leases, which are its affair alone. Running on several nodes at once it does nothing twice: the
//! wallet's rule decides, the sweeper only asks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, NodeIncarnation};
use codexapi_aggregates::wallet::{Wallet, WalletAction, WalletCommand, WalletTerms};
use codexapi_projections::{entitlements, expiring_grants, open_holds};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::event_log::EventLog;
use crate::gateway::admission::Admission;

/// Holds, grants and plans, each, looked at in one go; there are as many goes as it takes.
const READ_AT_ONCE: u32 = codexapi_projections::MAX_PAGE;

/// Goes of one sweep; the rest is left to the next.
const GOES_PER_SWEEP: usize = 50;

/// Ended incarnations are remembered this long; a wallet keeps its expired holds for 30 days.
const ENDED_NODES_KEPT: &str = "40 days";

#[derive(Clone, Debug)]
pub struct SweeperSettings {
    pub interval: Duration,
    /// A lease not renewed for this long is lapsed.
    pub lease_lapse: Duration,
    pub terms: WalletTerms,
}

pub struct Sweeper {
    /// This node, whose own lease says whether it may judge others'.
    pub node: NodeIncarnation,
    pub pool: PgPool,
    pub log: EventLog,
    pub admission: Arc<Admission>,
    pub settings: SweeperSettings,
}

impl Sweeper {
    /// Sweeps until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut reach = Reach::new(self.settings.interval);
        let mut due = tokio::time::interval(self.settings.interval);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = due.tick() => {}
            }
            match self.sweep(&mut reach).await {
                Ok(0) => {}
                Ok(wallets) => tracing::info!(wallets, "expired holds or credit"),
                Err(error) => {
                    reach.lost();
                    tracing::warn!(error = %format!("{error:#}"), "a sweep failed and will be repeated")
                }
            }
        }
    }

    /// One sweep; returns how many wallets had something to expire.
    async fn sweep(&self, reach: &mut Reach) -> anyhow::Result<u64> {
        let dead_nodes = self.dead_nodes(reach).await?;
        let mut asked = BTreeSet::new();
        let mut swept = 0;
        for _ in 0..GOES_PER_SWEEP {
            let due = self.wallets_with_something_due(&dead_nodes).await?;
            // The read tables may be behind: a wallet that was asked is not asked again in this sweep.
            let new: Vec<Uuid> = due.difference(&asked).copied().collect();
            if new.is_empty() {
                break;
            }
            swept += self.expire(&new, &dead_nodes).await?;
            asked.extend(new);
        }
        reach.answered(Instant::now());
        Ok(swept)
    }

    /// Ends the incarnations whose leases have lapsed; none while this node's own is not kept up, since
    /// what kept this node from renewing may have kept the others too.
    pub async fn judge_leases(&self) -> sqlx::Result<()> {
        let lapse = i64::try_from(self.settings.lease_lapse.as_millis()).unwrap_or(i64::MAX);
        sqlx::query(
            "UPDATE nodes SET ended_at = now()
             WHERE ended_at IS NULL AND renewed_at < now() - $1 * interval '1 millisecond'
               AND EXISTS (SELECT FROM nodes own WHERE own.incarnation = $2 AND own.ended_at IS NULL
                               AND own.renewed_at >= now() - $1 * interval '1 millisecond')",
        )
        .bind(lapse)
        .bind(self.node.0)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn expire(&self, accounts: &[Uuid], dead_nodes: &[Uuid]) -> anyhow::Result<u64> {
        let terms = &self.settings.terms;
        let dead_nodes: Vec<NodeIncarnation> = dead_nodes.iter().copied().map(NodeIncarnation).collect();
        let mut swept = 0;
        for account in accounts {
            let committed = self
                .log
                .execute(&account.to_string(), &Metadata::process("sweeper"), |wallet: &Wallet, now| {
                    let action = WalletAction::ExpireHolds { dead_nodes: dead_nodes.clone() };
                    wallet.decide(WalletCommand { action, terms: terms.clone(), now })
                })
                .await?;
            if !committed.events.is_empty() {
                swept += 1;
                self.admission.wake(AccountId(*account));
            }
        }
        Ok(swept)
    }

    async fn dead_nodes(&self, reach: &mut Reach) -> sqlx::Result<Vec<Uuid>> {
        sqlx::query("DELETE FROM nodes WHERE ended_at < now() - $1::interval")
            .bind(ENDED_NODES_KEPT)
            .execute(&self.pool)
            .await?;
        if reach.answered(Instant::now()) >= self.settings.lease_lapse {
            self.judge_leases().await?;
        }
        sqlx::query_scalar("SELECT incarnation FROM nodes WHERE ended_at IS NOT NULL")
            .fetch_all(&self.pool)
            .await
    }

    /// The read tables only say whom to ask; what expires is the wallet's own decision.
    async fn wallets_with_something_due(&self, dead_nodes: &[Uuid]) -> anyhow::Result<BTreeSet<Uuid>> {
        let now = chrono::DateTime::from_timestamp_micros(crate::clock::now().0)
            .context("a clock within the calendar")?;
        let too_old = now - chrono::Duration::seconds(self.settings.terms.hold_max_age_secs);
        let holds = open_holds::lapsed(&self.pool, too_old, dead_nodes, READ_AT_ONCE).await?;
        let grants = expiring_grants::accounts_due(&self.pool, now, READ_AT_ONCE).await?;
        let plans = entitlements::accounts_due(&self.pool, now, READ_AT_ONCE).await?;
        Ok(holds.into_iter().map(|hold| hold.account_id).chain(grants).chain(plans).collect())
    }
}

/// For how long Postgres has answered without a pause, as seen from here. Others' leases are judged
/// only after a whole lapse of it: after an outage, or a pause of this process, every node must first
/// have had the time to renew.
struct Reach {
    /// Between two answers, at most.
    longest_pause: Duration,
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Reach {
    fn new(sweep_interval: Duration) -> Self {
        Self { longest_pause: sweep_interval * 2, since: None, last: None }
    }

    /// Postgres has answered; returns for how long it has without a pause.
    fn answered(&mut self, now: Instant) -> Duration {
        if self.last.is_some_and(|last| now - last > self.longest_pause) {
            self.since = None;
        }
        self.last = Some(now);
        now - *self.since.get_or_insert(now)
    }

    /// Postgres has not answered.
    fn lost(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_or_a_pause_of_the_process_starts_the_time_of_answers_anew() {
        let second = Duration::from_secs(1);
        let mut reach = Reach::new(10 * second);
        let began = Instant::now();
        assert_eq!(reach.answered(began), Duration::ZERO);
        assert_eq!(reach.answered(began + 20 * second), 20 * second);
        reach.lost();
        assert_eq!(reach.answered(began + 30 * second), Duration::ZERO);
        assert_eq!(reach.answered(began + 45 * second), 15 * second);
        assert_eq!(reach.answered(began + 66 * second), Duration::ZERO, "nothing was heard for 21 s");
    }
}
