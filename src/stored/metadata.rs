//! The texts that a customer puts to a stored completion, within OpenAI's limits.

use std::collections::BTreeMap;

use serde::Serialize;

use super::StoredError;

const MAX_PAIRS: usize = 16;
const MAX_NAME_CHARS: usize = 64;
const MAX_VALUE_CHARS: usize = 512;

/// Checked: at most 16 texts, without NUL, which Postgres does not take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// Reads a JSON object; `null` is none.
    ///
    /// # Errors
    /// `BadMetadata`.
    pub fn parse(json: &str) -> Result<Self, StoredError> {
        let pairs: Option<BTreeMap<String, String>> =
            serde_json::from_str(json).map_err(|_| StoredError::BadMetadata)?;
        Self::checked(pairs.unwrap_or_default())
    }

    /// # Errors
    /// `BadMetadata`.
    pub fn checked(pairs: BTreeMap<String, String>) -> Result<Self, StoredError> {
        let fits = |text: &str, limit: usize| text.chars().count() <= limit && !text.contains('\0');
        let good = pairs.len() <= MAX_PAIRS
            && pairs.iter().all(|(name, value)| fits(name, MAX_NAME_CHARS) && fits(value, MAX_VALUE_CHARS));
        if good { Ok(Self(pairs)) } else { Err(StoredError::BadMetadata) }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("texts are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_a_few_short_texts() {
        assert_eq!(Metadata::parse("null").expect("none"), Metadata::default());
        assert_eq!(Metadata::parse(r#"{"a":"b"}"#).expect("good").to_json(), r#"{"a":"b"}"#);
        let many: BTreeMap<_, _> = (0..17).map(|n| (n.to_string(), String::new())).collect();
        assert!(Metadata::checked(many).is_err());
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(513));
        for bad in [r#"{"a":1}"#, "[]", "{", r#"{"a":"\u0000"}"#, &long] {
            assert!(Metadata::parse(bad).is_err(), "{bad}");
        }
    }
}
