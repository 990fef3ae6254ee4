//! What may be written for an idempotency key, for who a customer is, and for a network, however it reaches us. A key is
//! kept for ever, and a name is shown to operators: neither may be without bounds.

use std::net::IpAddr;

use codexapi_aggregates::printable::shows;
use ipnet::IpNet;

/// Bytes of an idempotency key.
const MAX_KEY_BYTES: usize = 200;

/// Characters of a name and of an e-mail address.
pub const MAX_NAME_CHARS: usize = 200;
pub const MAX_EMAIL_CHARS: usize = 254;

/// Bits that an IPv6 address has before the IPv4 address in it.
const MAPPED_PREFIX: u8 = 96;

/// # Errors
/// What a key is.
pub fn idempotency_key(text: &str) -> Result<String, String> {
    if (1..=MAX_KEY_BYTES).contains(&text.len()) && shows(text) {
        return Ok(text.into());
    }
    Err(format!("an idempotency key has 1 to {MAX_KEY_BYTES} bytes and no control or invisible characters"))
}

/// A customer's name, without the blanks around it.
///
/// # Errors
/// What a name is.
pub fn name(text: &str) -> Result<String, String> {
    let refusal =
        format!("a name has 1 to {MAX_NAME_CHARS} characters and no control or invisible characters");
    short(text, MAX_NAME_CHARS).ok_or(refusal)
}

/// A customer's e-mail address, without the blanks around it.
///
/// # Errors
/// What is no address.
pub fn email(text: &str) -> Result<String, String> {
    let refusal = format!(
        "an e-mail address is such as ada@example.com, of at most {MAX_EMAIL_CHARS} characters and no control or \
         invisible characters"
    );
    short(text, MAX_EMAIL_CHARS).filter(|text| is_address(text)).ok_or(refusal)
}

/// A network, or one address alone. An IPv4 address that is written as an IPv6 one is the former: it is what clients come
/// from.
///
/// # Errors
/// What a network is.
pub fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().ok().map(|address: IpAddr| IpNet::from(address.to_canonical()));
    let found: Option<IpNet> = text.parse().ok().or_else(address);
    let found = found.ok_or("a network is such as 192.0.2.0/24, 2001:db8::/32, or an address alone")?;
    match (found, found.addr().to_canonical()) {
        (IpNet::V6(mapped), IpAddr::V4(address)) if mapped.prefix_len() >= MAPPED_PREFIX => {
            let network = IpNet::new(address.into(), mapped.prefix_len() - MAPPED_PREFIX);
            network.map_err(|error| error.to_string())
        }
        _ => Ok(found),
    }
}

pub fn is_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
        && !text.contains(char::is_whitespace)
}

fn short(text: &str, most: usize) -> Option<String> {
    let text = text.trim();
    let fits = (1..=most).contains(&text.chars().count()) && shows(text);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_may_be_one_address_and_an_ipv4_one_in_ipv6_is_ipv4() {
        let read = |text: &str| network(text).map(|network| network.to_string()).ok();
        assert_eq!(read("192.0.2.0/24").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(read("192.0.2.7").as_deref(), Some("192.0.2.7/32"));
        assert_eq!(read("2001:db8::/32").as_deref(), Some("2001:db8::/32"));
        assert_eq!(read("::ffff:192.0.2.7").as_deref(), Some("192.0.2.7/32"));
        assert_eq!(read("::ffff:192.0.2.0/120").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(read("localhost"), None);
    }

    #[test]
    fn a_key_has_1_to_200_bytes() {
        assert_eq!(idempotency_key("x").as_deref(), Ok("x"));
        assert!(idempotency_key(&"x".repeat(200)).is_ok());
        for bad in ["", &"x".repeat(201), &"é".repeat(101), "a\nb", "a\u{200b}"] {
            let refusal = idempotency_key(bad).expect_err(bad);
            assert!(refusal.contains("1 to 200 bytes"), "{refusal}");
        }
    }

    #[test]
    fn a_name_is_short_and_of_characters_that_show() {
        assert_eq!(name(" Ada Lovelace ").as_deref(), Ok("Ada Lovelace"));
        assert!(name(&"é".repeat(200)).is_ok());
        assert!(name("می\u{200c}خواهم").is_ok());
        for bad in
            ["", "  ", &"é".repeat(201), "\x1b[2JAda", "A\nda", "Ada\u{9b}31m", "\u{202e}adA", "A\u{200b}da"]
        {
            let refusal = name(bad).expect_err(bad);
            assert!(refusal.contains("no control or invisible characters"), "{refusal}");
        }
    }

    #[test]
    fn an_address_has_a_name_and_a_host() {
        assert_eq!(email("ada@example.com").as_deref(), Ok("ada@example.com"));
        for bad in ["", "ada", "@example.com", "ada@host", "a da@example.com", "ada@example.com\x07"] {
            assert!(email(bad).is_err(), "{bad:?}");
        }
    }
}
