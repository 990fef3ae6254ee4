//! Requests of real clients, read; and every refusal.

use serde_json::json;

use super::*;

#[test]
fn a_request_with_tools_and_pictures_is_read_whole() {
    let conversation = read(json!({
        "model": "gpt-5.5",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}}
            ]},
            {"role": "assistant", "content": null, "reasoning_content": "Let me look.", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}},
                {"id": "call_2", "type": "custom", "custom": {"name": "apply_patch", "input": "*** Begin Patch"}}
            ]},
            {"role": "tool", "tool_call_id": "call_2", "content": "done"},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "a cat"}]},
            {"role": "assistant", "content": "", "refusal": "I would rather not."}
        ],
        "tools": [
            {"type": "function", "function": {"name": "look", "description": "Looks.", "strict": true,
                "parameters": {"type": "object", "properties": {"at": {"type": "integer"}}}}},
            {"type": "function", "function": {"name": "wait"}},
            {"type": "custom", "custom": {"name": "apply_patch", "description": "Patches.",
                "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: \"x\""}}}}
        ],
        "tool_choice": {"type": "custom", "custom": {"name": "apply_patch"}},
        "parallel_tool_calls": true,
        "web_search_options": {"search_context_size": "low"},
        "max_completion_tokens": 500,
        "temperature": 0.2, "top_p": 1, "presence_penalty": -1, "frequency_penalty": 0.5, "seed": -7,
        "stop": "END",
        "reasoning_effort": "high",
        "verbosity": "low",
        "response_format": {"type": "json_schema",
            "json_schema": {"name": "cat", "strict": true, "schema": {"type": "object"}}},
        "stream": true,
        "stream_options": {"include_usage": true, "include_obfuscation": false},
        "prompt_cache_key": "k", "n": 1, "logprobs": false, "top_logprobs": 0, "logit_bias": {},
        "modalities": ["text"], "audio": null, "store": true, "metadata": {"a": "b"}, "user": "u",
        "service_tier": "auto", "never_heard_of": [1]
    }));
    let function = |name: &str| FunctionTool { name: name.into(), ..FunctionTool::default() };
    assert_eq!(
        conversation.items,
        [
            message(Role::Developer, vec![text("Be brief.")]),
            message(
                Role::User,
                vec![
                    text("What is this?"),
                    Part::Image(Image {
                        source: Source::Data { media_type: "image/png".into(), base64: "iVBO".into() },
                        detail: Some("low".into()),
                        cache: None,
                    }),
                    Part::Image(Image {
                        source: Source::Url("https://x.test/a.png".into()),
                        detail: None,
                        cache: None,
                    }),
                    Part::File(File {
                        source: Source::Data { media_type: "application/pdf".into(), base64: "JVBE".into() },
                        name: Some("a.pdf".into()),
                        cache: None,
                    }),
                ]
            ),
            Item::Reasoning(thought("Let me look.")),
            Item::ToolCall(call("call_1", CallName::function("look"), "{\"at\":1}")),
            Item::ToolCall(call("call_2", CallName::custom("apply_patch"), "*** Begin Patch")),
            result("call_2", CallKind::Custom, vec![text("done")]),
            result("call_1", CallKind::Function, vec![text("a cat")]),
            message(Role::Assistant, vec![Part::Refusal("I would rather not.".into())]),
        ]
    );
    assert_eq!(
        conversation.tools,
        [
            Tool::Function(FunctionTool {
                description: Some("Looks.".into()),
                strict: Some(true),
                parameters: json!({"type": "object", "properties": {"at": {"type": "integer"}}}),
                ..function("look")
            }),
            Tool::Function(FunctionTool {
                parameters: json!({"type": "object", "properties": {}}),
                ..function("wait")
            }),
            Tool::Custom {
                name: "apply_patch".into(),
                description: Some("Patches.".into()),
                grammar: Some(Grammar { syntax: "lark".into(), definition: "start: \"x\"".into() }),
            },
            Tool::WebSearch {
                options: json!({"search_context_size": "low"}).as_object().expect("an object").clone()
            },
        ]
    );
    assert_eq!(conversation.tool_choice, Some(ToolChoice::Named(CallName::custom("apply_patch"))));
    assert_eq!(conversation.parallel_tool_calls, Some(true));
    assert_eq!(conversation.max_output_tokens, Some(500));
    assert_eq!(conversation.sampling.seed, Some(-7));
    assert_eq!(conversation.sampling.stop, ["END"]);
    assert_eq!(conversation.sampling.temperature.map(|number| number.to_string()), Some("0.2".into()));
    assert_eq!(conversation.thinking.effort.as_deref(), Some("high"));
    assert_eq!(conversation.verbosity.as_deref(), Some("low"));
    let schema = json!({"type": "object"});
    let format =
        OutputFormat::JsonSchema { name: Some("cat".into()), description: None, schema, strict: Some(true) };
    assert_eq!(conversation.format, format);
    assert!(conversation.stream && conversation.include_usage);
    assert_eq!((conversation.choices, conversation.prompt_cache_key.as_deref()), (1, Some("k")));
    assert!(conversation.echo.is_empty());
}

