//! `Stripe-Signature`, as Stripe writes it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// With a scheme `v0` that proves nothing, as Stripe adds in test mode so that nobody relies on it.
pub fn header(secret: &str, timestamp: i64, body: &[u8]) -> String {
    format!(
        "t={timestamp},v1={},v0={}",
        sign(secret, timestamp, body),
        sign("the fake scheme", timestamp, body)
    )
}

fn sign(secret: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes any key");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with the SDK for Python: `WebhookSignature.generate_signature_header('{"id":"evt_1"}', 'whsec_x', 1700000000)`.
    #[test]
    fn it_is_what_the_sdk_writes() {
        let header = header("whsec_x", 1_700_000_000, br#"{"id":"evt_1"}"#);
        let expected = "t=1700000000,v1=366e40c480fe3a9e6a03609dca079cea86d77ae82d5a56b5348208247317a8d1,v0=";
        assert!(header.starts_with(expected), "{header}");
    }
}
