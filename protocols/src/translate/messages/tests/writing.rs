use serde_json::{Number, Value, json};

use super::*;
use crate::conversation::*;

fn message(role: Role, text: &str) -> Item {
    Item::Message(Message { role, parts: vec![Part::Text(Text::plain(text))] })
}

fn call(call_id: &str, input: &str) -> Item {
    let name = CallName::function("run");
    Item::ToolCall(ToolCall { call_id: call_id.into(), name, input: input.into() })
}

fn result(call_id: &str, text: &str) -> Item {
    let parts = vec![Part::Text(Text::plain(text))];
    let kind = CallKind::Function;
    Item::ToolResult(ToolResult { call_id: call_id.into(), kind, parts, is_error: false, cache: None })
}

/// A conversation whose cache marks are set, so that none is added.
fn conversation(items: Vec<Item>) -> Conversation {
    let cache = Some(CacheLifetime::FiveMinutes);
    let run = FunctionTool { name: "run".into(), cache, ..FunctionTool::default() };
    Conversation { items, tools: vec![Tool::Function(run)], ..Conversation::default() }
}

fn messages(items: Vec<Item>) -> Value {
    written(&conversation(items))["messages"].take()
}

fn refusal(conversation: &Conversation) -> Untranslatable {
    write_request(conversation, &upstream(OPUS)).expect_err("it cannot be carried")
}

#[test]
fn instructions_come_first_and_later_ones_are_wrapped_where_they_stand() {
    let mut asked = conversation(vec![
        message(Role::Developer, "Use tabs."),
        message(Role::System, "Be kind."),
        message(Role::User, "Hello"),
        message(Role::Assistant, "Hi"),
        message(Role::Developer, "Be brief."),
    ]);
    asked.instructions = vec![Text::plain("Help.")];
    let body = written(&asked);
    let texts: Vec<&Value> = body["system"].as_array().unwrap().iter().map(|block| &block["text"]).collect();
    assert_eq!(texts, ["Help.", "Use tabs.", "Be kind."]);
    let wrapped = "<developer_message>\nBe brief.\n</developer_message>";
    assert_eq!(
        body["messages"][2],
        json!({ "role": "user", "content": [{ "type": "text", "text": wrapped }] })
    );
}

#[test]
fn interrupted_calls_are_answered_and_results_without_a_call_become_text() {
    let written = messages(vec![
        message(Role::User, "Go"),
        call("a", "{}"),
        call("b", "{\"x\":1}"),
        message(Role::User, "Stop"),
        result("b", "late"),
        result("zzz", "lost"),
    ]);
    let interrupted = "The call was interrupted before it had a result.";
    let lost = "(Result of a tool call, `zzz`, that is not in this conversation:)";
    let expected = json!([
        { "role": "user", "content": [{ "type": "text", "text": "Go" }] },
        { "role": "assistant", "content": [
            { "type": "tool_use", "id": "a", "name": "run", "input": {} },
            { "type": "tool_use", "id": "b", "name": "run", "input": { "x": 1 } },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "b", "content": "late" },
            { "type": "tool_result", "tool_use_id": "a", "content": interrupted, "is_error": true },
            { "type": "text", "text": "Stop" },
            { "type": "text", "text": lost },
            { "type": "text", "text": "lost" },
        ] },
    ]);
    assert_eq!(written, expected);
}

#[test]
fn ids_that_a_provider_numbers_anew_are_told_apart() {
    let written = messages(vec![
        message(Role::User, "Go"),
        call("call:0", ""),
        result("call:0", "one"),
        call("call:0", ""),
        result("call:0", "two"),
    ]);
    let ids: Vec<&Value> = (1..5).map(|at| &written[at]["content"][0]).collect();
    assert_eq!((&ids[0]["id"], &ids[1]["tool_use_id"]), (&json!("call_0"), &json!("call_0")));
    assert_eq!((&ids[2]["id"], &ids[3]["tool_use_id"]), (&json!("call_0_2"), &json!("call_0_2")));
    assert_eq!(ids[3]["content"], "two");
}

#[test]
fn the_conversation_begins_and_ends_with_the_user() {
    assert_eq!(messages(vec![])[0]["role"], "user");
    let written = messages(vec![message(Role::Assistant, "I was ")]);
    let roles: Vec<&Value> = written.as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    let asked = conversation(vec![message(Role::Assistant, "I was ")]);
    let older = write_request(&asked, &upstream("claude-haiku-4-5")).unwrap();
    assert_eq!(older["messages"][1]["content"][0]["text"], "I was");
}