#[test]
fn functions_of_the_first_form_are_tools_and_are_answered_in_that_form() {
    let conversation = read(json!({
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": null, "function_call": {"name": "weather", "arguments": "{}"}},
            {"role": "function", "name": "weather", "content": "sunny"}
        ],
        "functions": [{"name": "weather", "parameters": {"type": "object"}}],
        "function_call": {"name": "weather"}
    }));
    assert_eq!(
        conversation.items[1..],
        [
            Item::ToolCall(call("call_function_1", CallName::function("weather"), "{}")),
            result("call_function_1", CallKind::Function, vec![text("sunny")]),
        ]
    );
    assert_eq!(conversation.tool_choice, Some(ToolChoice::Named(CallName::function("weather"))));
    assert_eq!(conversation.parallel_tool_calls, Some(false));

    let answer = Answer {
        id: None,
        parts: vec![OutputPart::ToolCall(call("toolu_1", CallName::function("weather"), "{\"a\":1}"))],
        stop: Stop::ToolUse,
        usage: None,
    };
    let context = context(conversation);
    let body = write_answer(&answer, &context);
    assert_eq!(
        body["choices"][0]["message"]["function_call"],
        json!({"name": "weather", "arguments": "{\"a\":1}"})
    );
    assert_eq!(body["choices"][0]["finish_reason"], "function_call");
    let chunks = chunks(&write_stream(&events_of(&answer, 4), &context));
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(deltas[1]["function_call"], json!({"name": "weather", "arguments": ""}));
    assert_eq!(deltas[2]["function_call"], json!({"arguments": "{\"a\""}));
    assert_eq!(chunks.last().expect("a chunk")["choices"][0]["finish_reason"], "function_call");
}

#[test]
fn tools_that_are_not_allowed_are_not_offered() {
    let conversation = read(json!({
        "messages": [{"role": "user", "content": "x"}],
        "tools": [
            {"type": "function", "function": {"name": "a"}},
            {"type": "function", "function": {"name": "b"}},
            {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}
        ],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
            {"type": "function", "function": {"name": "b"}},
            {"type": "custom", "custom": {"name": "c"}}
        ]}}
    }));
    let names: Vec<CallName> = conversation.tools.iter().filter_map(CallName::of).collect();
    assert_eq!(names, [CallName::function("b"), CallName::custom("c")]);
    assert_eq!(conversation.tool_choice, Some(ToolChoice::Required));
}

#[test]
fn what_is_said_in_other_words_means_the_same() {
    let with = |extra: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        for (key, value) in extra.as_object().expect("an object") {
            body[key] = value.clone();
        }
        read(body)
    };
    assert_eq!(with(json!({"max_tokens": 5})).max_output_tokens, Some(5));
    assert_eq!(with(json!({"max_tokens": 5, "max_completion_tokens": 5})).max_output_tokens, Some(5));
    assert_eq!(with(json!({"stop": ["a", "b"]})).sampling.stop, ["a", "b"]);
    assert_eq!(with(json!({"thinking": {"type": "disabled"}})).thinking.mode, Some(ThinkingMode::Disabled));
    assert_eq!(with(json!({"response_format": {"type": "json_object"}})).format, OutputFormat::JsonObject);
    assert_eq!(with(json!({"tool_choice": "none"})).tool_choice, Some(ToolChoice::None));
    assert!(!with(json!({"stream_options": {"include_usage": true}})).include_usage);
}

#[test]
fn every_member_that_changes_nothing_may_be_left_out() {
    let plain = json!({"messages": [{"role": "user", "content": "x"}]});
    for (member, reason) in DROPPED {
        let mut body = plain.clone();
        body[member] = json!({"any": "thing"});
        assert_eq!(read(body), read(plain.clone()), "{member}: {reason}");
    }
}

fn refused(body: Value) -> Untranslatable {
    read_request(body).expect_err("to be refused")
}

#[test]
fn what_no_other_dialect_can_give_is_refused_by_name() {
    for (member, value, field) in [
        ("n", json!(2), "n"),
        ("logprobs", json!(true), "logprobs"),
        ("top_logprobs", json!(3), "logprobs"),
        ("logit_bias", json!({"50256": -100}), "logit_bias"),
        ("modalities", json!(["text", "audio"]), "modalities"),
        ("audio", json!({"voice": "alloy", "format": "wav"}), "modalities"),
    ] {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body[member] = value;
        let refusal = refused(body);
        assert!(matches!(refusal, Untranslatable::NotCarried { .. }), "{refusal}");
        assert_eq!(refusal.field(), Some(field), "{member}");
    }
    for (message, field) in [
        (json!({"role": "assistant", "audio": {"id": "a"}}), "messages[0].audio"),
        (
            json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}),
            "messages[0].content[0].input_audio",
        ),
        (
            json!({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}),
            "messages[0].content[0].file.file_id",
        ),
    ] {
        let refusal = refused(json!({"messages": [message]}));
        assert!(matches!(refusal, Untranslatable::NotCarried { .. }), "{refusal}");
        assert_eq!(refusal.field(), Some(field));
    }
}

