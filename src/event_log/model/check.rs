//! What must hold after every schedule.

use std::collections::HashMap;

use cqrs_es::Aggregate;

use super::postgres::{Postgres, Tables, moved};
use super::process::{Asked, PURSES};
use super::purse::{Ask, Moved, Purse};
use crate::commands::{CommandError, Committed};
use crate::event_log::cache::{Cache, StreamKey};
use crate::event_log::chain::CHAIN_START;
use crate::event_log::read::StoredEvent;

/// Every stream's sequences have no hole, each event was decided on the one before it and on the balance
/// it left, and nothing was spent that was not there.
pub fn streams_are_whole(tables: &Tables) {
    for purse in PURSES {
        let (mut balance, mut hash) = (0, CHAIN_START);
        for (event, expected) in tables.stream(purse).zip(1..) {
            assert_eq!(event.sequence, expected, "{purse}: a hole, or out of order");
            let expected = event.expected_hash(&hash).expect("canonical");
            assert_eq!(event.hash, expected, "{purse}: {} was decided on another past", event.sequence);
            hash = expected;
            let moved = moved(event);
            balance += moved.amount;
            assert!(balance >= 0, "{purse}: more spent than there was");
            assert_eq!(moved.balance, balance, "{purse}: decided on another balance");
        }
    }
}

/// A command's events stand together and in order, all of them or none, once and not twice; which of the
/// two is as its caller was told.
pub fn answers_are_true(postgres: &Postgres, asked: &[Asked]) {
    let tables = postgres.tables();
    let mut by_command: HashMap<usize, Vec<&Asked>> = HashMap::new();
    for one in asked {
        by_command.entry(one.by).or_default().push(one);
    }
    for (by, asked) in by_command {
        let events: Vec<_> = tables.events.iter().filter(|event| moved(event).by == by).collect();
        stands_together(&events, asked[0].ask);
        let done = asked.iter().any(|one| matches!(one.answer, Some(Ok(_))));
        let unknown = asked.iter().any(|one| match &one.answer {
            None => true,
            Some(Err(CommandError::Unavailable { outcome_unknown, .. })) => *outcome_unknown,
            Some(_) => false,
        });
        assert!(
            !done || is_stored(&tables, &events, asked[0].ask),
            "told that it is done, and it is not: {asked:?}"
        );
        let stored = !events.is_empty() || has_key(&tables, asked[0].ask);
        assert!(!stored || done || unknown, "told that it is not stored, and it is: {asked:?}");
        for one in asked {
            is_true(postgres, &tables, one, &events);
        }
    }
}

fn stands_together(events: &[&StoredEvent], ask: Ask) {
    let Some(first) = events.first() else { return };
    let whole = match ask {
        Ask::SpendInTwo { .. } | Ask::Transfer { .. } => 2,
        Ask::Credit { .. } | Ask::CreditOnce { .. } | Ask::Spend { .. } => 1,
        Ask::Nothing { .. } | Ask::NothingOnce { .. } | Ask::Malformed { .. } => 0,
    };
    assert_eq!(events.len(), whole, "stored in part, or more than once: {ask:?}");
    for ((event, position), part) in events.iter().zip(first.position..).zip(0..) {
        assert_eq!(
            (event.position, moved(event).part),
            (position, part),
            "separated or out of order: {ask:?}"
        );
    }
}

