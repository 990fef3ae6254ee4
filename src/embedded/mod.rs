//! Postgres, nats-server, the upstream simulator and the fake Stripe as child processes of this one, for `codexapi dev` and tests.
//!
//! Promises: each server has a folder of its own and listens on loopback only; one process at a time holds a
//! folder; what is stopped is stopped in order; and when this process dies, however it dies, its children die too,
//! so that the next start finds the folder free. The fault tests rest on the same handles (`kill9`, `restart`,
//! `wipe`), so what they break is what `dev` runs.
//!
//! Child processes rather than containers: a container runtime is not on every machine that can build this.

mod binaries;
mod children;
mod fake_stripe;
mod folder;
mod nats;
mod ports;
mod postgres;
mod service;
mod sibling;
mod simulator;
mod user;

pub use fake_stripe::{FakeStripe, FakeStripeOptions};
pub use folder::FolderLock;
pub(crate) use folder::kept_secret;
pub use nats::{EmbeddedNats, EmbeddedNatsOptions};
pub use ports::free_port;
pub use postgres::{EmbeddedPostgres, EmbeddedPostgresOptions};
pub use service::{Service, ServiceOptions};
pub use simulator::{Simulator, SimulatorOptions, simulated_providers};