#[test]
fn what_is_not_the_dialect_is_refused_at_its_place() {
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let with = |member: &str, value: Value| {
        let mut body = user(json!("x"));
        body[member] = value;
        body
    };
    let assistant = |member: &str, value: Value| json!({"messages": [{"role": "assistant", member: value}]});
    for (body, field) in [
        (json!({}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "x"}), "messages"),
        (json!({"messages": ["x"]}), "messages[0]"),
        (json!({"messages": [{"content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "robot", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (user(json!(7)), "messages[0].content"),
        (user(json!(["x"])), "messages[0].content[0]"),
        (user(json!([{"type": "video"}])), "messages[0].content[0].type"),
        (user(json!([{"type": "text", "text": 1}])), "messages[0].content[0].text"),
        (user(json!([{"type": "image_url", "image_url": "u"}])), "messages[0].content[0].image_url"),
        (
            user(json!([{"type": "image_url", "image_url": {"url": "ftp://x"}}])),
            "messages[0].content[0].image_url.url",
        ),
        (
            user(json!([{"type": "image_url", "image_url": {"url": "data:image/png,raw"}}])),
            "messages[0].content[0].image_url.url",
        ),
        (
            user(json!([{"type": "file", "file": {"file_data": "https://x.test/a"}}])),
            "messages[0].content[0].file.file_data",
        ),
        (assistant("tool_calls", json!([{"type": "function"}])), "messages[0].tool_calls[0].id"),
        (assistant("tool_calls", json!([{"id": "c", "type": "x"}])), "messages[0].tool_calls[0].type"),
        (
            assistant("tool_calls", json!([{"id": "c", "type": "function", "function": {"name": "f"}}])),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            assistant("tool_calls", json!([{"id": "c", "type": "custom", "custom": {"name": "f"}}])),
            "messages[0].tool_calls[0].custom.input",
        ),
        (assistant("reasoning_content", json!(1)), "messages[0].reasoning_content"),
        (
            json!({"messages": [{"role": "tool", "tool_call_id": "c", "content": "x"}]}),
            "messages[0].tool_call_id",
        ),
        (json!({"messages": [{"role": "function", "name": "f", "content": "x"}]}), "messages[0].name"),
        (with("stream", json!("yes")), "stream"),
        (with("stream_options", json!([])), "stream_options"),
        (with("n", json!(0)), "n"),
        (with("temperature", json!("hot")), "temperature"),
        (with("seed", json!(1.5)), "seed"),
        (with("max_tokens", json!(0)), "max_tokens"),
        (with("max_completion_tokens", json!(-1)), "max_completion_tokens"),
        (with("stop", json!(["a", "b", "c", "d", "e"])), "stop"),
        (with("stop", json!([1])), "stop"),
        (with("stop", json!(1)), "stop"),
        (with("stop", json!("")), "stop"),
        (with("stop", json!(["a", ""])), "stop"),
        (with("reasoning_effort", json!("galactic")), "reasoning_effort"),
        (with("response_format", json!({"type": "xml"})), "response_format.type"),
        (with("response_format", json!({"type": "json_schema"})), "response_format.json_schema"),
        (with("thinking", json!({"type": "loud"})), "thinking.type"),
        (with("tools", json!([{"type": "web_search"}])), "tools[0].type"),
        (with("tools", json!([{"type": "function", "function": {}}])), "tools[0].function.name"),
        (
            with("tools", json!([{"type": "custom", "custom": {"name": "c", "format": {"type": "x"}}}])),
            "tools[0].custom.format.type",
        ),
        (with("tool_choice", json!("some")), "tool_choice"),
        (with("tool_choice", json!(1)), "tool_choice"),
        (with("tool_choice", json!({"type": "x"})), "tool_choice.type"),
        (
            with("tool_choice", json!({"type": "function", "function": {"name": "f"}})),
            "tool_choice.function.name",
        ),
        (
            with("tool_choice", json!({"type": "allowed_tools", "allowed_tools": {"mode": "x"}})),
            "tool_choice.allowed_tools.mode",
        ),
        (with("web_search_options", json!(true)), "web_search_options"),
    ] {
        let refusal = refused(body);
        assert!(matches!(refusal, Untranslatable::Wrong { .. }), "{refusal}");
        assert_eq!(refusal.field(), Some(field));
    }
    let mut both = with("max_tokens", json!(5));
    both["max_completion_tokens"] = json!(6);
    assert_eq!(refused(both).field(), Some("max_tokens"));
    let mut both = with("functions", json!([{"name": "f"}]));
    both["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    assert_eq!(refused(both).field(), Some("functions"));
    let mut choice = with("functions", json!([{"name": "f"}]));
    choice["function_call"] = json!({"name": "g"});
    assert_eq!(refused(choice.clone()).field(), Some("function_call.name"));
    choice["function_call"] = json!("required");
    assert_eq!(refused(choice).field(), Some("function_call"));
    assert!(matches!(refused(json!([])), Untranslatable::NotReadable { .. }));
}
