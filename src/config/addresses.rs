//! Addresses of others that secrets are sent to: checked before anything starts.
//!
//! A key must not cross a network in the clear, and must not reach what the operator did not mean. So an address is
//! encrypted or stays on this machine, is written in one plain way, and names a public host unless the operator says
//! that the provider stands in their own network.

use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

use crate::egress::Reach;

/// Where a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderUrl {
    url: Url,
    reach: Reach,
}

/// Why an address is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefusal {
    #[error("should be an http or https URL without user, query or fragment")]
    NotPlain,
    #[error(
        "should write its host in the usual way: an IP address in full and in decimal, a name in ASCII letters"
    )]
    OddlyWritten,
    #[error(
        "would send the key in the clear: use https, or, for a provider in your own network, say own_network = true"
    )]
    Unencrypted,
    #[error("is an address of a private network: if that is yours, say own_network = true")]
    Private,
    #[error("is not in a private network, but own_network = true says that the provider is in yours")]
    NotPrivate,
    #[error("is an address at which no provider can be")]
    Nowhere,
}

impl ProviderUrl {
    /// `own_network`: the operator says that the provider stands in their own.
    ///
    /// # Errors
    /// The address is none that a key may be sent to.
    pub fn parse(text: &str, own_network: bool) -> Result<Self, UrlRefusal> {
        let url = plain(text)?;
        let address = literal(&url, text)?;
        let reach = match (is_here(&url), own_network) {
            (true, _) => Reach::ThisMachine,
            (false, true) => Reach::OwnNetwork,
            (false, false) => Reach::Internet,
        };
        if let Some(address) = address.filter(|address| !reach.admits(*address)) {
            return Err(match reach {
                Reach::Internet if Reach::OwnNetwork.admits(address) => UrlRefusal::Private,
                Reach::OwnNetwork if Reach::Internet.admits(address) => UrlRefusal::NotPrivate,
                Reach::Internet | Reach::OwnNetwork | Reach::ThisMachine => UrlRefusal::Nowhere,
            });
        }
        if url.scheme() != "https" && reach == Reach::Internet {
            return Err(UrlRefusal::Unencrypted);
        }
        Ok(Self { url, reach })
    }

    /// Without a trailing slash.
    pub fn as_str(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    pub fn reach(&self) -> Reach {
        self.reach
    }
}

impl FromStr for ProviderUrl {
    type Err = UrlRefusal;

    fn from_str(text: &str) -> Result<Self, UrlRefusal> {
        Self::parse(text, false)
    }
}

/// Whether what is sent to `url` stays on this machine or is encrypted on its way.
pub(super) fn keeps_secrets(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_here(url))
}

fn plain(text: &str) -> Result<Url, UrlRefusal> {
    // What a URL parser silently leaves out or turns round: a line's end, a tab, a backslash.
    if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ' || byte == b'\\') {
        return Err(UrlRefusal::NotPlain);
    }
    let url: Url = text.trim_end_matches('/').parse().map_err(|_| UrlRefusal::NotPlain)?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && !text.contains('@');
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_plain && is_web { Ok(url) } else { Err(UrlRefusal::NotPlain) }
}

/// The address that a URL's host is; a parser reads `0x7f.1` and `2130706433` as addresses, too.
fn literal(url: &Url, text: &str) -> Result<Option<IpAddr>, UrlRefusal> {
    let host = url.host_str().unwrap_or_default();
    let written = text.split_once("://").map_or("", |(_, rest)| rest);
    let as_written = written.split_at_checked(host.len()).is_some_and(|(first, rest)| {
        first.eq_ignore_ascii_case(host) && (rest.is_empty() || rest.starts_with([':', '/']))
    });
    if !as_written || host.ends_with('.') {
        return Err(UrlRefusal::OddlyWritten);
    }
    Ok(host.trim_matches(['[', ']']).parse().ok())
}

fn is_here(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One a line: what is said of the address alone, and with own_network; the address itself, escaped as in Rust.
    const CORPUS: &str = include_str!("../../tests/corpus/provider_urls.tsv");

    #[test]
    fn every_address_of_the_corpus_is_judged_as_it_says() {
        let lines = CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut judged = 0;
        for line in lines {
            let [alone, own_network, address] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("three columns: {line}");
            };
            let address = address.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t");
            let address = address.replace("\\0", "\0").replace("\\s", " ");
            let said = |own_network| match ProviderUrl::parse(&address, own_network) {
                Ok(url) => format!("{:?}", url.reach()),
                Err(refusal) => format!("{refusal:?}"),
            };
            assert_eq!((said(false).as_str(), said(true).as_str()), (alone, own_network), "{line}");
            judged += 1;
        }
        assert!(judged > 60, "only {judged}");
    }
}
