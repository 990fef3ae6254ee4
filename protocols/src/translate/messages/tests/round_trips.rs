use proptest::prelude::*;
use serde_json::{Value, json};

use super::strategies::{any_json, sayable, wild};
use super::*;
use crate::conversation::{CacheLifetime, Item, Part, Text};

/// What a provider checks before it does anything.
fn check_rules(body: &Value) {
    let messages = body["messages"].as_array().expect("messages");
    assert_eq!(messages[0]["role"], "user", "{body:#}");
    let mut asked: Vec<&Value> = vec![];
    for (at, message) in messages.iter().enumerate() {
        assert_eq!(message["role"], ["user", "assistant"][at % 2], "roles alternate: {body:#}");
        let blocks = message["content"].as_array().expect("blocks");
        assert!(!blocks.is_empty(), "{body:#}");
        let of = |kind: &str, key: &str| -> Vec<&Value> {
            blocks.iter().filter(|block| block["type"] == kind).map(|block| &block[key]).collect()
        };
        let mut answered = of("tool_result", "tool_use_id");
        assert!(blocks[..answered.len()].iter().all(|block| block["type"] == "tool_result"), "{body:#}");
        answered.sort_by_key(|id| id.to_string());
        asked.sort_by_key(|id| id.to_string());
        assert_eq!(answered, asked, "each call is answered, at once and once: {body:#}");
        asked = of("tool_use", "id");
        for text in of("text", "text") {
            assert!(!text.as_str().expect("text").trim().is_empty(), "{body:#}");
        }
        assert!(of("tool_use", "input").iter().all(|input| input.is_object()), "{body:#}");
    }
    assert!(asked.is_empty(), "{body:#}");
    assert!(body.to_string().matches("\"cache_control\":").count() <= 4, "{body:#}");
    if let Some(budget) = body["thinking"]["budget_tokens"].as_u64() {
        assert!(budget >= 1_024 && body["max_tokens"].as_u64().expect("a limit") > budget, "{body:#}");
    }
    let names: Vec<String> =
        body["tools"].as_array().into_iter().flatten().map(|t| t["name"].to_string()).collect();
    let used = messages.iter().flat_map(|message| message["content"].as_array().expect("blocks"));
    for block in used.filter(|block| block["type"] == "tool_use") {
        assert!(!names.is_empty(), "calls need tools: {block} {body:#}");
    }
}

fn without_marks(conversation: &mut Conversation) {
    let unmark = |part: &mut Part| match part {
        Part::Text(text) => text.cache = None,
        Part::Image(image) => image.cache = None,
        Part::File(file) => file.cache = None,
        Part::Refusal(_) => {}
    };
    conversation.instructions.iter_mut().for_each(|text| text.cache = None);
    for tool in &mut conversation.tools {
        if let crate::conversation::Tool::Function(function) = tool {
            function.cache = None;
        }
    }
    for item in &mut conversation.items {
        match item {
            Item::Message(message) => message.parts.iter_mut().for_each(unmark),
            Item::ToolResult(result) => result.cache = None,
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn a_conversation_that_was_written_is_read_as_it_was((model, conversation) in sayable()) {
        let body = write_request(&conversation, &upstream(model)).unwrap();
        check_rules(&body);
        prop_assert_eq!(read_request(body).unwrap(), conversation);
    }

    #[test]
    fn without_marks_of_the_client_the_ends_are_marked_and_nothing_else_changes(
        (model, mut conversation) in sayable(),
    ) {
        without_marks(&mut conversation);
        let body = write_request(&conversation, &upstream(model)).unwrap();
        prop_assert_eq!(body.to_string().matches("\"cache_control\":").count(), 2);
        let mut read = read_request(body).unwrap();
        let last = read.instructions.last().unwrap();
        prop_assert_eq!(last.cache, Some(CacheLifetime::FiveMinutes));
        without_marks(&mut read);
        prop_assert_eq!(read, conversation);
    }

    #[test]
    fn what_is_written_obeys_the_provider_or_is_refused(
        conversation in wild(),
        model in prop::sample::select(vec![OPUS, "claude-haiku-4-5", "deepseek-v4-pro"]),
    ) {
        match write_request(&conversation, &upstream(model)) {
            Ok(body) => check_rules(&body),
            Err(Untranslatable::NotCarried { field, .. }) => prop_assert_eq!(field, "messages"),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn any_json_is_read_or_refused_and_what_is_read_can_be_written(
        messages in any_json(),
        other in any_json(),
    ) {
        let _ = read_request(messages.clone());
        let body = json!({ "max_tokens": 9, "messages": [{ "role": "user", "content": messages }], "tools": other });
        if let Ok(conversation) = read_request(body)
            && let Ok(body) = write_request(&conversation, &upstream(OPUS))
        {
            check_rules(&body);
        }
    }
}

#[test]
fn of_too_many_marks_the_last_four_stay() {
    let mut conversation = Conversation::default();
    for at in 0..7 {
        let cache = Some(CacheLifetime::FiveMinutes);
        conversation.instructions.push(Text { text: at.to_string(), cache });
    }
    let body = written(&conversation);
    let marked = |at: usize| body["system"][at].get("cache_control").is_some();
    assert_eq!((0..7).map(marked).collect::<Vec<_>>(), [false, false, false, true, true, true, true]);
}
