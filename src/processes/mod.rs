//! What goes on without a request: leases, the sweeping of what time has ended, and the watching of providers.

pub mod auto_topup;
pub mod health;
pub mod lease;
pub mod long_wallets;
pub mod reconciler;
pub mod rewards;
pub mod sweeper;
pub mod waking;
