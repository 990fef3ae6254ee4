//! Which nodes live, as each of them reads it from Postgres, and which of them is a wallet's home.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use codexapi_aggregates::ids::{AccountId, NodeIncarnation};
use codexapi_aggregates::time::Timestamp;
use sqlx::PgPool;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Homes;

/// How often the view is read; views differ for as long, and both of two homes then decide.
const READ_EVERY: Duration = Duration::from_secs(1);

const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How far a reading of the database's clock may be off to be used; two nodes may differ by twice that.
const CLOCK_OFF: Duration = Duration::from_millis(20);

/// A better reading of the clock is kept this long, then any newer one is taken.
const CLOCK_KEPT: Duration = Duration::from_secs(300);

/// Nodes in one view.
const MOST_NODES: i64 = 256;

/// A node that takes others' commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveNode {
    pub incarnation: NodeIncarnation,
    /// Where it listens for them.
    pub address: String,
}

/// The live nodes, as they were read last.
#[derive(Clone, Debug, Default)]
pub struct View {
    nodes: Vec<LiveNode>,
    clock: Option<DatabaseClock>,
}

/// The database's clock as seen from here: nodes need not agree on the time.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseClock {
    read_at: Instant,
    read: Timestamp,
    /// The reading may be wrong by this.
    off: Duration,
}

impl DatabaseClock {
    /// The database said `read` between two moments.
    pub fn read_between(asked: Instant, answered: Instant, read: Timestamp) -> Self {
        let off = (answered - asked) / 2;
        Self { read_at: asked + off, read, off }
    }

    fn better_of(self, newer: Self) -> Self {
        let keeps = newer.off > self.off && self.read_at.elapsed() < CLOCK_KEPT;
        if keeps { self } else { newer }
    }

    pub fn now(self) -> Timestamp {
        let since = i64::try_from(self.read_at.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.read.0.saturating_add(since))
    }
}

impl View {
    pub fn new(nodes: Vec<LiveNode>, clock: DatabaseClock) -> Self {
        Self { nodes, clock: Some(clock) }
    }

    pub fn nodes(&self) -> &[LiveNode] {
        &self.nodes
    }

    /// `None` as long as it was not read well enough.
    pub fn clock(&self) -> Option<DatabaseClock> {
        self.clock.filter(|clock| clock.off <= CLOCK_OFF)
    }

    /// Rendezvous: each node draws a number for the account, and the highest has it. Of a node that comes or goes
    /// only its own accounts move.
    pub fn home_of(&self, account_id: AccountId) -> Option<&LiveNode> {
        match self.nodes.as_slice() {
            [] => None,
            [only] => Some(only),
            several => several.iter().max_by_key(|node| drawn(node.incarnation, account_id)),
        }
    }
}

/// Stable across builds, so that nodes of two versions agree.
fn drawn(node: NodeIncarnation, account_id: AccountId) -> [u8; 32] {
    let mut both = [0; 32];
    both[..16].copy_from_slice(node.0.as_bytes());
    both[16..].copy_from_slice(account_id.0.as_bytes());
    *blake3::hash(&both).as_bytes()
}

/// Keeps the view of `homes` up to date until `stop`. A node counts as live that has renewed its lease within
/// `renewed_within`.
pub async fn follow(homes: Homes, pool: PgPool, renewed_within: Duration, stop: CancellationToken) {
    let following = async {
        let mut due = tokio::time::interval(READ_EVERY);
        let mut away = false;
        loop {
            due.tick().await;
            match timeout(READ_TIMEOUT, read(&pool, renewed_within)).await.map_err(anyhow::Error::from) {
                Ok(Ok(view)) => {
                    away = false;
                    homes.sees(view);
                }
                Ok(Err(error)) => say_away(&mut away, &error.into()),
                Err(error) => say_away(&mut away, &error),
            }
        }
    };
    stop.run_until_cancelled(following).await;
}

/// Once for as long as it lasts; the view stays as it was.
fn say_away(away: &mut bool, error: &anyhow::Error) {
    if !std::mem::replace(away, true) {
        tracing::warn!(error = %format!("{error:#}"), "which nodes live cannot be read");
    }
}

