//! A conversation as a request to a provider of this dialect.

use serde_json::{Map, Number, Value, json};

use super::cache::settle_marks;
use super::model_rules::ModelRules;
use super::write_content::text_block;
use super::write_thinking::{Circumstances, write_thinking};
use super::write_tools::write_tools;
use super::write_turns::{Turn, leading_instructions, write_turns};
use crate::conversation::{Conversation, Item, OutputFormat, Part, Sampling, Text, Untranslatable};
use crate::translate::UpstreamModel;

const JSON_OBJECT: &str = "Answer with one JSON object and nothing else.";

/// # Errors
/// `NotCarried` for what a provider of this dialect does not have and the answer would lack.
pub fn write_request(conversation: &Conversation, upstream: &UpstreamModel) -> Result<Value, Untranslatable> {
    if conversation.choices > 1 {
        let reason = "it gives one answer to a request";
        return Err(Untranslatable::NotCarried { field: "n".into(), reason });
    }
    let rules = ModelRules::of(upstream.name);
    let max_tokens = conversation.max_output_tokens.unwrap_or(upstream.max_output_tokens);
    let tools = write_tools(conversation)?;
    let (leading, items) = conversation.items.split_at(leading_instructions(&conversation.items));
    let turns = write_turns(items, &rules, tools.has_search)?;
    let circumstances = Circumstances {
        max_output_tokens: max_tokens,
        forced_tool: tools.is_forced,
        amid_unthought_calls: is_amid_unthought_calls(&turns),
    };
    let thinking = write_thinking(&conversation.thinking, &rules, circumstances);

    let mut body = Map::new();
    body.insert("model".into(), json!(upstream.name));
    body.insert("max_tokens".into(), json!(max_tokens));
    body.insert("stream".into(), json!(conversation.stream));
    let system = write_system(conversation, leading, &rules);
    insert_some(&mut body, "system", (!system.is_empty()).then_some(Value::Array(system)));
    let turns = turns.into_iter().map(|turn| json!({ "role": turn.role, "content": turn.blocks })).collect();
    body.insert("messages".into(), Value::Array(turns));
    insert_some(&mut body, "tools", (!tools.tools.is_empty()).then_some(Value::Array(tools.tools)));
    insert_some(&mut body, "tool_choice", tools.choice);
    insert_some(&mut body, "thinking", thinking.thinking);
    let config = write_output_config(conversation, &rules, thinking.effort);
    insert_some(&mut body, "output_config", (!config.is_empty()).then_some(Value::Object(config)));
    write_sampling(&conversation.sampling, &rules, thinking.is_on, &mut body)?;
    settle_marks(&mut body);
    Ok(Value::Object(body))
}

fn insert_some(body: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        body.insert(key.into(), value);
    }
}

/// Instructions, the system and developer messages that open the conversation, and a form of answer that
/// the model has no setting for.
fn write_system(conversation: &Conversation, leading: &[Item], rules: &ModelRules) -> Vec<Value> {
    let mut system: Vec<Value> = conversation.instructions.iter().filter_map(text_block).collect();
    for item in leading {
        if let Item::Message(message) = item {
            let text = |part: &Part| if let Part::Text(text) = part { text_block(text) } else { None };
            system.extend(message.parts.iter().filter_map(text));
        }
    }
    let form = match &conversation.format {
        OutputFormat::Text => None,
        OutputFormat::JsonObject => Some(JSON_OBJECT.to_owned()),
        OutputFormat::JsonSchema { .. } if rules.takes_schema => None,
        OutputFormat::JsonSchema { schema, .. } => {
            Some(format!("Answer with JSON that fits this JSON schema, and nothing else:\n{schema}"))
        }
    };
    system.extend(form.and_then(|form| text_block(&Text::plain(form))));
    system
}

fn write_output_config(
    conversation: &Conversation,
    rules: &ModelRules,
    effort: Option<&'static str>,
) -> Map<String, Value> {
    let mut config = Map::new();
    insert_some(&mut config, "effort", effort.map(|effort| json!(effort)));
    if let OutputFormat::JsonSchema { schema, .. } = &conversation.format
        && rules.takes_schema
    {
        config.insert("format".into(), json!({ "type": "json_schema", "schema": schema }));
    }
    config
}

/// Numbers only where the model takes them, for it refuses the request otherwise: new models never do,
/// older ones not while they think, nor both `temperature` and `top_p`.
fn write_sampling(
    sampling: &Sampling,
    rules: &ModelRules,
    is_thinking: bool,
    body: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    if !sampling.stop.is_empty() {
        if sampling.stop.iter().any(|stop| stop.trim().is_empty()) {
            let reason = "it refuses to stop at white space";
            return Err(Untranslatable::NotCarried { field: "stop".into(), reason });
        }
        body.insert("stop_sequences".into(), json!(sampling.stop));
    }
    if !rules.takes_sampling || is_thinking {
        return Ok(());
    }
    let temperature = sampling.temperature.as_ref();
    insert_some(body, "temperature", temperature.map(|number| Value::Number(within_one(number, rules))));
    let top_p = sampling.top_p.as_ref().filter(|_| temperature.is_none() || !rules.is_claude);
    insert_some(body, "top_p", top_p.map(|number| Value::Number(number.clone())));
    insert_some(body, "top_k", sampling.top_k.map(|top_k| json!(top_k)));
    Ok(())
}

/// Other dialects take a temperature up to 2; Claude's highest is 1.
fn within_one(temperature: &Number, rules: &ModelRules) -> Number {
    let is_beyond = temperature.as_f64().is_some_and(|number| number > 1.0);
    if is_beyond && rules.is_claude { Number::from(1) } else { temperature.clone() }
}

/// Whether the last turn of the assistant calls tools and does not begin with thinking.
fn is_amid_unthought_calls(turns: &[Turn]) -> bool {
    let kind = |block: &Value| block["type"].as_str().map(str::to_owned).unwrap_or_default();
    let Some(turn) = turns.iter().rev().find(|turn| turn.role == "assistant") else { return false };
    let calls = turn.blocks.iter().any(|block| kind(block) == "tool_use");
    calls && !turn.blocks.first().is_some_and(|block| kind(block).ends_with("thinking"))
}
