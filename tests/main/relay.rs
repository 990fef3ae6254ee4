//! The relay and the feed against a real nats-server: everything once and in order, whatever dies.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use async_nats::jetstream;
use codexapi::clock;
use codexapi::embedded::{EmbeddedNats, EmbeddedNatsOptions};
use codexapi::event_log::read::{self, SHARD};
use codexapi::feed::JetStreamFeed;
use codexapi::nats::{Nats, NatsConfig, NatsNames, message};
use codexapi::projector::{Feed, FeedBatch, Projector};
use codexapi::relay::{self, RelayProgress, RelayState};
use codexapi::verify::{self, HoldTerms, VerifyOptions};
use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::{Entry, versions};
use futures::future::join_all;
use sqlx::{Connection, PgConnection, PgPool};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::business::Business;
use crate::harness::{TestDatabase, wait_for};

/// How long a feed is given where something should come.
const PATIENCE: Duration = Duration::from_secs(5);

struct Stage {
    database: TestDatabase,
    business: Business,
    server: EmbeddedNats,
    nats: Nats,
    _folder: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o711))
            .tempdir()
            .expect("a temporary folder");
        let options = EmbeddedNatsOptions::new(folder.path().join("nats"));
        let server = EmbeddedNats::start(options).await.expect("nats-server starts");
        // Its own, because a client whose server was killed may find another test's on that port.
        let names = NatsNames::new(&clock::new_id().simple().to_string()).expect("a prefix");
        let nats = Nats::connect(&NatsConfig { url: server.url(), names }).await.expect("a client");
        let database = TestDatabase::new().await;
        let business = Business::open(&database.pool).await;
        Self { database, business, server, nats, _folder: folder }
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    fn relay(&self) -> RunningRelay {
        RunningRelay::start(self.pool(), &self.nats, &self.business)
    }

    fn feed(&self) -> JetStreamFeed {
        JetStreamFeed::new(self.pool().clone(), self.nats.clone(), "balances")
    }

    async fn head(&self) -> i64 {
        read::head(self.pool(), SHARD).await.expect("the head")
    }

    async fn caught_up(&self, relay: &RunningRelay) {
        let head = self.head().await;
        let published = async || relay.published().filter(|position| *position >= head);
        wait_for("the relay has published everything", published).await;
    }

    /// (position, previous position, epoch) of every event in the stream.
    async fn messages(&self) -> Vec<(i64, i64, i64)> {
        let jetstream = self.nats.jetstream();
        let stream = jetstream.get_stream(self.nats.names.stream()).await.expect("the stream");
        let state = &stream.cached_info().state;
        let mut places = Vec::new();
        if state.messages == 0 {
            return places;
        }
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.expect("a message");
            let place = message::place(&message.headers)
                .unwrap_or_else(|error| panic!("message {sequence} of {state:?}: {error}"));
            let events = message::decode(&message.payload).expect("a page");
            let mut previous = place.previous_position;
            for event in &events {
                places.push((event.position(), previous, place.epoch));
                previous = event.position();
            }
            assert_eq!(previous, place.position, "a page ends where its headers say");
        }
        places
    }

    /// The log's positions after the one where the first relay began.
    async fn positions_since(&self, begin: i64) -> Vec<i64> {
        sqlx::query_scalar("SELECT position FROM events WHERE position > $1 ORDER BY position")
            .bind(begin)
            .fetch_all(self.pool())
            .await
            .expect("positions")
    }

    /// The server dies with all it has stored, and comes back empty.
    async fn wipe_nats(&mut self) {
        self.server.wipe().expect("wiped");
        self.server.restart().await.expect("restarted");
    }

    async fn tamper(&self, statement: &str) {
        let options = self.pool().connect_options();
        let mut connection = PgConnection::connect_with(&options).await.expect("connected");
        sqlx::raw_sql("SET session_replication_role = replica")
            .execute(&mut connection)
            .await
            .expect("superuser");
        sqlx::raw_sql(statement).execute(&mut connection).await.expect("changed");
    }
}

