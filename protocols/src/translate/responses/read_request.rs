//! A client's request in the Responses dialect, into the model.
//!
//! Every member is carried, or stands in `DROPPED` with the reason why leaving it out changes nothing, or is
//! refused. Members that neither this gateway nor the list knows are dropped, as OpenAI's SDKs and Codex add
//! new ones with every release.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::read_items::read_input;
use super::read_tools::{read_tool_choice, read_tools};
use crate::conversation::{
    Conversation, OutputFormat, Sampling, Text, Thinking, ThinkingMode, Tool, Untranslatable, known_effort,
};

/// Members of a request that are left out, each with the reason.
pub const DROPPED: &[(&str, &str)] = &[
    ("background", "the gateway itself runs and keeps the response"),
    ("store", "the gateway itself keeps the response"),
    ("model", "the gateway's routes name the provider's model"),
    ("service_tier", "a matter between the operator and the provider"),
    ("metadata", "only repeated in the answer"),
    ("user", "only repeated in the answer; customers are not named to providers"),
    ("safety_identifier", "only repeated in the answer; customers are not named to providers"),
    ("client_metadata", "Codex's notes to OpenAI about the session"),
    ("truncation", "a history longer than the model's context is refused there, never cut"),
    ("stream_options", "no padding is added to translated streams"),
    ("prompt_cache_retention", "how long to cache; the provider's default is used"),
    ("prompt_cache_options", "how to cache; the provider's default is used"),
    ("moderation", "reports beside the answer, not the answer"),
];

/// Members that the response object repeats. The instructions and tools are written from the model.
const REPEATED: [&str; 17] = [
    "background",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// A request body as a conversation.
///
/// `previous_response_id` and `conversation` are refused: whoever keeps what they name puts it into `input`
/// first.
///
/// # Errors
/// `Wrong` where a value is not what the dialect has there; `NotCarried` where leaving it out would change
/// what the customer gets.
pub fn read_request(body: Value) -> Result<Conversation, Untranslatable> {
    let Value::Object(members) = body else {
        return Err(Untranslatable::NotReadable { reason: "it should be a JSON object".into() });
    };
    let mut body = Fields::new(members, "");
    refuse(&body)?;
    let echo = repeated(&body);
    let instructions = body.text("instructions")?.filter(|text| !text.is_empty());
    let mut tools = Vec::new();
    read_tools(body.objects("tools")?, &mut tools)?;
    refuse_tool_limit(&body, &tools)?;
    let items = read_input(&mut body, &mut tools)?;
    let tool_choice = read_tool_choice(&mut body, &mut tools)?;
    let (format, verbosity) = read_text(&mut body)?;
    Ok(Conversation {
        instructions: instructions.map(Text::plain).into_iter().collect(),
        items,
        tools,
        tool_choice,
        parallel_tool_calls: body.flag("parallel_tool_calls")?,
        max_output_tokens: body.whole("max_output_tokens")?,
        sampling: Sampling {
            temperature: body.number("temperature")?,
            top_p: body.number("top_p")?,
            ..Sampling::default()
        },
        thinking: read_thinking(&mut body)?,
        format,
        verbosity,
        stream: body.flag("stream")?.unwrap_or(false),
        include_usage: true,
        choices: 1,
        prompt_cache_key: body.text("prompt_cache_key")?,
        echo,
    })
}

fn repeated(body: &Fields) -> Map<String, Value> {
    let member = |key: &&str| Some(((*key).to_owned(), body.get(key)?.clone()));
    REPEATED.iter().filter_map(member).collect()
}

/// What names something that only OpenAI has, or asks for something that no other dialect can say.
fn refuse(body: &Fields) -> Result<(), Untranslatable> {
    const STORED: &str = "it names something stored that is not in the request";
    for key in ["previous_response_id", "conversation", "prompt"] {
        if body.get(key).is_some() {
            return Err(body.not_carried(key, STORED));
        }
    }
    let compacts = body.get("context_management").is_some_and(|edits| match edits {
        Value::Array(edits) => !edits.is_empty(),
        _ => true,
    });
    if compacts {
        return Err(body.not_carried("context_management", "the history cannot be compacted there"));
    }
    match body.get("top_logprobs").map(|top| (top, top.as_u64())) {
        None | Some((_, Some(0))) => {}
        Some((_, Some(_))) => {
            return Err(body.not_carried("top_logprobs", "probabilities of tokens are not told there"));
        }
        Some((_, None)) => return Err(body.wrong("top_logprobs", "a whole number, not negative")),
    }
    Ok(())
}

/// `max_tool_calls` counts only tools that the provider runs; without one it means nothing.
fn refuse_tool_limit(body: &Fields, tools: &[Tool]) -> Result<(), Untranslatable> {
    let searches = tools.iter().any(|tool| matches!(tool, Tool::WebSearch { .. }));
    if searches && body.get("max_tool_calls").is_some() {
        return Err(body.not_carried("max_tool_calls", "the number of searches cannot be limited there"));
    }
    Ok(())
}

fn read_thinking(body: &mut Fields) -> Result<Thinking, Untranslatable> {
    let mut thinking = Thinking { wants_seal: read_include(body)?, ..Thinking::default() };
    if let Some(mut reasoning) = body.object("reasoning")? {
        thinking.effort = known_effort(reasoning.text("effort")?)
            .map_err(|expected| reasoning.wrong("effort", expected))?;
        thinking.summary = match reasoning.text("summary")? {
            Some(summary) => Some(summary),
            None => reasoning.text("generate_summary")?,
        };
    }
    if thinking.effort.as_deref() == Some("none") {
        thinking.mode = Some(ThinkingMode::Disabled);
    }
    Ok(thinking)
}

/// Whether `encrypted_content` is wanted. All else that can be included is of tools OpenAI runs.
fn read_include(body: &mut Fields) -> Result<bool, Untranslatable> {
    let mut wants_seal = false;
    for (at, included) in body.list("include")?.unwrap_or_default().into_iter().enumerate() {
        let place = format!("include[{at}]");
        match included.as_str() {
            Some("reasoning.encrypted_content") => wants_seal = true,
            Some("message.output_text.logprobs") => {
                return Err(body.not_carried(&place, "probabilities of tokens are not told there"));
            }
            Some(_) => {}
            None => return Err(body.wrong(&place, "a text")),
        }
    }
    Ok(wants_seal)
}

fn read_text(body: &mut Fields) -> Result<(OutputFormat, Option<String>), Untranslatable> {
    let Some(mut text) = body.object("text")? else { return Ok((OutputFormat::Text, None)) };
    let verbosity = text.text("verbosity")?;
    let Some(mut format) = text.object("format")? else { return Ok((OutputFormat::Text, verbosity)) };
    let read = match format.need_text("type")?.as_str() {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::JsonObject,
        "json_schema" => OutputFormat::JsonSchema {
            name: format.text("name")?,
            description: format.text("description")?,
            strict: format.flag("strict")?,
            schema: match format.take("schema") {
                Some(schema @ Value::Object(_)) => schema,
                Some(_) | None => return Err(format.wrong("schema", "a JSON schema")),
            },
        },
        _ => return Err(format.wrong("type", "text, json_object or json_schema")),
    };
    Ok((read, verbosity))
}
