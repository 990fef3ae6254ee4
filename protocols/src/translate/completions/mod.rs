//! OpenAI's first dialect, text in and text out, for clients that still speak it. No provider does.
//!
//! The prompt becomes what the user says to a chat model, and the answer is its text alone: what the dialect
//! has no place for (thinking, searches) is left out.

mod read_request;
mod write_answer;

pub use read_request::{DEFAULT_MAX_TOKENS, DROPPED, read_request};
pub use write_answer::{StreamWriter, write_answer};

/// In `Conversation::echo`: the prompt is to stand before the answer.
const ECHO: &str = "echo";

#[cfg(test)]
mod tests;
