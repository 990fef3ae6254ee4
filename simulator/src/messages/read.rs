//! Which Messages requests are served, and what they ask for.

use http::HeaderMap;

use super::conversation;
use crate::check::{self, Fields, Object};
use crate::refusal::Refusal;
use crate::request::{Asked, Tool, client_ref};
use crate::{models, tokens};

/// Everything the SDKs and Claude Code send; any other key is refused, as Anthropic does.
const ALLOWED: &[&str] = &[
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "thread",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
];

/// What `count_tokens` takes: the parts that have tokens, not how to answer.
const ALLOWED_TO_COUNT: &[&str] = &[
    "cache_control",
    "context_management",
    "mcp_servers",
    "messages",
    "model",
    "output_config",
    "output_format",
    "speed",
    "system",
    "thinking",
    "tool_choice",
    "tools",
];

/// Betas that bring role `system` into `messages`: Claude Code 2.1.197 names the first, 2.1.330 the second.
const MID_CONVERSATION: &[&str] = &["mid-conversation-system", "mid-conversation-tool-changes"];
/// The beta that lets a message carry its own `output_config`.
const PER_TURN_CONTROL: &[&str] = &["per-turn-control"];
const LEAST_THINKING_TOKENS: u64 = 1_024;

pub fn read(body: Object, headers: &HeaderMap) -> Result<Asked, Refusal> {
    let fields = Fields::new(&body, "");
    fields.only(ALLOWED)?;
    fields.need("max_tokens")?;
    let max_output_tokens = fields.whole("max_tokens", 1)?;
    check_options(fields, max_output_tokens)?;
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let asked = read_common(&body, headers)?;
    Ok(Asked { stream, max_output_tokens, ..asked })
}

/// A `count_tokens` request.
pub fn count(body: &Object, headers: &HeaderMap) -> Result<Asked, Refusal> {
    Fields::new(body, "").only(ALLOWED_TO_COUNT)?;
    read_common(body, headers)
}

fn read_common(body: &Object, headers: &HeaderMap) -> Result<Asked, Refusal> {
    if !headers.contains_key("anthropic-version") {
        return Err(Refusal::MissingVersion);
    }
    let fields = Fields::new(body, "");
    let model = fields.need_string("model")?.to_owned();
    models::check(&model)?;
    conversation::check_system(fields)?;
    let allowed = conversation::Allowed {
        system: has_beta(headers, MID_CONVERSATION),
        output_config: has_beta(headers, PER_TURN_CONTROL),
    };
    let conversation = conversation::read(fields, allowed)?;
    let tools = read_tools(fields)?;
    let forced_tool = read_tool_choice(fields, &tools)?;
    let counted = ["system", "messages", "tools"];
    Ok(Asked {
        model,
        input_tokens: tokens::of_values(counted.iter().filter_map(|key| body.get(*key))),
        last_user_text: conversation.last_user_text,
        ends_in_tool_output: conversation.ends_in_tool_output,
        tools,
        forced_tool,
        choices: 1,
        client_ref: client_ref(body, headers),
        ..Asked::default()
    })
}

fn has_beta(headers: &HeaderMap, names: &[&str]) -> bool {
    headers
        .get_all("anthropic-beta")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|betas| names.iter().any(|name| betas.contains(name)))
}

fn check_options(fields: Fields<'_>, max_tokens: Option<u64>) -> Result<(), Refusal> {
    fields.number("temperature", 0.0, 1.0)?;
    fields.number("top_p", 0.0, 1.0)?;
    fields.whole("top_k", 0)?;
    fields.string("service_tier")?;
    if let Some(metadata) = fields.object("metadata")? {
        let metadata = Fields::new(metadata, "metadata");
        metadata.only(&["user_id"])?;
        metadata.string("user_id")?;
    }
    for key in ["output_config", "context_management"] {
        fields.object(key)?;
    }
    for (at, stop) in fields.array("stop_sequences")?.into_iter().flatten().enumerate() {
        if !stop.is_string() {
            return Err(fields.wrong_type(&format!("stop_sequences[{at}]"), "a string", stop));
        }
        if stop.as_str().is_some_and(|text| text.trim().is_empty()) {
            let message = "each stop sequence must contain non-whitespace";
            return Err(Refusal::rule(format!("stop_sequences[{at}]"), message));
        }
    }
    check_thinking(fields, max_tokens)
}

fn check_thinking(fields: Fields<'_>, max_tokens: Option<u64>) -> Result<(), Refusal> {
    let Some(thinking) = fields.object("thinking")? else {
        return Ok(());
    };
    let thinking = Fields::new(thinking, "thinking");
    thinking.need("type")?;
    let kind = thinking.choice(
        "type",
        &["enabled", "disabled", "adaptive"],
        "'enabled', 'disabled' or 'adaptive'",
    )?;
    let budget = thinking.whole("budget_tokens", LEAST_THINKING_TOKENS)?;
    if kind != Some("enabled") {
        return Ok(());
    }
    thinking.need("budget_tokens")?;
    if budget >= max_tokens {
        return Err(Refusal::rule(
            "max_tokens",
            "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation.",
        ));
    }
    Ok(())
}

/// The tools that can be called by name. Server tools carry a dated type.
fn read_tools(fields: Fields<'_>) -> Result<Vec<Tool>, Refusal> {
    let mut tools: Vec<Tool> = Vec::new();
    for (at, value) in fields.array("tools")?.into_iter().flatten().enumerate() {
        let path = format!("tools[{at}]");
        let tool = Fields::new(check::element(value, &path)?, &path);
        let kind = tool.string("type")?.unwrap_or("custom");
        let name = match kind {
            "custom" => {
                tool.need_object("input_schema")?;
                tool.need_string("name")?
            }
            _ => tool.string("name")?.unwrap_or(kind),
        };
        if !check::is_tool_name(name, 128) {
            return Err(Refusal::rule(
                tool.path_of("name"),
                format!("tools.{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"),
            ));
        }
        if tools.iter().any(|known| known.name == name) {
            return Err(Refusal::rule("tools", "tools: Tool names must be unique."));
        }
        tools.push(Tool { name: name.to_owned(), custom: false });
    }
    Ok(tools)
}

fn read_tool_choice(fields: Fields<'_>, tools: &[Tool]) -> Result<Option<String>, Refusal> {
    let Some(choice) = fields.object("tool_choice")? else {
        return Ok(None);
    };
    let choice = Fields::new(choice, "tool_choice");
    choice.need("type")?;
    let kind = choice.choice("type", &["auto", "any", "tool", "none"], "'auto', 'any', 'tool' or 'none'")?;
    match kind {
        Some("any") => match tools.first() {
            Some(tool) => Ok(Some(tool.name.clone())),
            None => Err(Refusal::rule(
                "tool_choice",
                "tool_choice: tool_choice.any may only be specified while providing tools",
            )),
        },
        Some("tool") => {
            let name = choice.need_string("name")?;
            if !tools.iter().any(|tool| tool.name == name) {
                return Err(Refusal::rule(
                    "tool_choice",
                    format!("tool_choice: Tool '{name}' not found in provided tools"),
                ));
            }
            Ok(Some(name.to_owned()))
        }
        _ => Ok(None),
    }
}
