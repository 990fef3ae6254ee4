//! Where a client is: the connection's own address, or what a trusted proxy says it is.
//!
//! `X-Forwarded-For` is read from its end, past the proxies that the operator has named; what stands before the
//! first stranger was written by that stranger and is not believed.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A client's address, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

impl ClientAddress {
    pub fn of(request: &Request, trusted: &[IpNet]) -> Self {
        let peer =
            request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
        Self(peer.map(|peer| behind(peer, request.headers(), trusted)))
    }
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_proxy = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let forwarded = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut client = peer;
    for hop in named.into_iter().rev() {
        if !is_proxy(client) {
            break;
        }
        let Ok(address) = hop.parse::<IpAddr>() else { break };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client(peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static(value));
        }
        let trusted = ["10.0.0.0/8".parse().expect("a network"), "127.0.0.1/32".parse().expect("a network")];
        behind(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_say_is_believed() {
        assert_eq!(client("8.8.8.8", &["1.1.1.1"]), "8.8.8.8", "a stranger names another address");
        assert_eq!(client("10.0.0.1", &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"]), "1.1.1.1", "6.6.6.6 is hearsay");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.1.1.1"]), "1.1.1.1", "two headers are one list");
        assert_eq!(client("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }
}
