//! Whatever comes, nothing panics, and what is written keeps the provider's rules.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The dialect's own words, so that JSON made of them reaches deep.
const WORDS: &[&str] = &[
    "",
    "system",
    "user",
    "assistant",
    "tool",
    "function",
    "custom",
    "text",
    "image_url",
    "file",
    "allowed_tools",
    "auto",
    "required",
    "json_schema",
    "grammar",
    "enabled",
    "stop",
    "data:image/png;base64,x",
    "https://x",
    "c",
];
const KEYS: &[&str] = &[
    "role",
    "content",
    "type",
    "text",
    "image_url",
    "url",
    "file",
    "file_data",
    "tool_calls",
    "id",
    "function",
    "custom",
    "name",
    "arguments",
    "input",
    "tool_call_id",
    "messages",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "parameters",
    "format",
    "grammar",
    "response_format",
    "json_schema",
    "schema",
    "stop",
    "stream",
    "stream_options",
    "n",
    "thinking",
    "max_tokens",
    "choices",
    "message",
    "delta",
    "index",
    "finish_reason",
    "usage",
    "refusal",
    "reasoning_content",
    "allowed_tools",
    "mode",
    "error",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => prop::sample::select(WORDS).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => any::<i64>().prop_map(Value::from),
        1 => Just(json!(0.5)),
    ];
    leaf.prop_recursive(5, 32, 5, |inner| {
        let member = (prop::sample::select(KEYS).prop_map(str::to_owned), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(Value::Array),
            prop::collection::vec(member, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

/// A delta as some provider may write it, pieces of calls in any order.
fn delta() -> impl Strategy<Value = Value> {
    let piece = (
        prop::option::of(0u64..3),
        prop::option::of(one_of(&["a", "b", ""])),
        prop::option::of(one_of(&["f", "p", ""])),
        one_of(&["", "x", "{}", "\""]),
    );
    let piece = (piece, any::<bool>()).prop_map(|((index, id, name, input), custom)| {
        if custom {
            json!({"index": index, "id": id, "custom": {"name": name, "input": input}})
        } else {
            json!({"index": index, "id": id, "function": {"name": name, "arguments": input}})
        }
    });
    prop_oneof![
        one_of(&["", "x", "é"]).prop_map(|text| json!({"content": text})),
        one_of(&["", "x", "é"]).prop_map(|text| json!({"reasoning_content": text})),
        one_of(&["", "x", "é"]).prop_map(|text| json!({"refusal": text})),
        prop::collection::vec(piece, 0..3).prop_map(|calls| json!({"tool_calls": calls})),
        Just(json!({"function_call": {"name": "f", "arguments": "{"}})),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    let id = || one_of(&["a", "b", "c"]);
    let part = prop_oneof![
        Just(text("x")),
        Just(Part::Refusal("no".into())),
        Just(Part::Image(Image { source: Source::Url("https://x".into()), detail: None, cache: None })),
    ];
    let parts = prop::collection::vec(part, 0..3);
    let role =
        prop_oneof![Just(Role::System), Just(Role::Developer), Just(Role::User), Just(Role::Assistant)];
    prop_oneof![
        (role, parts.clone()).prop_map(|(role, parts)| message(role, parts)),
        Just(Item::Reasoning(thought("hm"))),
        Just(Item::WebSearch(WebSearchCall::default())),
        id().prop_map(|id| Item::ToolCall(call(id, CallName::function("f"), "{}"))),
        (id(), parts).prop_map(|(id, parts)| result(id, CallKind::Function, parts)),
    ]
}

/// The rules by which providers refuse messages.
fn assert_well_formed(messages: &Value) {
    let mut open: HashSet<String> = HashSet::new();
    let mut may_answer = false;
    for message in messages.as_array().expect("an array") {
        let role = message["role"].as_str().expect("a role");
        if role == "tool" {
            assert!(may_answer, "a result follows its call");
            assert!(open.remove(message["tool_call_id"].as_str().expect("an id")), "a result has a call");
            assert!(message["content"].is_string() || message["content"].is_array());
            continue;
        }
        assert!(open.is_empty(), "every call is answered at once");
        may_answer = false;
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            may_answer = true;
            open.insert(call["id"].as_str().expect("an id").to_owned());
        }
        let silent = may_answer || message["refusal"].is_string();
        let content = &message["content"];
        let said = content.is_string() || content.as_array().is_some_and(|parts| !parts.is_empty());
        assert!(said || (role == "assistant" && content.is_null() && silent), "{message}");
    }
    assert!(open.is_empty(), "every call is answered");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_json_makes_the_reader_of_requests_panic(body in value(), messages in value(), tools in value()) {
        let _ = read_request(body);
        let _ = read_request(json!({"messages": messages, "tools": tools}));
        let _ = read_request(json!({"messages": [messages], "tools": [tools], "tool_choice": "auto"}));
    }

    #[test]
    fn no_body_makes_the_reader_of_answers_panic(body in prop::collection::vec(any::<u8>(), 0..64), answer in value()) {
        let names = ToolNames::default();
        let _ = read_answer(&body, &names);
        let _ = read_answer(answer.to_string().as_bytes(), &names);
        let _ = read_answer(json!({"choices": [{"message": answer}]}).to_string().as_bytes(), &names);
    }

    #[test]
    fn no_bytes_make_the_reader_of_streams_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        chunks in prop::collection::vec(value(), 0..4),
    ) {
        let names = ToolNames::default();
        let _ = read_stream(&[&bytes], &names);
        let stream: String = chunks
            .iter()
            .map(|delta| format!("data: {}\n\n", json!({"choices": [{"delta": delta}]})))
            .collect();
        let _ = read_stream(&[stream.as_bytes()], &names);
    }

    #[test]
    fn whatever_order_pieces_come_in_events_come_in_theirs(
        deltas in prop::collection::vec(delta(), 0..12),
        reason in prop::option::of(one_of(&["stop", "tool_calls", "length"])),
    ) {
        let names = ToolNames::new(&[Tool::Custom { name: "p".into(), description: None, grammar: None }]);
        let mut stream: String = deltas
            .iter()
            .map(|delta| format!("data: {}\n\n", json!({"choices": [{"delta": delta}]})))
            .collect();
        stream.push_str(&format!("data: {}\n\n", json!({"choices": [{"delta": {}, "finish_reason": reason}]})));
        if let Ok(events) = read_stream(&[stream.as_bytes()], &names) {
            prop_assert_eq!(collect(&events).is_some(), reason.is_some());
        }
    }

    #[test]
    fn a_conversation_of_any_order_is_written_by_the_rules_or_refused(
        items in prop::collection::vec(item(), 0..10),
        model in one_of(&["gpt-5.5", "deepseek-v4-pro", "kimi"]),
    ) {
        let conversation = Conversation { items, ..Conversation::default() };
        if let Ok(body) = write_request(&conversation, &upstream(model)) {
            assert_well_formed(&body["messages"]);
            read_request(body).expect("to be read again");
        }
    }
}
