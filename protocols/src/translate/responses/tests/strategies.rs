//! Everything that the dialect can say, in the model's words.

use codexapi_aggregates::usage::Usage;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

use crate::conversation::{
    Answer, CallKind, CallName, Conversation, File, FunctionTool, Grammar, Image, Item, Message,
    OutputFormat, OutputPart, Part, Reasoning, Role, Sampling, Seal, Source, Stop, Text, Thinking,
    ThinkingMode, Tool, ToolCall, ToolChoice, ToolResult, WebSearchCall,
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9 \n\"\\\\{}é漢]{1,40}",
        1 => "\\PC{1,20}",
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_-]{0,20}"
}

fn schema() -> impl Strategy<Value = Value> {
    name().prop_map(|name| json!({ "type": "object", "properties": { name: { "type": "string" } } }))
}

fn source(media_type: &'static str) -> impl Strategy<Value = Source> {
    prop_oneof![
        "https://[a-z]{1,10}/[a-z]{0,5}".prop_map(Source::Url),
        "[A-Za-z0-9+/]{0,40}={0,2}"
            .prop_map(move |base64| Source::Data { media_type: media_type.into(), base64 }),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        3 => text().prop_map(|text| Part::Text(Text::plain(text))),
        1 => (source("image/png"), of(prop_oneof![Just("low".to_owned()), Just("high".to_owned())]))
            .prop_map(|(source, detail)| Part::Image(Image { source, detail, cache: None })),
        1 => (source("application/pdf"), name())
            .prop_map(|(source, name)| Part::File(File { source, name: Some(name), cache: None })),
    ]
}

fn assistant_part() -> impl Strategy<Value = Part> {
    prop_oneof![text().prop_map(|text| Part::Text(Text::plain(text))), text().prop_map(Part::Refusal),]
}

fn message() -> impl Strategy<Value = Item> {
    let other = prop_oneof![Just(Role::User), Just(Role::System), Just(Role::Developer)];
    prop_oneof![
        (other, vec(part(), 1..4)).prop_map(|(role, parts)| Message { role, parts }),
        vec(assistant_part(), 1..3).prop_map(|parts| Message { role: Role::Assistant, parts }),
    ]
    .prop_map(Item::Message)
}

fn encrypted() -> impl Strategy<Value = Seal> {
    ("rs_[a-f0-9]{4}", "gAAA[A-Za-z0-9_-]{1,20}").prop_map(|(id, content)| Seal::Encrypted { id, content })
}

fn function(namespace: Option<String>) -> impl Strategy<Value = FunctionTool> {
    (name(), of(text()), schema(), any::<bool>()).prop_map(move |(name, description, parameters, strict)| {
        FunctionTool {
            name,
            namespace: namespace.clone(),
            description,
            parameters,
            strict: Some(strict),
            cache: None,
        }
    })
}

fn custom() -> impl Strategy<Value = Tool> {
    let grammar = (name(), text()).prop_map(|(syntax, definition)| Grammar { syntax, definition });
    (name(), of(text()), of(grammar)).prop_map(|(name, description, grammar)| Tool::Custom {
        name: format!("c_{name}"),
        description,
        grammar,
    })
}

fn web_search() -> impl Strategy<Value = Tool> {
    any::<bool>().prop_map(|live| Tool::WebSearch {
        options: Map::from_iter([("external_web_access".to_owned(), json!(live))]),
    })
}

/// Tools offered from the start; no name twice.
fn tools() -> impl Strategy<Value = Vec<Tool>> {
    let search = (of(text()), schema())
        .prop_map(|(description, parameters)| Tool::ToolSearch { description, parameters });
    let grouped = name().prop_flat_map(|namespace| vec(function(Some(format!("n_{namespace}"))), 1..3));
    (vec(function(None), 0..3), grouped, of(custom()), of(search), of(web_search())).prop_map(
        |(functions, grouped, custom, search, web)| {
            let functions = functions.into_iter().chain(grouped).map(Tool::Function);
            let all = functions.chain(custom).chain(search).chain(web);
            let mut tools: Vec<Tool> = Vec::new();
            for tool in all {
                let name = CallName::of(&tool);
                if name.is_none() || tools.iter().all(|known| CallName::of(known) != name) {
                    tools.push(tool);
                }
            }
            tools
        },
    )
}

fn call_name() -> impl Strategy<Value = CallName> {
    prop_oneof![
        (name(), of(name())).prop_map(|(name, namespace)| CallName { namespace, ..CallName::function(name) }),
        name().prop_map(CallName::custom),
    ]
}

