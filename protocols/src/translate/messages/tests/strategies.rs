//! Conversations and answers that the dialect can say in full, and others that it cannot.

use codexapi_aggregates::usage::Usage;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

use crate::conversation::*;

/// What may stand where a provider wants visible text.
pub fn visible() -> impl Strategy<Value = String> {
    "[a-z äß漢\n\"\\\\<]{0,12}x"
}

pub fn object_text() -> impl Strategy<Value = String> {
    vec(("[a-c]", any::<i32>()), 0..3).prop_map(|members| {
        let object: Map<String, Value> = members.into_iter().map(|(key, n)| (key, json!(n))).collect();
        Value::Object(object).to_string()
    })
}

fn text() -> impl Strategy<Value = Part> {
    visible().prop_map(|text| Part::Text(Text::plain(text)))
}

fn user_part() -> impl Strategy<Value = Part> {
    let picture = prop_oneof![
        Just(Source::Url("https://example.com/a.png".into())),
        Just(Source::Data { media_type: "image/png".into(), base64: "iVBORw==".into() }),
    ];
    let file = prop_oneof![
        Just(Source::Url("https://example.com/a.pdf".into())),
        Just(Source::Data { media_type: "application/pdf".into(), base64: "JVBERi0=".into() }),
        Just(Source::Data { media_type: "text/plain".into(), base64: "aGVsbG8=".into() }),
    ];
    prop_oneof![
        4 => text(),
        1 => picture.prop_map(|source| Part::Image(Image { source, detail: None, cache: None })),
        1 => (file, option::of(visible()))
            .prop_map(|(source, name)| Part::File(File { source, name, cache: None })),
    ]
}

fn sealed() -> impl Strategy<Value = Reasoning> {
    prop_oneof![
        option::of(visible()).prop_map(|text| Reasoning {
            texts: text.iter().cloned().collect(),
            seal: Some(Seal::Signature { text: text.unwrap_or_default(), signature: "EqQB".into() }),
        }),
        Just(Reasoning { texts: vec![], seal: Some(Seal::Redacted { data: "xx==".into() }) }),
    ]
}

fn result_parts() -> impl Strategy<Value = Vec<Part>> {
    let picture = Source::Data { media_type: "image/png".into(), base64: "iVBORw==".into() };
    let picture = Part::Image(Image { source: picture, detail: None, cache: None });
    prop_oneof![
        Just(vec![]),
        text().prop_map(|text| vec![text]),
        (text(), text()).prop_map(|(a, b)| vec![a, b]),
        text().prop_map(move |text| vec![text, picture.clone()]),
    ]
}

/// A user's message and what the assistant does about it.
#[derive(Clone, Debug)]
pub struct Exchange {
    asked: Vec<Part>,
    reasoning: Option<Reasoning>,
    said: Option<Part>,
    calls: Vec<(String, Vec<Part>, bool)>,
    search: bool,
    reversed: bool,
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let calls = vec((object_text(), result_parts(), any::<bool>()), 0..3);
    (vec(user_part(), 1..3), sealed(), any::<bool>(), option::of(text()), calls, any::<[bool; 2]>()).prop_map(
        |(asked, reasoning, thinks, said, calls, [search, reversed])| {
            let reasoning = (thinks || !calls.is_empty()).then_some(reasoning);
            let said =
                if calls.is_empty() { Some(said.unwrap_or(Part::Text(Text::plain("yes")))) } else { said };
            Exchange { asked, reasoning, said, calls, search, reversed }
        },
    )
}

fn items(exchanges: Vec<Exchange>, last: Vec<Part>, has_search: bool) -> Vec<Item> {
    let mut items = vec![];
    for (at, exchange) in exchanges.into_iter().enumerate() {
        items.push(Item::Message(Message { role: Role::User, parts: exchange.asked }));
        items.extend(exchange.reasoning.map(Item::Reasoning));
        if exchange.search && has_search {
            let query = Some("weather".into());
            items.push(Item::WebSearch(WebSearchCall { id: format!("srvtoolu_{at}"), query }));
        }
        let said = exchange.said.map(|part| Message { role: Role::Assistant, parts: vec![part] });
        items.extend(said.map(Item::Message));
        let mut results = vec![];
        for (number, (input, parts, is_error)) in exchange.calls.into_iter().enumerate() {
            let call_id = format!("toolu_{at}_{number}");
            let name = CallName::function(format!("tool_{number}"));
            items.push(Item::ToolCall(ToolCall { call_id: call_id.clone(), name, input }));
            let is_error = is_error && parts.iter().all(|part| matches!(part, Part::Text(_)));
            let kind = CallKind::Function;
            results.push(Item::ToolResult(ToolResult { call_id, kind, parts, is_error, cache: None }));
        }
        if exchange.reversed {
            results.reverse();
        }
        items.extend(results);
    }
    items.push(Item::Message(Message { role: Role::User, parts: last }));
    items
}

