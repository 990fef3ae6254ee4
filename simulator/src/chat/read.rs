//! Which Chat Completions requests are served, and what they ask for.

use http::HeaderMap;
use serde_json::Value;

use super::conversation;
use crate::check::{self, Fields, Object};
use crate::refusal::Refusal;
use crate::request::{Asked, Tool, client_ref};
use crate::{models, tokens};

/// Everything the SDKs send; any other key is refused, as OpenAI does.
const ALLOWED: &[&str] = &[
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

const ALLOWED_BY_DEEPSEEK: &[&str] = &["thinking"];

const MOST_CHOICES: u64 = 128;
const MOST_STOPS: usize = 4;

pub fn read(body: Object, headers: &HeaderMap) -> Result<Asked, Refusal> {
    let fields = Fields::new(&body, "");
    let model = fields.need_string("model")?.to_owned();
    match models::is_deepseek(&model) {
        true => fields.only(&[ALLOWED, ALLOWED_BY_DEEPSEEK].concat())?,
        false => fields.only(ALLOWED)?,
    }
    models::check(&model)?;
    check_options(fields)?;
    let (stream, include_usage) = read_streaming(fields)?;
    let conversation = conversation::read(fields)?;
    let tools = read_tools(fields)?;
    let forced_tool = read_tool_choice(fields, &tools)?;
    let counted = ["messages", "tools"];
    Ok(Asked {
        model,
        stream,
        include_usage,
        input_tokens: tokens::of_values(counted.iter().filter_map(|key| body.get(*key))),
        last_user_text: conversation.last_user_text,
        ends_in_tool_output: conversation.ends_in_tool_output,
        tools,
        forced_tool,
        max_output_tokens: read_limit(fields)?,
        choices: read_choices(fields)?,
        echo: Object::new(),
        client_ref: client_ref(&body, headers),
    })
}

fn check_options(fields: Fields<'_>) -> Result<(), Refusal> {
    fields.number("temperature", 0.0, 2.0)?;
    fields.number("top_p", 0.0, 1.0)?;
    fields.number("frequency_penalty", -2.0, 2.0)?;
    fields.number("presence_penalty", -2.0, 2.0)?;
    fields.whole("top_logprobs", 0)?;
    for key in ["logprobs", "parallel_tool_calls", "store"] {
        fields.boolean(key)?;
    }
    for key in ["logit_bias", "web_search_options", "prediction", "audio"] {
        fields.object(key)?;
    }
    for key in
        ["prompt_cache_key", "reasoning_effort", "safety_identifier", "service_tier", "user", "verbosity"]
    {
        fields.string(key)?;
    }
    fields.string_map("metadata")?;
    if let Some(format) = fields.object("response_format")? {
        let format = Fields::new(format, "response_format");
        format.need("type")?;
        format.choice(
            "type",
            &["text", "json_object", "json_schema"],
            "'text', 'json_object', and 'json_schema'",
        )?;
    }
    check_stop(fields)
}

fn check_stop(fields: Fields<'_>) -> Result<(), Refusal> {
    match fields.get("stop") {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Array(stops)) if stops.len() > MOST_STOPS => Err(Refusal::rule(
            "stop",
            format!("Invalid 'stop': array too long. Expected an array with maximum length {MOST_STOPS}."),
        )),
        Some(Value::Array(stops)) if stops.iter().all(Value::is_string) => Ok(()),
        Some(other) => Err(fields.wrong_type("stop", "a string or an array of strings", other)),
    }
}

/// Whether to stream, and whether with a usage chunk.
fn read_streaming(fields: Fields<'_>) -> Result<(bool, bool), Refusal> {
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let Some(options) = fields.object("stream_options")? else {
        return Ok((stream, false));
    };
    if !stream {
        return Err(Refusal::rule(
            "stream_options",
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        ));
    }
    let options = Fields::new(options, "stream_options");
    options.only(&["include_usage", "include_obfuscation"])?;
    Ok((stream, options.boolean("include_usage")?.unwrap_or(false)))
}

fn read_limit(fields: Fields<'_>) -> Result<Option<u64>, Refusal> {
    let old = fields.whole("max_tokens", 1)?;
    let new = fields.whole("max_completion_tokens", 1)?;
    if old.is_some() && new.is_some() {
        return Err(Refusal::rule(
            "max_tokens",
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        ));
    }
    Ok(old.or(new))
}

fn read_choices(fields: Fields<'_>) -> Result<u64, Refusal> {
    let choices = fields.whole("n", 1)?.unwrap_or(1);
    if choices > MOST_CHOICES {
        return Err(Refusal::TooLarge {
            param: "n".to_owned(),
            most: MOST_CHOICES.to_string(),
            got: choices.to_string(),
        });
    }
    Ok(choices)
}

fn read_tools(fields: Fields<'_>) -> Result<Vec<Tool>, Refusal> {
    let Some(list) = fields.array("tools")? else {
        return Ok(Vec::new());
    };
    if list.is_empty() {
        return Err(Refusal::Empty("tools".to_owned()));
    }
    let mut tools = Vec::new();
    for (at, value) in list.iter().enumerate() {
        let path = format!("tools[{at}]");
        tools.push(read_tool(Fields::new(check::element(value, &path)?, &path))?);
    }
    Ok(tools)
}

fn read_tool(tool: Fields<'_>) -> Result<Tool, Refusal> {
    tool.need("type")?;
    let kind = tool.choice("type", &["function", "custom"], "'function' and 'custom'")?.unwrap_or("function");
    let path = tool.path_of(kind);
    let definition = Fields::new(tool.need_object(kind)?, &path);
    let name = definition.need_string("name")?;
    if !check::is_tool_name(name, 64) {
        let param = definition.path_of("name");
        return Err(Refusal::rule(
            param.clone(),
            format!(
                "Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            ),
        ));
    }
    definition.string("description")?;
    definition.object("parameters")?;
    definition.boolean("strict")?;
    Ok(Tool { name: name.to_owned(), custom: kind == "custom" })
}

fn read_tool_choice(fields: Fields<'_>, tools: &[Tool]) -> Result<Option<String>, Refusal> {
    let Some(choice) = fields.get("tool_choice") else {
        return Ok(None);
    };
    if tools.is_empty() && choice.as_str() != Some("none") {
        return Err(Refusal::rule(
            "tool_choice",
            "'tool_choice' is only allowed when 'tools' are specified.",
        ));
    }
    if choice.is_string() {
        let mode =
            fields.choice("tool_choice", &["none", "auto", "required"], "'none', 'auto', and 'required'")?;
        return Ok(tools.first().filter(|_| mode == Some("required")).map(|tool| tool.name.clone()));
    }
    let choice = Fields::new(fields.need_object("tool_choice")?, "tool_choice");
    let kind = choice.need_string("type")?;
    if kind != "function" && kind != "custom" {
        return Ok(None);
    }
    let path = choice.path_of(kind);
    let named = Fields::new(choice.need_object(kind)?, &path);
    let name = named.need_string("name")?;
    if !tools.iter().any(|tool| tool.name == name) {
        return Err(Refusal::rule(
            "tool_choice",
            format!("Invalid value for 'tool_choice': no tool with name '{name}' found."),
        ));
    }
    Ok(Some(name.to_owned()))
}
