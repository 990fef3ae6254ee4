//! Tools in the words of Responses, for providers and for the response object that repeats them.

use serde_json::{Map, Value, json};

use super::namespace_description;
use crate::conversation::{CallKind, CallName, FunctionTool, Tool, ToolChoice, Untranslatable, wire_name};

/// The longest function name OpenAI takes here.
const MAX_NAME: usize = 128;

/// Anthropic's words for a search tool that this dialect has none for, and which say nothing to it.
const UNSAID: [&str; 5] = ["type", "name", "cache_control", "allowed_callers", "strict"];

/// A function's name, shortened where OpenAI would refuse it.
pub(super) fn function_name(name: &CallName) -> String {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let fits = !name.name.is_empty() && name.name.len() <= MAX_NAME && name.name.bytes().all(allowed);
    if fits { name.name.clone() } else { wire_name(&CallName { namespace: None, ..name.clone() }) }
}

/// `tools`, those of one namespace together where they stand side by side.
pub(super) fn write_tools<'a>(tools: impl Iterator<Item = &'a Tool>) -> Result<Vec<Value>, Untranslatable> {
    let mut written: Vec<Value> = Vec::new();
    for tool in tools {
        let value = match tool {
            Tool::Function(function) => match &function.namespace {
                Some(namespace) => {
                    add_to_namespace(namespace, write_function(function), &mut written);
                    continue;
                }
                None => write_function(function),
            },
            Tool::Custom { name, description, grammar } => {
                let mut value = described(json!({ "type": "custom", "name": name }), description);
                if let Some(grammar) = grammar {
                    value["format"] = json!({
                        "type": "grammar",
                        "syntax": grammar.syntax,
                        "definition": grammar.definition,
                    });
                }
                value
            }
            Tool::ToolSearch { description, parameters } => described(
                json!({ "type": "tool_search", "execution": "client", "parameters": parameters }),
                description,
            ),
            Tool::WebSearch { options } => write_web_search(options)?,
        };
        written.push(value);
    }
    Ok(written)
}

fn write_function(function: &FunctionTool) -> Value {
    let name = CallName::function(&function.name);
    // Where it is left out, OpenAI makes the schema strict if it can: not what the client declared.
    let strict = function.strict.unwrap_or(false);
    described(
        json!({
            "type": "function",
            "name": function_name(&name),
            "parameters": function.parameters,
            "strict": strict,
        }),
        &function.description,
    )
}

fn described(mut tool: Value, description: &Option<String>) -> Value {
    if let Some(description) = description {
        tool["description"] = json!(description);
    }
    tool
}

fn add_to_namespace(namespace: &str, function: Value, written: &mut Vec<Value>) {
    let is_open = |last: &Value| last["type"] == "namespace" && last["name"] == namespace;
    if !written.last().is_some_and(is_open) {
        written.push(json!({
            "type": "namespace",
            "name": namespace,
            "description": namespace_description(namespace),
            "tools": [],
        }));
    }
    if let Some(Value::Array(tools)) = written.last_mut().and_then(|last| last.get_mut("tools")) {
        tools.push(function);
    }
}

/// Options of other dialects in the words of this one. `max_uses` stands in the request, not in the tool.
fn write_web_search(options: &Map<String, Value>) -> Result<Value, Untranslatable> {
    let mut written = Map::from_iter([("type".to_owned(), json!("web_search"))]);
    for (key, value) in options {
        match key.as_str() {
            key if UNSAID.contains(&key) => {}
            "max_uses" => {}
            "allowed_domains" => {
                written.insert("filters".to_owned(), json!({ "allowed_domains": value }));
            }
            "blocked_domains" => {
                if value.as_array().is_none_or(|domains| !domains.is_empty()) {
                    return Err(Untranslatable::NotCarried {
                        field: "blocked_domains".into(),
                        reason: "domains can only be allowed there, not blocked",
                    });
                }
            }
            // Chat's form: the place is one level deeper.
            "user_location" if value.get("approximate").is_some_and(Value::is_object) => {
                let mut place = value["approximate"].clone();
                place["type"] = json!("approximate");
                written.insert(key.clone(), place);
            }
            _ => {
                written.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(Value::Object(written))
}

/// How often the provider may search: it is the only tool it runs, so this limits all of its calls.
pub(super) fn max_searches(tools: &[Tool]) -> Option<&Value> {
    tools.iter().find_map(|tool| match tool {
        Tool::WebSearch { options } => options.get("max_uses").filter(|uses| uses.is_u64()),
        Tool::Function(_) | Tool::Custom { .. } | Tool::ToolSearch { .. } => None,
    })
}

pub(super) fn write_tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => match (name.kind, &name.namespace) {
            (CallKind::Function, None) => json!({ "type": "function", "name": function_name(name) }),
            (CallKind::Function, Some(namespace)) => {
                json!({ "type": "function", "name": function_name(name), "namespace": namespace })
            }
            (CallKind::Custom, _) => json!({ "type": "custom", "name": name.name }),
            (CallKind::ToolSearch, _) => json!({ "type": "tool_search" }),
        },
    }
}
