//! Free loopback ports.
//!
//! Servers keep their port over a restart, so that pools and clients find them again. A port the kernel hands out
//! (`bind` to 0) lies where it also takes the source ports of outgoing connections, and could be gone by then; so
//! ports come from below that range.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::bail;
use rand::RngExt;

/// Below Linux's default `ip_local_port_range` (32768 and up), above the well-known ports.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const ATTEMPTS: usize = 200;

/// A port on 127.0.0.1 on which nothing listens now. Another process may take it before the caller does.
pub fn free_port() -> anyhow::Result<u16> {
    let mut random = rand::rng();
    for _ in 0..ATTEMPTS {
        let port = random.random_range(PORTS);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between {} and {} after {ATTEMPTS} attempts", PORTS.start, PORTS.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_listened_on_and_lies_outside_the_ephemeral_range() {
        let port = free_port().expect("a free port");
        assert!(PORTS.contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("nothing listens there");
    }
}
