//! The event log.
pub mod chain;
pub mod read;
pub use read::{SHARD, Shard, StoredEvent};
