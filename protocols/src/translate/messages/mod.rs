//! Anthropic's Messages: what Claude Code and the Anthropic SDKs speak, and what Claude's providers serve.
//!
//! Reading is strict where a guess would change what the customer gets; writing obeys every rule by which
//! the provider would refuse the whole request (results beside their calls, no empty text, thinking in the
//! form the model takes, at most four cache marks). The rules are listed in docs/translation/messages.md.

mod block;
mod cache;
mod fields;
mod model_rules;
mod read_answer;
mod read_content;
mod read_request;
mod read_stream;
mod read_tools;
mod unwrap;
mod write_answer;
mod write_content;
mod write_request;
mod write_stream;
mod write_thinking;
mod write_tools;
mod write_turns;

pub use read_answer::read_answer;
pub use read_request::{DROPPED_MEMBERS, read_request};
pub use read_stream::{MAX_HELD_BYTES, StreamReader};
pub use write_answer::write_answer;
pub use write_request::write_request;
pub use write_stream::StreamWriter;

#[cfg(test)]
mod tests;
