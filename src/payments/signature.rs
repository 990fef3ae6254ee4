//! Who sent an event: an HMAC over its time and the raw body, under a secret only Stripe and we have.

use codexapi_aggregates::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::stripe::WebhookSecret;

/// How far an event's time may be from ours, in seconds, either way.
const TOLERANCE_SECS: u64 = 300;

/// Signatures of one event that are looked at; Stripe sends one per secret in force.
const MAX_SIGNATURES: usize = 10;

/// The longest header that is read.
const MAX_HEADER_BYTES: usize = 4_096;

/// Why an event is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    #[error("the event carries no signature")]
    Missing,
    #[error("the event's signature is not one of Stripe's under this endpoint's secret")]
    Wrong,
    #[error("the event was signed too long ago, or ahead of time")]
    OutOfTime,
}

/// Checks `t=…,v1=…[,v1=…]`; any of several signatures will do. The signature is looked at before the time,
/// and in constant time.
///
/// # Errors
/// The event is not to be believed.
pub fn verify(
    header: Option<&[u8]>,
    body: &[u8],
    secret: &WebhookSecret,
    now: Timestamp,
) -> Result<(), BadSignature> {
    let header = header.ok_or(BadSignature::Missing)?;
    let header = std::str::from_utf8(header).ok().filter(|text| text.len() <= MAX_HEADER_BYTES);
    let parts: Vec<(&str, &str)> =
        header.ok_or(BadSignature::Wrong)?.split(',').filter_map(|part| part.split_once('=')).collect();
    let time =
        parts.iter().find(|(name, _)| *name == "t").map(|(_, time)| *time).ok_or(BadSignature::Wrong)?;
    let signed_at: i64 = time.parse().map_err(|_| BadSignature::Wrong)?;
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let signatures = parts.iter().filter(|(name, _)| *name == "v1").take(MAX_SIGNATURES);
    let is_ours =
        |signature: &str| lower_hex(signature).is_some_and(|bytes| mac.clone().verify_slice(&bytes).is_ok());
    if !signatures.map(|(_, signature)| is_ours(signature)).fold(false, |any, ours| any | ours) {
        return Err(BadSignature::Wrong);
    }
    let now_secs = now.0.div_euclid(1_000_000);
    if signed_at.abs_diff(now_secs) > TOLERANCE_SECS { Err(BadSignature::OutOfTime) } else { Ok(()) }
}

/// Stripe writes lower case; another spelling of a signature is not Stripe's.
fn lower_hex(text: &str) -> Option<Vec<u8>> {
    let lower = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if lower { hex::decode(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
    const NOW_SECS: i64 = 1_800_000_000;

    fn secret(text: &str) -> WebhookSecret {
        text.parse().expect("a secret")
    }

    fn ours() -> WebhookSecret {
        secret("whsec_0123456789abcdef")
    }

    fn sign(body: &[u8], secret: &WebhookSecret, at_secs: i64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).expect("a key");
        mac.update(format!("{at_secs}.").as_bytes());
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }

    fn check(header: &str, body: &[u8]) -> Result<(), BadSignature> {
        verify(Some(header.as_bytes()), body, &ours(), NOW)
    }

    #[test]
    fn what_stripe_signed_is_believed_and_nothing_else() {
        let good = sign(b"{}", &ours(), NOW_SECS);
        assert_eq!(check(&format!("t={NOW_SECS},v1={good}"), b"{}"), Ok(()));
        assert_eq!(check(&format!("t={NOW_SECS},v1={good}"), b"{ }"), Err(BadSignature::Wrong));
        let other = sign(b"{}", &secret("whsec_fedcba9876543210"), NOW_SECS);
        assert_eq!(check(&format!("t={NOW_SECS},v1={other}"), b"{}"), Err(BadSignature::Wrong));
        assert_eq!(verify(None, b"{}", &ours(), NOW), Err(BadSignature::Missing));
    }

    #[test]
    fn what_stripes_own_sdk_signs_is_believed() {
        // `stripe.WebhookSignature.generate_signature_header` of stripe 16.1.0 for Python.
        let body = "{\n  \"id\": \"evt_1\",\n  \"object\": \"event\",\n  \"data\": { \"object\": { \"id\": \"cs_test_é\" } }\n}";
        let header = "t=1800000000,v1=d25bcab1ec6990d00d53ad9c3d6158c68a26056707d8383ddb243f3563dc7532";
        assert_eq!(check(header, body.as_bytes()), Ok(()));
        assert_eq!(
            check(header, body.replace(' ', "").as_bytes()),
            Err(BadSignature::Wrong),
            "byte for byte"
        );
    }

    #[test]
    fn any_of_several_signatures_will_do_and_only_of_the_first_scheme() {
        let good = sign(b"{}", &ours(), NOW_SECS);
        let other = sign(b"{}", &secret("whsec_fedcba9876543210"), NOW_SECS);
        assert_eq!(check(&format!("t={NOW_SECS},v1={other},v1={good}"), b"{}"), Ok(()));
        assert_eq!(check(&format!("t={NOW_SECS},v1={good},v0={other}"), b"{}"), Ok(()));
        for bad in [
            format!("t={NOW_SECS},v0={good}"),
            format!("t={NOW_SECS},v1={}", good.to_uppercase()),
            format!("t={NOW_SECS},v1={}", &good[..62]),
            format!("t={NOW_SECS}, v1={good}"),
            format!("v1={good}"),
            format!("t=now,v1={good}"),
            format!("t={},v1={good}", NOW_SECS + 1),
            "t".into(),
            String::new(),
        ] {
            assert_eq!(check(&bad, b"{}"), Err(BadSignature::Wrong), "{bad}");
        }
    }

    #[test]
    fn many_signatures_are_not_all_looked_at_and_a_long_header_is_not_read() {
        let good = sign(b"{}", &ours(), NOW_SECS);
        let others = ",v1=00".repeat(MAX_SIGNATURES);
        assert_eq!(check(&format!("t={NOW_SECS}{others},v1={good}"), b"{}"), Err(BadSignature::Wrong));
        let long = format!("t={NOW_SECS},v1={good},v0={}", "0".repeat(MAX_HEADER_BYTES));
        assert_eq!(check(&long, b"{}"), Err(BadSignature::Wrong));
    }

    #[test]
    fn five_minutes_either_way_is_in_time() {
        for (age, expected) in [
            (300, Ok(())),
            (-300, Ok(())),
            (301, Err(BadSignature::OutOfTime)),
            (-301, Err(BadSignature::OutOfTime)),
        ] {
            let at = NOW_SECS - age;
            let header = format!("t={at},v1={}", sign(b"{}", &ours(), at));
            assert_eq!(check(&header, b"{}"), expected, "{age} s old");
        }
    }
}
