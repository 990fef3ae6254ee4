//! A client's Chat Completions request as a conversation.
//!
//! Only what would change the answer is refused where it cannot be carried: a client library sends many
//! members at their defaults, and those must not cost it the provider it is routed to.

use serde_json::Value;

use super::LEGACY_FUNCTIONS;
use super::fields::Fields;
use super::{read_messages, read_tools};
use crate::conversation::{
    Conversation, OutputFormat, Sampling, Thinking, ThinkingMode, Tool, Untranslatable, known_effort,
};

/// OpenAI's limit on stop texts.
pub const MAX_STOPS: usize = 4;

/// Members that change nothing in the answer, each with the reason why it is left out. Members that
/// OpenAI does not have are left out too.
pub const DROPPED: &[(&str, &str)] = &[
    ("metadata", "for OpenAI's own records, where nothing is stored"),
    ("moderation", "asks for labels beside the answer"),
    ("prediction", "makes an answer come sooner, not other"),
    ("prompt_cache_options", "how OpenAI keeps prompts; each provider caches by its own rules"),
    ("prompt_cache_retention", "how OpenAI keeps prompts; each provider caches by its own rules"),
    ("safety_identifier", "the caller's user, who is no business of another provider"),
    ("service_tier", "OpenAI's queue; other providers have their own"),
    ("store", "no provider is asked to keep anything"),
    ("user", "the caller's user, who is no business of another provider"),
];

const BOTH_LIMITS: &str = "left out where `max_completion_tokens` says otherwise";

/// Reads a request whose body is `body`.
///
/// # Errors
/// Where a member is not what OpenAI has there, or asks for what no other dialect can give.
pub fn read_request(body: Value) -> Result<Conversation, Untranslatable> {
    let mut fields = Fields::of_body(body)?;
    refuse(&mut fields)?;
    let items = read_messages::read(&mut fields)?;
    let mut tools = read_tools::read(&mut fields)?;
    if let Some(options) = fields.map("web_search_options")? {
        tools.push(Tool::WebSearch { options });
    }
    let mut conversation = Conversation {
        items,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        max_output_tokens: limit(&mut fields)?,
        sampling: read_sampling(&mut fields)?,
        thinking: thinking(&mut fields)?,
        format: format(&mut fields)?,
        verbosity: fields.text("verbosity")?,
        choices: 1,
        prompt_cache_key: fields.text("prompt_cache_key")?,
        ..Conversation::default()
    };
    (conversation.stream, conversation.include_usage) = read_streaming(&mut fields)?;
    conversation.tool_choice = read_tools::read_choice(&mut fields, &mut tools)?;
    if let Some(functions) = read_tools::read_functions(&mut fields, !tools.is_empty())? {
        conversation.tool_choice = read_tools::read_function_choice(&mut fields, &functions)?;
        // An answer of that form has room for one call.
        conversation.parallel_tool_calls = Some(false);
        conversation.echo.insert(LEGACY_FUNCTIONS.into(), Value::Bool(true));
        tools.extend(functions);
    }
    conversation.tools = tools;
    Ok(conversation)
}

/// What would be missing from the answer.
fn refuse(fields: &mut Fields) -> Result<(), Untranslatable> {
    refuse_choices(fields, "n")?;
    if fields.flag("logprobs")? == Some(true) || fields.count("top_logprobs", 0)?.is_some_and(|most| most > 0)
    {
        return Err(fields.not_carried("logprobs", "it does not report probabilities; leave it out"));
    }
    if fields.map("logit_bias")?.is_some_and(|bias| !bias.is_empty()) {
        return Err(fields.not_carried("logit_bias", "its tokens are not OpenAI's; leave it out"));
    }
    let modalities = fields.list("modalities")?.unwrap_or_default();
    if fields.take("audio").is_some() || modalities.iter().any(|modality| modality != "text") {
        return Err(fields.not_carried("modalities", "it answers in text only"));
    }
    Ok(())
}

