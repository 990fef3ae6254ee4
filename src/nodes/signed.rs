//! How nodes know each other: a keyed digest over everything a request says, and over its answer.
//!
//! The key is derived from the deployment's, which all nodes share. A request names the incarnation it is for, when
//! it was sent and a number of its own, so it cannot be altered, sent to another node, or sent again later. The
//! bodies are readable on the way: amounts, models and ids, no prompts and no keys.

use std::time::Duration;

use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::time::Timestamp;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use uuid::Uuid;

use super::COMMAND_LIFETIME;
use crate::clock;
use crate::secrets::TokenDigestKey;

/// Carries the digest of an answer.
pub(super) const ANSWER_MAC: &str = "codexapi-answer-mac";

const SCHEME: &str = "codexapi-node";

/// How far a sender's estimate of the database's clock may be ahead of ours.
const CLOCKS_APART: Duration = Duration::from_millis(40);

/// How long a request's number is remembered: longer than one can be in time.
const REMEMBERED: Duration = Duration::from_secs(2);

/// Numbers remembered. Where more come, an old one may be forgotten, and its command run again comes to nothing.
const MOST_REMEMBERED: u64 = 200_000;

/// What nodes sign with.
#[derive(Clone)]
pub struct NodeKey([u8; 32]);

/// A request's signature.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    sent_at: Timestamp,
    number: Uuid,
    mac: blake3::Hash,
}

/// Why a request is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the request is not signed")]
    Unsigned,
    #[error("the signature is not one of this deployment's for this node and this request")]
    Forged,
    #[error("the request came too late")]
    Late,
    #[error("the request is from the future")]
    Early,
    #[error("the request came before")]
    Repeated,
}

impl NodeKey {
    pub fn derive(key: &TokenDigestKey) -> Self {
        Self(key.mac(b"codexapi nodes v1"))
    }

    pub fn sign(&self, to: NodeIncarnation, command: &str, body: &[u8], sent_at: Timestamp) -> Signature {
        let number = clock::new_id();
        Signature { sent_at, number, mac: self.request_mac(to, command, body, sent_at, number) }
    }

    /// Of an answer to a request that was signed so.
    pub fn answer_mac(&self, request: &Signature, body: &[u8]) -> blake3::Hash {
        let mut mac = blake3::Hasher::new_keyed(&self.0);
        mac.update(b"answer").update(request.mac.as_bytes()).update(body);
        mac.finalize()
    }

    fn request_mac(
        &self,
        to: NodeIncarnation,
        command: &str,
        body: &[u8],
        sent_at: Timestamp,
        number: Uuid,
    ) -> blake3::Hash {
        let mut mac = blake3::Hasher::new_keyed(&self.0);
        // Everything before the body is of fixed length but the command, which has its length before it.
        mac.update(b"request").update(to.0.as_bytes()).update(&sent_at.0.to_be_bytes());
        mac.update(number.as_bytes()).update(&(command.len() as u64).to_be_bytes());
        mac.update(command.as_bytes()).update(body);
        mac.finalize()
    }
}

impl Signature {
    pub fn header(&self) -> String {
        format!("{SCHEME} {}.{}.{}", self.sent_at.0, self.number.simple(), self.mac.to_hex())
    }

    fn parse(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let mut parts = text.strip_prefix(SCHEME)?.strip_prefix(' ')?.split('.');
        let sent_at = Timestamp(parts.next()?.parse().ok()?);
        let number = parts.next()?.parse().ok()?;
        let mac = blake3::Hash::from_hex(parts.next()?).ok()?;
        parts.next().is_none().then_some(Self { sent_at, number, mac })
    }
}

/// Checks what other nodes send to this one.
pub struct Gate {
    key: NodeKey,
    own: NodeIncarnation,
    seen: moka::sync::Cache<Uuid, ()>,
}

impl Gate {
    pub fn new(key: NodeKey, own: NodeIncarnation) -> Self {
        let seen = moka::sync::Cache::builder().max_capacity(MOST_REMEMBERED).time_to_live(REMEMBERED);
        Self { key, own, seen: seen.build() }
    }