async fn read(pool: &PgPool, renewed_within: Duration) -> sqlx::Result<View> {
    let within = i64::try_from(renewed_within.as_millis()).unwrap_or(i64::MAX);
    let asked = Instant::now();
    let rows: Vec<(Option<Uuid>, Option<String>, DateTime<Utc>)> = sqlx::query_as(
        "SELECT incarnation, address, clock_timestamp() FROM (VALUES (1)) always(row)
         LEFT JOIN nodes ON ended_at IS NULL AND address IS NOT NULL
                        AND renewed_at >= now() - $1 * interval '1 millisecond'
         ORDER BY incarnation LIMIT $2",
    )
    .bind(within)
    .bind(MOST_NODES)
    .fetch_all(pool)
    .await?;
    let answered = Instant::now();
    let read = rows.first().map_or(Timestamp::default(), |(_, _, at)| Timestamp(at.timestamp_micros()));
    let nodes = rows.into_iter().filter_map(|(incarnation, address, _)| {
        Some(LiveNode { incarnation: NodeIncarnation(incarnation?), address: address? })
    });
    Ok(View::new(nodes.collect(), DatabaseClock::read_between(asked, answered, read)))
}

impl Homes {
    /// Takes another view of the live nodes.
    pub fn sees(&self, mut view: View) {
        let before = Arc::clone(&self.view.borrow());
        view.clock = match (before.clock, view.clock) {
            (Some(older), Some(newer)) => Some(older.better_of(newer)),
            (either, None) | (None, either) => either,
        };
        let changed = before.nodes != view.nodes;
        if changed {
            tracing::info!(nodes = view.nodes.len(), "the live nodes have changed");
        }
        self.view.send_replace(Arc::new(view));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::clock;

    fn view(incarnations: &[NodeIncarnation]) -> View {
        let node = |incarnation: &NodeIncarnation| LiveNode {
            incarnation: *incarnation,
            address: "127.0.0.1:1".to_owned(),
        };
        View::new(incarnations.iter().map(node).collect(), read_within(Duration::ZERO))
    }

    fn read_within(round_trip: Duration) -> DatabaseClock {
        let asked = Instant::now();
        DatabaseClock::read_between(asked, asked + round_trip, Timestamp(0))
    }

    #[test]
    fn a_clock_that_was_read_slowly_is_not_used_and_displaces_no_better_one() {
        let slow = read_within(Duration::from_millis(41));
        assert!(View::new(vec![], slow).clock().is_none());
        let quick = read_within(Duration::from_millis(2));
        assert_eq!(quick.better_of(slow).off, Duration::from_millis(1));
        assert_eq!(slow.better_of(quick).off, Duration::from_millis(1));
    }

    fn ids<T>(count: usize, id: fn(Uuid) -> T) -> Vec<T> {
        (0..count).map(|_| id(clock::new_id())).collect()
    }

    fn homes(view: &View, accounts: &[AccountId]) -> Vec<NodeIncarnation> {
        accounts.iter().map(|account| view.home_of(*account).expect("a home").incarnation).collect()
    }

    #[test]
    fn without_live_nodes_nobody_has_a_home_elsewhere() {
        assert_eq!(view(&[]).home_of(AccountId(clock::new_id())), None);
    }

    #[test]
    fn every_node_finds_the_same_home_in_whatever_order_it_reads_them() {
        let (nodes, accounts) = (ids(5, NodeIncarnation), ids(200, AccountId));
        let mut other_way = nodes.clone();
        other_way.reverse();
        assert_eq!(homes(&view(&nodes), &accounts), homes(&view(&other_way), &accounts));
    }

    #[test]
    fn accounts_are_spread_over_all_nodes() {
        let (nodes, accounts) = (ids(4, NodeIncarnation), ids(4_000, AccountId));
        let mut counted: HashMap<NodeIncarnation, usize> = HashMap::new();
        for home in homes(&view(&nodes), &accounts) {
            *counted.entry(home).or_default() += 1;
        }
        // A fair draw is this far off once in 10^10 runs.
        assert!(nodes.iter().all(|node| (800..1_200).contains(&counted[node])), "{counted:?}");
    }

    #[test]
    fn of_a_node_that_goes_only_its_own_accounts_move() {
        let (nodes, accounts) = (ids(4, NodeIncarnation), ids(1_000, AccountId));
        let before = homes(&view(&nodes), &accounts);
        let after = homes(&view(&nodes[1..]), &accounts);
        for (before, after) in before.iter().zip(&after) {
            assert!(*before == nodes[0] || before == after);
            assert_ne!(*after, nodes[0]);
        }
    }
}
