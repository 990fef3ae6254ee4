//! What happens when things die: the real program under load, killed, cut off and restarted, and its books
//! compared afterwards with what the simulated provider says it billed.

pub mod books;
mod dev;
mod killed;
mod leases;
mod load;
mod nats_lost;
mod nodes;
mod postgres_lost;
mod rebuilding;
mod refusals;
pub mod service;
mod stopped;
