//! How often one network may try to sign up. Each node counts for itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use moka::sync::Cache;

use super::error::Problem;

/// What is counted over.
const WINDOW: Duration = Duration::from_secs(3_600);

/// Networks remembered at most.
const NETWORKS: u64 = 50_000;

/// Counts tries by network.
pub struct SignUpLimit {
    per_window: u32,
    tries: Cache<Network, Arc<AtomicU32>>,
}

/// An IPv4 address, or the /64 that an IPv6 address is one customer's of; strangers without one are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    V4([u8; 4]),
    V6([u16; 4]),
    Unknown,
}

impl SignUpLimit {
    pub fn new(per_window: u32) -> Self {
        let tries = Cache::builder().max_capacity(NETWORKS).time_to_live(WINDOW).build();
        Self { per_window, tries }
    }

    /// Counts a try.
    ///
    /// # Errors
    /// The network has tried too often.
    pub fn count(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let network = match address {
            Some(IpAddr::V4(address)) => Network::V4(address.octets()),
            Some(IpAddr::V6(address)) => {
                let [first, second, third, fourth, ..] = address.segments();
                Network::V6([first, second, third, fourth])
            }
            None => Network::Unknown,
        };
        let tries = self.tries.get_with(network, Arc::default);
        if tries.fetch_add(1, Ordering::Relaxed) < self.per_window {
            return Ok(());
        }
        // Not beyond counting, however often somebody tries.
        tries.store(self.per_window, Ordering::Relaxed);
        let message = "Too many accounts were asked for from your network. Try again in an hour.";
        let problem =
            Problem::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::RateLimited, "too_many_sign_ups", message);
        Err(Problem { retry_after_seconds: u32::try_from(WINDOW.as_secs()).ok(), ..problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_its_own_count() {
        let limit = SignUpLimit::new(2);
        let tries = |address: &str| limit.count(Some(address.parse().expect("an address"))).is_ok();
        assert!(tries("192.0.2.1") && tries("192.0.2.1") && !tries("192.0.2.1") && !tries("192.0.2.1"));
        assert!(tries("192.0.2.2"));
        assert!(tries("2001:db8::1") && tries("2001:db8::2") && !tries("2001:db8::3"), "one /64");
        assert!(tries("2001:db8:0:1::1"));
        assert!(limit.count(None).is_ok() && limit.count(None).is_ok() && limit.count(None).is_err());
    }
}
