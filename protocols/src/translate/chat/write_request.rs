//! A conversation as the body for a chat provider.
//!
//! Providers of this dialect know functions only (custom tools came late and to OpenAI alone), keep no
//! state here, and always report usage, because that is what is charged. The answer is limited by the
//! model's own maximum at least, or it could outgrow what was held for it.

use serde_json::{Map, Value, json};

use super::read_request::MAX_STOPS;
use super::vendor::Vendor;
use super::{custom, read_tools, write_messages};
use crate::conversation::{
    CallName, Conversation, OutputFormat, Sampling, ThinkingMode, Tool, ToolChoice, Untranslatable, wire_name,
};
use crate::translate::UpstreamModel;

/// The name of a schema whose client gave it none; OpenAI wants one.
const SCHEMA_NAME: &str = "answer";

/// Writes the request for `upstream`.
///
/// # Errors
/// Where the conversation holds what this dialect has no words for, or calls and results do not pair.
pub fn write_request(conversation: &Conversation, upstream: &UpstreamModel) -> Result<Value, Untranslatable> {
    let vendor = Vendor::of(upstream.name);
    if conversation.choices > 1 {
        return Err(not_carried("n", "one answer is made to a request; ask once per answer"));
    }
    let mut body = Map::new();
    body.insert("model".into(), upstream.name.into());
    body.insert("messages".into(), Value::Array(write_messages::write(conversation, vendor)?));
    write_tools(conversation, vendor, &mut body);
    write_thinking(conversation, vendor, &mut body);
    let limit = conversation.max_output_tokens.unwrap_or(u64::MAX).min(upstream.max_output_tokens);
    body.insert(vendor.limit_member().into(), limit.into());
    write_sampling(&conversation.sampling, vendor, &mut body)?;
    if let Some(format) = write_format(&conversation.format, vendor)? {
        body.insert("response_format".into(), format);
    }
    match vendor {
        Vendor::OpenAi => {
            insert(&mut body, "verbosity", conversation.verbosity.clone());
            insert(&mut body, "prompt_cache_key", conversation.prompt_cache_key.clone());
            body.insert("store".into(), false.into());
        }
        Vendor::Other => insert(&mut body, "prompt_cache_key", conversation.prompt_cache_key.clone()),
        Vendor::Deepseek => {}
    }
    if conversation.stream {
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), json!({ "include_usage": true }));
    }
    Ok(Value::Object(body))
}

pub(super) fn not_carried(field: &str, reason: &'static str) -> Untranslatable {
    Untranslatable::NotCarried { field: field.into(), reason }
}

fn insert(body: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(key.into(), value.into());
    }
}

fn write_tools(conversation: &Conversation, vendor: Vendor, body: &mut Map<String, Value>) {
    let tools: Vec<Value> = conversation.tools.iter().filter_map(|tool| write_tool(tool, vendor)).collect();
    // Neither the choice nor its kind is taken where there is nothing to choose from.
    if tools.is_empty() {
        return;
    }
    body.insert("tools".into(), Value::Array(tools));
    insert(body, "tool_choice", conversation.tool_choice.as_ref().map(write_choice));
    match vendor {
        Vendor::OpenAi | Vendor::Other => {
            insert(body, "parallel_tool_calls", conversation.parallel_tool_calls);
        }
        Vendor::Deepseek => {}
    }
}

fn write_tool(tool: &Tool, vendor: Vendor) -> Option<Value> {
    let name = wire_name(&CallName::of(tool)?);
    let mut function = Map::from_iter([("name".to_owned(), name.into())]);
    let (description, parameters) = match tool {
        Tool::Function(declared) => {
            // Deepseek knows it under another address only.
            if vendor != Vendor::Deepseek {
                insert(&mut function, "strict", declared.strict);
            }
            (declared.description.clone(), declared.parameters.clone())
        }
        Tool::Custom { description, grammar, .. } => {
            let described = custom::description(description.as_deref(), grammar.as_ref());
            (Some(described), custom::parameters())
        }
        Tool::ToolSearch { description, parameters } => (description.clone(), parameters.clone()),
        Tool::WebSearch { .. } => return None,
    };
    insert(&mut function, "description", description.filter(|text| !text.is_empty()));
    let parameters = if parameters.is_object() { parameters } else { read_tools::no_parameters() };
    function.insert("parameters".into(), parameters);
    Some(json!({ "type": "function", "function": function }))
}

fn write_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({ "type": "function", "function": { "name": wire_name(name) } }),
    }
}

fn write_thinking(conversation: &Conversation, vendor: Vendor, body: &mut Map<String, Value>) {
    let effort = vendor.effort(&conversation.thinking);
    if vendor != Vendor::Deepseek {
        insert(body, "reasoning_effort", effort);
        return;
    }
    let forced = body.contains_key("tools")
        && matches!(conversation.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    // Deepseek refuses a forced choice while it thinks, and thinks unless told otherwise.
    if forced || effort.as_deref() == Some("none") {
        body.insert("thinking".into(), json!({ "type": "disabled" }));
        return;
    }
    if conversation.thinking.mode == Some(ThinkingMode::Enabled) {
        body.insert("thinking".into(), json!({ "type": "enabled" }));
    }
    insert(body, "reasoning_effort", effort);
}

fn write_sampling(
    sampling: &Sampling,
    vendor: Vendor,
    body: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let Sampling { temperature, top_p, top_k: _, presence_penalty, frequency_penalty, seed, stop } = sampling;
    insert(body, "temperature", temperature.clone());
    insert(body, "top_p", top_p.clone());
    insert(body, "presence_penalty", presence_penalty.clone());
    insert(body, "frequency_penalty", frequency_penalty.clone());
    if vendor != Vendor::Deepseek {
        insert(body, "seed", *seed);
    }
    if stop.len() > MAX_STOPS {
        return Err(not_carried("stop", "it takes at most 4 stop texts"));
    }
    if !stop.is_empty() {
        body.insert("stop".into(), stop.clone().into());
    }
    Ok(())
}

fn write_format(format: &OutputFormat, vendor: Vendor) -> Result<Option<Value>, Untranslatable> {
    match format {
        OutputFormat::Text => Ok(None),
        OutputFormat::JsonObject => Ok(Some(json!({ "type": "json_object" }))),
        OutputFormat::JsonSchema { .. } if vendor == Vendor::Deepseek => {
            Err(not_carried("response_format", "it writes JSON, but to no schema; describe it in the prompt"))
        }
        OutputFormat::JsonSchema { name, description, schema, strict } => {
            let name = name.as_deref().unwrap_or(SCHEMA_NAME);
            let mut described =
                Map::from_iter([("name".to_owned(), name.into()), ("schema".to_owned(), schema.clone())]);
            insert(&mut described, "description", description.clone());
            insert(&mut described, "strict", *strict);
            Ok(Some(json!({ "type": "json_schema", "json_schema": described })))
        }
    }
}
