//! Watches providers: a round of checks every interval, while the operator wants it.
//!
//! Every node watches for itself, since circuits are each node's own; that a deployment of several nodes pays for as
//! many checks is the price of knowing what each of them can reach. Rounds begin at moments that differ from node to
//! node, so that a provider does not get all of them at once. The settings are read every second from the policy in
//! memory: a change counts within seconds.

use std::sync::Arc;
use std::time::Duration;

use codexapi_aggregates::routing::HealthSettings;
use rand::RngExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::health::{Checks, NotBegun, Which, history};

/// How often the settings are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between the end of one round and the beginning of the next, whatever the settings say.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);

/// The latest the first round begins after it was switched on.
const LATEST_FIRST: Duration = Duration::from_secs(10);

/// How often old checks are forgotten.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);

/// Checks until `stop`.
pub async fn run(checks: Arc<Checks>, pool: sqlx::PgPool, stop: CancellationToken) {
    let purging = purge(pool);
    let watching = watch(checks);
    stop.run_until_cancelled(async { tokio::join!(purging, watching) }).await;
}

async fn watch(checks: Arc<Checks>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut due: Option<Instant> = None;
    let mut was_readable = true;
    loop {
        look.tick().await;
        let settings = match checks.settings().await {
            Ok(settings) => settings,
            Err(error) => {
                if std::mem::take(&mut was_readable) {
                    tracing::warn!(error = %format!("{error:#}"), "providers are not checked");
                }
                continue;
            }
        };
        was_readable = true;
        if !settings.is_awake(clock::now()) {
            due = None;
            continue;
        }
        let now = Instant::now();
        // A shorter interval counts at once, not after what is left of a longer one.
        let begin = due.unwrap_or_else(|| now + up_to(LATEST_FIRST.min(interval(&settings))));
        let begin = begin.min(now + longest(&settings));
        if now < begin {
            due = Some(begin);
            continue;
        }
        round(&checks).await;
        let spread = up_to(longest(&settings) - interval(&settings));
        due = Some((now + interval(&settings) + spread).max(Instant::now() + SHORTEST_PAUSE));
    }
}

/// One round, waited for to its end.
async fn round(checks: &Arc<Checks>) {
    let request_id = format!("check_{}", clock::new_id().simple());
    let mut round = match checks.begin(&Which::default(), &request_id).await {
        Ok(round) => round,
        // Somebody's checks are running, which tell as much.
        Err(NotBegun::Running | NotBegun::NoTarget) => return,
        Err(error @ NotBegun::Unavailable(_)) => return tracing::warn!(%error, "providers are not checked"),
    };
    while let Some(checked) = round.next().await {
        let (provider, model) = (&checked.target.provider, &checked.target.upstream_model);
        let (class, latency_ms) = (checked.class.name(), checked.latency_ms);
        tracing::debug!(provider, model, class, latency_ms, "checked");
    }
}

async fn purge(pool: sqlx::PgPool) {
    let mut due = tokio::time::interval(PURGE_EVERY);
    loop {
        due.tick().await;
        match history::purge(&pool).await {
            Ok(0) => {}
            Ok(checks) => tracing::info!(checks, "forgot old checks of providers"),
            Err(error) => tracing::warn!(%error, "old checks of providers were not forgotten"),
        }
    }
}

fn interval(settings: &HealthSettings) -> Duration {
    Duration::from_secs(settings.interval_secs.into())
}

/// The interval and the most it is spread by, a tenth.
fn longest(settings: &HealthSettings) -> Duration {
    interval(settings) + interval(settings) / 10
}

fn up_to(most: Duration) -> Duration {
    Duration::from_millis(rand::rng().random_range(0..=u64::try_from(most.as_millis()).unwrap_or(u64::MAX)))
}
