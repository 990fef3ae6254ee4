//! Custom tools at providers that know functions only: a function with one text member, `input`.

use serde_json::{Value, json};

use crate::conversation::Grammar;

/// The only member of the function that stands for a custom tool.
const INPUT: &str = "input";

/// What the model is told of a custom tool.
pub(super) fn description(described: Option<&str>, grammar: Option<&Grammar>) -> String {
    let mut description = described.unwrap_or_default().to_owned();
    if let Some(Grammar { syntax, definition }) = grammar {
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        let rule = format!("The text in `{INPUT}` must match this grammar ({syntax}):\n{definition}");
        description.push_str(&rule);
    }
    description
}

pub(super) fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": { INPUT: { "type": "string", "description": "The whole input of the tool, as plain text." } },
        "required": [INPUT],
        "additionalProperties": false,
    })
}

/// Free text as the arguments of that function.
pub(super) fn wrap(input: &str) -> String {
    json!({ INPUT: input }).to_string()
}

/// The free text again; what is not of that form is handed over as it is.
pub(super) fn unwrap(arguments: String) -> String {
    match crate::json::value(arguments.as_bytes()) {
        Ok(Value::Object(mut members)) => match members.remove(INPUT) {
            Some(Value::String(input)) => input,
            _ => arguments,
        },
        _ => arguments,
    }
}
