//! OpenAI's Chat Completions API.

mod conversation;
mod read;
mod write;

pub use read::read;
pub use write::{body, events};
