//! Where a request that carries a provider's key may go, and where it never goes.
//!
//! A name is judged by the addresses that it has when it is connected to, and to no other address is connected: what it
//! meant when it was configured proves nothing. Link-local addresses, at which clouds hand out credentials, are never
//! connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What a provider may be reached at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Addresses of the internet.
    Internet,
    /// Addresses of the operator's own network, and no others.
    OwnNetwork,
    /// Loopback, and no others.
    ThisMachine,
}

/// A name all of whose addresses are out of reach.
#[derive(Debug, thiserror::Error)]
#[error("{name} has no address that may be connected to")]
pub struct OutOfReach {
    name: String,
}

/// Neither the internet nor anybody's own network: what is special, what stands for an IPv4 address, and where clouds
/// answer whoever asks.
static NOWHERE: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    networks(&[
        "0.0.0.0/8",
        "100.100.100.200/32",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/128",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fd00:ec2::254/128",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ])
});

static OWN_NETWORKS: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    networks(&["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"])
});

impl Reach {
    pub fn admits(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        if address.is_loopback() {
            return matches!(self, Self::ThisMachine | Self::OwnNetwork);
        }
        !is_in(&NOWHERE)
            && match self {
                Self::Internet => !is_in(&OWN_NETWORKS),
                Self::OwnNetwork => is_in(&OWN_NETWORKS),
                Self::ThisMachine => false,
            }
    }
}

/// Finds the addresses of names, and tells those within reach.
pub struct Resolver(pub Reach);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let within: Vec<SocketAddr> = found.filter(|address| reach.admits(address.ip())).collect();
            if within.is_empty() {
                return Err(OutOfReach { name: name.as_str().into() }.into());
            }
            Ok(Box::new(within.into_iter()) as Addrs)
        })
    }
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reach_admits_its_own_addresses_alone() {
        use Reach::{Internet, OwnNetwork, ThisMachine};
        let cases: [(&str, &[Reach]); 24] = [
            ("8.8.8.8", &[Internet]),
            ("2606:4700::1111", &[Internet]),
            ("::ffff:8.8.8.8", &[Internet]),
            ("127.0.0.1", &[OwnNetwork, ThisMachine]),
            ("127.255.255.254", &[OwnNetwork, ThisMachine]),
            ("::1", &[OwnNetwork, ThisMachine]),
            ("::ffff:127.0.0.1", &[OwnNetwork, ThisMachine]),
            ("10.1.2.3", &[OwnNetwork]),
            ("172.31.255.255", &[OwnNetwork]),
            ("172.32.0.1", &[Internet]),
            ("192.168.1.1", &[OwnNetwork]),
            ("100.64.0.1", &[OwnNetwork]),
            ("fd12::1", &[OwnNetwork]),
            ("::ffff:10.0.0.1", &[OwnNetwork]),
            ("169.254.169.254", &[]),
            ("::ffff:169.254.169.254", &[]),
            ("100.100.100.200", &[]),
            ("fd00:ec2::254", &[]),
            ("fe80::1", &[]),
            ("0.0.0.0", &[]),
            ("255.255.255.255", &[]),
            ("64:ff9b::a9fe:a9fe", &[]),
            ("2002:7f00:1::", &[]),
            ("::", &[]),
        ];
        for (text, admitting) in cases {
            let address: IpAddr = text.parse().expect("an address");
            for reach in [Internet, OwnNetwork, ThisMachine] {
                assert_eq!(reach.admits(address), admitting.contains(&reach), "{reach:?} {text}");
            }
        }
    }
}
