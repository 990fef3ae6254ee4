//! A Messages client's request, read into the model.

use serde_json::Value;

use super::fields::{Fields, wrong};
use super::read_content::{Reader, cache_lifetime, texts};
use super::read_tools::{read_tool_choice, read_tools};
use crate::conversation::{
    CacheLifetime, Conversation, Item, OutputFormat, Part, Role, Sampling, Text, Thinking, ThinkingMode,
    Untranslatable,
};

/// Members of a request that are read no further, and why nothing is lost. Members that are not known at
/// all are left out in the same way.
pub const DROPPED_MEMBERS: &[(&str, &str)] = &[
    ("model", "the gateway has routed by it already"),
    ("context_management", "trims what the provider reads, never what it is to do"),
    ("diagnostics", "asks for remarks beside the answer"),
    ("fallbacks", "the gateway has its own routes"),
    ("fallback_credit_token", "belongs to the provider's own fallbacks"),
    ("service_tier", "the operator's route decides"),
    ("user_profile_id", "names an account at the provider"),
];

/// Members that cannot be left out, and why they cannot be carried.
const REFUSED_MEMBERS: &[(&str, &str)] = &[
    ("container", "containers are a service of Anthropic's"),
    ("mcp_servers", "servers of tools are called by Anthropic's own service only"),
    ("thread", "conversations stored at a provider are not reachable from another"),
];

/// A system text by which Claude Code tells Anthropic what to bill; it changes from call to call and would
/// keep any other provider from using its prompt cache.
const BILLING_NOTE: &str = "x-anthropic-billing-header:";

/// # Errors
/// What the dialect does not have there, or what no other provider can do.
pub fn read_request(body: Value) -> Result<Conversation, Untranslatable> {
    let Value::Object(_) = body else {
        return Err(Untranslatable::NotReadable { reason: "it is not a JSON object".into() });
    };
    let mut fields = Fields::of(body, String::new())?;
    refuse_services(&mut fields)?;
    let mut conversation = Conversation {
        instructions: read_system(&mut fields)?,
        items: read_messages(&mut fields)?,
        tools: read_tools(&mut fields)?,
        max_output_tokens: Some(read_max_tokens(&mut fields)?),
        sampling: read_sampling(&mut fields)?,
        stream: fields.boolean("stream")?.unwrap_or(false),
        choices: 1,
        prompt_cache_key: read_cache_key(&mut fields)?,
        ..Conversation::default()
    };
    (conversation.tool_choice, conversation.parallel_tool_calls) =
        read_tool_choice(&mut fields, &conversation.tools)?;
    (conversation.thinking, conversation.format) = read_output_config(&mut fields)?;
    if let Some(lifetime) = cache_lifetime(&mut fields)? {
        mark_last(&mut conversation.items, lifetime);
    }
    Ok(conversation)
}

fn refuse_services(fields: &mut Fields) -> Result<(), Untranslatable> {
    for (key, reason) in REFUSED_MEMBERS {
        match fields.take(key) {
            None => {}
            Some(Value::Array(list)) if list.is_empty() => {}
            Some(_) => return Err(fields.not_carried(key, reason)),
        }
    }
    if fields.text("speed")?.is_some_and(|speed| speed != "standard") {
        return Err(fields.not_carried("speed", "only Anthropic sells other speeds"));
    }
    if fields.text("inference_geo")?.is_some_and(|place| place != "global") {
        return Err(fields.not_carried("inference_geo", "where another provider computes cannot be promised"));
    }
    Ok(())
}

fn read_system(fields: &mut Fields) -> Result<Vec<Text>, Untranslatable> {
    let Some(system) = fields.take("system") else { return Ok(vec![]) };
    let mut instructions = texts(system, "system")?;
    instructions.retain(|text| !text.text.is_empty() && !text.text.starts_with(BILLING_NOTE));
    Ok(instructions)
}

fn read_messages(fields: &mut Fields) -> Result<Vec<Item>, Untranslatable> {
    let messages = fields.list("messages")?.ok_or_else(|| fields.wrong("messages", "a list"))?;
    if messages.is_empty() {
        return Err(fields.wrong("messages", "a list of at least one message"));
    }
    let mut reader = Reader::default();
    for (at, message) in messages.into_iter().enumerate() {
        let mut message = Fields::of(message, format!("messages[{at}]"))?;
        let role = match message.need_text("role")?.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => return Err(message.wrong("role", "`user`, `assistant` or `system`")),
        };
        reader.message(role, message)?;
    }
    Ok(reader.items)
}