struct RunningRelay {
    seen: watch::Receiver<RelayProgress>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningRelay {
    fn start(pool: &PgPool, nats: &Nats, business: &Business) -> Self {
        let (progress, seen) = watch::channel(RelayProgress::default());
        let shutdown = CancellationToken::new();
        let appended = business.log.appended();
        let recent = business.log.recent();
        let run = relay::run(pool.clone(), nats.clone(), appended, recent, progress, shutdown.clone());
        let task = tokio::spawn(run);
        Self { seen, shutdown, task }
    }

    fn progress(&self) -> RelayProgress {
        *self.seen.borrow()
    }

    fn published(&self) -> Option<i64> {
        let progress = self.progress();
        (progress.state == RelayState::Publishing).then_some(progress.position)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("the relay ends when told");
    }
}

/// The positions of the next events the feed has, in order, to a reader that says what it has; waits for the first.
async fn fed(feed: &mut JetStreamFeed, count: usize) -> Vec<i64> {
    let mut positions = Vec::new();
    while positions.len() < count {
        let batch = match feed.next_batch(PATIENCE).await {
            Ok(batch) => batch,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let batch = batch.expect("events within the time");
        positions.extend(batch.entries().iter().map(Entry::position));
        batch.acknowledge().await.expect("acknowledged");
        feed.level_with(positions.last().copied().expect("at least one"));
    }
    positions
}

/// A relay that is level with the log, and a feed that hears of all that follows.
async fn attached() -> (Stage, RunningRelay, JetStreamFeed) {
    let stage = Stage::set().await;
    let (relay, mut feed) = (stage.relay(), stage.feed());
    stage.caught_up(&relay).await;
    attach(&mut feed).await;
    (stage, relay, feed)
}

/// Makes the feed's consumer, so that what is published from now on reaches it.
async fn attach(feed: &mut JetStreamFeed) {
    let attached = async || feed.next_batch(Duration::from_millis(10)).await.ok();
    wait_for("the feed has a consumer", attached).await;
}

/// Waits until the feed has noticed that its stream is gone.
async fn lost(feed: &mut JetStreamFeed) {
    let told = async || feed.next_batch(Duration::from_millis(50)).await.err();
    wait_for("the feed says that its stream is gone", told).await;
}

#[tokio::test]
async fn every_event_is_published_once_in_order_with_its_predecessor() {
    let stage = Stage::set().await;
    let relay = stage.relay();
    stage.caught_up(&relay).await;
    let begin = stage.head().await;
    for _ in 0..10 {
        stage.business.generate("conversation").await;
    }
    stage.caught_up(&relay).await;
    let positions = stage.positions_since(begin).await;
    let previous = [begin].into_iter().chain(positions.iter().copied());
    let expected: Vec<_> = positions.iter().zip(previous).map(|(at, before)| (*at, before, 1)).collect();
    assert_eq!(stage.messages().await, expected);
    assert_eq!(relay.progress().lag(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn a_second_relay_stands_by_until_the_first_ends() {
    let stage = Stage::set().await;
    let first = stage.relay();
    stage.caught_up(&first).await;
    let begin = stage.head().await;
    let second = stage.relay();
    stage.business.generate("conversation").await;
    stage.caught_up(&first).await;
    assert_eq!(second.progress().state, RelayState::Standby);
    first.stop().await;
    stage.business.generate("conversation").await;
    stage.caught_up(&second).await;
    let positions: Vec<_> = stage.messages().await.into_iter().map(|(position, ..)| position).collect();
    assert_eq!(positions, stage.positions_since(begin).await);
    second.stop().await;
}

#[tokio::test]
async fn a_relay_that_loses_its_lock_publishes_nothing_twice() {
    let stage = Stage::set().await;
    let relay = stage.relay();
    stage.caught_up(&relay).await;
    let begin = stage.head().await;
    stage
        .tamper(
            "SELECT pg_terminate_backend(pid) FROM pg_locks
             WHERE locktype = 'advisory' AND granted AND objid = 7263542002 % 4294967296
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .await;
    for _ in 0..5 {
        stage.business.generate("conversation").await;
    }
    stage.caught_up(&relay).await;
    let positions: Vec<_> = stage.messages().await.into_iter().map(|(position, ..)| position).collect();
    assert_eq!(positions, stage.positions_since(begin).await);
    relay.stop().await;
}

#[tokio::test]
async fn a_stream_that_another_has_written_is_made_anew_under_a_higher_epoch() {
    let stage = Stage::set().await;
    let relay = stage.relay();
    stage.caught_up(&relay).await;
    let foreign = jetstream::message::PublishMessage::build().payload("{}".into());
    let subject = stage.nats.names.pages();
    let published = stage.nats.jetstream().send_publish(subject, foreign).await.expect("sent");
    published.await.expect("stored");
    // The relay notices with this one, which the new stream may begin after.
    stage.business.generate("conversation").await;
    stage.caught_up(&relay).await;
    stage.business.generate("conversation").await;
    stage.caught_up(&relay).await;
    let messages = stage.messages().await;
    assert!(messages.iter().all(|(.., epoch)| *epoch == 2), "{messages:?}");
    let (_, begin, _) = messages[0];
    let positions: Vec<_> = messages.into_iter().map(|(position, ..)| position).collect();
    assert_eq!(positions, stage.positions_since(begin).await);
    relay.stop().await;
}

#[tokio::test]
async fn killing_nats_loses_nothing_and_doubles_nothing() {
    let (mut stage, relay, mut feed) = attached().await;
    let begin = stage.head().await;
    for _ in 0..3 {
        stage.server.kill9().expect("killed");
        stage.business.generate("conversation").await;
        stage.server.restart().await.expect("restarted");
        stage.business.generate("conversation").await;
        stage.caught_up(&relay).await;
    }
    let expected = stage.positions_since(begin).await;
    assert_eq!(fed(&mut feed, expected.len()).await, expected);
    let positions: Vec<_> = stage.messages().await.into_iter().map(|(position, ..)| position).collect();
    assert_eq!(positions, expected);
    relay.stop().await;
}

#[tokio::test]
async fn wiped_under_load_the_relay_goes_on_and_every_hole_shows() {
    let (mut stage, relay, mut feed) = attached().await;
    for _ in 0..3 {
        stage.business.generate("conversation").await;
    }
    stage.wipe_nats().await;
    stage.business.generate("conversation").await;
    stage.caught_up(&relay).await;
    for _ in 0..3 {
        stage.business.generate("conversation").await;
    }
    stage.caught_up(&relay).await;
    let messages = stage.messages().await;
    assert!(messages.len() >= 9, "{messages:?}");
    assert!(messages.windows(2).all(|pair| pair[0].0 == pair[1].1), "no hole within the stream");
    lost(&mut feed).await;
    attach(&mut feed).await;
    let before = stage.head().await;
    stage.business.generate("conversation").await;
    let batch =
        wait_for("a batch after the wipe", async || feed.next_batch(PATIENCE).await.ok().flatten()).await;
    assert_eq!(batch.previous_position(), before, "a projection sees from this what it has missed");
    relay.stop().await;
}

#[tokio::test]
async fn a_stream_that_takes_nothing_and_has_lost_its_end_is_made_anew() {
    let (stage, relay, _feed) = attached().await;
    for _ in 0..2 {
        stage.business.generate("conversation").await;
        stage.caught_up(&relay).await;
    }
    let jetstream = stage.nats.jetstream();
    let stream = jetstream.get_stream(stage.nats.names.stream()).await.expect("the stream");
    let config = jetstream::stream::Config { max_message_size: 16, ..stream.cached_info().config.clone() };
    jetstream.update_stream(config).await.expect("no message is as small as that");
    let last = stream.cached_info().state.last_sequence;
    assert!(stream.delete_message(last).await.expect("deleted"), "counted and gone, as where files are gone");
    stage.business.hold().await;
    let refused = async || Some(relay.progress()).filter(|seen| seen.state == RelayState::Retrying);
    let stuck = wait_for("the relay says that it is refused", refused).await;
    assert!(stuck.lag() > 0, "{stuck:?}");
    stage.business.generate("conversation").await;
    let head = stage.head().await;
    let knows = async || (relay.progress().head >= head).then_some(());
    wait_for("it knows how far the log is, though it publishes nothing", knows).await;
    stage.caught_up(&relay).await;
    stage.business.hold().await;
    stage.caught_up(&relay).await;
    let messages = stage.messages().await;
    assert!(messages.iter().all(|(.., epoch)| *epoch == 2), "{messages:?}");
    relay.stop().await;
}

#[tokio::test]
async fn wiped_while_idle_the_feed_says_so_and_recovers() {
    let (mut stage, relay, mut feed) = attached().await;
    stage.wipe_nats().await;
    lost(&mut feed).await;
    stage.business.generate("conversation").await;
    stage.caught_up(&relay).await;
    attach(&mut feed).await;
    let before = stage.head().await;
    stage.business.hold().await;
    let next = wait_for("the next event", async || feed.next_batch(PATIENCE).await.ok().flatten()).await;
    assert_eq!((next.previous_position(), next.entries().len()), (before, 1));
    relay.stop().await;
}

#[tokio::test]
async fn a_backlog_is_left_to_the_log_and_shows_as_a_hole() {
    let (stage, relay, mut feed) = attached().await;
    stage.business.hold().await;
    let published = stage.head().await;
    assert_eq!(fed(&mut feed, 1).await, [published]);
    relay.stop().await;
    stage.business.grant(MicroUsd::dollars(1_000)).await;
    while stage.head().await <= published + relay::PAGE as i64 {
        let conversations: Vec<_> = (0..50).map(|number| format!("conversation {number}")).collect();
        join_all(conversations.iter().map(|conversation| stage.business.generate(conversation))).await;
    }
    let relay = stage.relay();
    stage.caught_up(&relay).await;
    let begin = stage.head().await;
    stage.business.hold().await;
    stage.caught_up(&relay).await;
    let next = wait_for("the next event", async || feed.next_batch(PATIENCE).await.ok().flatten()).await;
    assert_eq!((next.previous_position(), next.entries().len()), (begin, 1));
    let positions: Vec<_> = stage.messages().await.into_iter().map(|(position, ..)| position).collect();
    assert_eq!(
        positions,
        [published, stage.head().await],
        "the stream is the same, the backlog is not in it"
    );
    relay.stop().await;
}

#[tokio::test]
async fn a_restored_database_gets_a_new_epoch_and_no_foreign_event() {
    let (stage, relay, mut feed) = attached().await;
    let backed_up = stage.head().await;
    let checkpoint: (i64, uuid::Uuid) =
        sqlx::query_as("SELECT stream_sequence, event_id FROM relay_checkpoint")
            .fetch_one(stage.pool())
            .await
            .expect("the checkpoint");
    stage.business.hold().await;
    stage.business.hold().await;
    stage.caught_up(&relay).await;
    relay.stop().await;
    // What a restore from the backup leaves: neither those events nor the checkpoint after them, and
    // the positions are given out again.
    stage
        .tamper(&format!(
            "DELETE FROM events WHERE position > {backed_up};
             SELECT setval(pg_get_serial_sequence('events', 'position'), {backed_up});
             UPDATE relay_checkpoint SET position = {backed_up}, stream_sequence = {}, event_id = '{}'",
            checkpoint.0, checkpoint.1
        ))
        .await;
    assert!(feed.next_batch(PATIENCE).await.is_err(), "the old stream's events are not this log's");
    let restored = Business::open(stage.pool()).await;
    let relay = stage.relay();
    stage.caught_up(&relay).await;
    let begin = stage.head().await;
    restored.hold().await;
    stage.caught_up(&relay).await;
    let expected = stage.positions_since(begin).await;
    let messages = stage.messages().await;
    assert_eq!(messages.iter().map(|message| message.0).collect::<Vec<_>>(), expected);
    assert!(messages.iter().all(|message| message.2 == 2), "{messages:?}");
    attach(&mut feed).await;
    restored.hold().await;
    let next = wait_for("the next event", async || feed.next_batch(PATIENCE).await.ok().flatten()).await;
    assert_eq!(next.entries()[0].position(), stage.head().await);
    relay.stop().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let stage = Stage::set().await;
    let relay = stage.relay();
    let mut feed = stage.feed().redelivering_after(Duration::from_secs(1));
    stage.caught_up(&relay).await;
    attach(&mut feed).await;
    stage.business.generate("conversation").await;
    stage.caught_up(&relay).await;
    let first = feed.next_batch(PATIENCE).await.expect("delivered").expect("a batch");
    let taken: Vec<_> = first.entries().iter().map(Entry::position).collect();
    // Dropped unacknowledged, as by a process that died.
    drop(first);
    let again = fed(&mut feed, taken.len()).await;
    assert_eq!(again, taken);
    relay.stop().await;
}

#[tokio::test]
async fn what_every_reader_has_is_acknowledged_and_not_handed_out() {
    let stage = Stage::set().await;
    let relay = stage.relay();
    let mut feed = stage.feed().redelivering_after(Duration::from_secs(1));
    stage.caught_up(&relay).await;
    attach(&mut feed).await;
    stage.business.generate("conversation").await;
    stage.caught_up(&relay).await;
    let known = stage.head().await;
    feed.level_with(known);
    // Long enough for a redelivery of what was not acknowledged.
    assert!(feed.next_batch(Duration::from_millis(1_500)).await.expect("delivered").is_none());
    stage.business.generate("conversation").await;
    stage.caught_up(&relay).await;
    let news = stage.positions_since(known).await;
    assert_eq!(fed(&mut feed, news.len()).await, news);
    relay.stop().await;
}

#[tokio::test]
async fn with_nats_away_the_feed_answers_at_once() {
    let mut stage = Stage::set().await;
    let mut feed = stage.feed();
    stage.server.kill9().expect("killed");
    let away = async || (!stage.nats.is_connected()).then_some(());
    wait_for("the client notices", away).await;
    assert!(feed.next_batch(Duration::from_secs(3_600)).await.is_err());
}

#[tokio::test]
async fn read_models_equal_the_log_though_nats_is_wiped_under_load_and_then_idle() {
    let Stage { database, business, mut server, nats, _folder } = Stage::set().await;
    let pool = &database.pool;
    versions::install(pool).await.expect("read tables");
    let relay = RunningRelay::start(pool, &nats, &business);
    let projector = Projector::new(pool.clone(), business.log.appended());
    let stop = CancellationToken::new();
    let feeds = || JetStreamFeed::new(pool.clone(), nats.clone(), "read_models");
    let scenario = async {
        let loaded = CancellationToken::new();
        let load = async {
            while !loaded.is_cancelled() {
                business.generate("conversation").await;
            }
        };
        let faults = async {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(300)).await;
                server.wipe().expect("wiped");
                tokio::time::sleep(Duration::from_millis(300)).await;
                server.restart().await.expect("restarted");
            }
            loaded.cancel();
        };
        tokio::join!(load, faults);
        let level = async || {
            projector.lags(pool).await.expect("lags").iter().all(|lag| lag.positions() == 0).then_some(())
        };
        wait_for("every read model is level with the log", level).await;
        server.wipe().expect("wiped");
        business.generate("conversation").await;
        wait_for("every read model is level with the log, without NATS", level).await;
        stop.cancel();
    };
    tokio::join!(projector.run(feeds, stop.clone()), scenario);
    relay.stop().await;
    let options = VerifyOptions::new(HoldTerms::standard(clock::now()));
    let report = verify::run(pool, &options).await.expect("carried out");
    assert_eq!(report.difference, None);
    assert!(report.generations > 1);
}
