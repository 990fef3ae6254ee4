//! Turns at a stream that several processes write at once.
//!
//! Who has a stream live decides and appends before another process can load it, decide and append: busy with it, it
//! would keep it for itself. So a process that has lost several times asks for a turn, and the others leave the stream
//! alone for a moment. This is courtesy. Nothing rests on it but how long somebody waits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cache::StreamKey;

pub(super) const CHANNEL: &str = "turns_asked";

/// Long enough for several commands, short beside what a caller is used to wait.
const TURN: Duration = Duration::from_millis(50);

/// Streams with turns at most; beyond it, nobody is given one.
const MOST: usize = 1_024;

pub(crate) struct Turns {
    /// Which process this is.
    node: String,
    /// False where there is none, so that nobody waits for the lock.
    any: AtomicBool,
    by_stream: Mutex<HashMap<StreamKey, Turn>>,
}

#[derive(Clone, Copy)]
struct Turn {
    whose: Whose,
    until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Another,
}

impl Turns {
    pub fn new(node: String) -> Self {
        Self { node, any: AtomicBool::new(false), by_stream: Mutex::default() }
    }

    /// Takes a turn at the stream, and returns what the others are to be told; nothing where one of them has it.
    pub fn ask(&self, stream: &StreamKey, now: Instant) -> Option<String> {
        let StreamKey { aggregate_type, aggregate_id } = stream;
        self.begin(stream, Whose::Ours, now).then(|| format!("{} {aggregate_type} {aggregate_id}", self.node))
    }

    /// Gives the process that has asked its turn, unless it is ours.
    pub fn hear(&self, asked: &str, now: Instant) {
        let mut words = asked.splitn(3, ' ');
        let (Some(node), Some(aggregate_type), Some(aggregate_id)) =
            (words.next(), words.next(), words.next())
        else {
            return;
        };
        if node != self.node {
            let aggregate_type = Cow::Owned(aggregate_type.to_owned());
            let stream = StreamKey { aggregate_type, aggregate_id: aggregate_id.into() };
            self.begin(&stream, Whose::Another, now);
        }
    }

    /// Whether there may be a turn at any stream: asked before every command, so that most need no more.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// How long to leave the stream alone.
    pub fn others(&self, stream: &StreamKey, now: Instant) -> Option<Duration> {
        let mut turns = self.by_stream();
        turns.retain(|_, turn| turn.until > now);
        self.any.store(!turns.is_empty(), Ordering::Relaxed);
        let turn = turns.get(stream).filter(|turn| turn.whose == Whose::Another)?;
        Some(turn.until - now)
    }

    /// Whether the turn is `whose` now; the one that was asked for first stands.
    fn begin(&self, stream: &StreamKey, whose: Whose, now: Instant) -> bool {
        let mut turns = self.by_stream();
        turns.retain(|_, turn| turn.until > now);
        if turns.get(stream).is_some_and(|turn| turn.whose != whose) || turns.len() >= MOST {
            return false;
        }
        turns.insert(stream.clone(), Turn { whose, until: now + TURN });
        self.any.store(true, Ordering::Relaxed);
        true
    }

    /// Nothing done under this lock can leave the map half changed.
    fn by_stream(&self) -> MutexGuard<'_, HashMap<StreamKey, Turn>> {
        self.by_stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wallet(id: &str) -> StreamKey {
        StreamKey { aggregate_type: "wallet".into(), aggregate_id: id.into() }
    }

    fn left_alone(turns: &Turns, id: &str, now: Instant) -> Option<Duration> {
        turns.others(&wallet(id), now)
    }

    #[test]
    fn the_others_leave_a_stream_alone_for_as_long_as_a_turn_takes() {
        let (one, other, now) = (Turns::new("one".into()), Turns::new("other".into()), Instant::now());
        let asked = one.ask(&wallet("a customer's"), now).expect("nobody has it");
        one.hear(&asked, now);
        other.hear(&asked, now);
        assert_eq!(left_alone(&one, "a customer's", now), None, "it is its own");
        assert_eq!(left_alone(&other, "a customer's", now), Some(TURN));
        assert_eq!(left_alone(&other, "another's", now), None);
        assert_eq!(left_alone(&other, "a customer's", now + TURN), None, "it is over");
        assert!(!other.any());
    }

    #[test]
    fn of_two_that_ask_the_first_goes_first() {
        let (one, other, now) = (Turns::new("one".into()), Turns::new("other".into()), Instant::now());
        let asked = one.ask(&wallet("w"), now).expect("nobody has it");
        other.hear(&asked, now);
        assert_eq!(other.ask(&wallet("w"), now), None);
        assert!(other.ask(&wallet("w"), now + TURN).is_some());
    }

    #[test]
    fn two_that_ask_at_the_same_moment_do_not_wait_for_each_other() {
        let (one, other, now) = (Turns::new("one".into()), Turns::new("other".into()), Instant::now());
        let (asked, asked_too) = (one.ask(&wallet("w"), now), other.ask(&wallet("w"), now));
        one.hear(&asked_too.expect("unheard"), now);
        other.hear(&asked.expect("unheard"), now);
        assert_eq!((left_alone(&one, "w", now), left_alone(&other, "w", now)), (None, None));
    }

    #[test]
    fn what_says_nothing_gives_nobody_a_turn() {
        let (turns, now) = (Turns::new("one".into()), Instant::now());
        for heard in ["", "other", "other wallet"] {
            turns.hear(heard, now);
        }
        assert!(!turns.any());
    }

    #[test]
    fn turns_are_bounded() {
        let (turns, now) = (Turns::new("one".into()), Instant::now());
        for number in 0..=MOST {
            turns.hear(&format!("other wallet {number}"), now);
        }
        assert_eq!(turns.by_stream().len(), MOST);
    }
}
