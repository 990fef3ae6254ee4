//! Who may declare whom dead after an outage.

use std::sync::Arc;
use std::time::Duration;

use codexapi::clock;
use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi::gateway::admission::{Admission, WaitingLimits};
use codexapi::processes::sweeper::{Sweeper, SweeperSettings};
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::wallet::WalletTerms;
use sqlx::PgPool;

use crate::harness::TestDatabase;

const LAPSE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_node_whose_own_lease_is_stale_declares_nobody_dead() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    let (node, other) = (NodeIncarnation(clock::new_id()), NodeIncarnation(clock::new_id()));
    for (incarnation, name) in [(node, "this"), (other, "other")] {
        sqlx::query(
            "INSERT INTO nodes (incarnation, name, renewed_at) VALUES ($1, $2, now() - interval '1 hour')",
        )
        .bind(incarnation.0)
        .bind(name)
        .execute(pool)
        .await
        .expect("inserted");
    }
    let sweeper = Sweeper {
        node,
        pool: pool.clone(),
        log: EventLog::open(pool.clone(), EventLogOptions::new(node)).await.expect("the log"),
        admission: Arc::new(Admission::new(WaitingLimits {
            longest: LAPSE,
            per_wallet: 1,
            ask_again: LAPSE,
        })),
        settings: SweeperSettings {
            interval: Duration::from_secs(1),
            lease_lapse: LAPSE,
            terms: WalletTerms::default(),
        },
    };

    // Postgres was away for an hour: neither could renew.
    sweeper.judge_leases().await.expect("judged");
    assert_eq!(ended(pool).await, Vec::<uuid::Uuid>::new());

    sqlx::query("UPDATE nodes SET renewed_at = now() WHERE incarnation = $1")
        .bind(node.0)
        .execute(pool)
        .await
        .expect("renewed");
    sweeper.judge_leases().await.expect("judged");
    assert_eq!(ended(pool).await, [other.0]);
}

async fn ended(pool: &PgPool) -> Vec<uuid::Uuid> {
    sqlx::query_scalar("SELECT incarnation FROM nodes WHERE ended_at IS NOT NULL")
        .fetch_all(pool)
        .await
        .expect("readable")
}
