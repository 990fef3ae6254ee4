//! Requests for providers, written; and every refusal.

use serde_json::json;

use super::*;

fn written(items: Vec<Item>, model: &str) -> Value {
    let conversation = Conversation { items, ..Conversation::default() };
    write_request(&conversation, &upstream(model)).expect("to be written")["messages"].take()
}

fn codex() -> Conversation {
    Conversation {
        instructions: vec![Text::plain("You are Codex.")],
        items: vec![
            message(Role::Developer, vec![text("Be brief.")]),
            message(Role::User, vec![text("Fix it.")]),
            Item::Reasoning(thought("First look.")),
            message(Role::Assistant, vec![text("I look.")]),
            Item::ToolCall(call("call_1", CallName::function("shell"), "{\"command\":[\"ls\"]}")),
            Item::ToolCall(call("call_2", CallName::custom("apply_patch"), "*** Begin\n\"x\"")),
            result("call_1", CallKind::Function, vec![text("a.rs")]),
            message(Role::User, vec![text("Hurry.")]),
            result("call_2", CallKind::Custom, vec![text("Done!")]),
        ],
        tools: vec![
            Tool::Function(FunctionTool {
                name: "shell".into(),
                description: Some("Runs.".into()),
                parameters: json!({"type": "object"}),
                strict: Some(false),
                ..FunctionTool::default()
            }),
            Tool::Custom {
                name: "apply_patch".into(),
                description: Some("Edits files.".into()),
                grammar: Some(Grammar { syntax: "lark".into(), definition: "start: x".into() }),
            },
            Tool::ToolSearch {
                description: Some("Finds tools.".into()),
                parameters: json!({"type": "object"}),
            },
            Tool::WebSearch { options: serde_json::Map::new() },
        ],
        tool_choice: Some(ToolChoice::Auto),
        parallel_tool_calls: Some(true),
        thinking: Thinking { effort: Some("high".into()), ..Thinking::default() },
        verbosity: Some("low".into()),
        stream: true,
        choices: 1,
        prompt_cache_key: Some("session".into()),
        ..Conversation::default()
    }
}

#[test]
fn a_session_of_codex_is_written_for_openai() {
    let body = write_request(&codex(), &upstream("gpt-5.5")).expect("to be written");
    assert_eq!(
        body,
        json!({
            "model": "gpt-5.5",
            "messages": [
                {"role": "system", "content": "You are Codex."},
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Fix it."},
                {"role": "assistant", "content": "I look.", "tool_calls": [
                    {"id": "call_1", "type": "function",
                        "function": {"name": "shell", "arguments": "{\"command\":[\"ls\"]}"}},
                    {"id": "call_2", "type": "function",
                        "function": {"name": "apply_patch", "arguments": "{\"input\":\"*** Begin\\n\\\"x\\\"\"}"}}
                ]},
                {"role": "tool", "tool_call_id": "call_1", "content": "a.rs"},
                {"role": "tool", "tool_call_id": "call_2", "content": "Done!"},
                {"role": "user", "content": "Hurry."}
            ],
            "tools": [
                {"type": "function", "function": {"name": "shell", "description": "Runs.", "strict": false,
                    "parameters": {"type": "object"}}},
                {"type": "function", "function": {"name": "apply_patch",
                    "description": "Edits files.\n\nThe text in `input` must match this grammar (lark):\nstart: x",
                    "parameters": {
                        "type": "object",
                        "properties": {"input": {"type": "string",
                            "description": "The whole input of the tool, as plain text."}},
                        "required": ["input"],
                        "additionalProperties": false
                    }}},
                {"type": "function", "function": {"name": "tool_search", "description": "Finds tools.",
                    "parameters": {"type": "object"}}}
            ],
            "tool_choice": "auto",
            "parallel_tool_calls": true,
            "reasoning_effort": "high",
            "max_completion_tokens": 128_000,
            "verbosity": "low",
            "prompt_cache_key": "session",
            "store": false,
            "stream": true,
            "stream_options": {"include_usage": true}
        })
    );
}

#[test]
fn the_same_session_is_written_in_deepseeks_words() {
    let body = write_request(&codex(), &upstream("deepseek-v4-pro")).expect("to be written");
    let assistant = &body["messages"][3];
    assert_eq!(assistant["reasoning_content"], "First look.");
    assert_eq!(body["max_tokens"], 128_000);
    assert_eq!(body["reasoning_effort"], "high");
    for missing in ["max_completion_tokens", "store", "verbosity", "prompt_cache_key", "parallel_tool_calls"]
    {
        assert_eq!(body.get(missing), None, "{missing}");
    }
    assert_eq!(body["tools"][0]["function"].get("strict"), None);
}