    /// The signature, and for how long the command may still be decided.
    ///
    /// # Errors
    /// The request is not one of this deployment's, not for this node, not in time, or not new.
    pub fn admit(
        &self,
        headers: &HeaderMap,
        command: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(Signature, Duration), Denied> {
        let signature = Signature::parse(headers).ok_or(Denied::Unsigned)?;
        let Signature { sent_at, number, mac } = signature;
        // The comparison of two `blake3::Hash` takes the same time whatever they are.
        if self.key.request_mac(self.own, command, body, sent_at, number) != mac {
            return Err(Denied::Forged);
        }
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        if sent_at.0 > now.0.saturating_add(micros(CLOCKS_APART)) {
            return Err(Denied::Early);
        }
        let left = sent_at.0.saturating_add(micros(COMMAND_LIFETIME)).saturating_sub(now.0);
        let left = u64::try_from(left).map_err(|_| Denied::Late)?;
        if !self.seen.entry(number).or_insert(()).is_fresh() {
            return Err(Denied::Repeated);
        }
        Ok((signature, Duration::from_micros(left)))
    }

    pub fn answer_mac(&self, request: &Signature, body: &[u8]) -> String {
        self.key.answer_mac(request, body).to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn key(byte: u8) -> NodeKey {
        NodeKey::derive(&TokenDigestKey::new([byte; 32]))
    }

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(authorization).expect("text"))])
    }

    /// A gate, and a request it admits.
    fn request() -> (Gate, Signature) {
        let own = NodeIncarnation(clock::new_id());
        (Gate::new(key(1), own), key(1).sign(own, "hold", b"body", NOW))
    }

    fn later(micros: i64) -> Timestamp {
        Timestamp(NOW.0 + micros)
    }

    #[test]
    fn a_signed_request_is_admitted_once_for_the_rest_of_its_lifetime() {
        let (gate, signature) = request();
        let headers = headers(&signature.header());
        let (_, left) = gate.admit(&headers, "hold", b"body", later(50_000)).expect("admitted");
        assert_eq!(left, COMMAND_LIFETIME - Duration::from_millis(50));
        let again = gate.admit(&headers, "hold", b"body", later(50_000));
        assert_eq!(again.map(drop), Err(Denied::Repeated));
    }

    #[test]
    fn what_is_not_signed_is_denied() {
        let (gate, signature) = request();
        let header = signature.header();
        let cut = header.rsplit_once('.').expect("three parts").0.to_owned();
        for unsigned in
            ["Bearer x".to_owned(), String::new(), cut, format!("{header}.1"), format!("{header}0")]
        {
            let denied = gate.admit(&headers(&unsigned), "hold", b"body", NOW);
            assert_eq!(denied.map(drop), Err(Denied::Unsigned), "{unsigned}");
        }
        assert_eq!(gate.admit(&HeaderMap::new(), "hold", b"body", NOW).map(drop), Err(Denied::Unsigned));
    }

    #[test]
    fn whatever_of_a_request_is_altered_it_is_denied() {
        let (gate, signature) = request();
        let signed = headers(&signature.header());
        assert_eq!(gate.admit(&signed, "settle", b"body", NOW).map(drop), Err(Denied::Forged));
        assert_eq!(gate.admit(&signed, "hold", b"bodY", NOW).map(drop), Err(Denied::Forged));
        let prolonged = Signature { sent_at: later(1), ..signature };
        let renumbered = Signature { number: clock::new_id(), ..signature };
        for altered in [prolonged, renumbered] {
            let denied = gate.admit(&headers(&altered.header()), "hold", b"body", NOW);
            assert_eq!(denied.map(drop), Err(Denied::Forged));
        }
        gate.admit(&signed, "hold", b"body", NOW).expect("what was denied has not used it up");
    }

    #[test]
    fn what_was_signed_for_another_node_or_with_another_key_is_denied() {
        let (_, signature) = request();
        let elsewhere = Gate::new(key(1), NodeIncarnation(clock::new_id()));
        let denied = elsewhere.admit(&headers(&signature.header()), "hold", b"body", NOW);
        assert_eq!(denied.map(drop), Err(Denied::Forged));
        let own = NodeIncarnation(clock::new_id());
        let foreign = key(2).sign(own, "hold", b"body", NOW);
        let denied = Gate::new(key(1), own).admit(&headers(&foreign.header()), "hold", b"body", NOW);
        assert_eq!(denied.map(drop), Err(Denied::Forged));
    }

    #[test]
    fn what_comes_late_or_from_the_future_is_denied() {
        let (gate, signature) = request();
        let headers = headers(&signature.header());
        assert_eq!(gate.admit(&headers, "hold", b"body", later(200_001)).map(drop), Err(Denied::Late));
        assert_eq!(gate.admit(&headers, "hold", b"body", later(-40_001)).map(drop), Err(Denied::Early));
        gate.admit(&headers, "hold", b"body", later(200_000)).expect("just in time");
    }

    #[test]
    fn an_answer_belongs_to_one_request() {
        let own = NodeIncarnation(clock::new_id());
        let [one, other] = [0, 1].map(|_| key(1).sign(own, "hold", b"body", NOW));
        assert_ne!(key(1).answer_mac(&one, b"answer"), key(1).answer_mac(&other, b"answer"));
        assert_ne!(key(1).answer_mac(&one, b"answer"), key(1).answer_mac(&one, b"Answer"));
        assert_ne!(key(1).answer_mac(&one, b"answer"), key(2).answer_mac(&one, b"answer"));
    }
}
