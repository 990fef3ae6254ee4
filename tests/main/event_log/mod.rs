//! The event log against a real Postgres: nothing lost, nothing doubled, nothing out of order.

mod appending;
mod failures;
mod idempotency;
mod integrity;
mod nodes;
mod proxy;
mod purse;
mod reading;
mod snapshots;
