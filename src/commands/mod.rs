//! Running a command: load, decide, append, and answer with the events that are now committed.
//!
//! The rule is a closure over an aggregate's state and the time; it may be called several times,
//! since a decision that could not be stored is made anew on newer state. A refusal, or a decision
//! that nothing need happen, is answered only when the state it was made on is known to be committed
//! and to be the latest that Postgres has.

mod attempt;
mod hold;
mod once;
mod store;

use std::sync::Arc;
use std::time::{Duration, Instant};

use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::time::Timestamp;
use cqrs_es::Aggregate;
use rand::RngExt;

use crate::event_log::{EventLog, IdempotencyKey, Inner, Reads, Unread};
use attempt::Interrupted;
use hold::stream_key;

/// Times a command is decided before it is given up for contention.
pub const MAX_ATTEMPTS: u32 = 40;

/// Attempts lost to others until they are asked to leave a stream alone for a moment.
const LOSSES_TO_A_TURN: u32 = 3;

/// The longest pause between two attempts; each is drawn at random below a bound that doubles.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// An aggregate the log can keep live.
pub trait LiveAggregate: Aggregate + Clone + Send + Sync + 'static {}
impl<A: Aggregate + Clone + Send + Sync + 'static> LiveAggregate for A {}

/// Who asks, and what is known about the streams. `&metadata` alone will do.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub(crate) metadata: &'a Metadata,
    pub(crate) fresh: [bool; 2],
    pub(crate) at: Option<Timestamp>,
    pub(crate) single_use: bool,
    pub(crate) not_after: Option<Instant>,
}

impl<'a> Call<'a> {
    pub fn new(metadata: &'a Metadata) -> Self {
        Self { metadata, fresh: [false; 2], at: None, single_use: false, not_after: None }
    }

    /// The (first) stream's id was just made, so that it cannot have events: saves looking for them.
    pub fn fresh_stream(mut self) -> Self {
        self.fresh[0] = true;
        self
    }

    /// The first stream is fresh, and after this command nobody is expected to ask for it: it is not kept live.
    pub fn single_use_stream(mut self) -> Self {
        self.fresh[0] = true;
        self.single_use = true;
        self
    }

    /// When it happened, for what is brought in from elsewhere. A stream's time does not go back.
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }

    /// The same of the second stream of a pair.
    pub fn fresh_second_stream(mut self) -> Self {
        self.fresh[1] = true;
        self
    }

    /// A command that has not been decided by then is not decided any more.
    pub fn not_after(mut self, moment: Option<Instant>) -> Self {
        self.not_after = moment;
        self
    }
}

impl<'a> From<&'a Metadata> for Call<'a> {
    fn from(metadata: &'a Metadata) -> Self {
        Self::new(metadata)
    }
}

/// What a command left in one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed<E> {
    pub events: Vec<E>,
    /// The position of the command's last event; 0 if it wrote none.
    pub position: i64,
    /// The stream's last sequence after the command.
    pub sequence: i64,
    /// The first result of this idempotency key, given again.
    pub replayed: bool,
}

impl<E> Committed<E> {
    /// The stream's part of a command of which the last event stands at `position`.
    fn new(events: Vec<E>, position: i64, sequence: i64) -> Self {
        let position = if events.is_empty() { 0 } else { position };
        Self { events, position, sequence, replayed: false }
    }
}

