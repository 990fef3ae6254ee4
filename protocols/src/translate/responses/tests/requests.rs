use proptest::prelude::*;
use serde_json::{Value, json};

use super::strategies::{any_json, conversation};
use super::{PLAIN, THINKING};
use crate::conversation::{
    CallKind, CallName, Conversation, FunctionTool, Image, Item, Message, Part, Reasoning, Role, Seal,
    Source, Text, Thinking, ThinkingMode, Tool, ToolCall, ToolChoice, ToolResult, WebSearchCall,
};
use crate::translate::responses::{DROPPED, DROPPED_OF_ITEMS, DROPPED_OF_TOOLS, read_request, write_request};

pub(super) fn said(role: Role, text: &str) -> Item {
    Item::Message(Message { role, parts: vec![Part::Text(Text::plain(text))] })
}

pub(super) fn asked(items: Vec<Item>) -> Conversation {
    Conversation { items, choices: 1, ..Conversation::default() }
}

/// What Codex 0.169 sends in the middle of a task: no `instructions`, ids on its items, its own tools.
fn codex_request() -> Value {
    json!({
        "model": "gpt-5.5",
        "input": [
            {"type": "message", "role": "developer", "id": "msg_1",
             "content": [{"type": "input_text", "text": "You are Codex."}]},
            {"type": "message", "role": "user", "id": "msg_2", "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0=", "detail": "high"},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}],
             "encrypted_content": "gAAAA"},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "exec_command",
             "arguments": "{\"cmd\":\"ls\"}"},
            {"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "a.txt"},
            {"type": "custom_tool_call", "status": "completed", "call_id": "call_2", "name": "apply_patch",
             "input": "*** Begin Patch"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": [
                {"type": "input_text", "text": "Done"},
                {"type": "input_image", "image_url": "https://x/y.png"},
            ]},
            {"type": "tool_search_call", "call_id": "call_3", "execution": "client", "status": "completed",
             "arguments": {"query": "mail", "limit": 8}},
            {"type": "tool_search_output", "call_id": "call_3", "execution": "client", "status": "completed",
             "tools": [{"type": "namespace", "name": "mcp__mail", "description": "Mail.", "tools": [
                {"type": "function", "name": "send", "description": "Sends.", "strict": false,
                 "defer_loading": true, "parameters": {"type": "object"}}]}]},
            {"type": "function_call", "call_id": "call_4", "namespace": "mcp__mail", "name": "send",
             "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_4", "output": ""},
            {"type": "web_search_call", "status": "completed",
             "action": {"type": "search", "query": "rust", "queries": ["rust"]}},
            {"type": "web_search_call", "status": "completed",
             "action": {"type": "open_page", "url": "https://x"}},
            {"type": "message", "role": "assistant", "phase": "final_answer",
             "content": [{"type": "output_text", "text": "Ok", "annotations": []}]},
        ],
        "tools": [
            {"type": "function", "name": "exec_command", "description": "Runs.", "strict": false,
             "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}}},
            {"type": "custom", "name": "apply_patch", "description": "Edits.",
             "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin"}},
            {"type": "tool_search", "execution": "client", "description": "Finds tools.",
             "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
            {"type": "web_search", "external_web_access": false, "search_content_types": ["text", "image"]},
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": true,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": false,
        "stream": true,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "thread",
        "text": {"verbosity": "low"},
        "client_metadata": {"turn_id": "t"},
    })
}

fn function(name: &str, namespace: Option<&str>, description: &str, parameters: Value) -> Tool {
    Tool::Function(FunctionTool {
        name: name.into(),
        namespace: namespace.map(Into::into),
        description: Some(description.into()),
        parameters,
        strict: Some(false),
        cache: None,
    })
}

pub(super) fn result(call_id: &str, kind: CallKind, parts: Vec<Part>) -> Item {
    Item::ToolResult(ToolResult { call_id: call_id.into(), kind, parts, is_error: false, cache: None })
}

pub(super) fn call(call_id: &str, name: CallName, input: &str) -> Item {
    Item::ToolCall(ToolCall { call_id: call_id.into(), name, input: input.into() })
}