fn is_true(postgres: &Postgres, tables: &Tables, asked: &Asked, events: &[&StoredEvent]) {
    match &asked.answer {
        Some(Ok(done)) => {
            let told: Vec<_> = done.iter().flat_map(|part| &part.events).cloned().collect();
            let stored: Vec<Moved> = events.iter().map(|event| moved(event)).collect();
            assert_eq!(told, stored, "other events than are stored: {asked:?}");
            let (first, second) = asked.ask.streams();
            for (purse, part) in [Some(first), second].into_iter().flatten().zip(done) {
                left_in(tables, purse, part, asked);
            }
        }
        Some(Err(CommandError::Refused(_))) => {
            assert!(could_be_refused(tables, asked), "refused, and never with reason: {asked:?}");
        }
        Some(Err(CommandError::Unavailable { outcome_unknown: true, .. })) => {
            // A key that is taken and cannot be looked up may be this command's.
            let seen = !postgres.lost_from_sight() && asked.ask.key().is_none();
            assert!(!seen, "nothing was lost from sight: {asked:?}");
        }
        Some(Err(CommandError::IdempotencyMismatch { .. })) => panic!("the inputs are the same: {asked:?}"),
        Some(Err(
            CommandError::Unavailable { outcome_unknown: false, .. }
            | CommandError::TooMuchContention
            | CommandError::Overloaded
            | CommandError::Failed(_),
        ))
        | None => {}
    }
}

/// The sequence and the position a caller was told are where its events stand.
fn left_in(tables: &Tables, purse: &str, part: &Committed<Moved>, asked: &Asked) {
    let last = tables.stream(purse).find(|event| event.sequence == part.sequence);
    let last = last.unwrap_or_else(|| panic!("a sequence that is not stored: {asked:?}"));
    match part.events.last() {
        Some(event) => {
            assert_eq!(*event, moved(last), "another event's sequence: {asked:?}");
            let last = tables.events.iter().rfind(|event| moved(event).by == asked.by);
            assert_eq!(last.map(|event| event.position), Some(part.position), "another position: {asked:?}");
        }
        // That nothing need happen was decided on what was the latest at some time meanwhile.
        None if !part.replayed => {
            let meanwhile = asked.from[purse]..=asked.to[purse];
            assert!(meanwhile.contains(&part.sequence), "decided on an old state: {asked:?}");
        }
        None => {}
    }
}

/// Whether the rule refuses on what was the latest at some time between the question and the answer.
fn could_be_refused(tables: &Tables, asked: &Asked) -> bool {
    let (first, second) = asked.ask.streams();
    let second = second.unwrap_or(first);
    let states = |purse: &'static str| {
        (asked.from[purse]..=asked.to[purse]).map(move |sequence| folded(tables, purse, sequence))
    };
    states(first)
        .any(|first| states(second).any(|second| asked.ask.decide(asked.by, &first, Some(&second)).is_err()))
}

/// What is live is what folding the store gives, and nothing in it still waits for a commit.
pub async fn live_is_stored(postgres: &Postgres, cache: &Cache) {
    for purse in PURSES {
        let slot = cache.slot(&StreamKey { aggregate_type: Purse::TYPE.into(), aggregate_id: purse.into() });
        let live = slot.lock().await;
        let Some(live) = &*live else { continue };
        let tables = postgres.tables();
        let stored = tables.stream(purse).find(|event| event.sequence == live.sequence);
        let stored = stored.unwrap_or_else(|| panic!("{purse}: {} is live, not stored", live.sequence));
        assert_eq!(live.last_hash.as_slice(), stored.hash, "{purse}: another event is live");
        let state = live.state.downcast_ref::<Purse>().expect("a purse");
        assert_eq!(*state, folded(&tables, purse, live.sequence), "{purse}: another state is live");
        assert_eq!(slot.progress().committed, live.sequence, "{purse}: what is stored is not known to be");
    }
}

fn folded(tables: &Tables, purse: &str, sequence: i64) -> Purse {
    let mut state = Purse::default();
    let stream = tables.stream(purse).take_while(|event| event.sequence <= sequence);
    stream.for_each(|event| state.apply(moved(event)));
    state
}

fn is_stored(tables: &Tables, events: &[&StoredEvent], ask: Ask) -> bool {
    let writes = !matches!(ask, Ask::Nothing { .. } | Ask::NothingOnce { .. });
    (ask.key().is_none() || has_key(tables, ask)) && (!writes || !events.is_empty())
}

/// Whether the command's key is stored.
fn has_key(tables: &Tables, ask: Ask) -> bool {
    ask.key().is_some_and(|key| tables.keys.iter().any(|stored| stored.key.key == key.to_string()))
}
