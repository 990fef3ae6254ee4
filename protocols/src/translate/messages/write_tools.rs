//! Tools and the choice among them, for a provider of this dialect: functions, and its own web search.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::write_content::{CUSTOM_INPUT, with_cache};
use crate::conversation::{
    CallName, Conversation, FunctionTool, Grammar, Item, Tool, ToolChoice, Untranslatable, wire_name,
};

/// The most tools of one request whose input the provider holds to its schema.
const MAX_STRICT_TOOLS: usize = 20;

/// The search every model of the dialect has.
const WEB_SEARCH: &str = "web_search_20250305";

/// What the top of a tool's schema may not hold; it is told in words instead.
const UNIONS: &[&str] = &["oneOf", "anyOf", "allOf"];

/// The members `tools` and `tool_choice`.
#[derive(Debug, Default)]
pub(super) struct WrittenTools {
    pub(super) tools: Vec<Value>,
    pub(super) choice: Option<Value>,
    pub(super) has_search: bool,
    /// Whether some tool must be called.
    pub(super) is_forced: bool,
}

/// # Errors
/// `NotCarried` where a tool is chosen by name that is not offered.
pub(super) fn write_tools(conversation: &Conversation) -> Result<WrittenTools, Untranslatable> {
    let mut written = WrittenTools::default();
    let mut names = HashSet::new();
    let strict = |tool: &&Tool| matches!(tool, Tool::Function(FunctionTool { strict: Some(true), .. }));
    let may_be_strict = conversation.tools.iter().filter(strict).count() <= MAX_STRICT_TOOLS;
    for tool in &conversation.tools {
        let Some((name, tool)) = write_tool(tool, may_be_strict) else { continue };
        // A name given twice is refused; the first is kept.
        if names.insert(name) {
            written.has_search |= tool.get("type").is_some();
            written.tools.push(tool);
        }
    }
    if written.tools.is_empty() {
        written.tools = tools_of_the_past(conversation);
        written.choice = (!written.tools.is_empty()).then(|| json!({ "type": "none" }));
        return Ok(written);
    }
    written.choice = write_choice(conversation, &names)?;
    written.is_forced = matches!(conversation.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    Ok(written)
}

/// Calls in a conversation need their tools declared, though none is offered any more.
fn tools_of_the_past(conversation: &Conversation) -> Vec<Value> {
    let mut names = HashSet::new();
    let mut tools = vec![];
    for item in &conversation.items {
        if let Item::ToolCall(call) = item {
            let name = wire_name(&call.name);
            if names.insert(name.clone()) {
                tools.push(json!({
                    "name": name,
                    "description": "No longer offered.",
                    "input_schema": { "type": "object" },
                }));
            }
        }
    }
    tools
}

fn write_choice(
    conversation: &Conversation,
    names: &HashSet<String>,
) -> Result<Option<Value>, Untranslatable> {
    let one_at_a_time = conversation.parallel_tool_calls == Some(false);
    let mut choice = match &conversation.tool_choice {
        None if one_at_a_time => json!({ "type": "auto" }),
        None => return Ok(None),
        Some(ToolChoice::None) => return Ok(Some(json!({ "type": "none" }))),
        Some(ToolChoice::Auto) => json!({ "type": "auto" }),
        Some(ToolChoice::Required) => json!({ "type": "any" }),
        Some(ToolChoice::Named(name)) => {
            let name = wire_name(name);
            if !names.contains(&name) {
                let reason = "the tool chosen is not among those it can be offered";
                return Err(Untranslatable::NotCarried { field: "tool_choice".into(), reason });
            }
            json!({ "type": "tool", "name": name })
        }
    };
    if one_at_a_time {
        choice["disable_parallel_tool_use"] = json!(true);
    }
    Ok(Some(choice))
}

/// `None` for a search that may not leave its provider's cache: there is no such thing here.
fn write_tool(tool: &Tool, may_be_strict: bool) -> Option<(String, Value)> {
    let name = CallName::of(tool).map(|name| wire_name(&name));
    let written = match tool {
        Tool::Function(function) => {
            let description = function.description.as_deref();
            let tool = function_tool(name.as_deref()?, description, &function.parameters);
            let mut tool = with_cache(tool, function.cache);
            if may_be_strict && function.strict == Some(true) {
                tool["strict"] = json!(true);
            }
            tool
        }
        Tool::Custom { description, grammar, .. } => {
            let schema = json!({
                "type": "object",
                "properties": { CUSTOM_INPUT: { "type": "string", "description": input_rule(grammar.as_ref()) } },
                "required": [CUSTOM_INPUT],
                "additionalProperties": false,
            });
            function_tool(name.as_deref()?, description.as_deref(), &schema)
        }
        Tool::ToolSearch { description, parameters } => {
            function_tool(name.as_deref()?, description.as_deref(), parameters)
        }
        Tool::WebSearch { options } => return web_search(options).map(|tool| ("web_search".into(), tool)),
    };
    Some((name?, written))
}

fn input_rule(grammar: Option<&Grammar>) -> String {
    match grammar {
        None => "The whole input, as free text.".into(),
        Some(Grammar { syntax, definition }) => {
            format!("The whole input, as free text that this grammar ({syntax}) describes:\n{definition}")
        }
    }
}

/// A schema that the provider takes: an object's, without unions at its top.
fn function_tool(name: &str, description: Option<&str>, parameters: &Value) -> Value {
    let mut schema = parameters.as_object().cloned().unwrap_or_default();
    schema.insert("type".into(), json!("object"));
    let unions: Map<String, Value> =
        UNIONS.iter().filter_map(|key| Some(((*key).to_owned(), schema.remove(*key)?))).collect();
    let mut tool = json!({ "name": name, "input_schema": schema });
    let description = match (description, unions.is_empty()) {
        (description, true) => description.map(str::to_owned),
        (description, false) => {
            let rule = format!("The input must also satisfy this JSON schema: {}", Value::Object(unions));
            Some(description.map_or(rule.clone(), |description| format!("{description}\n\n{rule}")))
        }
    };
    if let Some(description) = description {
        tool["description"] = json!(description);
    }
    tool
}

/// Options in this dialect's words stay; those of Responses are put in them.
fn web_search(options: &Map<String, Value>) -> Option<Value> {
    if options.get("external_web_access") == Some(&Value::Bool(false)) {
        return None;
    }
    let is_own = |kind: &&Value| kind.as_str().is_some_and(|kind| kind.starts_with("web_search_20"));
    if let Some(kind) = options.get("type").filter(is_own) {
        let mut tool = options.clone();
        tool.insert("type".into(), kind.clone());
        tool.insert("name".into(), json!("web_search"));
        return Some(Value::Object(tool));
    }
    let mut tool = json!({ "type": WEB_SEARCH, "name": "web_search" });
    let filters = options.get("filters").and_then(Value::as_object);
    for key in ["allowed_domains", "blocked_domains", "max_uses", "user_location"] {
        let option = options.get(key).or_else(|| filters.and_then(|filters| filters.get(key)));
        if let Some(option) = option.filter(|option| !option.is_null()) {
            tool[key] = option.clone();
            // Chat's form: the place is one level deeper.
            if let Some(place) = option.get("approximate").filter(|place| place.is_object()) {
                tool[key] = place.clone();
                tool[key]["type"] = json!("approximate");
            }
        }
    }
    Some(tool)
}
