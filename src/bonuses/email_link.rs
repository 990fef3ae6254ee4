//! What a link in a mail carries: proof that it was sent to this account, and until when it counts.
//!
//! Without it anybody could say that a session came from a mail. It is nothing but a keyed digest, so no table grows
//! with every mail that is sent.

use codexapi_aggregates::ids::{AccountId, BonusCodeId};
use codexapi_aggregates::time::Timestamp;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::secrets::TokenDigestKey;

/// What its text begins with.
const PREFIX: &str = "mail_";

/// Bytes of the digest that are shown; as many as anyone would guess at.
const SHOWN_BYTES: usize = 16;

/// Bytes of a link's id and time.
const NAMED_BYTES: usize = 24;

/// A link that was sent to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmailLink {
    pub link_id: BonusCodeId,
    pub expires_at: Timestamp,
}

/// Why a text is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    #[error("this was not sent to this account")]
    NotOurs,
    #[error("this link has expired")]
    Expired,
}

impl EmailLink {
    /// Its text, for one account.
    pub fn text(&self, key: &TokenDigestKey, account_id: AccountId) -> String {
        let digest = self.digest(key, account_id);
        format!("{PREFIX}{}{}", hex::encode(self.named()), hex::encode(&digest[..SHOWN_BYTES]))
    }

    /// Reads what `account_id` came with.
    ///
    /// # Errors
    /// It was made for nobody or another account, or its time is over.
    pub fn read(
        text: &str,
        key: &TokenDigestKey,
        account_id: AccountId,
        now: Timestamp,
    ) -> Result<Self, LinkRefusal> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|hex| hex::decode(hex).ok());
        let bytes =
            bytes.filter(|bytes| bytes.len() == NAMED_BYTES + SHOWN_BYTES).ok_or(LinkRefusal::NotOurs)?;
        let (named, shown) = bytes.split_at(NAMED_BYTES);
        let (id, expires) = named.split_at(16);
        let id: [u8; 16] = id.try_into().expect("16 bytes");
        let expires: [u8; 8] = expires.try_into().expect("8 bytes");
        let link_id = BonusCodeId(Uuid::from_bytes(id));
        let link = Self { link_id, expires_at: Timestamp(i64::from_be_bytes(expires)) };
        let is_ours: bool = link.digest(key, account_id)[..SHOWN_BYTES].ct_eq(shown).into();
        match () {
            () if !is_ours => Err(LinkRefusal::NotOurs),
            () if link.expires_at <= now => Err(LinkRefusal::Expired),
            () => Ok(link),
        }
    }

    fn named(&self) -> Vec<u8> {
        [self.link_id.0.as_bytes().as_slice(), &self.expires_at.0.to_be_bytes()].concat()
    }

    fn digest(&self, key: &TokenDigestKey, account_id: AccountId) -> [u8; 32] {
        // Named, so that links and tokens are never keyed alike.
        let tag = b"codexapi email link v1\0".as_slice();
        key.mac(&[tag, account_id.0.as_bytes(), &self.named()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_link_is_good_for_its_account_alone_and_for_its_time() {
        let key = TokenDigestKey::new([7; 32]);
        let (ours, others) = (AccountId(clock::new_id()), AccountId(clock::new_id()));
        let link = EmailLink { link_id: BonusCodeId(clock::new_id()), expires_at: Timestamp(100) };
        let text = link.text(&key, ours);
        let read = |text: &str, account, now| EmailLink::read(text, &key, account, Timestamp(now));
        assert_eq!(read(&text, ours, 99), Ok(link));
        assert_eq!(read(&text, ours, 100), Err(LinkRefusal::Expired));
        assert_eq!(read(&text, others, 99), Err(LinkRefusal::NotOurs));
        let other_key = TokenDigestKey::new([8; 32]);
        assert_eq!(EmailLink::read(&text, &other_key, ours, Timestamp(99)), Err(LinkRefusal::NotOurs));
        for bad in ["", "mail_", "mail_zz", &text[1..], &text[..text.len() - 2]] {
            assert_eq!(read(bad, ours, 99), Err(LinkRefusal::NotOurs), "{bad}");
        }
        let mut longer = link;
        longer.expires_at = Timestamp(10_000);
        let forged = format!("{}{}", &longer.text(&key, ours)[..5 + 48], &text[5 + 48..]);
        assert_eq!(read(&forged, ours, 99), Err(LinkRefusal::NotOurs));
    }
}