#[test]
fn what_codex_sends_is_read_item_by_item() {
    let read = read_request(codex_request()).unwrap();
    let image = |source, detail: Option<&str>| {
        Part::Image(Image { source, detail: detail.map(Into::into), cache: None })
    };
    let png = Source::Data { media_type: "image/png".into(), base64: "iVBORw0=".into() };
    let send = CallName { namespace: Some("mcp__mail".into()), ..CallName::function("send") };
    let items = vec![
        said(Role::Developer, "You are Codex."),
        Item::Message(Message {
            role: Role::User,
            parts: vec![Part::Text(Text::plain("Look")), image(png, Some("high"))],
        }),
        Item::Reasoning(Reasoning {
            texts: vec!["Hm".into()],
            seal: Some(Seal::Encrypted { id: "rs_1".into(), content: "gAAAA".into() }),
        }),
        call("call_1", CallName::function("exec_command"), "{\"cmd\":\"ls\"}"),
        result("call_1", CallKind::Function, vec![Part::Text(Text::plain("a.txt"))]),
        call("call_2", CallName::custom("apply_patch"), "*** Begin Patch"),
        result(
            "call_2",
            CallKind::Custom,
            vec![Part::Text(Text::plain("Done")), image(Source::Url("https://x/y.png".into()), None)],
        ),
        call("call_3", CallName::tool_search(), "{\"limit\":8,\"query\":\"mail\"}"),
        result(
            "call_3",
            CallKind::ToolSearch,
            vec![Part::Text(Text::plain("{\"tools\":[\"mcp__mail__send\"]}"))],
        ),
        call("call_4", send, "{}"),
        result("call_4", CallKind::Function, vec![]),
        Item::WebSearch(WebSearchCall { id: String::new(), query: Some("rust".into()) }),
        said(Role::Assistant, "Ok"),
    ];
    assert_eq!(read.items, items);
    assert_eq!(read.tools.len(), 5);
    assert_eq!(
        read.tools[4],
        function("send", Some("mcp__mail"), "Mail.\n\nSends.", json!({ "type": "object" })),
        "a tool that was found is offered from then on"
    );
    assert_eq!(read.tool_choice, Some(ToolChoice::Auto));
    assert_eq!(read.verbosity.as_deref(), Some("low"));
    assert_eq!(
        read.thinking,
        Thinking {
            effort: Some("medium".into()),
            summary: Some("auto".into()),
            wants_seal: true,
            ..Thinking::default()
        }
    );
    assert!(read.stream && read.instructions.is_empty());
    assert_eq!(read.echo["store"], json!(false));
    assert!(!read.echo.contains_key("tools") && !read.echo.contains_key("client_metadata"));
}

#[test]
fn the_older_codex_and_plain_text_are_read_too() {
    let read = read_request(json!({
        "model": "m", "instructions": "Be brief", "input": "Hi", "reasoning": {"effort": "none"},
        "metadata": {"a": "b"}, "unheard_of": {"x": 1},
    }));
    let read = read.unwrap();
    assert_eq!(read.instructions, [Text::plain("Be brief")]);
    assert_eq!(read.items, [said(Role::User, "Hi")]);
    assert_eq!(read.thinking.mode, Some(ThinkingMode::Disabled));
    assert_eq!(read.echo["metadata"], json!({"a": "b"}));
}

#[test]
fn members_on_the_list_of_those_left_out_change_nothing() {
    let plain = read_request(codex_request()).unwrap();
    for (key, _) in DROPPED {
        let mut body = codex_request();
        body[*key] = json!({ "any": "thing" });
        let read = read_request(body).unwrap();
        assert_eq!(Conversation { echo: plain.echo.clone(), ..read }, plain, "{key}");
    }
    for (key, _) in DROPPED_OF_ITEMS.iter().filter(|(key, _)| *key != "id") {
        let mut body = codex_request();
        for item in body["input"].as_array_mut().unwrap() {
            item[*key] = json!("thing");
        }
        assert_eq!(read_request(body).unwrap(), plain, "{key}");
    }
    for (key, _) in DROPPED_OF_TOOLS {
        let mut body = codex_request();
        body["tools"][0][*key] = json!(true);
        assert_eq!(read_request(body).unwrap(), plain, "{key}");
    }
}

