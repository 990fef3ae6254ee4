//! The sealed copy of a token: XChaCha20-Poly1305, bound to the key id it belongs to.
//!
//! The 24-byte nonce is drawn at random for each copy. Each row names the sealing key it needs, so a new key can be
//! set while rows sealed under a retired one still open.

use anyhow::{Context, anyhow};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use codexapi_aggregates::ids::KeyId;
use sqlx::PgPool;

use super::{SealingKey, Token};

/// Seals under the current key; opens under it and under retired ones.
#[derive(Clone, Debug)]
pub struct Sealer {
    current: SealingKey,
    retired: Vec<SealingKey>,
}

/// A sealed token, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sealed {
    sealing_key_id: String,
    nonce: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl Sealer {
    pub fn new(current: SealingKey, retired: Vec<SealingKey>) -> Self {
        Self { current, retired }
    }

    fn seal(&self, key_id: KeyId, token: &Token) -> Sealed {
        let nonce: [u8; 24] = rand::random();
        let payload = Payload { msg: token.reveal().as_bytes(), aad: key_id.0.as_bytes() };
        let ciphertext = cipher(&self.current)
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a token is far below the cipher's limit");
        Sealed { sealing_key_id: self.current.id(), nonce: nonce.into(), ciphertext }
    }

    fn open(&self, key_id: KeyId, sealed: &Sealed) -> anyhow::Result<Token> {
        let key = std::iter::once(&self.current)
            .chain(&self.retired)
            .find(|key| key.id() == sealed.sealing_key_id)
            .with_context(|| format!("no configured sealing key has the id {}", sealed.sealing_key_id))?;
        let nonce: [u8; 24] =
            sealed.nonce.as_slice().try_into().context("a sealed token's nonce has 24 bytes")?;
        let payload = Payload { msg: &sealed.ciphertext, aad: key_id.0.as_bytes() };
        let plain = cipher(key)
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| anyhow!("the sealed copy of key {key_id} was altered or belongs to another key"))?;
        let text = String::from_utf8(plain).map_err(|_| anyhow!("a sealed token is not text"))?;
        Token::presented(&text).context("a sealed copy does not hold a token")
    }
}

/// Keeps a sealed copy of `token`; storing one for the same key again changes nothing.
pub async fn store_sealed(
    pool: &PgPool,
    sealer: &Sealer,
    key_id: KeyId,
    token: &Token,
) -> anyhow::Result<()> {
    let sealed = sealer.seal(key_id, token);
    sqlx::query(
        "insert into sealed_tokens (key_id, sealing_key_id, nonce, ciphertext) values ($1, $2, $3, $4)
         on conflict (key_id) do nothing",
    )
    .bind(key_id.0)
    .bind(sealed.sealing_key_id)
    .bind(sealed.nonce)
    .bind(sealed.ciphertext)
    .execute(pool)
    .await
    .context("storing a sealed token")?;
    Ok(())
}

/// The token of `key_id`; `None` where no copy was kept.
///
/// # Errors
/// When the sealing key it needs is not configured, or the copy was altered.
pub async fn open_sealed(pool: &PgPool, sealer: &Sealer, key_id: KeyId) -> anyhow::Result<Option<Token>> {
    let row: Option<(String, Vec<u8>, Vec<u8>)> =
        sqlx::query_as("select sealing_key_id, nonce, ciphertext from sealed_tokens where key_id = $1")
            .bind(key_id.0)
            .fetch_optional(pool)
            .await
            .context("reading a sealed token")?;
    row.map(|(sealing_key_id, nonce, ciphertext)| {
        sealer.open(key_id, &Sealed { sealing_key_id, nonce, ciphertext })
    })
    .transpose()
}

/// Drops the copy of a token that was never issued.
pub async fn forget_sealed(pool: &PgPool, key_id: KeyId) -> anyhow::Result<()> {
    sqlx::query("delete from sealed_tokens where key_id = $1")
        .bind(key_id.0)
        .execute(pool)
        .await
        .context("dropping a sealed token")?;
    Ok(())
}

fn cipher(key: &SealingKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::account::KeyKind;

    use super::*;
    use crate::clock;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(SealingKey::new([byte; 32]), vec![])
    }

    #[test]
    fn a_sealed_token_opens_only_as_the_key_it_was_sealed_for() {
        let (key_id, other) = (KeyId(clock::new_id()), KeyId(clock::new_id()));
        let token = Token::generate(KeyKind::Api);
        let sealed = sealer(1).seal(key_id, &token);
        assert_eq!(sealer(1).open(key_id, &sealed).expect("opened"), token);
        assert!(sealer(1).open(other, &sealed).is_err());
        let mut altered = sealed.clone();
        altered.ciphertext[0] ^= 1;
        assert!(sealer(1).open(key_id, &altered).is_err());
    }

    #[test]
    fn a_retired_sealing_key_still_opens_what_it_sealed() {
        let key_id = KeyId(clock::new_id());
        let token = Token::generate(KeyKind::Api);
        let sealed = sealer(1).seal(key_id, &token);
        assert!(sealer(2).open(key_id, &sealed).is_err());
        let rotated = Sealer::new(SealingKey::new([2; 32]), vec![SealingKey::new([1; 32])]);
        assert_eq!(rotated.open(key_id, &sealed).expect("opened"), token);
        assert_eq!(rotated.seal(key_id, &token).sealing_key_id, SealingKey::new([2; 32]).id());
    }

    #[test]
    fn the_ciphertext_does_not_contain_the_token() {
        let token = Token::generate(KeyKind::Api);
        let sealed = sealer(1).seal(KeyId(clock::new_id()), &token);
        let shown = String::from_utf8_lossy(&sealed.ciphertext).into_owned();
        assert!(!shown.contains(token.reveal()));
    }
}
