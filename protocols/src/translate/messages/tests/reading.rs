use serde_json::{Value, json};

use super::*;
use crate::conversation::{CacheLifetime, Item, OutputFormat, Part, Role, Seal, Source};

/// A request with other members in place of some.
fn request(members: Value) -> Value {
    let mut body = json!({
        "model": "claude-opus-4-8",
        "max_tokens": 64,
        "messages": [{ "role": "user", "content": "Hello" }],
    });
    let Value::Object(members) = members else { unreachable!("members are an object") };
    body.as_object_mut().unwrap().extend(members);
    body
}

fn with_block(role: &str, block: Value) -> Value {
    request(json!({ "messages": [{ "role": role, "content": [block] }] }))
}

fn read(body: Value) -> Conversation {
    read_request(body).expect("it can be read")
}

fn parts_of(item: &Item) -> &[Part] {
    match item {
        Item::Message(message) => &message.parts,
        _ => panic!("no message: {item:?}"),
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_its_place() {
    let cases = [
        (request(json!({ "messages": [] })), "messages"),
        (request(json!({ "messages": "Hello" })), "messages"),
        (request(json!({ "messages": [7] })), "messages[0]"),
        (request(json!({ "messages": [{ "role": "tool", "content": "x" }] })), "messages[0].role"),
        (request(json!({ "messages": [{ "role": "user" }] })), "messages[0].content"),
        (with_block("user", json!("x")), "messages[0].content[0]"),
        (with_block("user", json!({ "type": "text" })), "messages[0].content[0].text"),
        (with_block("user", json!({ "type": "image" })), "messages[0].content[0].source"),
        (
            with_block("user", json!({ "type": "tool_result", "tool_use_id": "a", "content": 7 })),
            "messages[0].content[0].content",
        ),
        (
            with_block("user", json!({ "type": "tool_result", "content": "x" })),
            "messages[0].content[0].tool_use_id",
        ),
        (
            with_block("assistant", json!({ "type": "tool_use", "id": "a", "name": "b", "input": "{}" })),
            "messages[0].content[0].input",
        ),
        (
            with_block("user", json!({ "type": "text", "text": "x", "cache_control": { "ttl": "9m" } })),
            "messages[0].content[0].cache_control.ttl",
        ),
        (request(json!({ "max_tokens": 0 })), "max_tokens"),
        (request(json!({ "max_tokens": null })), "max_tokens"),
        (request(json!({ "max_tokens": 1.5 })), "max_tokens"),
        (request(json!({ "system": 7 })), "system"),
        (request(json!({ "system": [{ "type": "image" }] })), "system[0].type"),
        (request(json!({ "stream": "yes" })), "stream"),
        (request(json!({ "temperature": "hot" })), "temperature"),
        (request(json!({ "stop_sequences": [7] })), "stop_sequences[0]"),
        (request(json!({ "stop_sequences": ["a", ""] })), "stop_sequences[1]"),
        (request(json!({ "thinking": { "type": "deep" } })), "thinking.type"),
        (request(json!({ "thinking": { "type": "enabled" } })), "thinking.budget_tokens"),
        (request(json!({ "output_config": { "effort": "galactic" } })), "output_config.effort"),
        (request(json!({ "output_config": { "format": { "type": "xml" } } })), "output_config.format.type"),
        (
            request(json!({ "output_config": { "format": { "type": "json_schema" } } })),
            "output_config.format.schema",
        ),
        (request(json!({ "tools": {} })), "tools"),
        (request(json!({ "tools": [{ "name": "a" }] })), "tools[0].input_schema"),
        (request(json!({ "tools": [{ "input_schema": {} }] })), "tools[0].name"),
        (request(json!({ "tool_choice": { "type": "some" } })), "tool_choice.type"),
        (request(json!({ "tool_choice": { "type": "tool" } })), "tool_choice.name"),
    ];
    for (body, field) in cases {
        let refusal = read_request(body.clone()).expect_err(field);
        assert!(matches!(refusal, Untranslatable::Wrong { .. }), "{refusal} {body}");
        assert_eq!(field_of(&refusal), field, "{body}");
    }
    assert!(matches!(read_request(json!([])), Err(Untranslatable::NotReadable { .. })));
}

#[test]
fn what_only_anthropic_has_is_refused_by_its_place() {
    let tool = |kind: &str| request(json!({ "tools": [{ "type": kind, "name": "x" }] }));
    let file = json!({ "type": "file", "file_id": "file_1" });
    let cases = [
        (tool("bash_20250124"), "tools[0].type"),
        (tool("text_editor_20250728"), "tools[0].type"),
        (tool("computer_20251124"), "tools[0].type"),
        (tool("memory_20250818"), "tools[0].type"),
        (tool("code_execution_20250825"), "tools[0].type"),
        (tool("web_fetch_20250910"), "tools[0].type"),
        (tool("tool_search_tool_regex_20251119"), "tools[0].type"),
        (tool("mcp_toolset"), "tools[0].type"),
        (tool("telepathy_20300101"), "tools[0].type"),
        (request(json!({ "mcp_servers": [{ "type": "url" }] })), "mcp_servers"),
        (
            request(json!({
                "tools": [{ "type": "web_search_20250305", "name": "web_search" }],
                "tool_choice": { "type": "tool", "name": "web_search" },
            })),
            "tool_choice.name",
        ),
        (request(json!({ "container": "c_1" })), "container"),
        (request(json!({ "thread": { "id": "t" } })), "thread"),
        (request(json!({ "speed": "fast" })), "speed"),
        (request(json!({ "inference_geo": "us" })), "inference_geo"),
        (
            with_block("user", json!({ "type": "image", "source": file.clone() })),
            "messages[0].content[0].source.type",
        ),
        (
            with_block("user", json!({ "type": "document", "source": file })),
            "messages[0].content[0].source.type",
        ),
        (
            with_block("user", json!({ "type": "document", "source": { "type": "content" } })),
            "messages[0].content[0].source.type",
        ),
        (with_block("user", json!({ "type": "container_upload" })), "messages[0].content[0].type"),
        (with_block("user", json!({ "type": "tool_use", "id": "a" })), "messages[0].content[0].type"),
        (
            with_block("assistant", json!({ "type": "code_execution_tool_result" })),
            "messages[0].content[0].type",
        ),
        (
            with_block("assistant", json!({ "type": "server_tool_use", "id": "s", "name": "web_fetch" })),
            "messages[0].content[0].name",
        ),
    ];
    for (body, field) in cases {
        let refusal = read_request(body.clone()).expect_err(field);
        assert!(matches!(refusal, Untranslatable::NotCarried { .. }), "{refusal} {body}");
        assert_eq!(field_of(&refusal), field, "{body}");
    }
}

#[test]
fn members_that_change_nothing_are_left_out() {
    let plain = read(request(json!({})));
    for (member, _) in DROPPED_MEMBERS {
        assert_eq!(read(request(json!({ *member: { "any": "thing" } }))), plain, "{member}");
    }
    let unknown =
        json!({ "a_member_of_tomorrow": 7, "mcp_servers": [], "speed": "standard", "container": null });
    assert_eq!(read(request(unknown)), plain);
}

#[test]
fn pictures_and_documents_are_carried_with_what_they_say() {
    let blocks = json!([
        { "type": "image", "source": { "type": "url", "url": "https://example.com/a.png" } },
        { "type": "document", "title": "Notes", "context": "From Monday",
          "source": { "type": "text", "media_type": "text/plain", "data": "hello" },
          "citations": { "enabled": true }, "cache_control": { "type": "ephemeral", "ttl": "1h" } },
        { "type": "search_result", "title": "T", "source": "https://example.com",
          "content": [{ "type": "text", "text": "found" }] },
    ]);
    let conversation = read(request(json!({ "messages": [{ "role": "user", "content": blocks }] })));
    let parts = parts_of(&conversation.items[0]);
    assert!(matches!(&parts[0], Part::Image(image) if matches!(image.source, Source::Url(_))));
    assert!(matches!(&parts[1], Part::Text(text) if text.text == "From Monday"));
    let Part::File(file) = &parts[2] else { panic!("{parts:?}") };
    assert_eq!(file.source, Source::Data { media_type: "text/plain".into(), base64: "aGVsbG8=".into() });
    assert_eq!((file.name.as_deref(), file.cache), (Some("Notes"), Some(CacheLifetime::OneHour)));
    assert!(matches!(&parts[3], Part::Text(text) if text.text == "T\nhttps://example.com\nfound"));
}

#[test]
fn seals_come_out_of_their_envelopes() {
    let seal = Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() };
    let blocks = json!([
        { "type": "thinking", "thinking": "so", "signature": seal.envelope() },
        { "type": "redacted_thinking", "data": seal.envelope() },
        { "type": "redacted_thinking", "data": "own" },
        { "type": "thinking", "thinking": "so", "signature": "own" },
        { "type": "thinking", "thinking": "so", "signature": "" },
    ]);
    let conversation = read(request(json!({ "messages": [{ "role": "assistant", "content": blocks }] })));
    let seals: Vec<Option<Seal>> = conversation
        .items
        .into_iter()
        .map(|item| match item {
            Item::Reasoning(reasoning) => reasoning.seal,
            other => panic!("{other:?}"),
        })
        .collect();
    let own = Seal::Signature { text: "so".into(), signature: "own".into() };
    let redacted = Seal::Redacted { data: "own".into() };
    assert_eq!(seals, [Some(seal.clone()), Some(seal), Some(redacted), Some(own), None]);
}

#[test]
fn a_mark_for_the_whole_request_stands_at_its_end() {
    let conversation = read(request(json!({ "cache_control": { "type": "ephemeral" } })));
    let Part::Text(text) = &parts_of(&conversation.items[0])[0] else { panic!("no text") };
    assert_eq!(text.cache, Some(CacheLifetime::FiveMinutes));
}

#[test]
fn the_older_name_of_the_format_is_understood() {
    let format = json!({ "type": "json_schema", "schema": { "type": "object" } });
    let conversation = read(request(json!({ "output_format": format })));
    assert!(matches!(conversation.format, OutputFormat::JsonSchema { .. }));
}

#[test]
fn a_session_keeps_its_cache_key_without_its_name_being_told() {
    let key = |user: &str| read(request(json!({ "metadata": { "user_id": user } }))).prompt_cache_key;
    assert_eq!(key("{\"session_id\":\"a\"}"), key("{\"session_id\":\"a\"}"));
    assert_ne!(key("{\"session_id\":\"a\"}"), key("{\"session_id\":\"b\"}"));
    assert!(!key("alice").unwrap().contains("alice"));
}

#[test]
fn a_system_message_amid_the_conversation_keeps_its_place() {
    let messages = json!([
        { "role": "user", "content": "Hello" },
        { "role": "system", "content": "Be brief." },
    ]);
    let conversation = read(request(json!({ "messages": messages, "system": "Help." })));
    assert_eq!(conversation.instructions[0].text, "Help.");
    assert!(matches!(&conversation.items[1], Item::Message(message) if message.role == Role::System));
}