#[test]
fn items_of_tools_that_ran_elsewhere_are_shown_as_text_or_left_out() {
    let read = read_request(json!({"input": [
        {"type": "local_shell_call", "id": "ls_1", "call_id": "c", "status": "completed",
         "action": {"type": "exec", "command": ["ls"]}},
        {"type": "local_shell_call_output", "call_id": "c", "output": "a.txt"},
        {"type": "mcp_list_tools", "tools": []},
        {"type": "context_compaction"},
        {"type": "reasoning", "summary": []},
        {"type": "tool_search_call", "execution": "server", "call_id": null, "arguments": {}},
        {"type": "tool_search_output", "execution": "server", "call_id": null, "tools": [
            {"type": "function", "name": "f"}]},
        {"type": "additional_tools", "role": "developer", "tools": [
            {"type": "function", "name": "g"}, {"type": "function", "name": "f"}]},
    ]}));
    let read = read.unwrap();
    assert_eq!(
        read.items,
        [
            said(Role::Assistant, "[local_shell_call] {\"action\":{\"command\":[\"ls\"],\"type\":\"exec\"}}"),
            said(Role::User, "[local_shell_call_output] {\"output\":\"a.txt\"}"),
        ]
    );
    let names: Vec<_> = read.tools.iter().filter_map(CallName::of).map(|name| name.name).collect();
    assert_eq!(names, ["f", "g"]);
}

#[test]
fn allowed_tools_take_the_others_out_and_a_short_name_finds_its_namespace() {
    let tools = json!([
        {"type": "function", "name": "a"},
        {"type": "function", "name": "b"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "c"}]},
        {"type": "web_search"},
    ]);
    let allowed = read_request(json!({"input": "x", "tools": tools, "tool_choice": {
        "type": "allowed_tools", "mode": "required",
        "tools": [{"type": "function", "name": "b"}, {"type": "web_search"}]}}));
    let allowed = allowed.unwrap();
    assert_eq!(allowed.tool_choice, Some(ToolChoice::Required));
    assert_eq!(allowed.tools.len(), 2);
    let named = read_request(json!({"input": "x", "tools": tools, "tool_choice": {
        "type": "function", "name": "c"}}));
    let name = CallName { namespace: Some("n".into()), ..CallName::function("c") };
    assert_eq!(named.unwrap().tool_choice, Some(ToolChoice::Named(name)));
}

#[test]
fn envelopes_of_ours_are_opened_and_the_empty_one_is_nothing() {
    let seal = Seal::Signature { text: "so".into(), signature: "EqQB".into() };
    let nothing = Seal::Encrypted { id: String::new(), content: String::new() };
    let read = read_request(json!({"input": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal.envelope()},
        {"type": "reasoning", "id": "rs_2", "content": [{"type": "reasoning_text", "text": "so"}],
         "encrypted_content": nothing.envelope()},
    ]}));
    let reasoning = |texts: &[&str], seal| {
        Item::Reasoning(Reasoning { texts: texts.iter().map(|&text| text.into()).collect(), seal })
    };
    assert_eq!(read.unwrap().items, [reasoning(&[], Some(seal)), reasoning(&["so"], None)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_for_a_thinking_model_reads_back_as_it_was(conversation in conversation(true)) {
        let body = write_request(&conversation, &THINKING).unwrap();
        let read = read_request(body).unwrap();
        prop_assert_eq!(Conversation { echo: Default::default(), ..read }, conversation);
    }

    #[test]
    fn what_is_written_for_a_plain_model_reads_back_as_it_was(conversation in conversation(false)) {
        let body = write_request(&conversation, &PLAIN).unwrap();
        let read = read_request(body).unwrap();
        prop_assert_eq!(Conversation { echo: Default::default(), ..read }, conversation);
    }

    #[test]
    fn no_json_makes_a_reader_panic(json in any_json(), input in any_json()) {
        let _ = read_request(json);
        if let Ok(conversation) = read_request(json!({ "input": [input] })) {
            let _ = write_request(&conversation, &THINKING);
        }
    }
}
