//! How much may be read from a provider for a client that has left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codexapi_aggregates::usage::Payer;

/// What a client that left can still cost.
#[derive(Clone, Copy, Debug)]
pub struct DrainLimits {
    pub longest: Duration,
    /// Output tokens after the client left.
    pub output_tokens: u64,
    pub per_node: usize,
    pub per_wallet: usize,
    /// For answers that are not streamed, which cannot be estimated half-way.
    pub longest_unstreamed: Duration,
}

/// The streams that are being drained.
#[derive(Clone)]
pub struct Drains {
    limits: DrainLimits,
    running: Arc<Mutex<Running>>,
}

#[derive(Default)]
struct Running {
    total: usize,
    by_payer: HashMap<Option<uuid::Uuid>, usize>,
}

/// A permission to drain; given back when dropped.
pub struct Drain {
    running: Arc<Mutex<Running>>,
    payer: Option<uuid::Uuid>,
}

impl Drains {
    pub fn new(limits: DrainLimits) -> Self {
        Self { limits, running: Arc::default() }
    }

    pub fn limits(&self) -> &DrainLimits {
        &self.limits
    }

    /// `None` where the node or the wallet drains as much as it may; the provider is then cut off.
    pub fn begin(&self, payer: Payer) -> Option<Drain> {
        let payer = wallet_of(payer);
        let mut running = lock(&self.running);
        let of_payer = running.by_payer.get(&payer).copied().unwrap_or(0);
        if running.total >= self.limits.per_node || of_payer >= self.limits.per_wallet {
            return None;
        }
        running.total += 1;
        running.by_payer.insert(payer, of_payer + 1);
        Some(Drain { running: self.running.clone(), payer })
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        running.total -= 1;
        if let Some(of_payer) = running.by_payer.get_mut(&self.payer) {
            *of_payer -= 1;
            if *of_payer == 0 {
                running.by_payer.remove(&self.payer);
            }
        }
    }
}

fn wallet_of(payer: Payer) -> Option<uuid::Uuid> {
    match payer {
        Payer::Wallet { account_id } => Some(account_id.0),
        Payer::Operator => None,
    }
}

fn lock(running: &Mutex<Running>) -> std::sync::MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_and_a_node_drain_only_so_many_streams_at_a_time() {
        let limits = DrainLimits {
            longest: Duration::from_secs(20),
            output_tokens: 2_000,
            per_node: 3,
            per_wallet: 2,
            longest_unstreamed: Duration::from_secs(600),
        };
        let drains = Drains::new(limits);
        let wallet =
            |n| Payer::Wallet { account_id: codexapi_aggregates::ids::AccountId(uuid::Uuid::from_u128(n)) };
        let first = drains.begin(wallet(1)).expect("the first");
        let _second = drains.begin(wallet(1)).expect("the second");
        assert!(drains.begin(wallet(1)).is_none(), "a third of one wallet");
        let _other = drains.begin(wallet(2)).expect("another wallet's");
        assert!(drains.begin(wallet(3)).is_none(), "a fourth of the node");
        drop(first);
        assert!(drains.begin(wallet(1)).is_some());
    }
}
