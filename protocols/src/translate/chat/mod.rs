//! OpenAI's Chat Completions, as clients send it and as OpenAI, Deepseek and their like serve it.
//!
//! The dialect knows one message where the model of a conversation knows several items: thinking, words and
//! calls of one turn stand in one assistant message. Reading takes them apart in that order, writing puts
//! neighbours together again. What providers add to the dialect (`reasoning_content`) is read from all and
//! shown to every client; what only some of them take is decided in `vendor.rs`.

mod custom;
pub(in crate::translate) mod fields;
mod read_answer;
mod read_messages;
mod read_request;
mod read_stream;
mod read_tools;
mod vendor;
mod wire;
mod write_answer;
mod write_messages;
mod write_request;
mod write_stream;

pub use read_answer::read_answer;
pub use read_request::{DROPPED, MAX_STOPS, read_request};
pub(in crate::translate) use read_request::{read_limit, read_sampling, read_streaming, refuse_choices};
pub use read_stream::{MAX_HELD_BYTES, StreamReader};
pub use write_answer::write_answer;
pub(in crate::translate) use write_answer::write_usage;
pub use write_request::write_request;
pub use write_stream::StreamWriter;
pub(in crate::translate) use write_stream::{write_data, write_done};

/// In `Conversation::echo`: the client speaks of `functions`, the form that tools had at first, and is
/// answered with `function_call`.
const LEGACY_FUNCTIONS: &str = "functions";

#[cfg(test)]
mod tests;