/// What a command left in two streams, together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedPair<E, F> {
    pub first: Committed<E>,
    pub second: Committed<F>,
}

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<R> {
    /// The rule says no; nothing was written.
    #[error("{0}")]
    Refused(R),
    #[error("idempotency key {key:?} was used before with other inputs")]
    IdempotencyMismatch { command: &'static str, key: String },
    /// The same command may succeed later. `outcome_unknown`: it may have been stored.
    #[error("the event log is unavailable: {context}")]
    Unavailable { context: Arc<str>, outcome_unknown: bool },
    #[error("gave up after deciding {MAX_ATTEMPTS} times: others kept writing the same stream")]
    TooMuchContention,
    #[error("too many commands are waiting for the event log")]
    Overloaded,
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

impl<R> CommandError<R> {
    /// What the command goes by could not be read; nothing was written.
    pub fn unread(cause: impl Into<anyhow::Error>) -> Self {
        Self::Unavailable { context: format!("{:#}", cause.into()).into(), outcome_unknown: false }
    }

    /// The same error, its refusal as another rule has it.
    pub fn map<S>(self, refusal: impl FnOnce(R) -> S) -> CommandError<S> {
        match self {
            Self::Refused(refused) => CommandError::Refused(refusal(refused)),
            Self::IdempotencyMismatch { command, key } => CommandError::IdempotencyMismatch { command, key },
            Self::Unavailable { context, outcome_unknown } => {
                CommandError::Unavailable { context, outcome_unknown }
            }
            Self::TooMuchContention => CommandError::TooMuchContention,
            Self::Overloaded => CommandError::Overloaded,
            Self::Failed(error) => CommandError::Failed(error),
        }
    }
}

impl EventLog {
    /// Runs a rule over one stream. `decide` gets the state and the time: the clock's, or that of the
    /// stream's last event if that is later.
    pub async fn execute<'a, A: LiveAggregate, R>(
        &self,
        id: &str,
        call: impl Into<Call<'a>>,
        decide: impl Fn(&A, Timestamp) -> Result<Vec<A::Event>, R>,
    ) -> Result<Committed<A::Event>, CommandError<R>> {
        let decide = |state: &A, _: Option<&A>, now| decide(state, now).map(|events| (events, vec![], ()));
        let (first, _, ()) = self.inner.run(id, None, call.into(), None, decide).await?;
        Ok(first)
    }

    /// As `execute`, at most once per key: the same key with the same inputs gives the first result.
    pub async fn execute_once<'a, A: LiveAggregate, R>(
        &self,
        id: &str,
        call: impl Into<Call<'a>>,
        key: IdempotencyKey,
        decide: impl Fn(&A, Timestamp) -> Result<Vec<A::Event>, R>,
    ) -> Result<Committed<A::Event>, CommandError<R>> {
        let decide = |state: &A, _: Option<&A>, now| decide(state, now).map(|events| (events, vec![], ()));
        let (first, _, _) = self.inner.run_once(id, None, call.into(), key, decide).await?;
        Ok(first)
    }

    /// Runs a rule over two streams and stores the events of both, or none.
    pub async fn execute_pair<'a, A: LiveAggregate, B: LiveAggregate, T, R>(
        &self,
        first_id: &str,
        second_id: &str,
        call: impl Into<Call<'a>>,
        decide: impl Fn(&A, &B, Timestamp) -> Result<(Vec<A::Event>, Vec<B::Event>, T), R>,
    ) -> Result<(CommittedPair<A::Event, B::Event>, T), CommandError<R>> {
        let decide = over_two(decide);
        let (first, second, extra) =
            self.inner.run(first_id, Some(second_id), call.into(), None, decide).await?;
        Ok((CommittedPair { first, second }, extra))
    }

    /// As `execute_pair`, at most once per key. What `decide` gave beside the events is not stored, and
    /// is therefore absent when the first result is given again.
    pub async fn execute_pair_once<'a, A: LiveAggregate, B: LiveAggregate, T, R>(
        &self,
        first_id: &str,
        second_id: &str,
        call: impl Into<Call<'a>>,
        key: IdempotencyKey,
        decide: impl Fn(&A, &B, Timestamp) -> Result<(Vec<A::Event>, Vec<B::Event>, T), R>,
    ) -> Result<(CommittedPair<A::Event, B::Event>, Option<T>), CommandError<R>> {
        let decide = over_two(decide);
        let (first, second, extra) =
            self.inner.run_once(first_id, Some(second_id), call.into(), key, decide).await?;
        Ok((CommittedPair { first, second }, extra))
    }

    /// Looks at a stream's committed state, which includes everything this process has committed and
    /// what it has heard of from others.
    pub async fn read<A: LiveAggregate, T>(&self, id: &str, look: impl Fn(&A) -> T) -> anyhow::Result<T> {
        attempt::read(&self.inner, id, look).await
    }
}

