//! Which Responses requests are served, and what they ask for.

use http::HeaderMap;
use serde_json::Value;

use super::items;
use crate::check::{self, Fields, Object};
use crate::refusal::Refusal;
use crate::request::{Asked, Tool, client_ref};
use crate::{models, tokens};

/// Everything the SDKs and Codex CLI send; any other key is refused, as OpenAI does.
const ALLOWED: &[&str] = &[
    "access_programs",
    "background",
    "background_options",
    "client_metadata",
    "comparison_response_id",
    "context_compression",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// Fields the response repeats.
const ECHOED: &[&str] = &[
    "background",
    "include",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

const LEAST_OUTPUT_TOKENS: u64 = 16;

pub fn read(mut body: Object, headers: &HeaderMap) -> Result<Asked, Refusal> {
    let fields = Fields::new(&body, "");
    fields.only(ALLOWED)?;
    let model = fields.need_string("model")?.to_owned();
    models::check(&model)?;
    let stream = check_options(fields)?;
    let max_output_tokens = fields.whole("max_output_tokens", LEAST_OUTPUT_TOKENS)?;
    let continued = continues_stored(fields)?;
    let conversation = items::read_input(fields.need("input")?, continued)?;
    let tools = read_tools(fields)?;
    let forced_tool = read_tool_choice(fields, &tools)?;

    let counted = ["instructions", "input", "tools"];
    let input_tokens = tokens::of_values(counted.iter().filter_map(|key| body.get(*key)));
    let client_ref = client_ref(&body, headers);
    let echo = ECHOED.iter().filter_map(|key| body.remove_entry(*key)).collect();
    Ok(Asked {
        model,
        stream,
        input_tokens,
        last_user_text: conversation.last_user_text,
        ends_in_tool_output: conversation.ends_in_tool_output,
        tools,
        forced_tool,
        max_output_tokens,
        choices: 1,
        echo,
        client_ref,
        include_usage: false,
    })
}

/// The simple parameters. Returns whether to stream.
fn check_options(fields: Fields<'_>) -> Result<bool, Refusal> {
    let stream = fields.boolean("stream")?.unwrap_or(false);
    if fields.object("stream_options")?.is_some() && !stream {
        return Err(Refusal::rule(
            "stream_options",
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        ));
    }
    fields.number("temperature", 0.0, 2.0)?;
    fields.number("top_p", 0.0, 1.0)?;
    fields.whole("top_logprobs", 0)?;
    fields.whole("max_tool_calls", 1)?;
    for key in ["background", "parallel_tool_calls", "store"] {
        fields.boolean(key)?;
    }
    for key in ["reasoning", "text", "client_metadata", "prompt"] {
        fields.object(key)?;
    }
    for key in ["instructions", "prompt_cache_key", "safety_identifier", "service_tier", "user"] {
        fields.string(key)?;
    }
    fields.choice("truncation", &["auto", "disabled"], "'auto' and 'disabled'")?;
    fields.string_map("metadata")?;
    if let Some(include) = fields.array("include")? {
        for (at, value) in include.iter().enumerate() {
            if !value.is_string() {
                return Err(fields.wrong_type(&format!("include[{at}]"), "a string", value));
            }
        }
    }
    Ok(stream)
}

/// Whether earlier items stand in a stored response or conversation, out of sight.
fn continues_stored(fields: Fields<'_>) -> Result<bool, Refusal> {
    let previous = fields.string("previous_response_id")?;
    if let Some(id) = previous
        && !id.starts_with("resp_")
    {
        return Err(Refusal::ResponseNotFound(id.to_owned()));
    }
    Ok(previous.is_some() || fields.get("conversation").is_some())
}

/// The tools that can be called by name. Unknown types are the vendor's to know.
fn read_tools(fields: Fields<'_>) -> Result<Vec<Tool>, Refusal> {
    let mut tools = Vec::new();
    for (at, value) in fields.array("tools")?.into_iter().flatten().enumerate() {
        read_tool(value, &format!("tools[{at}]"), &mut tools)?;
    }
    Ok(tools)
}

fn read_tool(value: &Value, path: &str, tools: &mut Vec<Tool>) -> Result<(), Refusal> {
    let tool = Fields::new(check::element(value, path)?, path);
    match tool.need_string("type")? {
        kind @ ("function" | "custom") => {
            let name = tool.need_string("name")?;
            if !check::is_tool_name(name, 128) {
                return Err(Refusal::rule(
                    tool.path_of("name"),
                    format!(
                        "Invalid '{}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
                        tool.path_of("name")
                    ),
                ));
            }
            tool.object("parameters")?;
            tool.boolean("strict")?;
            tool.string("description")?;
            tools.push(Tool { name: name.to_owned(), custom: kind == "custom" });
        }
        "namespace" => {
            for (at, nested) in tool.array("tools")?.into_iter().flatten().enumerate() {
                read_tool(nested, &format!("{path}.tools[{at}]"), tools)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The tool a request insists on, if it does.
fn read_tool_choice(fields: Fields<'_>, tools: &[Tool]) -> Result<Option<String>, Refusal> {
    let Some(choice) = fields.get("tool_choice") else {
        return Ok(None);
    };
    if choice.is_string() {
        let mode =
            fields.choice("tool_choice", &["none", "auto", "required"], "'none', 'auto', and 'required'")?;
        return Ok(tools.first().filter(|_| mode == Some("required")).map(|tool| tool.name.clone()));
    }
    let choice = Fields::new(fields.need_object("tool_choice")?, "tool_choice");
    match choice.need_string("type")? {
        "function" | "custom" => {
            let name = choice.need_string("name")?;
            if !tools.iter().any(|tool| tool.name == name) {
                return Err(Refusal::rule(
                    "tool_choice",
                    format!("Tool choice '{name}' not found in 'tools' parameter."),
                ));
            }
            Ok(Some(name.to_owned()))
        }
        _ => Ok(None),
    }
}