fn read_max_tokens(fields: &mut Fields) -> Result<u64, Untranslatable> {
    let limit = fields.whole("max_tokens")?.filter(|limit| *limit > 0);
    limit.ok_or_else(|| fields.wrong("max_tokens", "a whole number of at least 1"))
}

fn read_sampling(fields: &mut Fields) -> Result<Sampling, Untranslatable> {
    let mut stop = vec![];
    for (at, text) in fields.list("stop_sequences")?.into_iter().flatten().enumerate() {
        let Value::String(text) = text else {
            return Err(wrong(format!("stop_sequences[{at}]"), "a string"));
        };
        if text.is_empty() {
            return Err(wrong(format!("stop_sequences[{at}]"), "a string that is not empty"));
        }
        stop.push(text);
    }
    let mut number = |key: &str| match fields.take(key) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(Some(number)),
        Some(_) => Err(fields.wrong(key, "a number")),
    };
    let (temperature, top_p) = (number("temperature")?, number("top_p")?);
    Ok(Sampling { temperature, top_p, top_k: fields.whole("top_k")?, stop, ..Sampling::default() })
}

/// Claude Code names its session in `metadata.user_id`; a digest of it groups the requests that share a
/// prompt and tells a provider nothing else.
fn read_cache_key(fields: &mut Fields) -> Result<Option<String>, Untranslatable> {
    let Some(mut metadata) = fields.fields("metadata")? else { return Ok(None) };
    let user = metadata.text("user_id")?;
    Ok(user.map(|user| blake3::hash(user.as_bytes()).to_hex()[..32].to_owned()))
}

fn read_output_config(fields: &mut Fields) -> Result<(Thinking, OutputFormat), Untranslatable> {
    let mut thinking = read_thinking(fields)?;
    // The name the format had before it moved into `output_config`.
    let mut format = read_format(fields, "output_format")?;
    if let Some(mut config) = fields.fields("output_config")? {
        thinking.effort = config.text("effort")?;
        let known = ["low", "medium", "high", "xhigh", "max"];
        if thinking.effort.as_deref().is_some_and(|effort| !known.contains(&effort)) {
            return Err(config.wrong("effort", "`low`, `medium`, `high`, `xhigh` or `max`"));
        }
        format = read_format(&mut config, "format")?.or(format);
    }
    Ok((thinking, format.unwrap_or_default()))
}

fn read_thinking(fields: &mut Fields) -> Result<Thinking, Untranslatable> {
    let mut read = Thinking { wants_seal: true, ..Thinking::default() };
    let Some(mut thinking) = fields.fields("thinking")? else { return Ok(read) };
    read.mode = Some(match thinking.need_text("type")?.as_str() {
        "enabled" => ThinkingMode::Enabled,
        "disabled" => ThinkingMode::Disabled,
        "adaptive" => ThinkingMode::Adaptive,
        _ => return Err(thinking.wrong("type", "`enabled`, `disabled` or `adaptive`")),
    });
    read.budget_tokens = thinking.whole("budget_tokens")?;
    if read.mode == Some(ThinkingMode::Enabled) && read.budget_tokens.is_none() {
        return Err(thinking.wrong("budget_tokens", "a whole number"));
    }
    let summarized = thinking.text("display")?.is_some_and(|display| display == "summarized");
    read.summary = summarized.then(|| "auto".to_owned());
    Ok(read)
}

fn read_format(fields: &mut Fields, key: &str) -> Result<Option<OutputFormat>, Untranslatable> {
    let Some(mut format) = fields.fields(key)? else { return Ok(None) };
    match format.need_text("type")?.as_str() {
        "json_schema" => {
            let schema = format.take("schema").filter(Value::is_object);
            let schema = schema.ok_or_else(|| format.wrong("schema", "an object"))?;
            let format = OutputFormat::JsonSchema { name: None, description: None, schema, strict: None };
            Ok(Some(format))
        }
        _ => Err(format.wrong("type", "`json_schema`")),
    }
}

/// A mark for the whole request stands at the end of what may be kept.
fn mark_last(items: &mut [Item], lifetime: CacheLifetime) {
    let mark = Some(lifetime);
    for item in items.iter_mut().rev() {
        match item {
            Item::Message(message) => match message.parts.last_mut() {
                Some(Part::Text(text)) => return text.cache = mark,
                Some(Part::Image(image)) => return image.cache = mark,
                Some(Part::File(file)) => return file.cache = mark,
                Some(Part::Refusal(_)) | None => {}
            },
            Item::ToolResult(result) => return result.cache = mark,
            Item::Reasoning(_) | Item::ToolCall(_) | Item::WebSearch(_) => {}
        }
    }
}