fn tools() -> impl Strategy<Value = Vec<Tool>> {
    let function = (option::of(visible()), option::of(Just(true)));
    (vec(function, 3), any::<bool>()).prop_map(|(functions, has_search)| {
        let mut tools: Vec<Tool> = vec![];
        for (at, (description, strict)) in functions.into_iter().enumerate() {
            let parameters = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
            let name = format!("tool_{at}");
            let cache = None;
            tools.push(Tool::Function(FunctionTool {
                name,
                namespace: None,
                description,
                parameters,
                strict,
                cache,
            }));
        }
        if has_search {
            let options = json!({ "type": "web_search_20250305", "max_uses": 3 });
            tools.push(Tool::WebSearch { options: options.as_object().cloned().unwrap_or_default() });
        }
        tools
    })
}

/// The model a conversation is for, and how much it is to think there.
fn model_and_thinking() -> impl Strategy<Value = (&'static str, Thinking)> {
    let asked = |mode, effort: Option<&str>, budget_tokens, summary: Option<&str>| Thinking {
        mode: Some(mode),
        effort: effort.map(str::to_owned),
        summary: summary.map(str::to_owned),
        budget_tokens,
        wants_seal: true,
    };
    let unasked = Thinking { wants_seal: true, ..Thinking::default() };
    use ThinkingMode::{Adaptive, Disabled, Enabled};
    prop_oneof![
        Just(("claude-opus-4-8", unasked.clone())),
        Just(("claude-opus-4-8", asked(Adaptive, None, None, Some("auto")))),
        Just(("claude-opus-4-8", asked(Adaptive, Some("xhigh"), None, None))),
        Just(("claude-opus-4-8", asked(Adaptive, Some("max"), None, None))),
        Just(("claude-opus-4-8", asked(Disabled, Some("high"), None, None))),
        Just(("claude-haiku-4-5", unasked)),
        Just(("claude-haiku-4-5", asked(Enabled, None, Some(1_024), None))),
        Just(("claude-haiku-4-5", asked(Disabled, None, None, None))),
        Just(("deepseek-v4-pro", asked(Enabled, Some("max"), Some(1_999), None))),
    ]
}

fn choice() -> impl Strategy<Value = (Option<ToolChoice>, Option<bool>)> {
    let named = ToolChoice::Named(CallName::function("tool_1"));
    prop_oneof![
        Just((None, None)),
        Just((Some(ToolChoice::Auto), Some(false))),
        Just((Some(ToolChoice::Required), None)),
        Just((Some(named), Some(false))),
        Just((Some(ToolChoice::None), None)),
    ]
}

fn sampling(takes_numbers: bool) -> impl Strategy<Value = Sampling> {
    let number = || prop_oneof![Just(Number::from(1)), Just(Number::from_f64(0.25).expect("finite"))];
    (option::of(number()), number(), option::of(1u64..99), vec(visible(), 0..3)).prop_map(
        move |(temperature, other, top_k, stop)| {
            if !takes_numbers {
                return Sampling { stop, ..Sampling::default() };
            }
            let top_p = temperature.is_none().then_some(other);
            Sampling { temperature, top_p, top_k, stop, ..Sampling::default() }
        },
    )
}

fn mark(parts: &mut [Part]) {
    let mark = Some(CacheLifetime::FiveMinutes);
    match parts.last_mut() {
        Some(Part::Text(text)) => text.cache = mark,
        Some(Part::Image(image)) => image.cache = mark,
        Some(Part::File(file)) => file.cache = mark,
        Some(Part::Refusal(_)) | None => {}
    }
}

/// Some of at most four places are marked, the first always.
fn set_marks(conversation: &mut Conversation, [tool, result, last]: [bool; 3]) {
    conversation.instructions[0].cache = Some(CacheLifetime::OneHour);
    if let Some(Tool::Function(function)) = conversation.tools.first_mut().filter(|_| tool) {
        function.cache = Some(CacheLifetime::OneHour);
    }
    let mut results = conversation.items.iter_mut().filter_map(|item| match item {
        Item::ToolResult(result) => Some(result),
        _ => None,
    });
    if let Some(found) = results.next().filter(|_| result) {
        found.cache = Some(CacheLifetime::FiveMinutes);
    }
    if let Some(Item::Message(message)) = conversation.items.last_mut().filter(|_| last) {
        mark(&mut message.parts);
    }
}