#[test]
fn only_seals_of_its_own_reach_a_provider() {
    let reasoning = |seal: Option<Seal>| Item::Reasoning(Reasoning { texts: vec!["so".into()], seal });
    let items = vec![
        message(Role::User, "Hello"),
        reasoning(Some(Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() })),
        reasoning(None),
        reasoning(Some(Seal::Signature { text: "signed".into(), signature: "EqQB".into() })),
        message(Role::Assistant, "Hi"),
        message(Role::User, "Well?"),
    ];
    let thinking = |model: &str| -> Vec<Value> {
        let body = write_request(&conversation(items.clone()), &upstream(model)).unwrap();
        let blocks = body["messages"][1]["content"].as_array().unwrap();
        blocks
            .iter()
            .filter(|block| block["type"] == "thinking")
            .map(|block| block["thinking"].clone())
            .collect()
    };
    assert_eq!(thinking(OPUS), ["signed"]);
    assert_eq!(thinking("deepseek-v4-pro"), ["so", "so", "signed"], "others want their thinking back");
}

#[test]
fn custom_tools_are_functions_of_one_text() {
    let grammar = Grammar { syntax: "lark".into(), definition: "start: \"x\"".into() };
    let custom = Tool::Custom {
        name: "apply_patch".into(),
        description: Some("Patches.".into()),
        grammar: Some(grammar),
    };
    let name = CallName::custom("apply_patch");
    let patch = ToolCall { call_id: "c".into(), name: name.clone(), input: "*** Begin".into() };
    let items = vec![message(Role::User, "Go"), Item::ToolCall(patch), result("c", "ok")];
    let choice = Some(ToolChoice::Named(name));
    let body = written(&Conversation { tools: vec![custom], tool_choice: choice, ..conversation(items) });
    let schema = &body["tools"][0]["input_schema"];
    assert_eq!(schema["required"], json!(["input"]));
    assert!(schema["properties"]["input"]["description"].as_str().unwrap().contains("start: \"x\""));
    assert_eq!(body["messages"][1]["content"][0]["input"], json!({ "input": "*** Begin" }));
    assert_eq!(body["tool_choice"], json!({ "type": "tool", "name": "apply_patch" }));
}

#[test]
fn a_schema_is_an_objects_and_its_unions_are_told_in_words() {
    let parameters = json!({ "properties": {}, "anyOf": [{ "required": ["a"] }] });
    let function = FunctionTool { name: "run".into(), parameters, ..FunctionTool::default() };
    let empty = FunctionTool { name: "stop".into(), ..FunctionTool::default() };
    let again =
        FunctionTool { name: "run".into(), description: Some("again".into()), ..FunctionTool::default() };
    let tools = vec![Tool::Function(function), Tool::Function(empty), Tool::Function(again)];
    let body = written(&Conversation { tools, ..Conversation::default() });
    assert_eq!(body["tools"].as_array().unwrap().len(), 2, "a name is offered once");
    assert_eq!(body["tools"][0]["input_schema"], json!({ "type": "object", "properties": {} }));
    assert!(body["tools"][0]["description"].as_str().unwrap().contains("anyOf"));
    assert_eq!(body["tools"][1]["input_schema"], json!({ "type": "object" }));
}

#[test]
fn more_strict_tools_than_the_provider_holds_are_not_held() {
    let tools = |count: usize| -> Vec<Tool> {
        let strict =
            |at| FunctionTool { name: format!("t{at}"), strict: Some(true), ..FunctionTool::default() };
        (0..count).map(|at| Tool::Function(strict(at))).collect()
    };
    let strict = |count| {
        written(&Conversation { tools: tools(count), ..Conversation::default() })["tools"][0]["strict"].take()
    };
    assert_eq!((strict(20), strict(21)), (json!(true), Value::Null));
}

#[test]
fn calls_of_the_past_keep_their_tools_though_none_is_offered() {
    let items =
        vec![message(Role::User, "Go"), call("a", "{}"), result("a", "ok"), message(Role::User, "Sum up")];
    let body =
        written(&Conversation { items, tool_choice: Some(ToolChoice::Auto), ..Conversation::default() });
    assert_eq!(body["tools"][0]["name"], "run");
    assert_eq!(body["tool_choice"], json!({ "type": "none" }));
}

