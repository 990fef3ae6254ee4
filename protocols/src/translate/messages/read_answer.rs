//! A provider's whole answer.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::block::{Block, read_block, read_stop};
use crate::conversation::{Answer, BadAnswer, OutputPart, ToolNames};
use crate::json::Object;
use crate::usage::parse_anthropic;

/// The most tokens a report may name here; what is charged is checked closer elsewhere.
pub(super) const TOKEN_CEILING: u64 = u64::MAX >> 8;

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<String>,
    #[serde(borrow)]
    content: Vec<&'a RawValue>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// # Errors
/// Where the body is no message, or does not say why it ends.
pub fn read_answer(body: &[u8], names: &ToolNames) -> Result<Answer, BadAnswer> {
    let Object(message): Object<Message> =
        serde_json::from_slice(body).map_err(|error| BadAnswer::new(format!("no message: {error}")))?;
    let mut parts = vec![];
    for block in message.content {
        parts.extend(read_block(block, names)?.map(Block::part));
    }
    let reason = message.stop_reason.ok_or_else(|| BadAnswer::new("it does not say why it ends"))?;
    let calls_tools = parts.iter().any(|part| matches!(part, OutputPart::ToolCall(_)));
    Ok(Answer {
        id: message.id,
        stop: read_stop(&reason, message.stop_sequence, calls_tools),
        parts,
        usage: message.usage.and_then(|usage| parse_anthropic(usage, TOKEN_CEILING).ok()),
    })
}