prop_compose! {
    /// A conversation that a request of this dialect says in full, and the model it is for.
    pub fn sayable()(
        (model, thinking) in model_and_thinking(),
        takes_sampling in any::<bool>(),
    )(
        sampling in sampling(
            takes_sampling && model != "claude-opus-4-8" && thinking.mode != Some(ThinkingMode::Enabled),
        ),
        instructions in vec(visible(), 1..3),
        exchanges in vec(exchange(), 0..4),
        last in vec(user_part(), 1..3),
        tools in tools(),
        (tool_choice, parallel_tool_calls) in choice(),
        has_schema in any::<bool>(),
        marks in any::<[bool; 3]>(),
        max_output_tokens in 2_000u64..100_000,
        stream in any::<bool>(),
        model in Just(model),
        thinking in Just(thinking),
    ) -> (&'static str, Conversation) {
        let is_forced = matches!(tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
        let thinks = matches!(thinking.mode, Some(ThinkingMode::Enabled | ThinkingMode::Adaptive));
        let tool_choice = if is_forced && thinks { Some(ToolChoice::Auto) } else { tool_choice };
        let schema = json!({ "type": "object", "additionalProperties": false });
        let schema = OutputFormat::JsonSchema { name: None, description: None, schema, strict: None };
        let has_search = tools.iter().any(|tool| matches!(tool, Tool::WebSearch { .. }));
        let mut conversation = Conversation {
            instructions: instructions.into_iter().map(Text::plain).collect(),
            items: items(exchanges, last, has_search),
            tools,
            tool_choice,
            parallel_tool_calls,
            max_output_tokens: Some(max_output_tokens),
            sampling,
            thinking,
            format: if has_schema && model != "deepseek-v4-pro" { schema } else { OutputFormat::Text },
            stream,
            choices: 1,
            ..Conversation::default()
        };
        set_marks(&mut conversation, marks);
        (model, conversation)
    }
}

/// Any entry, as other dialects have them: in no order, with ids that repeat, and with nothing in them.
fn wild_item() -> impl Strategy<Value = Item> {
    let role =
        prop_oneof![Just(Role::System), Just(Role::Developer), Just(Role::User), Just(Role::Assistant)];
    let words = || prop_oneof![Just(String::new()), Just(" \n".to_owned()), visible()];
    let part = move || {
        prop_oneof![
            4 => words().prop_map(|text| Part::Text(Text { text, cache: Some(CacheLifetime::FiveMinutes) })),
            1 => words().prop_map(Part::Refusal),
            1 => user_part(),
        ]
    };
    let id = || prop_oneof![Just("call_a".to_owned()), Just("call b".to_owned()), Just(String::new())];
    let name = prop_oneof![
        Just(CallName::function("run")),
        Just(CallName::custom("apply_patch")),
        Just(CallName::tool_search()),
    ];
    let seal = prop_oneof![
        Just(None),
        Just(Some(Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() })),
        Just(Some(Seal::Signature { text: "so".into(), signature: "EqQB".into() })),
    ];
    prop_oneof![
        (role, vec(part(), 0..3)).prop_map(|(role, parts)| Item::Message(Message { role, parts })),
        (vec(words(), 0..2), seal).prop_map(|(texts, seal)| Item::Reasoning(Reasoning { texts, seal })),
        (id(), name, words()).prop_map(|(call_id, name, input)| Item::ToolCall(ToolCall {
            call_id,
            name,
            input
        })),
        (id(), vec(part(), 0..2), any::<bool>()).prop_map(|(call_id, parts, is_error)| {
            Item::ToolResult(ToolResult {
                call_id,
                kind: CallKind::Custom,
                parts,
                is_error,
                cache: Some(CacheLifetime::OneHour),
            })
        }),
        id().prop_map(|id| Item::WebSearch(WebSearchCall { id, query: None })),
    ]
}

prop_compose! {
    pub fn wild()(
        items in vec(wild_item(), 0..10),
        offered in any::<[bool; 3]>(),
        effort in option::of(prop_oneof![Just("none"), Just("minimal"), Just("high"), Just("galactic")]),
        max_output_tokens in option::of(1u64..5_000),
    ) -> Conversation {
        let tools = [
            Tool::Function(FunctionTool { name: "run".into(), ..FunctionTool::default() }),
            Tool::Custom { name: "apply_patch".into(), description: None, grammar: None },
            Tool::WebSearch { options: Map::new() },
        ];
        let tools = tools.into_iter().zip(offered).filter_map(|(tool, offered)| offered.then_some(tool));
        let thinking = Thinking { effort: effort.map(str::to_owned), ..Thinking::default() };
        Conversation { items, tools: tools.collect(), thinking, max_output_tokens, ..Conversation::default() }
    }
}

