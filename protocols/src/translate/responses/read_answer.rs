//! A provider's whole answer in the Responses dialect.

use super::fields::Fields;
use super::read_output::{Ending, OutputItem, Seen, bad, read_ending, read_output_item};
use crate::conversation::{Answer, BadAnswer, OutputPart, ToolNames};
use crate::json;

/// A response object, ended, as an answer; `names` are those of the tools offered in its request.
///
/// # Errors
/// Where it is not a response object, or one that failed or has not ended.
pub fn read_answer(body: &[u8], names: &ToolNames) -> Result<Answer, BadAnswer> {
    let body = json::value(body).map_err(|error| BadAnswer::new(format!("it is not JSON: {error}")))?;
    let mut response =
        Fields::of(body, String::new()).map_err(|_| BadAnswer::new("it is not a response object"))?;
    if response.get("error").is_some() {
        return Err(BadAnswer::new("it is an error"));
    }
    let id = response.text("id").map_err(bad)?;
    let items = response
        .list("output")
        .map_err(bad)?
        .ok_or_else(|| BadAnswer::new("the response object has no output"))?;
    let mut parts = Vec::with_capacity(items.len());
    for item in items {
        match read_output_item(item, names)? {
            OutputItem::Message(said) => parts.extend(said),
            OutputItem::Reasoning(reasoning) => {
                if !reasoning.texts.is_empty() || reasoning.seal.is_some() {
                    parts.push(OutputPart::Reasoning(reasoning));
                }
            }
            OutputItem::Call(call) => parts.push(OutputPart::ToolCall(call)),
            OutputItem::WebSearch(search) => parts.push(OutputPart::WebSearch(search)),
            OutputItem::Other => {}
        }
    }
    let mut seen = Seen::default();
    parts.iter().for_each(|part| seen.note(part));
    let Ending { stop, usage } = read_ending(&mut response, None, &seen)?;
    Ok(Answer { id, parts, stop, usage })
}
