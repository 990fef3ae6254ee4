//! The simulator's promises, each over real HTTP against the built binary.

mod bills;
mod chat;
mod cuts;
mod dependencies;
mod directives;
mod harness;
mod messages;
mod refusals;
mod responses;
