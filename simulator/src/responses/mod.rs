//! OpenAI's Responses API, the one Codex CLI speaks.

mod items;
mod read;
mod write;

pub use read::read;
pub use write::{body, events};
