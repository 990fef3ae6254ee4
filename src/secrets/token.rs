//! Bearer tokens: made here, digested here, and never printed except to the one who asked for them.

use std::fmt;
use std::str::FromStr;

use codexapi_aggregates::account::KeyKind;

use super::keys::TokenDigestKey;

/// Random bits of a token: 160, of which a System Token must have at least 128.
const RANDOM_BYTES: usize = 20;

/// Characters by which people recognise a token; too few to use.
const PREFIX_CHARACTERS: usize = 14;

/// A token is refused at configuration when shorter; long enough to resist guessing.
const MIN_CHARACTERS: usize = 24;

/// A token is refused unread when longer.
const MAX_CHARACTERS: usize = 512;

/// Text that is not a token; the text itself is not quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is {MIN_CHARACTERS} to {MAX_CHARACTERS} visible ASCII characters without commas")]
pub struct NotAToken;

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A fresh random token that says what kind it is.
    pub fn generate(kind: KeyKind) -> Self {
        let random: [u8; RANDOM_BYTES] = rand::random();
        let text = data_encoding::BASE32_NOPAD.encode(&random).to_ascii_lowercase();
        Self(format!("{}{text}", kind_prefix(kind)))
    }

    /// A token as a client presented it; `None` where no token can look like this.
    pub fn presented(text: &str) -> Option<Self> {
        let readable = text.bytes().all(|b| b.is_ascii_graphic());
        (readable && (1..=MAX_CHARACTERS).contains(&text.len())).then(|| Self(text.into()))
    }

    /// The secret itself, for whoever asked for it, and for sealing.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The first characters, for recognition.
    pub fn prefix(&self) -> String {
        self.0.chars().take(PREFIX_CHARACTERS).collect()
    }

    pub fn digest(&self, key: &TokenDigestKey) -> TokenDigest {
        TokenDigest(key.mac(self.0.as_bytes()))
    }
}

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let text = text.trim();
        let long_enough = text.len() >= MIN_CHARACTERS && !text.contains(',');
        Self::presented(text).filter(|_| long_enough).ok_or(NotAToken)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// HMAC-SHA256 of a token under the deployment's digest key: what is stored and looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub [u8; 32]);

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

fn kind_prefix(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::SystemToken => "g2g-codex-",
        KeyKind::Api => "cdx-",
        KeyKind::Operator => "cdx-op-",
        KeyKind::Admin => "cdx-admin-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_say_their_kind_and_never_repeat() {
        let token = Token::generate(KeyKind::SystemToken);
        assert!(token.reveal().starts_with("g2g-codex-"));
        assert_eq!(token.reveal().len(), "g2g-codex-".len() + 32);
        assert!(token.reveal().parse::<Token>().is_ok());
        assert_ne!(token, Token::generate(KeyKind::SystemToken));
        assert_eq!(token.prefix().len(), PREFIX_CHARACTERS);
    }

    #[test]
    fn a_digest_depends_on_token_and_key() {
        let (a, b) = (Token::generate(KeyKind::Api), Token::generate(KeyKind::Api));
        let (key, other) = (TokenDigestKey::new([1; 32]), TokenDigestKey::new([2; 32]));
        assert_eq!(a.digest(&key), a.digest(&key));
        assert_ne!(a.digest(&key), b.digest(&key));
        assert_ne!(a.digest(&key), a.digest(&other));
        assert_eq!(a.digest(&key).to_string().len(), 64);
    }

    #[test]
    fn short_or_unreadable_tokens_are_refused_without_being_quoted() {
        for bad in ["short", "with space and more than enough length", "ünlesbar-aber-lang-genug-wäre-es"] {
            let refusal = bad.parse::<Token>().expect_err("not a token").to_string();
            assert!(!refusal.contains(bad));
        }
        assert_eq!(Token::presented(""), None);
        assert_eq!(Token::presented(&"x".repeat(513)), None);
    }

    #[test]
    fn debug_output_shows_no_token() {
        let token = Token::generate(KeyKind::Admin);
        assert!(!format!("{token:?}").contains(token.reveal()));
    }
}
