//! The hash chain: each event's hash covers the whole event and the hash before it in its stream,
//! so that an edited, swapped or removed event shows.
//!
//! What is hashed is canonical JSON (sorted keys, no spaces, integers only) and not the stored text,
//! because jsonb does not keep the text. Anyone can therefore recompute a hash from a row.

use codexapi_aggregates::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What stands before a stream's first event.
pub const CHAIN_START: [u8; 32] = [0; 32];

/// Keeps these hashes apart from any other use of SHA-256 over similar bytes.
const TAG: &[u8] = b"codexapi event v1";

/// JSON that has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum NotCanonical {
    #[error("{0} is no integer")]
    NotAnInteger(serde_json::Number),
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
}

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

/// `value` as canonical JSON.
pub fn canonical<T: Serialize>(value: &T) -> Result<String, NotCanonical> {
    let mut text = String::new();
    write_canonical(&serde_json::to_value(value)?, &mut text)?;
    Ok(text)
}

/// Any JSON text as canonical JSON; stored jsonb text and the text it was stored from give the same.
pub fn canonical_text(json: &str) -> Result<String, NotCanonical> {
    let mut text = String::with_capacity(json.len());
    write_canonical(&serde_json::from_str(json)?, &mut text)?;
    Ok(text)
}

fn write_canonical(value: &Value, text: &mut String) -> Result<(), NotCanonical> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) if number.is_i64() || number.is_u64() => text.push_str(&number.to_string()),
        Value::Number(number) => return Err(NotCanonical::NotAnInteger(number.clone())),
        Value::String(string) => text.push_str(&serde_json::to_string(string)?),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, text)?;
            }
            text.push(']');
        }
        Value::Object(fields) => {
            // Sorted here, since another crate of the build may switch serde_json to insertion order.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(name)?);
                text.push(':');
                write_canonical(field, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
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
    fn canonical_json_has_sorted_keys_and_no_spaces() {
        let text = canonical_text(r#"{ "b": [1, -2, "x y"], "a": {"d": null, "c": true} }"#).unwrap();
        assert_eq!(text, r#"{"a":{"c":true,"d":null},"b":[1,-2,"x y"]}"#);
    }

    #[test]
    fn escapes_do_not_change_the_canonical_text() {
        assert_eq!(canonical_text(r#""\u00e9\/\n""#).unwrap(), "\"é/\\n\"");
    }

    #[test]
    fn a_fraction_has_no_canonical_form() {
        assert!(matches!(canonical_text("[1.5]"), Err(NotCanonical::NotAnInteger(_))));
        assert!(matches!(canonical_text("1e3"), Err(NotCanonical::NotAnInteger(_))));
        assert!(matches!(
            canonical_text("123456789012345678901234567890"),
            Err(NotCanonical::NotAnInteger(_))
        ));
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
