//! OpenAI's Responses dialect: read from clients and written to providers, and the way back.
//!
//! Requests are taken apart by move and written anew; answers are lists of items, which the model holds as
//! parts. What is carried, dropped and refused is listed in docs/translation.md and, member by member, in
//! `DROPPED`, `DROPPED_OF_ITEMS` and `DROPPED_OF_TOOLS`.

mod fields;
mod item_reader;
mod read_answer;
mod read_items;
mod read_output;
mod read_parts;
mod read_request;
mod read_stream;
mod read_tools;
mod strip;
mod write_answer;
mod write_items;
mod write_output;
mod write_request;
mod write_stream;
mod write_tools;

pub use item_reader::MAX_PART_BYTES;
pub use read_answer::read_answer;
pub use read_items::DROPPED_OF_ITEMS;
pub use read_request::{DROPPED, read_request};
pub use read_stream::{MAX_HELD_BYTES, MAX_ITEMS, StreamReader};
pub use read_tools::DROPPED_OF_TOOLS;
pub use strip::{strip_foreign, strip_foreign_thinking};
pub use write_answer::write_answer;
pub use write_request::{LEAST_OUTPUT_TOKENS, write_request};
pub use write_stream::StreamWriter;

/// The member of a tool search's result, as the model is shown it, that lists what was found.
const FOUND: &str = "tools";

/// Stands before the output of a tool that failed; the dialect has no member for it.
const ERROR_MARK: &str = "The tool reported an error:\n";

/// What a tool without parameters takes.
fn no_parameters() -> serde_json::Value {
    serde_json::json!({ "type": "object", "properties": {} })
}

/// What a namespace without words of its own is described as.
fn namespace_description(name: &str) -> String {
    format!("Tools of {name}.")
}

#[cfg(test)]
mod tests;