/// A call with its result, as two items.
fn exchange() -> impl Strategy<Value = Vec<Item>> {
    let output = prop_oneof![
        Just(Vec::new()),
        text().prop_map(|text| vec![Part::Text(Text::plain(text))]),
        vec(part(), 2..4),
    ];
    ("call_[a-f0-9]{6}", call_name(), text(), output).prop_map(|(call_id, name, input, parts)| {
        let kind = name.kind;
        let result = ToolResult { call_id: call_id.clone(), kind, parts, is_error: false, cache: None };
        vec![Item::ToolCall(ToolCall { call_id, name, input }), Item::ToolResult(result)]
    })
}

/// Reasoning with what it led to.
fn reasoned(thinks: bool) -> impl Strategy<Value = Vec<Item>> {
    (vec(text(), 0..3), encrypted(), exchange()).prop_map(move |(texts, seal, rest)| {
        let reasoning = Item::Reasoning(Reasoning { texts, seal: Some(seal) });
        thinks.then_some(reasoning).into_iter().chain(rest).collect()
    })
}

fn searched() -> impl Strategy<Value = Vec<Item>> {
    (prop_oneof![Just(String::new()), "ws_[a-f0-9]{4}"], of(text()))
        .prop_map(|(id, query)| vec![Item::WebSearch(WebSearchCall { id, query })])
}

/// A tool search with the tools it brought.
fn found() -> impl Strategy<Value = (Vec<Item>, Vec<Tool>)> {
    (name(), text()).prop_flat_map(|(namespace, query)| {
        let namespace = format!("found_{namespace}");
        function(Some(namespace)).prop_map(move |tool| {
            let wire = crate::conversation::wire_name(
                &CallName::of(&Tool::Function(tool.clone())).expect("a function has a name"),
            );
            let call_id = "call_search".to_owned();
            let items = vec![
                Item::ToolCall(ToolCall {
                    call_id: call_id.clone(),
                    name: CallName::tool_search(),
                    input: json!({ "query": query }).to_string(),
                }),
                Item::ToolResult(ToolResult {
                    call_id,
                    kind: CallKind::ToolSearch,
                    parts: vec![Part::Text(Text::plain(json!({ "tools": [wire] }).to_string()))],
                    is_error: false,
                    cache: None,
                }),
            ];
            (items, vec![Tool::Function(tool)])
        })
    })
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![(0u64..3).prop_map(Number::from), Just(Number::from_f64(0.7).expect("finite"))]
}

fn format() -> impl Strategy<Value = OutputFormat> {
    prop_oneof![
        Just(OutputFormat::Text),
        Just(OutputFormat::JsonObject),
        (name(), of(text()), schema(), of(any::<bool>())).prop_map(|(name, description, schema, strict)| {
            OutputFormat::JsonSchema { name: Some(name), description, schema, strict }
        }),
    ]
}

fn items(thinks: bool) -> impl Strategy<Value = (Vec<Item>, Vec<Tool>)> {
    let stretch = prop_oneof![
        3 => message().prop_map(|message| vec![message]),
        2 => exchange(),
        1 => reasoned(thinks),
        1 => searched(),
    ];
    (message(), vec(stretch, 0..5), of(found())).prop_map(|(first, rest, found)| {
        let mut items = vec![first];
        items.extend(rest.into_iter().flatten());
        let (more, tools) = found.unwrap_or_default();
        items.extend(more);
        (items, tools)
    })
}

/// A conversation as a Responses client can have it; one of a model that `thinks`, or that does not.
pub(super) fn conversation(thinks: bool) -> impl Strategy<Value = Conversation> {
    let efforts = ["none", "low", "medium", "high", "xhigh"];
    let effort = of((0..efforts.len()).prop_map(move |at| efforts[at].to_owned()));
    let asked = (effort, of(Just("auto".to_owned())), of(number()), of(number()));
    let limits = (of(16u64..30_000), of(any::<bool>()), any::<bool>(), of(name()));
    (of(text()), items(thinks), tools(), 0..5usize, format(), of(Just("low".to_owned())), asked, limits)
        .prop_map(move |(instructions, (items, found), tools, choice, format, verbosity, asked, limits)| {
            let (effort, summary, temperature, top_p) = asked;
            let (max_output_tokens, parallel_tool_calls, stream, prompt_cache_key) = limits;
            let disabled = effort.as_deref() == Some("none");
            let sampling = Sampling { temperature, top_p, ..Sampling::default() };
            let thinking = Thinking {
                mode: disabled.then_some(ThinkingMode::Disabled),
                effort,
                summary: summary.filter(|_| !disabled),
                budget_tokens: None,
                wants_seal: !disabled,
            };
            let named = tools.iter().find_map(CallName::of).map(ToolChoice::Named);
            let tool_choice = match choice {
                0 => None,
                1 => Some(ToolChoice::Auto),
                2 => Some(ToolChoice::None),
                3 => Some(ToolChoice::Required),
                _ => named,
            };
            Conversation {
                instructions: instructions.map(Text::plain).into_iter().collect(),
                items,
                tool_choice: tool_choice.filter(|_| !tools.is_empty()),
                tools: tools.into_iter().chain(found).collect(),
                parallel_tool_calls,
                max_output_tokens,
                sampling: if thinks && !disabled { Sampling::default() } else { sampling },
                thinking: if thinks { thinking } else { Thinking::default() },
                format,
                verbosity,
                stream,
                include_usage: true,
                choices: 1,
                prompt_cache_key,
                echo: Map::new(),
            }
        })
}

