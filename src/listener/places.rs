//! How many connections there are: in all, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::{IpNet, Ipv6Net};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Counted, Limits};

/// Bits of an IPv6 address that tell one customer of a network's from the next.
const IPV6_PREFIX: u8 = 64;

pub(super) struct Places {
    all: Arc<Semaphore>,
    per_address: u32,
    trusted: Vec<IpNet>,
    by_address: Arc<Mutex<HashMap<IpAddr, u32>>>,
    counted: Counted,
}

/// Room for one more connection from anywhere.
pub(super) type Vacancy = OwnedSemaphorePermit;

/// One connection's place; free again when dropped.
pub(super) struct Place {
    _vacancy: Vacancy,
    address: Option<IpAddr>,
    by_address: Arc<Mutex<HashMap<IpAddr, u32>>>,
    counted: Counted,
}

impl Places {
    pub fn new(limits: &Limits, counted: Counted) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connections as usize)),
            per_address: limits.connections_per_address,
            trusted: limits.trusted.clone(),
            by_address: Arc::default(),
            counted,
        }
    }

    /// Waits until there is room.
    pub async fn vacancy(&self) -> Vacancy {
        Arc::clone(&self.all).acquire_owned().await.expect("it is never closed")
    }

    /// `None` where that address has as many as it may.
    pub fn take(&self, vacancy: Vacancy, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let trusted = self.trusted.iter().any(|network| network.contains(&peer));
        let address = (!trusted).then(|| counted_as(peer));
        if let Some(address) = address {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = by_address.entry(address).or_default();
            if *taken >= self.per_address {
                self.counted.turned_away.inc();
                return None;
            }
            *taken += 1;
        }
        self.counted.open.inc();
        let (by_address, counted) = (Arc::clone(&self.by_address), self.counted.clone());
        Some(Place { _vacancy: vacancy, address, by_address, counted })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counted.open.dec();
        let Some(address) = self.address else { return };
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = by_address.get_mut(&address) {
            *taken -= 1;
            if *taken == 0 {
                by_address.remove(&address);
            }
        }
    }
}

fn counted_as(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let network = Ipv6Net::new(v6, IPV6_PREFIX).expect("64 bits are not too many");
            network.network().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Times;
    use super::*;

    fn places(connections: u32, connections_per_address: u32) -> (Places, Counted) {
        let none = Duration::ZERO;
        let times = Times { head: none, idle: none, stalled: none };
        let trusted = vec!["10.0.0.0/8".parse().expect("a network")];
        let counted = Counted::default();
        let limits = Limits { connections, connections_per_address, trusted, times };
        (Places::new(&limits, counted.clone()), counted)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn one_address_takes_no_more_than_its_share_and_gives_it_back() {
        let (places, counted) = places(100, 2);
        let take = async |text| places.take(places.vacancy().await, address(text));
        let first = take("192.0.2.1").await.expect("room");
        let second = take("::ffff:192.0.2.1").await.expect("room");
        assert!(take("192.0.2.1").await.is_none(), "the mapped address is the same one");
        let other = take("192.0.2.2").await.expect("another's share");
        assert_eq!((counted.open.get(), counted.turned_away.get()), (3, 1));
        drop(first);
        let third = take("192.0.2.1").await.expect("room again");
        drop((second, third, other));
        assert_eq!(counted.open.get(), 0);
        assert!(places.by_address.lock().expect("unpoisoned").is_empty(), "nobody is remembered");
    }

    #[tokio::test]
    async fn a_whole_ipv6_network_has_one_share_and_trusted_proxies_have_no_limit() {
        let (places, _) = places(100, 1);
        let take = async |text| places.take(places.vacancy().await, address(text));
        let _one = take("2001:db8::1").await.expect("room");
        assert!(take("2001:db8::ffff:1").await.is_none());
        let _next = take("2001:db8:0:1::1").await.expect("the network beside it");
        let proxies = [take("10.1.2.3").await, take("10.1.2.3").await];
        assert!(proxies.iter().all(Option::is_some));
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_places_are_taken_the_next_one_waits() {
        let (places, _) = places(1, 9);
        let held = places.take(places.vacancy().await, address("192.0.2.1")).expect("room");
        let waiting = tokio::time::timeout(Duration::from_secs(60), places.vacancy());
        assert!(waiting.await.is_err());
        drop(held);
        drop(places.vacancy().await);
    }
}
