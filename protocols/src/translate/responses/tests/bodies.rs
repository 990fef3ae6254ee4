use serde_json::{Value, json};

use super::requests::{asked, call, result, said};
use super::{PLAIN, THINKING};
use crate::conversation::{
    CallKind, CallName, Conversation, FunctionTool, Image, Item, Part, Reasoning, Role, Sampling, Seal,
    Source, Text, Thinking, ThinkingMode, Tool, ToolNames, ToolResult, WebSearchCall,
};
use crate::translate::responses::{ERROR_MARK, write_request};

#[test]
fn the_body_for_a_provider_stores_nothing_and_asks_for_the_proof_of_reasoning() {
    let conversation = Conversation {
        instructions: vec![Text::plain("One"), Text::plain("Two")],
        tools: vec![Tool::Function(FunctionTool {
            name: "f".into(),
            parameters: json!({"type": "object"}),
            ..FunctionTool::default()
        })],
        max_output_tokens: Some(1),
        sampling: Sampling {
            temperature: Some(1.into()),
            top_k: Some(5),
            seed: Some(7),
            stop: vec!["END".into()],
            ..Sampling::default()
        },
        thinking: Thinking {
            mode: Some(ThinkingMode::Enabled),
            budget_tokens: Some(10_000),
            ..Thinking::default()
        },
        ..asked(vec![said(Role::User, "Hi"), said(Role::System, "Mind")])
    };
    let expected = json!({
        "model": "gpt-5.5",
        "instructions": "One\n\nTwo",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Mind"}]},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false}],
        "max_output_tokens": 16,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": false,
        "stream": false,
    });
    assert_eq!(write_request(&conversation, &THINKING).unwrap(), expected);
    let plain = write_request(&conversation, &PLAIN).unwrap();
    assert_eq!(plain["temperature"], json!(1));
    assert!(plain.get("reasoning").is_none() && plain.get("include").is_none());
}

#[test]
fn thinking_of_any_dialect_becomes_an_effort_openai_takes() {
    use ThinkingMode::{Adaptive, Disabled, Enabled};
    let cases = [
        (None, None, None, Value::Null),
        (Some(Disabled), None, None, json!("none")),
        (None, Some("none"), None, json!("none")),
        (None, Some("minimal"), None, json!("low")),
        (Some(Adaptive), Some("max"), None, json!("xhigh")),
        (Some(Adaptive), Some("high"), None, json!("high")),
        (Some(Adaptive), None, None, Value::Null),
        (Some(Enabled), None, Some(4_096), json!("low")),
        (Some(Enabled), None, Some(4_097), json!("medium")),
        (Some(Enabled), None, Some(31_999), json!("high")),
        (Some(Enabled), None, Some(63_999), json!("xhigh")),
    ];
    for (mode, effort, budget_tokens, expected) in cases {
        let thinking =
            Thinking { mode, effort: effort.map(Into::into), budget_tokens, ..Thinking::default() };
        let conversation = Conversation { thinking, ..asked(vec![said(Role::User, "Hi")]) };
        let body = write_request(&conversation, &THINKING).unwrap();
        assert_eq!(body["reasoning"]["effort"], expected, "{mode:?} {effort:?} {budget_tokens:?}");
        let switched_off = expected == json!("none");
        assert_eq!(body.get("include").is_none(), switched_off, "{mode:?} {effort:?}");
    }
}

#[test]
fn a_failed_tool_is_marked_in_its_output_and_pictures_go_along() {
    let failed = |parts| {
        let mut failed =
            ToolResult { call_id: "c".into(), kind: CallKind::Function, parts, is_error: true, cache: None };
        failed.is_error = true;
        let items = vec![call("c", CallName::function("f"), "{}"), Item::ToolResult(failed)];
        write_request(&asked(items), &THINKING).unwrap()["input"][1]["output"].clone()
    };
    let text = Part::Text(Text::plain("no file"));
    assert_eq!(failed(vec![text.clone()]), json!(format!("{ERROR_MARK}no file")));
    assert_eq!(failed(vec![]), json!(ERROR_MARK.trim_end()));
    let picture = Part::Image(Image { source: Source::Url("https://x".into()), detail: None, cache: None });
    assert_eq!(
        failed(vec![text, picture]),
        json!([
            {"type": "input_text", "text": ERROR_MARK.trim_end()},
            {"type": "input_text", "text": "no file"},
            {"type": "input_image", "image_url": "https://x"},
        ])
    );
}

#[test]
fn proof_of_other_providers_and_reasoning_that_led_to_nothing_are_left_out() {
    let own = Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() };
    let foreign = Seal::Signature { text: "so".into(), signature: "EqQB".into() };
    let reasoning = |seal| Item::Reasoning(Reasoning { texts: vec!["so".into()], seal: Some(seal) });
    let items = vec![
        reasoning(foreign),
        reasoning(own.clone()),
        said(Role::Assistant, "a"),
        Item::WebSearch(WebSearchCall { id: "srvtoolu_1".into(), query: None }),
        reasoning(own),
        said(Role::User, "b"),
    ];
    let conversation = asked(items);
    let body = write_request(&conversation, &THINKING).unwrap();
    let kinds: Vec<_> = body["input"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["reasoning", "message", "message"]);
    assert_eq!(body["input"][0]["encrypted_content"], json!("gAAA"));
    let plain = write_request(&conversation, &PLAIN).unwrap();
    assert_eq!(plain["input"][0]["type"], json!("message"), "a model that does not think takes no reasoning");
}

#[test]
fn a_search_tool_in_anthropics_or_chats_words_is_offered_in_openais() {
    let search = |options: Value| {
        let Value::Object(options) = options else { panic!("options are an object") };
        let tools = vec![Tool::WebSearch { options }];
        let conversation = Conversation { tools, ..asked(vec![said(Role::User, "Hi")]) };
        write_request(&conversation, &THINKING).unwrap()
    };
    let body = search(json!({
        "name": "web_search", "max_uses": 3, "allowed_domains": ["a.org"],
        "user_location": {"type": "approximate", "city": "Paris"},
    }));
    let place = json!({"type": "approximate", "city": "Paris"});
    assert_eq!(
        body["tools"],
        json!([{"type": "web_search", "filters": {"allowed_domains": ["a.org"]}, "user_location": place}])
    );
    assert_eq!(body["max_tool_calls"], json!(3));
    let body = search(json!({
        "search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Paris"}},
    }));
    assert_eq!(
        body["tools"],
        json!([{"type": "web_search", "search_context_size": "low", "user_location": place}])
    );
}

#[test]
fn a_name_openai_would_refuse_is_shortened_the_same_way_in_tools_and_calls() {
    let name = "größe".repeat(40);
    let tool = Tool::Function(FunctionTool { name: name.clone(), ..FunctionTool::default() });
    let items = vec![
        said(Role::User, "Hi"),
        call("c", CallName::function(&name), "{}"),
        result("c", CallKind::Function, vec![]),
    ];
    let conversation = Conversation { tools: vec![tool.clone()], ..asked(items) };
    let body = write_request(&conversation, &THINKING).unwrap();
    let wire = body["tools"][0]["name"].as_str().unwrap();
    assert_eq!(body["input"][1]["name"], json!(wire));
    assert_eq!(ToolNames::new(&[tool]).original(wire), CallName::function(name));
}
