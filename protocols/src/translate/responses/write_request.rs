//! The body for a provider that speaks Responses, from clients of the other dialects.
//!
//! Nothing is ever stored at the provider: the whole history is in every request, and what OpenAI encrypts
//! of its reasoning comes back to us and is sent again.

use serde_json::{Map, Value, json};

use super::write_items::write_input;
use super::write_tools::{max_searches, write_tool_choice, write_tools};
use crate::conversation::{CallName, Conversation, OutputFormat, Thinking, ThinkingMode, Untranslatable};
use crate::translate::{UpstreamModel, stop};

/// The smallest limit OpenAI takes, in tokens; a smaller one is raised to it.
pub const LEAST_OUTPUT_TOKENS: u64 = 16;

/// Thinking budgets, in tokens, up to which an effort is asked for; beyond the last it is `xhigh`.
const EFFORT_BY_BUDGET: [(u64, &str); 3] = [(4_096, "low"), (16_384, "medium"), (32_768, "high")];

/// How OpenAI names a format that the client gave no name.
const UNNAMED_FORMAT: &str = "answer";

/// The body for a provider's model. `sampling.stop` is not in it: the dialect has none, and the gateway cuts
/// the answer itself. Neither are `top_k`, `seed` and the penalties.
///
/// # Errors
/// `NotCarried` for what Responses cannot say, and for stop texts too many or too long to look for; `Wrong` for a call without its result, or the reverse.
pub fn write_request(conversation: &Conversation, upstream: &UpstreamModel) -> Result<Value, Untranslatable> {
    if conversation.choices > 1 {
        return Err(Untranslatable::NotCarried {
            field: "n".into(),
            reason: "it gives one answer to a request",
        });
    }
    stop::check(&conversation.sampling.stop)?;
    let model_thinks = thinks(upstream.name);
    let (input, found) = write_input(&conversation.items, &conversation.tools, model_thinks)?;
    if input.is_empty() {
        return Err(Untranslatable::NotCarried {
            field: "input".into(),
            reason: "it says nothing that could be answered",
        });
    }
    let mut body = Map::new();
    let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
    put("model", json!(upstream.name));
    put("input", Value::Array(input));
    put("store", json!(false));
    put("stream", json!(conversation.stream));
    if let Some(instructions) = joined_instructions(conversation) {
        put("instructions", json!(instructions));
    }
    let is_offered = |tool: &&_| CallName::of(tool).is_none_or(|name| !found.contains(&name));
    let tools = write_tools(conversation.tools.iter().filter(is_offered))?;
    if !tools.is_empty() {
        put("tools", Value::Array(tools));
        if let Some(choice) = &conversation.tool_choice {
            put("tool_choice", write_tool_choice(choice));
        }
        if let Some(uses) = max_searches(&conversation.tools) {
            put("max_tool_calls", uses.clone());
        }
    }
    if let Some(parallel) = conversation.parallel_tool_calls {
        put("parallel_tool_calls", json!(parallel));
    }
    if let Some(limit) = conversation.max_output_tokens {
        put("max_output_tokens", json!(limit.min(upstream.max_output_tokens).max(LEAST_OUTPUT_TOKENS)));
    }
    if let Some(key) = &conversation.prompt_cache_key {
        put("prompt_cache_key", json!(key));
    }
    if let Some(text) = write_text(conversation) {
        put("text", text);
    }
    put_thinking(&mut body, conversation, model_thinks);
    Ok(Value::Object(body))
}

/// Every text of the instructions, as one; `None` where there is nothing in them.
pub(super) fn joined_instructions(conversation: &Conversation) -> Option<String> {
    let texts: Vec<&str> = conversation
        .instructions
        .iter()
        .map(|text| text.text.as_str())
        .filter(|text| !text.is_empty())
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

fn write_text(conversation: &Conversation) -> Option<Value> {
    let format = match &conversation.format {
        OutputFormat::Text => None,
        OutputFormat::JsonObject => Some(json!({ "type": "json_object" })),
        OutputFormat::JsonSchema { name, description, schema, strict } => {
            let name = name.as_deref().unwrap_or(UNNAMED_FORMAT);
            let mut format = json!({ "type": "json_schema", "name": name, "schema": schema });
            if let Some(description) = description {
                format["description"] = json!(description);
            }
            if let Some(strict) = strict {
                format["strict"] = json!(strict);
            }
            Some(format)
        }
    };
    let mut text = Map::new();
    text.extend(format.map(|format| ("format".to_owned(), format)));
    text.extend(conversation.verbosity.as_ref().map(|words| ("verbosity".to_owned(), json!(words))));
    (!text.is_empty()).then_some(Value::Object(text))
}

/// Models that think take no temperature while they do, and those that do not take no effort.
fn put_thinking(body: &mut Map<String, Value>, conversation: &Conversation, model_thinks: bool) {
    let thinking = &conversation.thinking;
    let thinks_now = model_thinks && effort(thinking) != Some("none");
    if !thinks_now {
        let sampling = &conversation.sampling;
        let numbers = [("temperature", &sampling.temperature), ("top_p", &sampling.top_p)];
        for (key, number) in numbers {
            body.extend(number.as_ref().map(|number| (key.to_owned(), json!(number))));
        }
    }
    if !model_thinks {
        return;
    }
    let mut reasoning = Map::new();
    reasoning.extend(effort(thinking).map(|effort| ("effort".to_owned(), json!(effort))));
    if thinks_now {
        body.insert("include".to_owned(), json!(["reasoning.encrypted_content"]));
        reasoning.extend(summary(thinking).map(|summary| ("summary".to_owned(), json!(summary))));
    }
    if !reasoning.is_empty() {
        body.insert("reasoning".to_owned(), Value::Object(reasoning));
    }
}

/// Whether this is one of OpenAI's thinking models: all but those before them.
fn thinks(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    !["gpt-4", "gpt-3.5", "chatgpt-"].iter().any(|older| name.starts_with(older))
}

/// The effort in the words of GPT-5.1 and later: `none`, `low`, `medium`, `high`, `xhigh`.
fn effort(thinking: &Thinking) -> Option<&str> {
    if thinking.mode == Some(ThinkingMode::Disabled) {
        return Some("none");
    }
    match thinking.effort.as_deref() {
        Some("minimal") => Some("low"),
        Some("max") => Some("xhigh"),
        Some(effort) => Some(effort),
        None => thinking.budget_tokens.map(|budget| {
            let band = EFFORT_BY_BUDGET.iter().find(|(most, _)| budget <= *most);
            band.map_or("xhigh", |(_, effort)| effort)
        }),
    }
}

/// A client that switched thinking on wants to see it.
fn summary(thinking: &Thinking) -> Option<&str> {
    let shown = match thinking.mode {
        Some(ThinkingMode::Enabled | ThinkingMode::Adaptive) => Some("auto"),
        Some(ThinkingMode::Disabled) | None => None,
    };
    thinking.summary.as_deref().or(shown)
}