/// Refuses more than one answer to a request.
pub(in crate::translate) fn refuse_choices(fields: &mut Fields, key: &str) -> Result<(), Untranslatable> {
    match fields.count(key, 1)? {
        None | Some(1) => Ok(()),
        Some(_) => Err(fields.not_carried(key, "it gives one answer to a request; ask once per answer")),
    }
}

fn limit(fields: &mut Fields) -> Result<Option<u64>, Untranslatable> {
    let limit = read_limit(fields, "max_completion_tokens")?;
    let former = read_limit(fields, "max_tokens")?;
    match (limit, former) {
        (Some(limit), Some(former)) if limit != former => Err(fields.wrong("max_tokens", BOTH_LIMITS)),
        (limit, former) => Ok(limit.or(former)),
    }
}

/// A limit of output tokens.
pub(in crate::translate) fn read_limit(
    fields: &mut Fields,
    key: &str,
) -> Result<Option<u64>, Untranslatable> {
    fields.count(key, 1)
}

/// What OpenAI's two dialects of text completion have in common.
pub(in crate::translate) fn read_sampling(fields: &mut Fields) -> Result<Sampling, Untranslatable> {
    Ok(Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: None,
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        seed: fields.whole("seed")?,
        stop: stop(fields)?,
    })
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, Untranslatable> {
    const EXPECTED: &str = "a text, or an array of at most 4 texts, none of them empty";
    let texts: Vec<String> = match fields.take("stop") {
        None => return Ok(vec![]),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) if list.len() <= MAX_STOPS => list
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Ok(text),
                _ => Err(fields.wrong("stop", EXPECTED)),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(fields.wrong("stop", EXPECTED)),
    };
    match texts.iter().any(String::is_empty) {
        true => Err(fields.wrong("stop", EXPECTED)),
        false => Ok(texts),
    }
}

/// Whether to stream, and whether the last chunk reports usage.
pub(in crate::translate) fn read_streaming(fields: &mut Fields) -> Result<(bool, bool), Untranslatable> {
    let stream = fields.flag("stream")?.unwrap_or(false);
    let include_usage = match fields.object("stream_options")? {
        Some(mut options) => options.flag("include_usage")?.unwrap_or(false),
        None => false,
    };
    Ok((stream, stream && include_usage))
}

/// OpenAI's effort, and the switch that Deepseek and others have beside it.
fn thinking(fields: &mut Fields) -> Result<Thinking, Untranslatable> {
    const EXPECTED: &str = "`enabled`, `disabled` or `adaptive`";
    let effort = known_effort(fields.text("reasoning_effort")?)
        .map_err(|expected| fields.wrong("reasoning_effort", expected))?;
    let Some(mut switch) = fields.object("thinking")? else {
        return Ok(Thinking { effort, ..Thinking::default() });
    };
    let mode = match switch.need_text("type")?.as_str() {
        "enabled" => ThinkingMode::Enabled,
        "disabled" => ThinkingMode::Disabled,
        "adaptive" => ThinkingMode::Adaptive,
        _ => return Err(switch.wrong("type", EXPECTED)),
    };
    Ok(Thinking { mode: Some(mode), effort, ..Thinking::default() })
}

fn format(fields: &mut Fields) -> Result<OutputFormat, Untranslatable> {
    let Some(mut format) = fields.object("response_format")? else { return Ok(OutputFormat::Text) };
    match format.need_text("type")?.as_str() {
        "text" => Ok(OutputFormat::Text),
        "json_object" => Ok(OutputFormat::JsonObject),
        "json_schema" => {
            let mut described = format.need_object("json_schema")?;
            Ok(OutputFormat::JsonSchema {
                name: described.text("name")?,
                description: described.text("description")?,
                schema: described.map("schema")?.unwrap_or_default().into(),
                strict: described.flag("strict")?,
            })
        }
        _ => Err(format.wrong("type", "`text`, `json_object` or `json_schema`")),
    }
}
