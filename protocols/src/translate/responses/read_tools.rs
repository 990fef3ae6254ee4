//! Tools a Responses client offers, and which of them the model must take.

use serde_json::Value;

use super::fields::Fields;
use super::{namespace_description, no_parameters};
use crate::conversation::{CallName, FunctionTool, Grammar, Tool, ToolChoice, Untranslatable};

const RUNS_AT_OPENAI: &str = "only OpenAI's own models have this tool";

/// Members of a tool that change nothing for the model and are left out.
pub const DROPPED_OF_TOOLS: &[(&str, &str)] = &[
    ("defer_loading", "every tool is offered from the start; only what the model reads first differs"),
    ("output_schema", "a hint; the result is carried as it is"),
    ("allowed_callers", "the only caller is the model itself"),
];

/// Adds `tools` to `offered`; one offered before under the same name stays as it was.
pub(super) fn read_tools(tools: Vec<Fields>, offered: &mut Vec<Tool>) -> Result<(), Untranslatable> {
    for tool in tools {
        read_tool(tool, None, offered)?;
    }
    Ok(())
}

/// The names of tools, without offering them.
pub(super) fn names_of(tools: &[Tool]) -> impl Iterator<Item = CallName> + '_ {
    tools.iter().filter_map(CallName::of)
}

fn read_tool(
    mut tool: Fields,
    namespace: Option<&str>,
    offered: &mut Vec<Tool>,
) -> Result<(), Untranslatable> {
    let kind = tool.kind()?.ok_or_else(|| tool.wrong("type", "the kind of tool"))?;
    let read = match kind.as_str() {
        "function" => read_function(tool, namespace)?,
        "custom" if namespace.is_some() => {
            return Err(tool.refused("a custom tool inside a namespace is known to OpenAI alone"));
        }
        "custom" => read_custom(tool)?,
        "namespace" => return read_namespace(tool, offered),
        "tool_search" => read_tool_search(tool)?,
        kind if kind.starts_with("web_search") => Tool::WebSearch { options: tool.rest() },
        _ => return Err(tool.refused(RUNS_AT_OPENAI)),
    };
    let name = CallName::of(&read);
    let known = offered.iter().any(|tool| match &name {
        Some(_) => CallName::of(tool) == name,
        None => matches!(tool, Tool::WebSearch { .. }),
    });
    if !known {
        offered.push(read);
    }
    Ok(())
}

fn read_function(mut tool: Fields, namespace: Option<&str>) -> Result<Tool, Untranslatable> {
    let parameters = match tool.take("parameters") {
        None => no_parameters(),
        Some(schema @ Value::Object(_)) => schema,
        Some(_) => return Err(tool.wrong("parameters", "a JSON schema")),
    };
    Ok(Tool::Function(FunctionTool {
        name: tool.need_text("name")?,
        namespace: namespace.map(str::to_owned),
        description: tool.text("description")?,
        parameters,
        strict: tool.flag("strict")?,
        cache: None,
    }))
}

fn read_custom(mut tool: Fields) -> Result<Tool, Untranslatable> {
    let name = tool.need_text("name")?;
    let description = tool.text("description")?;
    let grammar = match tool.object("format")? {
        None => None,
        Some(mut format) => match format.need_text("type")?.as_str() {
            "text" => None,
            "grammar" => Some(Grammar {
                syntax: format.need_text("syntax")?,
                definition: format.need_text("definition")?,
            }),
            _ => return Err(format.wrong("type", "text or grammar")),
        },
    };
    Ok(Tool::Custom { name, description, grammar })
}

/// The description of the group goes before that of its first function: the model holds none by itself.
fn read_namespace(mut tool: Fields, offered: &mut Vec<Tool>) -> Result<(), Untranslatable> {
    let name = tool.need_text("name")?;
    let description = tool.text("description")?.filter(|text| *text != namespace_description(&name));
    let first = offered.len();
    for nested in tool.objects("tools")? {
        read_tool(nested, Some(&name), offered)?;
    }
    if let (Some(group), Some(Tool::Function(function))) = (description, offered.get_mut(first)) {
        function.description = Some(match function.description.take() {
            Some(own) => format!("{group}\n\n{own}"),
            None => group,
        });
    }
    Ok(())
}

