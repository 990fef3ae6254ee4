use serde_json::{Value, json};

use super::THINKING;
use crate::conversation::{
    Conversation, Image, Item, Message, Part, Role, Source, Text, Tool, ToolCall, ToolResult, Untranslatable,
};
use crate::translate::responses::{read_request, write_request};

/// The field at fault, and whether the value was wrong (else it is good, but cannot be carried).
fn refused(body: Value) -> (String, bool) {
    match read_request(body.clone()) {
        Err(Untranslatable::Wrong { field, .. }) => (field, true),
        Err(Untranslatable::NotCarried { field, .. }) => (field, false),
        other => panic!("{body} gave {other:?}"),
    }
}

fn item(item: Value) -> Value {
    json!({ "input": [item] })
}

fn part(part: Value) -> Value {
    item(json!({ "role": "user", "content": [part] }))
}

fn tool(tool: Value) -> Value {
    json!({ "input": "x", "tools": [tool] })
}

#[test]
fn what_only_openai_has_is_refused_by_name() {
    let cases = [
        (json!({"input": "x", "previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"input": "x", "conversation": "conv_1"}), "conversation"),
        (json!({"input": "x", "prompt": {"id": "pmpt_1"}}), "prompt"),
        (json!({"input": "x", "context_management": [{"type": "compaction"}]}), "context_management"),
        (json!({"input": "x", "context_management": {}}), "context_management"),
        (json!({"input": "x", "top_logprobs": 2}), "top_logprobs"),
        (json!({"input": "x", "include": ["message.output_text.logprobs"]}), "include[0]"),
        (json!({"input": "x", "max_tool_calls": 2, "tools": [{"type": "web_search"}]}), "max_tool_calls"),
        (item(json!({"type": "compaction", "encrypted_content": "g"})), "input[0]"),
        (item(json!({"type": "compaction_trigger"})), "input[0]"),
        (item(json!({"type": "context_compaction", "encrypted_content": "g"})), "input[0]"),
        (item(json!({"type": "item_reference", "id": "msg_1"})), "input[0]"),
        (item(json!({"type": "computer_call"})), "input[0]"),
        (item(json!({"type": "image_generation_call", "result": "x"})), "input[0]"),
        (item(json!({"type": "unheard_of"})), "input[0]"),
        (part(json!({"type": "input_image", "file_id": "file_1"})), "input[0].content[0].file_id"),
        (part(json!({"type": "input_file", "file_id": "file_1"})), "input[0].content[0].file_id"),
        (part(json!({"type": "input_audio", "audio_url": "x"})), "input[0].content[0]"),
        (part(json!({"type": "encrypted_content"})), "input[0].content[0]"),
        (tool(json!({"type": "file_search"})), "tools[0]"),
        (tool(json!({"type": "code_interpreter"})), "tools[0]"),
        (tool(json!({"type": "computer"})), "tools[0]"),
        (tool(json!({"type": "image_generation"})), "tools[0]"),
        (tool(json!({"type": "mcp"})), "tools[0]"),
        (tool(json!({"type": "local_shell"})), "tools[0]"),
        (tool(json!({"type": "tool_search"})), "tools[0].execution"),
        (tool(json!({"type": "tool_search", "execution": "server"})), "tools[0].execution"),
        (
            tool(json!({"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "c"}]})),
            "tools[0].tools[0]",
        ),
        (json!({"input": "x", "tool_choice": {"type": "web_search"}}), "tool_choice"),
        (json!({"input": "x", "tool_choice": {"type": "mcp"}}), "tool_choice"),
    ];
    for (body, field) in cases {
        assert_eq!(refused(body.clone()), (field.to_owned(), false), "{body}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_place() {
    let cases = [
        (json!({}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": ["x"]}), "input[0]"),
        (item(json!({"id": "x"})), "input[0].type"),
        (item(json!({"role": "tool", "content": "x"})), "input[0].role"),
        (item(json!({"role": "user"})), "input[0].content"),
        (item(json!({"role": "user", "content": 1})), "input[0].content"),
        (part(json!({"text": "x"})), "input[0].content[0].type"),
        (part(json!({"type": "input_video"})), "input[0].content[0].type"),
        (part(json!({"type": "input_text", "text": 1})), "input[0].content[0].text"),
        (part(json!({"type": "input_image", "image_url": "ftp://x"})), "input[0].content[0].image_url"),
        (
            part(json!({"type": "input_image", "image_url": "data:image/png,x"})),
            "input[0].content[0].image_url",
        ),
        (part(json!({"type": "input_image"})), "input[0].content[0].image_url"),
        (part(json!({"type": "input_file", "file_data": "JVBER"})), "input[0].content[0].file_data"),
        (part(json!({"type": "input_file", "file_url": "x"})), "input[0].content[0].file_url"),
        (part(json!({"type": "input_file", "filename": "x"})), "input[0].content[0].file_data"),
        (item(json!({"type": "function_call", "name": "f", "arguments": "{}"})), "input[0].call_id"),
        (item(json!({"type": "function_call", "call_id": "c", "name": "f"})), "input[0].arguments"),
        (item(json!({"type": "function_call_output", "call_id": "c"})), "input[0].output"),
        (item(json!({"type": "tool_search_call", "execution": "client"})), "input[0].call_id"),
        (item(json!({"type": "tool_search_output", "execution": "client"})), "input[0].call_id"),
        (item(json!({"type": "reasoning", "summary": "x"})), "input[0].summary"),
        (tool(json!({"name": "f"})), "tools[0].type"),
        (tool(json!({"type": "function"})), "tools[0].name"),
        (tool(json!({"type": "function", "name": "f", "parameters": 1})), "tools[0].parameters"),
        (tool(json!({"type": "custom", "name": "f", "format": {"type": "x"}})), "tools[0].format.type"),
        (json!({"input": "x", "tools": {}}), "tools"),
        (json!({"input": "x", "tool_choice": "any"}), "tool_choice"),
        (json!({"input": "x", "tool_choice": 1}), "tool_choice"),
        (json!({"input": "x", "tool_choice": {"type": "allowed_tools", "mode": "none"}}), "tool_choice.mode"),
        (json!({"input": "x", "instructions": ["x"]}), "instructions"),
        (json!({"input": "x", "stream": "yes"}), "stream"),
        (json!({"input": "x", "max_output_tokens": -1}), "max_output_tokens"),
        (json!({"input": "x", "temperature": "hot"}), "temperature"),
        (json!({"input": "x", "top_logprobs": -1}), "top_logprobs"),
        (json!({"input": "x", "include": [1]}), "include[0]"),
        (json!({"input": "x", "include": "x"}), "include"),
        (json!({"input": "x", "reasoning": "x"}), "reasoning"),
        (json!({"input": "x", "reasoning": {"effort": "galactic"}}), "reasoning.effort"),
        (json!({"input": "x", "text": {"format": {"type": "xml"}}}), "text.format.type"),
        (
            json!({"input": "x", "text": {"format": {"type": "json_schema", "name": "n"}}}),
            "text.format.schema",
        ),
    ];
    for (body, field) in cases {
        assert_eq!(refused(body.clone()), (field.to_owned(), true), "{body}");
    }
    assert!(matches!(read_request(json!([])), Err(Untranslatable::NotReadable { .. })));
}

#[test]
fn what_a_responses_provider_would_refuse_is_refused_before_it_is_sent() {
    let refused = |conversation: Conversation| match write_request(&conversation, &THINKING) {
        Err(Untranslatable::Wrong { field, .. }) => (field, true),
        Err(Untranslatable::NotCarried { field, .. }) => (field, false),
        other => panic!("{other:?}"),
    };
    let asked = |items| Conversation { items, choices: 1, ..Conversation::default() };
    let hi = || Item::Message(Message { role: Role::User, parts: vec![Part::Text(Text::plain("Hi"))] });
    let call = ToolCall { call_id: "c".into(), name: Default::default(), input: "{}".into() };
    let result = ToolResult {
        call_id: "c".into(),
        kind: Default::default(),
        parts: vec![],
        is_error: false,
        cache: None,
    };
    assert_eq!(refused(asked(vec![])), ("input".into(), false));
    assert_eq!(refused(asked(vec![hi(), Item::ToolCall(call)])), ("tool call c".into(), true));
    assert_eq!(refused(asked(vec![hi(), Item::ToolResult(result)])), ("tool result c".into(), true));
    assert_eq!(refused(Conversation { choices: 2, ..asked(vec![hi()]) }), ("n".into(), false));
    let picture = Part::Image(Image { source: Source::Url("https://x".into()), detail: None, cache: None });
    let drawn = Item::Message(Message { role: Role::Assistant, parts: vec![picture] });
    assert_eq!(refused(asked(vec![drawn])), ("a picture or file of the assistant".into(), false));
    let Value::Object(options) = json!({"blocked_domains": ["a.org"]}) else { unreachable!() };
    let blocked = Conversation { tools: vec![Tool::WebSearch { options }], ..asked(vec![hi()]) };
    assert_eq!(refused(blocked), ("blocked_domains".into(), false));
}