#[test]
fn deepseek_wants_thinking_in_every_message_of_its_own_and_texts_in_one_piece() {
    let messages = written(
        vec![
            message(Role::User, vec![text("a"), text("b")]),
            message(Role::Assistant, vec![text("c"), text("d")]),
            message(Role::User, vec![text("e")]),
        ],
        "deepseek-v4-pro",
    );
    assert_eq!(messages[0]["content"], "a\n\nb");
    assert_eq!(messages[1], json!({"role": "assistant", "content": "c\n\nd", "reasoning_content": ""}));
}

#[test]
fn a_forced_choice_ends_deepseeks_thinking_which_it_cannot_have_with_it() {
    for choice in [ToolChoice::Required, ToolChoice::Named(CallName::function("shell"))] {
        let conversation = Conversation { tool_choice: Some(choice), ..codex() };
        let body = write_request(&conversation, &upstream("deepseek-v4-pro")).expect("to be written");
        assert_eq!(body["thinking"], json!({"type": "disabled"}));
        assert_eq!(body.get("reasoning_effort"), None);
    }
}

#[test]
fn thinking_is_switched_in_each_vendors_words() {
    let body = |mode, model: &str| {
        let thinking = Thinking { mode: Some(mode), ..Thinking::default() };
        write_request(&Conversation { thinking, ..codex() }, &upstream(model)).expect("to be written")
    };
    let disabled = body(ThinkingMode::Disabled, "deepseek-v4-pro");
    assert_eq!(
        (&disabled["thinking"], disabled.get("reasoning_effort")),
        (&json!({"type": "disabled"}), None)
    );
    assert_eq!(body(ThinkingMode::Enabled, "deepseek-v4-pro")["thinking"], json!({"type": "enabled"}));
    assert_eq!(body(ThinkingMode::Adaptive, "deepseek-v4-pro").get("thinking"), None);
    assert_eq!(body(ThinkingMode::Disabled, "gpt-5.5")["reasoning_effort"], "none");
    assert_eq!(body(ThinkingMode::Disabled, "gpt-5.5").get("thinking"), None);
    let max = Thinking { effort: Some("max".into()), ..Thinking::default() };
    let max = Conversation { thinking: max, ..codex() };
    let effort = |model: &str| {
        write_request(&max, &upstream(model)).expect("to be written")["reasoning_effort"].take()
    };
    assert_eq!((effort("gpt-5.5"), effort("deepseek-v4-pro")), (json!("xhigh"), json!("max")));
}

#[test]
fn thinking_that_another_provider_sealed_is_left_out() {
    let seal = Some(Seal::Signature { text: "hm".into(), signature: "EqQB".into() });
    let items = vec![
        message(Role::User, vec![text("a")]),
        Item::Reasoning(Reasoning { texts: vec!["hm".into()], seal }),
        Item::ToolCall(call("c", CallName::function("f"), "")),
        result("c", CallKind::Function, vec![]),
    ];
    let messages = written(items, "kimi-k2.6");
    assert_eq!(
        messages[1],
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ]})
    );
    assert_eq!(messages[2], json!({"role": "tool", "tool_call_id": "c", "content": ""}));
}

