//! The rules of codexapi, pure: given what happened and what is asked, which events follow.
//!
//! Nothing here reads a clock, draws a random number, or does IO; whatever a rule needs arrives
//! in its command. That is what lets anyone replay the log and get the same numbers.

pub mod account;
#[cfg(test)]
mod account_life;
pub mod any;
pub mod auto_topup;
pub mod bonus;
pub mod cash;
pub mod catalog;
pub mod event;
#[cfg(test)]
mod examples;
pub mod gumroad;
pub mod ids;
pub mod log;
pub mod money;
pub mod payment;
pub mod pricing;
pub mod printable;
pub mod referral;
pub mod routing;
pub mod service;
pub mod settlement;
pub mod subscription;
pub mod time;
pub mod usage;
pub mod wallet;
