//! What goes on without a request: leases, and the sweeping of what time has ended.

pub mod lease;
pub mod sweeper;
