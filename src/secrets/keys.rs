//! The deployment's own keys, 32 bytes each, given as 64 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Bytes in a key.
const KEY_BYTES: usize = 32;

/// Text that is not a key; the text itself is not quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 64 hexadecimal digits (32 bytes), for example from `openssl rand -hex 32`")]
pub struct NotAKey;

/// Keys the digests by which tokens are found. Changing it makes every issued token unknown.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigestKey([u8; KEY_BYTES]);

impl TokenDigestKey {
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// HMAC-SHA256 of `message` under this key.
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(message);
        mac.finalize().into_bytes().into()
    }
}

/// Seals the copies of tokens that an operator may show again.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey([u8; KEY_BYTES]);

impl SealingKey {
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Names the key in the rows it has sealed, so that it can be rotated; says nothing about the key.
    pub fn id(&self) -> String {
        let digest = Sha256::new().chain_update("codexapi sealing key id\0").chain_update(self.0).finalize();
        hex::encode(&digest[..8])
    }
}

impl FromStr for TokenDigestKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        key_bytes(text).map(Self)
    }
}

impl FromStr for SealingKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        key_bytes(text).map(Self)
    }
}

impl fmt::Debug for TokenDigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigestKey(..)")
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.id())
    }
}

fn key_bytes(text: &str) -> Result<[u8; KEY_BYTES], NotAKey> {
    let mut bytes = [0; KEY_BYTES];
    hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| NotAKey)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_digits_and_is_never_quoted() {
        assert!("00".repeat(32).parse::<SealingKey>().is_ok());
        for bad in ["", "zz", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            assert_eq!(bad.parse::<TokenDigestKey>(), Err(NotAKey));
        }
    }

    #[test]
    fn debug_output_shows_no_key() {
        let (digest, sealing) = (TokenDigestKey::new([0xab; 32]), SealingKey::new([0xab; 32]));
        let shown = format!("{digest:?} {sealing:?}");
        assert!(!shown.contains("abab"), "{shown}");
    }

    #[test]
    fn sealing_keys_have_different_ids() {
        assert_ne!(SealingKey::new([1; 32]).id(), SealingKey::new([2; 32]).id());
        assert_eq!(SealingKey::new([1; 32]).id(), SealingKey::new([1; 32]).id());
    }
}