#[test]
fn pictures_of_a_result_follow_the_results_in_a_message_of_the_user() {
    let png = Source::Data { media_type: "image/png".into(), base64: "iVBO".into() };
    let image = Part::Image(Image { source: png, detail: Some("original".into()), cache: None });
    let items = vec![
        message(Role::User, vec![text("a")]),
        Item::ToolCall(call("c1", CallName::function("f"), "{}")),
        Item::ToolCall(call("c2", CallName::function("f"), "{}")),
        result("c1", CallKind::Function, vec![text("seen"), image]),
        result("c2", CallKind::Function, vec![text("nothing")]),
    ];
    let messages = written(items, "gpt-5.5");
    assert_eq!(messages[2], json!({"role": "tool", "tool_call_id": "c1", "content": "seen"}));
    assert_eq!(messages[3], json!({"role": "tool", "tool_call_id": "c2", "content": "nothing"}));
    assert_eq!(
        messages[4],
        json!({"role": "user", "content": [
            {"type": "text", "text": "Attached to the result of tool call c1:"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
        ]})
    );
}

#[test]
fn calls_one_after_the_other_are_messages_of_their_own_even_with_one_id() {
    let items = vec![
        message(Role::User, vec![text("a")]),
        Item::ToolCall(call("c", CallName::function("f"), "{}")),
        result("c", CallKind::Function, vec![text("one")]),
        Item::ToolCall(call("c", CallName::function("f"), "{}")),
        Item::WebSearch(WebSearchCall::default()),
        result("c", CallKind::Function, vec![text("two")]),
    ];
    let messages = written(items, "gpt-5.5");
    let contents: Vec<&Value> =
        messages.as_array().expect("an array").iter().map(|m| &m["content"]).collect();
    assert_eq!(contents, [&json!("a"), &Value::Null, &json!("one"), &Value::Null, &json!("two")]);
}

#[test]
fn two_calls_at_once_with_one_id_are_written_one_after_the_other() {
    let items = vec![
        Item::ToolCall(call("c", CallName::function("f"), "{}")),
        Item::ToolCall(call("c", CallName::function("g"), "{}")),
        result("c", CallKind::Function, vec![text("one")]),
        result("c", CallKind::Function, vec![text("two")]),
    ];
    let messages = written(items, "gpt-5.5");
    assert_eq!(messages[0]["tool_calls"][0]["function"]["name"], "f");
    assert_eq!(messages[1]["content"], "one");
    assert_eq!(messages[2]["tool_calls"][0]["function"]["name"], "g");
    assert_eq!(messages[3]["content"], "two");
}

#[test]
fn no_answer_is_asked_for_longer_than_the_model_can_make() {
    let limit = |asked| {
        let conversation = Conversation { max_output_tokens: asked, ..codex() };
        write_request(&conversation, &upstream("gpt-5.5")).expect("to be written")["max_completion_tokens"]
            .take()
    };
    assert_eq!(limit(Some(7)), 7);
    assert_eq!(limit(Some(1_000_000)), 128_000);
    assert_eq!(limit(None), 128_000);
}

#[test]
fn what_has_nothing_to_choose_from_is_left_out() {
    let conversation =
        Conversation { tools: vec![Tool::WebSearch { options: serde_json::Map::new() }], ..codex() };
    let body = write_request(&conversation, &upstream("gpt-5.5")).expect("to be written");
    for missing in ["tools", "tool_choice", "parallel_tool_calls"] {
        assert_eq!(body.get(missing), None, "{missing}");
    }
}

#[test]
fn a_schema_without_a_name_is_given_one() {
    let format = OutputFormat::JsonSchema { name: None, description: None, schema: json!({}), strict: None };
    let body =
        write_request(&Conversation { format, ..codex() }, &upstream("gpt-5.5")).expect("to be written");
    assert_eq!(
        body["response_format"],
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": {}}})
    );
}

#[test]
fn what_the_dialect_has_no_words_for_is_refused() {
    let refused = |conversation: Conversation, model: &str| {
        write_request(&conversation, &upstream(model)).expect_err("to be refused")
    };
    let items = |items| Conversation { items, ..Conversation::default() };
    let file = Part::File(File { source: Source::Url("https://x.test/a".into()), name: None, cache: None });
    let image =
        Part::Image(Image { source: Source::Url("https://x.test/a".into()), detail: None, cache: None });
    let format =
        OutputFormat::JsonSchema { name: None, description: None, schema: json!({}), strict: Some(true) };
    let stop = vec!["x".to_owned(); 5];
    for (refusal, field) in [
        (refused(Conversation { choices: 2, ..codex() }, "gpt-5.5"), "n"),
        (refused(items(vec![message(Role::User, vec![file])]), "gpt-5.5"), "file_url"),
        (refused(items(vec![message(Role::Assistant, vec![image.clone()])]), "gpt-5.5"), "messages"),
        (refused(items(vec![message(Role::System, vec![image])]), "gpt-5.5"), "messages"),
        (refused(Conversation { format, ..codex() }, "deepseek-v4-pro"), "response_format"),
        (
            refused(
                Conversation { sampling: Sampling { stop, ..Sampling::default() }, ..codex() },
                "gpt-5.5",
            ),
            "stop",
        ),
    ] {
        assert!(matches!(refusal, Untranslatable::NotCarried { .. }), "{refusal}");
        assert_eq!(refusal.field(), Some(field));
    }
    let lone_call = Item::ToolCall(call("c", CallName::function("f"), "{}"));
    let lone_result = result("c", CallKind::Function, vec![]);
    for conversation in
        [items(vec![]), items(vec![lone_call.clone()]), items(vec![lone_result.clone(), lone_call])]
    {
        assert!(matches!(refused(conversation, "gpt-5.5"), Untranslatable::NotReadable { .. }));
    }
    assert!(refused(items(vec![lone_result]), "gpt-5.5").to_string().contains("`c`"));
}
