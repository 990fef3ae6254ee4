//! The hash chain: each event's hash covers the whole event and the hash before it in its stream,
//! so that an edited, swapped or removed event shows.
//!
//! What is hashed is canonical JSON (`canonical.rs`) and not whatever text is stored: events that were once kept as jsonb
//! have another order of keys. Anyone can recompute a hash from a row.

use codexapi_aggregates::time::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What stands before a stream's first event.
pub const CHAIN_START: [u8; 32] = [0; 32];

/// Keeps these hashes apart from any other use of SHA-256 over similar bytes.
const TAG: &[u8] = b"codexapi event v1";

/// All of an event that its hash covers. `payload` and `metadata` are canonical JSON.
#[derive(Clone, Copy, Debug)]
pub struct ChainInput<'a> {
    pub aggregate_type: &'a str,
    pub aggregate_id: &'a str,
    pub sequence: i64,
    pub event_id: Uuid,
    pub event_type: &'a str,
    pub event_version: &'a str,
    pub recorded_at: Timestamp,
    pub payload: &'a str,
    pub metadata: &'a str,
}

/// The hash of an event that follows one with hash `previous` (`CHAIN_START` for a stream's first).
pub fn chain_hash(previous: &[u8; 32], event: &ChainInput) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(TAG);
    hasher.update(previous);
    for field in [
        event.aggregate_type.as_bytes(),
        event.aggregate_id.as_bytes(),
        &event.sequence.to_be_bytes(),
        event.event_id.as_bytes(),
        event.event_type.as_bytes(),
        event.event_version.as_bytes(),
        &event.recorded_at.0.to_be_bytes(),
        event.payload.as_bytes(),
        event.metadata.as_bytes(),
    ] {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input<'a>(payload: &'a str, metadata: &'a str) -> ChainInput<'a> {
        ChainInput {
            aggregate_type: "wallet",
            aggregate_id: "w",
            sequence: 1,
            event_id: Uuid::nil(),
            event_type: "wallet.credit_granted",
            event_version: "1",
            recorded_at: Timestamp(5),
            payload,
            metadata,
        }
    }

    #[test]
    fn a_hash_covers_the_previous_hash_and_every_field_apart() {
        let hash = chain_hash(&CHAIN_START, &input("{}", "{}"));
        assert_ne!(hash, chain_hash(&[1; 32], &input("{}", "{}")));
        assert_ne!(hash, chain_hash(&CHAIN_START, &input("{}{", "}")));
        assert_ne!(hash, chain_hash(&CHAIN_START, &ChainInput { sequence: 2, ..input("{}", "{}") }));
        let later = ChainInput { recorded_at: Timestamp(6), ..input("{}", "{}") };
        assert_ne!(hash, chain_hash(&CHAIN_START, &later));
        assert_eq!(hash, chain_hash(&CHAIN_START, &input("{}", "{}")));
    }
}
