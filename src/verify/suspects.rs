//! Telling what happened to an event whose hash does not hold.
//!
//! A swap is proven by swapping back: the hash then holds. An edit of the payload shows in the
//! payload's own digest; where that agrees, something else of the event was edited. An edited hash
//! shows in the next event, which follows the true hash and not the stored one.

use sha2::{Digest, Sha256};

use super::Difference;
use super::chains::AuditedEvent;
use super::difference::EventName;
use crate::event_log::canonical::canonical_text;
use crate::event_log::read::StoredEvent;

/// An event whose hash or position is not what it should be.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub event: AuditedEvent,
    /// The stored hash of the event before it in its stream.
    pub previous_hash: [u8; 32],
    pub previous_position: i64,
}

impl Suspect {
    fn stored(&self) -> &StoredEvent {
        &self.event.stored
    }

    fn name(&self) -> EventName {
        EventName::of(self.stored())
    }

    /// Its hash holds, but it stands before the event that it follows in its stream.
    fn only_moved(&self) -> bool {
        let stored = self.stored();
        stored.position < self.previous_position && self.holds_as(stored, &stored.hash)
    }

    fn holds_as(&self, candidate: &StoredEvent, hash: &[u8]) -> bool {
        candidate.expected_hash(&self.previous_hash).is_ok_and(|expected| expected[..] == *hash)
    }
}

/// Names what happened to the first suspect, with the others as evidence.
pub(super) fn name_first(suspects: &[Suspect]) -> Option<Difference> {
    let first = suspects.first()?;
    let swapped = suspects[1..].iter().find(|other| are_swapped(first, other));
    if let Some(other) = swapped {
        return Some(swap_of(first.name(), other.name()));
    }
    if first.only_moved() {
        let of_stream =
            |suspect: &&Suspect| suspect.only_moved() && suspect.name().stream == first.name().stream;
        let last = suspects.iter().rfind(of_stream).unwrap_or(first);
        let (sequence, position) = (first.stored().sequence - 1, first.previous_position);
        return Some(swap_of(EventName { sequence, position, ..first.name() }, last.name()));
    }
    Some(match digest_agrees(&first.event) {
        false => Difference::PayloadEdited { event: first.name() },
        true if only_its_hash(first, suspects.get(1)) => Difference::HashEdited { event: first.name() },
        true => Difference::MetadataEdited { event: first.name() },
    })
}

fn swap_of(one: EventName, other: EventName) -> Difference {
    let (first, second) = if one.position < other.position { (one, other) } else { (other, one) };
    Difference::Swapped { first, second }
}

/// Whether putting back what the two events have of each other makes the first one's hash hold.
fn are_swapped(first: &Suspect, other: &Suspect) -> bool {
    let (one, two) = (first.stored(), other.stored());
    let same_stream = one.aggregate_type == two.aggregate_type && one.aggregate_id == two.aggregate_id;
    // Whole rows, told apart by their sequences: the other row stands where this one does.
    let moved = StoredEvent { sequence: one.sequence, ..two.clone() };
    if same_stream && first.holds_as(&moved, &two.hash) {
        return true;
    }
    // Contents, in any selection that includes the payload: the rows kept their hashes.
    (0..8_u8).any(|selection| {
        let with = |bit: u8| selection & bit != 0;
        let mut candidate = StoredEvent { payload: two.payload.clone(), ..one.clone() };
        if with(1) {
            candidate.metadata.clone_from(&two.metadata);
        }
        if with(2) {
            candidate.event_type.clone_from(&two.event_type);
            candidate.event_version.clone_from(&two.event_version);
        }
        if with(4) {
            candidate.event_id = two.event_id;
            candidate.recorded_at = two.recorded_at;
        }
        first.holds_as(&candidate, &one.hash)
    })
}

fn digest_agrees(event: &AuditedEvent) -> bool {
    canonical_text(&event.stored.payload)
        .is_ok_and(|payload| Sha256::digest(payload.as_bytes())[..] == event.payload_digest[..])
}

/// Whether the event after it, broken too, follows the hash that the first one should have.
fn only_its_hash(first: &Suspect, next: Option<&Suspect>) -> bool {
    let Some(next) = next else { return false };
    let follows = next.stored().aggregate_id == first.stored().aggregate_id
        && next.stored().sequence == first.stored().sequence + 1;
    let Ok(true_hash) = first.stored().expected_hash(&first.previous_hash) else { return false };
    follows && next.stored().expected_hash(&true_hash).is_ok_and(|hash| hash[..] == next.stored().hash[..])
}