fn seal() -> impl Strategy<Value = Seal> {
    prop_oneof![
        encrypted(),
        (text(), text()).prop_map(|(text, signature)| Seal::Signature { text, signature }),
        text().prop_map(|data| Seal::Redacted { data }),
    ]
}

fn call() -> impl Strategy<Value = ToolCall> {
    let tool_search = text().prop_map(|query| ToolCall {
        call_id: "call_s".into(),
        name: CallName::tool_search(),
        input: json!({ "query": query }).to_string(),
    });
    let named = ("call_[a-f0-9]{6}", call_name(), prop_oneof![Just(String::new()), text()])
        .prop_map(|(call_id, name, input)| ToolCall { call_id, name, input });
    prop_oneof![3 => named, 1 => tool_search]
}

fn output_part() -> impl Strategy<Value = OutputPart> {
    let said = prop_oneof![1 => Just(String::new()), 6 => text()];
    prop_oneof![
        3 => said.prop_map(OutputPart::Text),
        1 => text().prop_map(OutputPart::Refusal),
        2 => (vec(text(), 1..3), of(seal())).prop_map(|(texts, seal)| {
            OutputPart::Reasoning(Reasoning { texts, seal })
        }),
        1 => seal().prop_map(|seal| OutputPart::Reasoning(Reasoning { texts: vec![], seal: Some(seal) })),
        2 => call().prop_map(OutputPart::ToolCall),
        1 => ("ws_[a-f0-9]{4}", of(text()))
            .prop_map(|(id, query)| OutputPart::WebSearch(WebSearchCall { id, query })),
    ]
}

/// An answer that the dialect can tell. Its id is the one made for the frame of the tests.
pub(super) fn answer() -> impl Strategy<Value = Answer> {
    let tokens = (0..9_000u64, 0..9_000u64, 0..9_000u64, 0..900u64, 0..900u64);
    (vec(output_part(), 0..7), of(tokens), 0..3usize).prop_map(|(parts, tokens, cut)| {
        let has = |is: fn(&OutputPart) -> bool| parts.iter().any(is);
        let stop = match cut {
            1 => Stop::Length,
            2 => Stop::ContentFilter,
            _ if has(|part| matches!(part, OutputPart::ToolCall(_))) => Stop::ToolUse,
            _ if has(|part| matches!(part, OutputPart::Refusal(_))) => Stop::Refused,
            _ => Stop::Done,
        };
        let searches = parts.iter().filter(|part| matches!(part, OutputPart::WebSearch(_))).count();
        let usage = tokens.map(|(input, cached_input, cache_write_5m, reasoning, rest)| Usage {
            input,
            cached_input,
            cache_write_5m,
            output: reasoning + rest,
            reasoning,
            web_search_calls: searches as u64,
            ..Usage::default()
        });
        Answer { id: Some("resp_0a1b".into()), parts, stop, usage }
    })
}

/// Any JSON, with the dialect's own words in it often enough to get deep.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    const WORDS: [&str; 40] = [
        "type",
        "input",
        "message",
        "role",
        "user",
        "assistant",
        "content",
        "input_text",
        "text",
        "tools",
        "function",
        "name",
        "namespace",
        "custom",
        "format",
        "grammar",
        "tool_search",
        "execution",
        "client",
        "call_id",
        "arguments",
        "output",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "tool_search_call",
        "tool_search_output",
        "reasoning",
        "summary",
        "encrypted_content",
        "web_search",
        "web_search_call",
        "action",
        "compaction",
        "tool_choice",
        "allowed_tools",
        "include",
        "response",
        "item",
        "delta",
    ];
    const EVENTS: [&str; 12] = [
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.function_call_arguments.delta",
        "response.refusal.delta",
        "response.completed",
        "response.incomplete",
    ];
    let word = prop_oneof![
        8 => (0..WORDS.len()).prop_map(|at| WORDS[at].to_owned()),
        2 => (0..EVENTS.len()).prop_map(|at| EVENTS[at].to_owned()),
        1 => "\\PC{0,6}",
    ];
    let leaf = prop_oneof![
        6 => word.clone().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => (0..4u64).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((word.clone(), inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
