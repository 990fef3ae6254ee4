//! What this process has just committed, kept for a moment so that the relay need not read it back.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::queue::NewEvent;
use super::read::StoredEvent;

/// Events kept at most: a few megabytes, and more than one page of the relay. What is older is read from the log.
const KEPT: usize = 4_096;

/// The last events of this process, in order. Other processes' are not here, which shows as a gap in the positions.
#[derive(Default)]
pub struct Recent {
    events: Mutex<VecDeque<(i64, NewEvent)>>,
}

impl Recent {
    pub(super) fn push(&self, committed: impl IntoIterator<Item = (i64, NewEvent)>) {
        let mut events = self.events();
        events.extend(committed);
        let surplus = events.len().saturating_sub(KEPT);
        events.drain(..surplus);
    }

    /// The events directly after `position`, at most `limit`, and forgets what is before them. None where the next
    /// event is not known here, or there is none yet: then the log must be asked.
    pub fn take_after(&self, position: i64, limit: usize) -> Vec<StoredEvent> {
        let mut events = self.events();
        let passed = events.iter().take_while(|(at, _)| *at <= position).count();
        events.drain(..passed);
        // Positions are handed out under the log's lock: between two that differ by one there is nothing.
        let following = events.iter().zip(position + 1..).take(limit);
        let directly_after = following.take_while(|((at, _), expected)| at == expected).count();
        let taken: Vec<_> = events.drain(..directly_after).collect();
        drop(events);
        taken.into_iter().map(|(position, event)| event.stored_at(position)).collect()
    }

    /// Nothing done under this lock can leave the events half changed.
    fn events(&self) -> MutexGuard<'_, VecDeque<(i64, NewEvent)>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::time::Timestamp;

    use super::*;
    use crate::clock;
    use crate::event_log::StreamKey;

    fn event(sequence: i64) -> NewEvent {
        NewEvent {
            stream: StreamKey { aggregate_type: "purse".into(), aggregate_id: "p".into() },
            sequence,
            event_id: clock::new_id(),
            event_type: "purse.filled".into(),
            event_version: "1".into(),
            payload: "{}".into(),
            metadata: "{}".into(),
            hash: [7; 32],
            recorded_at: Timestamp(5),
        }
    }

    fn holding(positions: impl IntoIterator<Item = i64>) -> Recent {
        let recent = Recent::default();
        recent.push(positions.into_iter().map(|position| (position, event(position))));
        recent
    }

    fn taken(recent: &Recent, after: i64, limit: usize) -> Vec<i64> {
        recent.take_after(after, limit).iter().map(|event| event.position).collect()
    }

    #[test]
    fn events_are_taken_once_in_order_and_a_page_at_a_time() {
        let recent = holding(1..=5);
        assert_eq!(taken(&recent, 0, 2), [1, 2]);
        assert_eq!(taken(&recent, 2, 9), [3, 4, 5]);
        assert_eq!(taken(&recent, 5, 9), [0; 0]);
    }

    #[test]
    fn nothing_is_taken_across_a_gap() {
        let recent = holding([4, 5, 7, 8]);
        assert_eq!(taken(&recent, 2, 9), [0; 0], "3 is another process's, or nobody's");
        assert_eq!(taken(&recent, 3, 9), [4, 5]);
        assert_eq!(taken(&recent, 5, 9), [0; 0]);
        assert_eq!(taken(&recent, 6, 9), [7, 8]);
    }

    #[test]
    fn what_was_read_from_the_log_meanwhile_is_forgotten() {
        let recent = holding([1, 2, 3]);
        assert_eq!(taken(&recent, 2, 9), [3]);
        assert_eq!(taken(&recent, 0, 9), [0; 0]);
    }

    #[test]
    fn only_the_last_events_are_kept() {
        let most = i64::try_from(KEPT).expect("a small number");
        let recent = holding(1..=most + 10);
        assert_eq!(taken(&recent, 9, 1), [0; 0]);
        assert_eq!(taken(&recent, 10, KEPT).len(), KEPT);
    }

    #[test]
    fn an_event_is_as_its_row_is() {
        let stored = &holding([3]).take_after(2, 1)[0];
        assert_eq!((stored.sequence, &*stored.aggregate_type, &*stored.payload), (3, "purse", "{}"));
        assert_eq!((stored.hash.as_slice(), stored.recorded_at), ([7; 32].as_slice(), Timestamp(5)));
    }
}