impl<Reader: Reads> Inner<Reader> {
    pub(crate) async fn run<A: LiveAggregate, B: LiveAggregate, T, R>(
        &self,
        first_id: &str,
        second_id: Option<&str>,
        mut call: Call<'_>,
        key: Option<&IdempotencyKey>,
        decide: impl Fn(&A, Option<&B>, Timestamp) -> Result<(Vec<A::Event>, Vec<B::Event>, T), R>,
    ) -> Result<(Committed<A::Event>, Committed<B::Event>, T), RunError<R>> {
        for attempts in 1..=MAX_ATTEMPTS {
            self.leave_to_others::<A, B>(first_id, second_id).await;
            match attempt::attempt(self, first_id, second_id, call, key, &decide).await {
                Ok(done) => return Ok(done),
                Err(Interrupted::Error(error)) => return Err(RunError::Command(error)),
                Err(Interrupted::KeyTaken) => return Err(RunError::KeyTaken),
                Err(Interrupted::DecideAnew) => {
                    call.fresh = [false; 2];
                    call.single_use = false;
                    if attempts % LOSSES_TO_A_TURN == 0 {
                        self.ask_for_turns::<A, B>(first_id, second_id).await;
                    }
                    self.reader.pause(pause_after(attempts)).await;
                }
            }
        }
        Err(RunError::Command(CommandError::TooMuchContention))
    }

    async fn leave_to_others<A: LiveAggregate, B: LiveAggregate>(
        &self,
        first_id: &str,
        second_id: Option<&str>,
    ) {
        if !self.turns.any() {
            return;
        }
        let now = Instant::now();
        let first = self.turns.others(&stream_key::<A>(first_id), now);
        let second = second_id.and_then(|id| self.turns.others(&stream_key::<B>(id), now));
        if let Some(length) = first.max(second) {
            self.reader.pause(length).await;
        }
    }

    async fn ask_for_turns<A: LiveAggregate, B: LiveAggregate>(
        &self,
        first_id: &str,
        second_id: Option<&str>,
    ) {
        let streams = [Some(stream_key::<A>(first_id)), second_id.map(stream_key::<B>)];
        for stream in streams.into_iter().flatten() {
            if let Some(asked) = self.turns.ask(&stream, Instant::now()) {
                self.reader.tell_of_turn(&asked).await;
            }
        }
    }
}

impl<R> From<Unread> for CommandError<R> {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Away(context) => Self::Unavailable { context: context.into(), outcome_unknown: false },
            Unread::Broken(error) => Self::Failed(error),
        }
    }
}

/// How a run without a result ended.
pub(crate) enum RunError<R> {
    Command(CommandError<R>),
    KeyTaken,
}

impl<R> From<RunError<R>> for CommandError<R> {
    fn from(error: RunError<R>) -> Self {
        match error {
            RunError::Command(error) => error,
            // Only a command that brought a key can hear of it, and `run_once` handles that.
            RunError::KeyTaken => Self::Failed(anyhow::anyhow!("a command without a key has its key taken")),
        }
    }
}

fn over_two<A, B, Done, R>(
    decide: impl Fn(&A, &B, Timestamp) -> Result<Done, R>,
) -> impl Fn(&A, Option<&B>, Timestamp) -> Result<Done, R> {
    move |first, second, now| decide(first, second.expect("a pair has a second stream"), now)
}

/// None after the first failure, so that a lone loser is not slowed down; then random and growing.
fn pause_after(attempts: u32) -> Duration {
    if attempts == 1 {
        return Duration::ZERO;
    }
    let bound = LONGEST_PAUSE.min(Duration::from_millis(1 << attempts.min(10)));
    Duration::from_micros(rand::rng().random_range(0..=bound.as_micros() as u64))
}
