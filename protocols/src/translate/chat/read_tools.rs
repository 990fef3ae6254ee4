//! `tools`, `tool_choice` and what they were called at first: `functions`, `function_call`.

use serde_json::{Value, json};

use super::fields::Fields;
use crate::conversation::{CallName, FunctionTool, Grammar, Tool, ToolChoice, Untranslatable};

const DECLARED: &str = "the name of a declared tool";
const MODES: &str = "`none`, `auto`, `required`, or an object that names a tool";

pub(super) fn read(fields: &mut Fields) -> Result<Vec<Tool>, Untranslatable> {
    let tools = fields.list("tools")?.unwrap_or_default();
    tools
        .into_iter()
        .enumerate()
        .map(|(at, tool)| read_tool(Fields::of(tool, format!("tools[{at}]"))?))
        .collect()
}

/// The functions of a client that still uses that form.
pub(super) fn read_functions(
    fields: &mut Fields,
    has_tools: bool,
) -> Result<Option<Vec<Tool>>, Untranslatable> {
    let Some(functions) = fields.list("functions")? else { return Ok(None) };
    if has_tools {
        return Err(fields.wrong("functions", "left out where `tools` is given"));
    }
    let functions = functions
        .into_iter()
        .enumerate()
        .map(|(at, function)| read_function(Fields::of(function, format!("functions[{at}]"))?))
        .collect::<Result<_, _>>()?;
    Ok(Some(functions))
}

fn read_tool(mut tool: Fields) -> Result<Tool, Untranslatable> {
    match tool.need_text("type")?.as_str() {
        "function" => read_function(tool.need_object("function")?),
        "custom" => {
            let mut custom = tool.need_object("custom")?;
            Ok(Tool::Custom {
                name: custom.need_text("name")?,
                description: custom.text("description")?,
                grammar: custom.object("format")?.map(read_grammar).transpose()?.flatten(),
            })
        }
        _ => Err(tool.wrong("type", "`function` or `custom`")),
    }
}

fn read_function(mut function: Fields) -> Result<Tool, Untranslatable> {
    let parameters = function.map("parameters")?.map(Value::Object);
    Ok(Tool::Function(FunctionTool {
        name: function.need_text("name")?,
        description: function.text("description")?,
        parameters: parameters.unwrap_or_else(no_parameters),
        strict: function.flag("strict")?,
        ..FunctionTool::default()
    }))
}

/// The schema of a function that takes nothing.
pub(super) fn no_parameters() -> Value {
    json!({ "type": "object", "properties": {} })
}

fn read_grammar(mut format: Fields) -> Result<Option<Grammar>, Untranslatable> {
    match format.need_text("type")?.as_str() {
        "text" => Ok(None),
        "grammar" => {
            let mut grammar = format.need_object("grammar")?;
            let syntax = grammar.need_text("syntax")?;
            Ok(Some(Grammar { syntax, definition: grammar.need_text("definition")? }))
        }
        _ => Err(format.wrong("type", "`text` or `grammar`")),
    }
}

/// The choice among `tools`, of which only those stay that the client allows: no other dialect has a list
/// of allowed tools, but what is not offered cannot be called.
pub(super) fn read_choice(
    fields: &mut Fields,
    tools: &mut Vec<Tool>,
) -> Result<Option<ToolChoice>, Untranslatable> {
    let choice = match fields.take("tool_choice") {
        None => return Ok(None),
        Some(Value::String(mode)) => {
            return read_mode(&mode).map(Some).ok_or_else(|| fields.wrong("tool_choice", MODES));
        }
        Some(choice @ Value::Object(_)) => choice,
        Some(_) => return Err(fields.wrong("tool_choice", MODES)),
    };
    let mut choice = Fields::of(choice, "tool_choice".into())?;
    let kind = choice.need_text("type")?;
    if kind != "allowed_tools" {
        return read_named(choice, &kind, tools).map(|name| Some(ToolChoice::Named(name)));
    }
    let mut allowed = choice.need_object("allowed_tools")?;
    let mode = match allowed.need_text("mode")?.as_str() {
        "auto" => ToolChoice::Auto,
        "required" => ToolChoice::Required,
        _ => return Err(allowed.wrong("mode", "`auto` or `required`")),
    };
    let mut names = vec![];
    for (at, tool) in allowed.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let mut tool = Fields::of(tool, allowed.path_of(&format!("tools[{at}]")))?;
        let kind = tool.need_text("type")?;
        names.push(read_named(tool, &kind, tools)?);
    }
    tools.retain(|tool| CallName::of(tool).is_none_or(|name| names.contains(&name)));
    Ok(Some(mode))
}

fn read_mode(mode: &str) -> Option<ToolChoice> {
    match mode {
        "none" => Some(ToolChoice::None),
        "auto" => Some(ToolChoice::Auto),
        "required" => Some(ToolChoice::Required),
        _ => None,
    }
}

fn read_named(mut choice: Fields, kind: &str, tools: &[Tool]) -> Result<CallName, Untranslatable> {
    let make: fn(String) -> CallName = match kind {
        "function" => CallName::function,
        "custom" => CallName::custom,
        _ => return Err(choice.wrong("type", "`function`, `custom` or `allowed_tools`")),
    };
    let mut named = choice.need_object(kind)?;
    let name = make(named.need_text("name")?);
    if tools.iter().any(|tool| CallName::of(tool).as_ref() == Some(&name)) {
        Ok(name)
    } else {
        Err(named.wrong("name", DECLARED))
    }
}

/// `function_call` of a request that has `functions`.
pub(super) fn read_function_choice(
    fields: &mut Fields,
    functions: &[Tool],
) -> Result<Option<ToolChoice>, Untranslatable> {
    const EXPECTED: &str = "`none`, `auto`, or an object with a name";
    match fields.take("function_call") {
        None => Ok(None),
        Some(Value::String(mode)) if mode == "none" => Ok(Some(ToolChoice::None)),
        Some(Value::String(mode)) if mode == "auto" => Ok(Some(ToolChoice::Auto)),
        Some(choice @ Value::Object(_)) => {
            let mut choice = Fields::of(choice, "function_call".into())?;
            let name = CallName::function(choice.need_text("name")?);
            if functions.iter().any(|function| CallName::of(function).as_ref() == Some(&name)) {
                Ok(Some(ToolChoice::Named(name)))
            } else {
                Err(choice.wrong("name", DECLARED))
            }
        }
        Some(_) => Err(fields.wrong("function_call", EXPECTED)),
    }
}