fn read_tool_search(mut tool: Fields) -> Result<Tool, Untranslatable> {
    if tool.text("execution")?.as_deref() != Some("client") {
        return Err(tool.not_carried("execution", "only a search that the client runs can be carried"));
    }
    let parameters = tool.take("parameters").unwrap_or_else(no_parameters);
    Ok(Tool::ToolSearch { description: tool.text("description")?, parameters })
}

/// What the model must do with its tools. A list of allowed tools takes the others out of `offered`.
pub(super) fn read_tool_choice(
    body: &mut Fields,
    offered: &mut Vec<Tool>,
) -> Result<Option<ToolChoice>, Untranslatable> {
    const EXPECTED: &str = "auto, none, required, or an object that names a tool";
    let choice = match body.take("tool_choice") {
        None => return Ok(None),
        Some(Value::String(mode)) => {
            return mode_of(&mode).map(Some).ok_or_else(|| body.wrong("tool_choice", EXPECTED));
        }
        Some(Value::Object(members)) => Fields::new(members, "tool_choice"),
        Some(_) => return Err(body.wrong("tool_choice", EXPECTED)),
    };
    read_choice_object(choice, offered).map(Some)
}

fn mode_of(mode: &str) -> Option<ToolChoice> {
    match mode {
        "auto" => Some(ToolChoice::Auto),
        "none" => Some(ToolChoice::None),
        "required" => Some(ToolChoice::Required),
        _ => None,
    }
}

fn read_choice_object(mut choice: Fields, offered: &mut Vec<Tool>) -> Result<ToolChoice, Untranslatable> {
    let kind = choice.need_text("type")?;
    if kind != "allowed_tools" {
        return match read_choice_name(&mut choice, &kind, offered)? {
            Chosen::Tool(name) => Ok(ToolChoice::Named(name)),
            Chosen::WebSearch => Err(choice.refused("a search by the provider cannot be forced there")),
        };
    }
    let mode = choice.need_text("mode")?;
    let mode = match mode_of(&mode) {
        Some(mode @ (ToolChoice::Auto | ToolChoice::Required)) => mode,
        Some(ToolChoice::None | ToolChoice::Named(_)) | None => {
            return Err(choice.wrong("mode", "auto or required"));
        }
    };
    let mut allowed = Vec::new();
    let mut web_search = false;
    for mut tool in choice.objects("tools")? {
        let kind = tool.need_text("type")?;
        match read_choice_name(&mut tool, &kind, offered)? {
            Chosen::Tool(name) => allowed.push(name),
            Chosen::WebSearch => web_search = true,
        }
    }
    offered.retain(|tool| CallName::of(tool).map_or(web_search, |name| allowed.contains(&name)));
    Ok(mode)
}

enum Chosen {
    Tool(CallName),
    WebSearch,
}

fn read_choice_name(tool: &mut Fields, kind: &str, offered: &[Tool]) -> Result<Chosen, Untranslatable> {
    let chosen = match kind {
        "function" => {
            let name = tool.need_text("name")?;
            let namespace = tool.text("namespace")?;
            let whole = CallName { namespace, ..CallName::function(name) };
            // A name given without its namespace stands for the one function of that name.
            let is_meant = |known: &CallName| {
                known.kind == whole.kind
                    && known.name == whole.name
                    && (whole.namespace.is_none() || known.namespace == whole.namespace)
            };
            let exact = names_of(offered).find(|known| *known == whole);
            exact.or_else(|| names_of(offered).find(is_meant)).unwrap_or(whole)
        }
        "custom" => CallName::custom(tool.need_text("name")?),
        "tool_search" => CallName::tool_search(),
        kind if kind.starts_with("web_search") => return Ok(Chosen::WebSearch),
        _ => return Err(tool.refused(RUNS_AT_OPENAI)),
    };
    Ok(Chosen::Tool(chosen))
}
