//! Proof that a model thought something, carried through a client that speaks another dialect.
//!
//! Anthropic signs thinking, OpenAI encrypts reasoning; each wants its own back and refuses anything else.
//! Crossing dialects, what the provider gave is put into an envelope that stands where the client's dialect
//! has such a thing, and is opened when it comes back. A seal of another dialect than the provider's is left
//! out together with its reasoning, so that an operator may change routes while sessions are open.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

/// Begins every envelope; nothing a provider makes begins so.
const PREFIX: &str = "cxapi1.";

/// What a provider wants back with reasoning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "snake_case")]
pub enum Seal {
    /// Anthropic's signature of the very text.
    Signature { text: String, signature: String },
    /// Anthropic's thinking that it does not show.
    Redacted { data: String },
    /// OpenAI's reasoning.
    Encrypted { id: String, content: String },
}

/// What stood where a dialect has its own proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealedContent {
    /// The dialect's own; not ours to read.
    Own(String),
    /// Another dialect's, which we put there.
    Carried(Seal),
}

impl Seal {
    /// The envelope, as text that any dialect carries.
    pub fn envelope(&self) -> String {
        let json = serde_json::to_vec(self).expect("texts are JSON");
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&json))
    }
}

impl SealedContent {
    /// Reads a `signature` or an `encrypted_content`. An envelope that cannot be opened counts as the
    /// dialect's own, and its provider will refuse it.
    pub fn read(text: &str) -> Self {
        let opened = text
            .strip_prefix(PREFIX)
            .and_then(|encoded| BASE64URL_NOPAD.decode(encoded.as_bytes()).ok())
            .and_then(|json| serde_json::from_slice(&json).ok());
        opened.map_or_else(|| Self::Own(text.to_owned()), Self::Carried)
    }
}

/// Whether a body holds an envelope, so that it cannot be passed through to its own dialect's provider as it
/// is.
pub fn has_foreign_seal(body: &[u8]) -> bool {
    memchr::memmem::find(body, PREFIX.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_to_what_was_put_in() {
        let seals = [
            Seal::Signature { text: "so\nweit".into(), signature: "EqQB".into() },
            Seal::Redacted { data: "xx==".into() },
            Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() },
        ];
        for seal in seals {
            let envelope = seal.envelope();
            assert!(has_foreign_seal(envelope.as_bytes()));
            assert_eq!(SealedContent::read(&envelope), SealedContent::Carried(seal));
        }
    }

    #[test]
    fn what_a_provider_made_is_left_alone() {
        for own in ["EqQBCgIYAhIM", "", "cxapi1.", "cxapi1.!!!", "cxapi1.e30"] {
            assert_eq!(SealedContent::read(own), SealedContent::Own(own.into()), "{own}");
        }
    }
}