fn output_part() -> impl Strategy<Value = OutputPart> {
    let carried = Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() };
    prop_oneof![
        visible().prop_map(OutputPart::Text),
        sealed().prop_map(OutputPart::Reasoning),
        option::of(visible()).prop_map(move |text| OutputPart::Reasoning(Reasoning {
            texts: text.into_iter().collect(),
            seal: Some(carried.clone()),
        })),
        visible().prop_map(|text| OutputPart::Reasoning(Reasoning { texts: vec![text], seal: None })),
        ("[a-z]{1,4}", object_text()).prop_map(|(id, input)| OutputPart::ToolCall(ToolCall {
            call_id: format!("toolu_{id}"),
            name: CallName::function("run"),
            input,
        })),
        ("[a-z]{1,4}", option::of(visible())).prop_map(|(id, query)| OutputPart::WebSearch(WebSearchCall {
            id: format!("srvtoolu_{id}"),
            query
        })),
    ]
}

pub fn usage() -> impl Strategy<Value = Usage> {
    (any::<[u32; 6]>(), 0u64..9).prop_map(|(figures, web_search_calls)| {
        let [input, cached_input, cache_write_5m, cache_write_1h, output, reasoning] = figures.map(u64::from);
        let reasoning = reasoning.min(output);
        Usage { input, cached_input, cache_write_5m, cache_write_1h, output, reasoning, web_search_calls }
    })
}

prop_compose! {
    /// An answer that the dialect says in full.
    pub fn answer()(
        parts in vec(output_part(), 0..6),
        stop in prop_oneof![
            Just(Stop::Done),
            Just(Stop::ToolUse),
            Just(Stop::Length),
            Just(Stop::Refused),
            visible().prop_map(Stop::StopText),
            Just(Stop::Paused),
        ],
        usage in usage(),
    ) -> Answer {
        let calls = parts.iter().any(|part| matches!(part, OutputPart::ToolCall(_)));
        let stop = if calls && stop == Stop::Done { Stop::ToolUse } else { stop };
        Answer { id: Some("msg_01ab".into()), parts, stop, usage: Some(usage) }
    }
}

/// The events by which an answer comes, its texts cut into pieces of `size` characters.
pub fn events_of(answer: &Answer, size: usize) -> Vec<Event> {
    let at_start = answer.usage.map(|usage| Usage { output: 0, reasoning: 0, web_search_calls: 0, ..usage });
    let mut events = vec![Event::Started { id: answer.id.clone(), usage: at_start }];
    for part in &answer.parts {
        let (kind, text) = match part {
            OutputPart::Text(text) => (PartKind::Text, text.clone()),
            OutputPart::Refusal(text) => (PartKind::Refusal, text.clone()),
            OutputPart::Reasoning(reasoning) => (PartKind::Reasoning, reasoning.texts.concat()),
            OutputPart::ToolCall(call) => {
                let (call_id, name) = (call.call_id.clone(), call.name.clone());
                (PartKind::ToolCall { call_id, name }, call.input.clone())
            }
            OutputPart::WebSearch(search) => (PartKind::WebSearch { id: search.id.clone() }, String::new()),
        };
        events.push(Event::PartStarted(kind));
        let letters: Vec<char> = text.chars().collect();
        events.extend(letters.chunks(size).map(|piece| Event::Delta(piece.iter().collect())));
        events.push(Event::PartEnded(part.clone()));
    }
    events.push(Event::Finished { stop: answer.stop.clone(), usage: answer.usage });
    events
}

/// Any JSON, in this dialect's words so that it gets far.
pub fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "user",
        "assistant",
        "system",
        "text",
        "tool_use",
        "tool_result",
        "thinking",
        "image",
        "document",
        "base64",
        "url",
        "redacted_thinking",
        "server_tool_use",
        "web_search",
        "message_start",
        "adaptive",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "json_schema",
        "end_turn",
        "x",
        "",
        "cxapi1.e30",
    ]);
    let key = prop::sample::select(vec![
        "messages",
        "role",
        "content",
        "type",
        "text",
        "id",
        "name",
        "input",
        "source",
        "data",
        "media_type",
        "max_tokens",
        "system",
        "tools",
        "input_schema",
        "tool_choice",
        "thinking",
        "signature",
        "message",
        "index",
        "content_block",
        "delta",
        "usage",
        "stop_reason",
        "tool_use_id",
        "output_config",
        "format",
        "cache_control",
        "partial_json",
        "output_tokens",
        "input_tokens",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0i64..4).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key.clone(), inner), 0..6).prop_map(|members| {
                members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
            }),
        ]
    })
}
