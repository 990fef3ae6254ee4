//! The one integration binary: one module per promise. One, because linking is most of what a test binary costs.

mod business;
mod cash;
mod embedded;
mod event_log;
mod faults;
mod harness;
mod http;
mod money;
mod nodes;
mod payments;
mod read_models;
mod relay;
mod routing;
mod security;
mod stored;
mod verify;
mod verify_credit;
mod verify_payments;
