//! Tools a Messages client offers, and which of them the model is to use.

use serde_json::Value;

use super::fields::Fields;
use super::read_content::cache_lifetime;
use crate::conversation::{CallName, FunctionTool, Tool, ToolChoice, Untranslatable};

/// Tools whose meaning only Anthropic's models know, by how their type begins.
const ANTHROPIC_TOOLS: &[(&str, &str)] = &[
    ("bash_", "Anthropic's own shell tool has no description another model could follow"),
    ("text_editor_", "Anthropic's own editor tool has no description another model could follow"),
    ("computer_", "Anthropic's own computer tool has no description another model could follow"),
    ("memory_", "Anthropic's own memory tool has no description another model could follow"),
    ("code_execution_", "code is run by Anthropic's own service only"),
    ("web_fetch_", "pages are fetched by Anthropic's own service only"),
    ("tool_search_tool_", "tools are searched by Anthropic's own service only"),
    ("advisor_", "advice is given by Anthropic's own service only"),
    ("mcp_toolset", "servers of tools are called by Anthropic's own service only"),
];

pub(super) fn read_tools(fields: &mut Fields) -> Result<Vec<Tool>, Untranslatable> {
    let tools = fields.list("tools")?.unwrap_or_default();
    let read = |(at, tool)| read_tool(Fields::of(tool, format!("tools[{at}]"))?);
    tools.into_iter().enumerate().map(read).collect()
}

/// The choice, and `Some(false)` where calls must come one at a time.
pub(super) fn read_tool_choice(
    fields: &mut Fields,
    offered: &[Tool],
) -> Result<(Option<ToolChoice>, Option<bool>), Untranslatable> {
    let Some(mut choice) = fields.fields("tool_choice")? else { return Ok((None, None)) };
    let read = match choice.need_text("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => {
            let name = CallName::function(choice.need_text("name")?);
            if !offered.iter().any(|tool| CallName::of(tool).as_ref() == Some(&name)) {
                return Err(
                    choice.not_carried("name", "only a tool that the client runs can be chosen by name")
                );
            }
            ToolChoice::Named(name)
        }
        _ => return Err(choice.wrong("type", "`auto`, `any`, `tool` or `none`")),
    };
    let one_at_a_time = choice.boolean("disable_parallel_tool_use")?.unwrap_or(false);
    Ok((Some(read), one_at_a_time.then_some(false)))
}

fn read_tool(mut tool: Fields) -> Result<Tool, Untranslatable> {
    match tool.text("type")?.as_deref() {
        None | Some("custom") => function(tool),
        Some(kind) if kind.starts_with("web_search_") => {
            let kind = kind.to_owned();
            let mut options = tool.into_members();
            options.remove("name");
            options.remove("cache_control");
            options.insert("type".into(), Value::String(kind));
            Ok(Tool::WebSearch { options })
        }
        Some(kind) => {
            let known = ANTHROPIC_TOOLS.iter().find(|(prefix, _)| kind.starts_with(prefix));
            let reason = known.map_or("tools of this type are known to Anthropic only", |(_, reason)| reason);
            Err(tool.not_carried("type", reason))
        }
    }
}

fn function(mut tool: Fields) -> Result<Tool, Untranslatable> {
    let parameters = tool.take("input_schema").filter(Value::is_object);
    let parameters = parameters.ok_or_else(|| tool.wrong("input_schema", "an object"))?;
    Ok(Tool::Function(FunctionTool {
        name: tool.need_text("name")?,
        namespace: None,
        description: tool.text("description")?,
        parameters,
        strict: tool.boolean("strict")?,
        cache: cache_lifetime(&mut tool)?,
    }))
}
