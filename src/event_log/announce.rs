//! Telling the other nodes what this one has appended: gathered, and beside the commits, which need not wait for it.
//!
//! What is not told, since Postgres was away or the process ended, the others see at their next look at the log's head.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::reads::READ_TIMEOUT;

pub(super) const CHANNEL: &str = "events_appended";

/// Announcements are at least this far apart: each wakes every node.
const GATHER: Duration = Duration::from_millis(20);

/// Pause after one that failed.
const RETRY: Duration = Duration::from_secs(1);

/// What a node has appended, from the first position to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub first: i64,
    pub last: i64,
    /// How many of the positions are that node's.
    pub events: i64,
}

impl Span {
    /// Whether nothing of another node stands within it.
    pub fn is_whole(&self) -> bool {
        self.last - self.first + 1 == self.events
    }

    fn with(self, next: Self) -> Self {
        Self {
            first: self.first.min(next.first),
            last: self.last.max(next.last),
            events: self.events + next.events,
        }
    }
}

/// What this node has appended since it last announced.
#[derive(Clone)]
pub(crate) struct Unannounced {
    node: Arc<str>,
    gathered: watch::Sender<Option<Span>>,
}

impl Unannounced {
    pub fn by(node: &str) -> Self {
        Self { node: node.into(), gathered: watch::Sender::default() }
    }

    pub fn add(&self, span: Span) {
        self.gathered
            .send_modify(|gathered| *gathered = Some(gathered.map_or(span, |before| before.with(span))));
    }

    fn take(&self) -> Option<Span> {
        let mut taken = None;
        self.gathered.send_if_modified(|gathered| {
            taken = gathered.take();
            false
        });
        taken
    }

    /// Announces whatever is added, for as long as it is polled.
    pub async fn keep_announcing(self, pool: PgPool) {
        let mut added = self.gathered.subscribe();
        while added.wait_for(Option::is_some).await.is_ok() {
            let pause = if self.announce(&pool).await { GATHER } else { RETRY };
            sleep(pause).await;
        }
    }

    /// Announces what there is. Where that fails, it waits for the next time.
    pub async fn announce(&self, pool: &PgPool) -> bool {
        let Some(span) = self.take() else { return true };
        let Span { first, last, events } = span;
        let notified = notify(pool, CHANNEL, &format!("{} {first} {last} {events}", self.node)).await;
        if let Err(error) = &notified {
            tracing::warn!(
                error = format!("{error:#}"),
                "other nodes were not told of appends; they will look"
            );
            self.add(span);
        }
        notified.is_ok()
    }
}

/// Tells every process that listens to `channel`.
pub(super) async fn notify(pool: &PgPool, channel: &str, text: &str) -> anyhow::Result<()> {
    let notified = sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(text).execute(pool);
    timeout(READ_TIMEOUT, notified).await.context("no answer in time")??;
    Ok(())
}

/// The node, and what it has appended.
pub(super) fn parse(announced: &str) -> Option<(&str, Span)> {
    let mut words = announced.split(' ');
    let node = words.next()?;
    let (first, last): (i64, i64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    // append_events() itself announces without a count.
    if !(1..=last).contains(&first) {
        return None;
    }
    let events = words.next().map_or(Some(last - first + 1), |events| events.parse().ok())?;
    Some((node, Span { first, last, events }))
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgPoolOptions;

    use super::*;

    fn span(first: i64, last: i64, events: i64) -> Span {
        Span { first, last, events }
    }

    #[test]
    fn what_is_added_before_an_announcement_goes_into_it_once() {
        let unannounced = Unannounced::by("a");
        assert_eq!(unannounced.take(), None);
        unannounced.add(span(3, 4, 2));
        unannounced.add(span(5, 5, 1));
        assert_eq!(unannounced.take(), Some(span(3, 5, 3)));
        assert_eq!(unannounced.take(), None);
    }

    #[tokio::test]
    async fn what_could_not_be_announced_goes_into_the_next() {
        let nobody = PgPoolOptions::new().acquire_timeout(Duration::from_millis(50));
        let nobody = nobody.connect_lazy("postgres://127.0.0.1:1/nothing").expect("a URL");
        let unannounced = Unannounced::by("a");
        assert!(unannounced.announce(&nobody).await, "nothing to be told");
        unannounced.add(span(3, 4, 2));
        assert!(!unannounced.announce(&nobody).await);
        unannounced.add(span(5, 5, 1));
        assert_eq!(unannounced.take(), Some(span(3, 5, 3)));
    }

    #[test]
    fn a_span_is_whole_where_nobody_else_wrote_within_it() {
        assert!(span(3, 4, 2).with(span(5, 5, 1)).is_whole());
        assert!(!span(3, 4, 2).with(span(6, 6, 1)).is_whole(), "5 is another's, or nobody's");
    }

    #[test]
    fn announcements_of_nodes_and_of_the_function_are_read() {
        assert_eq!(parse("a-1 3 7 4"), Some(("a-1", span(3, 7, 4))));
        assert_eq!(parse("a-1 3 7"), Some(("a-1", span(3, 7, 5))));
        assert_eq!(parse("a-1 3 7 x"), None);
        assert_eq!(parse("a-1 3"), None);
        assert_eq!(parse("a-1 7 3 1"), None);
        assert_eq!(parse(&format!("a-1 {} {}", i64::MIN, i64::MAX)), None);
        assert_eq!(parse(""), None);
    }
}
