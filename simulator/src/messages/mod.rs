//! Anthropic's Messages API, the one Claude Code speaks.

mod conversation;
mod read;
mod usage;
mod write;

pub use read::{count, read};
pub use write::{body, events};