#[test]
fn a_search_is_put_in_the_providers_words_or_not_offered() {
    let search = |options: Value| {
        let tools = vec![Tool::WebSearch { options: options.as_object().cloned().unwrap() }];
        let items = vec![
            message(Role::User, "Go"),
            Item::WebSearch(WebSearchCall { id: "ws_1".into(), query: Some("x".into()) }),
            message(Role::User, "And?"),
        ];
        written(&Conversation { items, tools, ..Conversation::default() })
    };
    let responses = json!({
        "type": "web_search", "external_web_access": true, "search_context_size": "low",
        "filters": { "allowed_domains": ["example.com"] },
    });
    let body = search(responses);
    let tool = &body["tools"][0];
    assert_eq!((&tool["type"], &tool["name"]), (&json!("web_search_20250305"), &json!("web_search")));
    assert_eq!(tool["allowed_domains"], json!(["example.com"]));
    assert_eq!(tool.get("search_context_size"), None);
    assert_eq!(body["messages"][1]["content"][0]["id"], "srvtoolu_ws_1");
    assert_eq!(body["messages"][1]["content"][1]["tool_use_id"], "srvtoolu_ws_1");
    let chat =
        search(json!({ "user_location": { "type": "approximate", "approximate": { "city": "Bern" } } }));
    assert_eq!(chat["tools"][0]["user_location"], json!({ "type": "approximate", "city": "Bern" }));
    let cached = search(json!({ "type": "web_search", "external_web_access": false }));
    assert_eq!((cached.get("tools"), cached["messages"].as_array().unwrap().len()), (None, 1));
}

#[test]
fn sampling_goes_only_where_the_model_takes_it() {
    let sampling = Sampling {
        temperature: Some(Number::from_f64(1.5).unwrap()),
        top_p: Some(Number::from(1)),
        top_k: Some(5),
        stop: vec!["END".into()],
        ..Sampling::default()
    };
    let asked = Conversation { sampling, ..conversation(vec![message(Role::User, "Hello")]) };
    let of = |model: &str, asked: &Conversation| {
        let body = write_request(asked, &upstream(model)).unwrap();
        assert_eq!(body["stop_sequences"], json!(["END"]));
        json!([body.get("temperature"), body.get("top_p"), body.get("top_k")])
    };
    assert_eq!(of(OPUS, &asked), json!([null, null, null]));
    assert_eq!(of("claude-haiku-4-5", &asked), json!([1, null, 5]));
    assert_eq!(of("deepseek-v4-pro", &asked), json!([1.5, 1, 5]));
    let thinking = Thinking { effort: Some("high".into()), ..Thinking::default() };
    assert_eq!(of("claude-haiku-4-5", &Conversation { thinking, ..asked }), json!([null, null, null]));
}

#[test]
fn a_form_the_model_has_no_setting_for_is_asked_in_words() {
    let schema = json!({ "type": "object", "title": "Weather" });
    let schema = OutputFormat::JsonSchema { name: None, description: None, schema, strict: Some(true) };
    let asked = |format| Conversation { format, ..conversation(vec![message(Role::User, "Hello")]) };
    let system = |body: Value| body["system"][0]["text"].as_str().unwrap_or_default().to_owned();
    assert!(system(written(&asked(OutputFormat::JsonObject))).contains("JSON object"));
    let body = write_request(&asked(schema.clone()), &upstream("deepseek-v4-pro")).unwrap();
    assert!(system(body).contains("\"Weather\""));
    let body = written(&asked(schema));
    assert_eq!(body["output_config"]["format"]["schema"]["title"], "Weather");
}

#[test]
fn the_models_limit_stands_in_for_the_clients() {
    assert_eq!(written(&conversation(vec![]))["max_tokens"], 32_000);
    let asked = Conversation { max_output_tokens: Some(7), ..conversation(vec![]) };
    assert_eq!(written(&asked)["max_tokens"], 7);
}

#[test]
fn what_the_provider_does_not_have_is_refused_by_name() {
    let plain = || conversation(vec![message(Role::User, "Hello")]);
    let of_user =
        |part: Part| conversation(vec![Item::Message(Message { role: Role::User, parts: vec![part] })]);
    let data = |media_type: &str, base64: &str| Source::Data {
        media_type: media_type.into(),
        base64: base64.into(),
    };
    let picture = |source| Part::Image(Image { source, detail: None, cache: None });
    let file = |source| Part::File(File { source, name: None, cache: None });
    let shown = Message { role: Role::Assistant, parts: vec![picture(data("image/png", "iVBO"))] };
    let stop = Sampling { stop: vec!["\n".into()], ..Sampling::default() };
    let choice = Some(ToolChoice::Named(CallName::function("fly")));
    let cases = [
        (Conversation { choices: 2, ..plain() }, "n"),
        (Conversation { sampling: stop, ..plain() }, "stop"),
        (Conversation { tool_choice: choice, ..plain() }, "tool_choice"),
        (of_user(picture(data("image/tiff", "iVBO"))), "image"),
        (of_user(file(data("application/zip", "iVBO"))), "file"),
        (of_user(file(data("text/plain", "no base64!"))), "file"),
        (conversation(vec![Item::Message(shown)]), "messages"),
    ];
    for (conversation, field) in cases {
        let refusal = refusal(&conversation);
        assert!(matches!(refusal, Untranslatable::NotCarried { .. }), "{refusal}");
        assert_eq!(field_of(&refusal), field);
    }
}
