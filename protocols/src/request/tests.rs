use std::collections::HashMap;

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol::{self, Chat, Completions, Messages, Responses};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn parse(protocol: Protocol, body: &str) -> Result<ParsedRequest, BadRequest> {
    ParsedRequest::parse(protocol, &Bytes::copy_from_slice(body.as_bytes()))
}

fn forwarded(protocol: Protocol, body: &str, upstream: &str) -> String {
    String::from_utf8(parse(protocol, body).unwrap().forward_body(upstream).to_vec()).unwrap()
}

fn tokens_of_items(protocol: Protocol, items: Value) -> u64 {
    let field = if protocol == Responses { "input" } else { "messages" };
    let body = json!({ "model": "m", field: items }).to_string();
    parse(protocol, &body).unwrap().estimate.item_tokens
}

// Fields

#[test]
fn each_dialect_names_its_limits_in_its_own_way() {
    let max = |protocol, body: &str| parse(protocol, body).unwrap().max_output_tokens;
    assert_eq!(max(Responses, r#"{"model":"m","max_output_tokens":7,"max_tokens":9}"#), Some(7));
    assert_eq!(max(Chat, r#"{"model":"m","max_tokens":7,"max_completion_tokens":9}"#), Some(9));
    assert_eq!(max(Chat, r#"{"model":"m","max_tokens":7,"max_completion_tokens":null}"#), Some(7));
    assert_eq!(max(Messages, r#"{"model":"m","max_tokens":64000,"max_output_tokens":1}"#), Some(64000));
    assert_eq!(max(Messages, r#"{"model":"m"}"#), None);
}

#[test]
fn streaming_is_decided_by_the_body() {
    let stream = |body: &str| parse(Responses, body).unwrap().stream;
    assert!(stream(r#"{"model":"m","stream":true}"#));
    assert!(!stream(r#"{"model":"m","stream":false}"#));
    assert!(!stream(r#"{"model":"m","stream":null}"#));
    assert!(!stream(r#"{"model":"m"}"#));
}

#[test]
fn what_cannot_be_metered_is_refused_with_the_field_and_what_it_should_be() {
    let said = |protocol, body: &str| parse(protocol, body).unwrap_err().to_string();
    let cases = [
        (Chat, r#"{}"#, "`model` is missing"),
        (Chat, r#"{"model":null}"#, "`model` should be the name of a model"),
        (Chat, r#"{"model":""}"#, "`model` should be"),
        (Chat, r#"{"model":"a\u0000b"}"#, "`model` should be"),
        (Chat, r#"{"model":7}"#, "`model` should be"),
        (Chat, r#"{"model":"m","stream":"yes"}"#, "`stream` should be true or false"),
        (Messages, r#"{"model":"m","max_tokens":-1}"#, "`max_tokens` should be a whole number"),
        (Responses, r#"{"model":"m","max_output_tokens":1.5}"#, "`max_output_tokens` should be"),
        (Responses, r#"{"model":"m","max_output_tokens":99999999999999999999}"#, "`max_output_tokens`"),
        (Chat, r#"{"model":"m","n":0}"#, "`n` should be a whole number from 1 to 128"),
        (Chat, r#"{"model":"m","n":129}"#, "`n` should be"),
        (Chat, r#"{"model":"m","stream":true,"stream_options":5}"#, "`stream_options` should be an object"),
        (
            Chat,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":1}}"#,
            "`stream_options.include_usage` should be true or false",
        ),
        (
            Chat,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}"#,
            "`stream_options` should be an object that names each member once",
        ),
        (Responses, r#"{"model":"m","prompt_cache_key":5}"#, "`prompt_cache_key` should be a text"),
        (Responses, r#"{"model":"m","background":"yes"}"#, "`background` should be true or false"),
        (Responses, r#"{"model":"m","store":1}"#, "`store` should be true or false"),
        (Chat, r#"{"model":"m","store":"no"}"#, "`store` should be true or false"),
        (Responses, r#"{"model":"m","previous_response_id":7}"#, "`previous_response_id` should be a text"),
        (Responses, r#"{"model":"m","conversation":{"id":"c"}}"#, "`conversation` should be left out"),
        (Responses, r#"{"model":"m","prompt":{"id":"p"}}"#, "`prompt` should be left out"),
        (Chat, r#"["model"]"#, "not a JSON object"),
        (Chat, r#"{"model":"m""#, "not a JSON object"),
        (Chat, r#"{"model":"m"} x"#, "not a JSON object"),
        (Chat, r#"{"model":"m","model":"dearer"}"#, "duplicate field `model`"),
        (Chat, r#"{"max_tokens":1,"model":"m","max_tok\u0065ns":9}"#, "duplicate field `max_tokens`"),
    ];
    for (protocol, body, expected) in cases {
        let message = said(protocol, body);
        assert!(message.contains(expected), "{body}: {message}");
    }
    let broken = ParsedRequest::parse(Chat, &Bytes::from_static(b"{\"model\":\"\xff\"}"));
    assert!(matches!(broken, Err(BadRequest::NotReadable { .. })));
}

#[test]
fn a_refusal_names_its_field_for_openais_param() {
    assert_eq!(parse(Chat, "{}").unwrap_err().field(), Some("model"));
    assert_eq!(parse(Chat, "{").unwrap_err().field(), None);
}

#[test]
fn depth_and_number_of_items_are_limited() {
    let deep = format!(r#"{{"model":"m","input":[{}{}]}}"#, "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert_eq!(parse(Responses, &deep).unwrap_err(), BadRequest::TooDeep);
    let deep = format!(r#"{{"model":"m","tools":{}{}}}"#, "[".repeat(400), "]".repeat(400));
    assert_eq!(parse(Responses, &deep).unwrap_err(), BadRequest::TooDeep);
    let many = format!(r#"{{"model":"m","input":[{}1]}}"#, "1,".repeat(MAX_ITEMS));
    assert_eq!(parse(Responses, &many).unwrap_err(), BadRequest::TooManyItems { field: "input" });
}

#[test]
fn a_chat_may_ask_for_several_answers_and_others_may_use_the_word_freely() {
    assert_eq!(parse(Chat, r#"{"model":"m","n":3}"#).unwrap().choices, 3);
    assert_eq!(parse(Messages, r#"{"model":"m","n":"x"}"#).unwrap().choices, 1);
}

// Forwarding

#[test]
fn only_the_model_is_changed_and_every_other_byte_survives() {
    let body = "{ \"store\":false,\"tools\":[{\"type\":\"from_tomorrow\",\"model\":\"gpt\"}],\n\t\"model\" : \"gpt\" ,\"x\":1e400,\"é\":\"\\u00e9\" }";
    assert_eq!(
        forwarded(Responses, body, "up/stream\"x"),
        body.replace(" : \"gpt\"", " : \"up/stream\\\"x\"")
    );
}

#[test]
fn a_body_that_needs_no_change_is_not_copied() {
    let body = Bytes::from_static(br#"{"model":"gp\u0074","input":"hi","stream":true,"store":false}"#);
    let request = ParsedRequest::parse(Responses, &body).unwrap();
    assert_eq!(request.forward_body("gpt").as_ptr(), body.as_ptr());
}

#[test]
fn every_chat_stream_ends_with_its_usage() {
    let asked = r#""stream":true,"stream_options""#;
    let cases = [
        (
            r#"{"model":"m","stream":true}"#.to_owned(),
            r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#.to_owned(),
            false,
        ),
        (
            format!(r#" {{"model":"m",{asked}:null}}"#),
            format!(r#" {{"model":"m",{asked}:{{"include_usage":true}}}}"#),
            false,
        ),
        (
            format!(r#"{{{asked}:{{ }},"model":"m"}}"#),
            format!(r#"{{{asked}:{{"include_usage":true }},"model":"m"}}"#),
            false,
        ),
        (
            format!(r#"{{{asked}:{{"include_obfuscation":false}},"model":"m"}}"#),
            format!(r#"{{{asked}:{{"include_usage":true,"include_obfuscation":false}},"model":"m"}}"#),
            false,
        ),
        (
            format!(r#"{{"model":"m",{asked}:{{"a":[1], "include_usage" : false}}}}"#),
            format!(r#"{{"model":"m",{asked}:{{"a":[1], "include_usage" : true}}}}"#),
            false,
        ),
        (
            format!(r#"{{"model":"m",{asked}:{{"include_usage":true}}}}"#),
            format!(r#"{{"model":"m",{asked}:{{"include_usage":true}}}}"#),
            true,
        ),
    ];
    for (sent, expected, asked) in cases {
        let request = parse(Chat, &sent).unwrap();
        assert_eq!(request.include_usage, asked, "{sent}");
        assert_eq!(request.forward_body("m"), expected, "{sent}");
        let both = request.forward_body("other");
        assert_eq!(both, expected.replace(r#""model":"m""#, r#""model":"other""#), "{sent}");
        assert!(serde_json::from_slice::<Value>(&both).is_ok());
    }
}

#[test]
fn usage_is_not_asked_for_where_it_comes_anyway() {
    for (protocol, body) in [
        (Chat, r#"{"model":"m","stream":false}"#),
        (Responses, r#"{"store":false,"model":"m","stream":true}"#),
        (Messages, r#"{"model":"m","stream":true,"stream_options":{"include_usage":false}}"#),
    ] {
        assert_eq!(forwarded(protocol, body, "m"), body);
    }
}

// Stored objects

#[test]
fn what_a_request_says_of_stored_objects_is_read() {
    let request = parse(
        Responses,
        r#"{"model":"m","store":true,"background":true,"previous_response_id":"resp_1","metadata":{"a": "b"}}"#,
    )
    .unwrap();
    assert_eq!((request.store, request.background), (Some(true), true));
    assert_eq!(request.previous_response_id.as_deref(), Some("resp_1"));
    assert_eq!(request.metadata(), Some(r#"{"a": "b"}"#));
    let plain = parse(Responses, r#"{"model":"m","store":null,"metadata":null}"#).unwrap();
    assert_eq!((plain.store, plain.background, plain.metadata()), (None, false, None));
}

#[test]
fn responses_are_kept_unless_told_not_to_and_completions_only_where_told_so() {
    let kept =
        |protocol, store: &str| parse(protocol, &format!(r#"{{"model":"m"{store}}}"#)).unwrap().is_kept();
    let said = ["", r#","store":true"#, r#","store":false"#];
    assert_eq!(said.map(|store| kept(Responses, store)), [true, true, false]);
    assert_eq!(said.map(|store| kept(Chat, store)), [false, true, false]);
    assert_eq!(said.map(|store| kept(Messages, store)), [false, false, false]);
}

#[test]
fn nothing_is_ever_stored_in_the_operators_account() {
    let cases = [
        (Responses, r#"{"model":"m"}"#, r#"{"store":false,"model":"m"}"#),
        (Responses, r#"{"model":"m","store" : true}"#, r#"{"model":"m","store" : false}"#),
        (Responses, r#"{"store":null,"model":"m"}"#, r#"{"store":false,"model":"m"}"#),
        (
            Responses,
            r#"{ "background" : true , "model":"m","store":false}"#,
            r#"{  "model":"m","store":false}"#,
        ),
        (
            Responses,
            r#"{"store":false,"model":"m" , "background":false, "previous_response_id":"resp_1" }"#,
            r#"{"store":false,"model":"m"  }"#,
        ),
        (
            Responses,
            r#"{"background":false,"previous_response_id":null,"model":"m"}"#,
            r#"{"store":false,"model":"m"}"#,
        ),
        (
            Responses,
            r#"{"store":false,"model":"m","metadata":{"a":"b"}}"#,
            r#"{"store":false,"model":"m","metadata":{"a":"b"}}"#,
        ),
        (Chat, r#"{"model":"m"}"#, r#"{"model":"m"}"#),
        (Chat, r#"{"model":"m","store":false}"#, r#"{"model":"m","store":false}"#),
        (Chat, r#"{"model":"m","store":true,"metadata":{"a":"}"}}"#, r#"{"model":"m","store":false}"#),
        (Chat, r#"{"metadata":{"a":"b"},"model":"m"}"#, r#"{"model":"m"}"#),
        (
            Messages,
            r#"{"model":"m","store":true,"background":1,"metadata":{"user_id":"u"}}"#,
            r#"{"model":"m","store":true,"background":1,"metadata":{"user_id":"u"}}"#,
        ),
    ];
    for (protocol, sent, expected) in cases {
        assert_eq!(forwarded(protocol, sent, "m"), expected, "{sent}");
        let renamed = expected.replace(r#""model":"m""#, r#""model":"up""#);
        assert_eq!(forwarded(protocol, sent, "up"), renamed, "{sent}");
        assert!(serde_json::from_str::<Value>(&renamed).is_ok(), "{renamed}");
    }
}

fn earlier(items: &[&str]) -> Vec<Box<serde_json::value::RawValue>> {
    items.iter().map(|item| serde_json::from_str(item).unwrap()).collect()
}

#[test]
fn a_request_is_expanded_at_its_input_and_nowhere_else() {
    let items = earlier(&[r#"{ "a":1 }"#, r#"{"b":2}"#]);
    let cases = [
        (
            r#"{"model":"m", "input" : [ {"c":3}, {"d":4} ] ,"previous_response_id":"resp_1","x":1e400}"#,
            r#"{"model":"m", "input" : [{ "a":1 },{"b":2},{"c":3}, {"d":4}] ,"x":1e400}"#,
        ),
        (
            r#"{"previous_response_id":"resp_1","model":"m","input":"say \u0041"}"#,
            r#"{"model":"m","input":[{ "a":1 },{"b":2},{"type":"message","role":"user","content":"say \u0041"}]}"#,
        ),
        (
            r#"{"model":"m","input":[ ],"previous_response_id":"resp_1"}"#,
            r#"{"model":"m","input":[{ "a":1 },{"b":2}]}"#,
        ),
        (r#"{"model":"m","previous_response_id":"resp_1"}"#, r#"{"input":[{ "a":1 },{"b":2}],"model":"m"}"#),
        (r#"{"input":null,"model":"m"}"#, r#"{"input":[{ "a":1 },{"b":2}],"model":"m"}"#),
    ];
    for (sent, expected) in cases {
        let request = parse(Responses, sent).unwrap();
        assert_eq!(request.expand(&items, &HashMap::new()), expected, "{sent}");
        parse(Responses, expected).unwrap();
    }
}

#[test]
fn a_reference_is_replaced_by_the_item_it_names_or_goes() {
    let response = r#"{"output":[
        {"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[]},
        {"id":"rs_1","type":"reasoning","summary":[]},
        {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},["msg_2"]]}"#;
    let named: HashMap<_, _> = output_items(response).into_iter().collect();
    assert_eq!(named.len(), 2);
    assert!(output_items("[[]]").is_empty() && output_items("{}").is_empty());
    let sent = r#"{"model":"m","input":[ {"type":"item_reference","id":"rs_1"} , {"id":"msg_1","type":"item_reference"},
        {"type":"message","role":"user","content":"item_reference", "id":"msg_9"}],"x":1e400}"#;
    let request = parse(Responses, sent).unwrap();
    assert_eq!(request.item_references(), ["msg_1", "rs_1"]);
    let expected = r#"{"model":"m","input":[{"type":"message","role":"assistant","content":[]},{"type":"message","role":"user","content":"item_reference", "id":"msg_9"}],"x":1e400}"#;
    assert_eq!(request.expand(&[], &named), expected);
    for none in
        [r#"{"model":"m","input":"item_reference"}"#, r#"{"model":"m","input":[["item_reference","x"]]}"#]
    {
        assert!(parse(Responses, none).unwrap().item_references().is_empty(), "{none}");
    }
    let chat = r#"{"model":"m","messages":[{"type":"item_reference","id":"x"}]}"#;
    assert!(parse(Chat, chat).unwrap().item_references().is_empty());
}

#[test]
fn the_input_that_is_kept_is_a_list_of_items() {
    let input = |body: &str| parse(Responses, body).unwrap().input_json();
    assert_eq!(
        input(r#"{"model":"m","input":"hi"}"#),
        r#"[{"type":"message","role":"user","content":"hi"}]"#
    );
    assert_eq!(input(r#"{"model":"m","input":[ {"a":1} ]}"#), r#"[ {"a":1} ]"#);
    assert_eq!(input(r#"{"model":"m"}"#), "[]");
    let messages = parse(Chat, r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#).unwrap();
    assert_eq!(messages.input_json(), r#"[{"role":"user","content":"hi"}]"#);
}

#[test]
fn a_conversation_goes_on_without_what_only_a_provider_that_stores_could_find() {
    let input = r#"[{"role":"user","content":"hi"},{"type":"reasoning","id":"rs_0","summary":[]}]"#;
    let response = r#"{"id":"resp_1","output":[
        {"id":"rs_1","type":"reasoning","summary":[]},
        {"id":"rs_2","type":"reasoning","summary":[],"encrypted_content":"sealed"},
        {"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"id"}]},
        {"type":"function_call","call_id":"c","name":"f","arguments":"{\"id\":1}","id":"fc_1","status":"completed"},
        {"id":"ws_1","type":"web_search_call","status":"completed"}
    ]}"#;
    let items = earlier_items(input, response).unwrap();
    let items: Vec<&str> = items.iter().map(|item| item.get()).collect();
    assert_eq!(
        items,
        [
            r#"{"role":"user","content":"hi"}"#,
            r#"{"type":"reasoning","summary":[],"encrypted_content":"sealed"}"#,
            r#"{"type":"message","role":"assistant","content":[{"type":"output_text","text":"id"}]}"#,
            r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{\"id\":1}"}"#,
            r#"{"id":"ws_1","type":"web_search_call","status":"completed"}"#,
        ]
    );
    assert!(earlier_items("{", response).is_err());
}

#[test]
fn a_background_request_is_run_in_a_stream_and_without_saying_so() {
    let run = |body: &str| parse(Responses, body).unwrap().in_foreground();
    let streamed = r#"{"store":false,"stream":true,"model":"m"}"#;
    assert_eq!(run(r#"{"model":"m","background":true}"#), streamed);
    let stored = r#"{"background":true,"stream":null,"model":"m","store":true}"#;
    assert_eq!(run(stored), r#"{"stream":true,"model":"m","store":false}"#);
    let unstreamed = r#"{"stream":false,"model":"m","store":false,"background":true}"#;
    assert_eq!(run(unstreamed), r#"{"stream":true,"model":"m","store":false}"#);
}

#[test]
fn a_stream_whose_cost_is_wanted_asks_for_its_usage() {
    for (protocol, body, asking) in [
        (
            Chat,
            r#"{"model":"m","stream":true}"#,
            r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
        ),
        (
            Completions,
            r#"{"model":"m","prompt":"p","stream":true,"stream_options":{"include_usage":false}}"#,
            r#"{"model":"m","prompt":"p","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (Chat, r#"{"model":"m"}"#, r#"{"model":"m"}"#),
        (Responses, r#"{"model":"m","stream":true}"#, r#"{"model":"m","stream":true}"#),
    ] {
        let asks = parse(protocol, body).unwrap().asking_for_usage();
        assert_eq!(asks.body(), asking.as_bytes());
        assert_eq!(asks.include_usage, asking != body);
    }
}

// Estimate

#[test]
fn text_counts_by_its_bytes_wherever_it_stands() {
    let body = json!({
        "model": "m",
        "instructions": "x".repeat(30),
        "tools": [{ "description": "y".repeat(60) }],
        "input": [{ "role": "user", "content": [{ "type": "input_text", "text": "z".repeat(300) }] }],
    });
    let estimate = parse(Responses, &body.to_string()).unwrap().estimate;
    assert_eq!(estimate.fixed_tokens, 30);
    // "user", "input_text" and the text.
    assert_eq!(estimate.item_tokens, u64::div_ceil(4 + 10 + 300, 3) + ITEM_TOKENS);
    assert_eq!(estimate.total_tokens(), estimate.fixed_tokens + estimate.item_tokens);
}

#[test]
fn a_single_text_is_one_item() {
    let request = parse(Responses, r#"{"model":"m","input":"abcdef"}"#).unwrap();
    assert_eq!((request.item_count(), request.estimate.item_tokens), (1, 2 + ITEM_TOKENS));
    let none = parse(Responses, r#"{"model":"m","input":null}"#).unwrap();
    assert_eq!((none.item_count(), none.estimate.item_tokens), (0, 0));
}

#[test]
fn a_system_prompt_of_the_messages_protocol_is_fixed_input() {
    let body = json!({ "model": "m", "system": [{ "text": "x".repeat(90) }], "messages": [] });
    assert_eq!(parse(Messages, &body.to_string()).unwrap().estimate.fixed_tokens, 30);
}

#[test]
fn media_counts_by_the_piece_and_its_base64_never() {
    let base64 = "A".repeat(300_000);
    let data_url = format!("data:image/png;base64,{base64}");
    let small = 60;
    let cases = [
        (Responses, json!([{"type":"input_image","image_url":data_url}]), IMAGE_TOKENS),
        (Responses, json!([{"image_url":"https://example.com/a.png","type":"input_image"}]), IMAGE_TOKENS),
        (Chat, json!([{"content":[{"type":"image_url","image_url":{"url":data_url}}]}]), IMAGE_TOKENS),
        (Responses, json!([{"type":"input_file","filename":"a.pdf","file_data":data_url}]), FILE_TOKENS),
        (Chat, json!([{"content":[{"type":"file","file":{"file_data":data_url}}]}]), FILE_TOKENS),
        (Chat, json!([{"content":[{"input_audio":{"data":base64,"format":"wav"}}]}]), AUDIO_TOKENS),
        (
            Messages,
            json!([{"content":[{"type":"image","source":{"data":base64,"media_type":"image/png","type":"base64"}}]}]),
            IMAGE_TOKENS,
        ),
        (
            Messages,
            json!([{"content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":base64}}]}]),
            FILE_TOKENS,
        ),
        (
            Messages,
            json!([{"content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":base64}}]}]}]),
            IMAGE_TOKENS,
        ),
        (Responses, json!([{"type":"image_generation_call","result":base64}]), IMAGE_TOKENS),
    ];
    for (protocol, items, expected) in cases {
        let tokens = tokens_of_items(protocol, items.clone());
        assert!((expected..expected + small).contains(&tokens), "{tokens} for {}", &items.to_string()[..80]);
    }
}

#[test]
fn text_cannot_pass_for_media() {
    let text = format!("data:image/png;base64,{}", "A".repeat(30_000));
    let cases = [
        (Responses, json!([{"content":[{"type":"input_text","text":text}]}])),
        (Chat, json!([{"role":"user","content":text}])),
        (Messages, json!([{"content":[{"type":"document","source":{"data":text,"type":"text"}}]}])),
        (Messages, json!([{"content":[{"type":"tool_use","input":{"image_url":text}}]}])),
        (
            Messages,
            json!([{"content":[{"type":"tool_use","input":{"source":{"type":"base64","data":text}}}]}]),
        ),
        (Responses, json!([{"type":"message","data":text}])),
        (Responses, json!([{text.as_str():1}])),
    ];
    for (protocol, items) in cases {
        let tokens = tokens_of_items(protocol, items.clone());
        assert!(tokens > 10_000, "{tokens} for {}", &items.to_string()[..80]);
    }
    let schema = json!({"model":"m","tools":[{"properties":{"a":{"image_url":text}}}]}).to_string();
    assert!(parse(Chat, &schema).unwrap().estimate.fixed_tokens > 10_000);
    let numbers = json!({"model":"m","tools":[{"enum":vec![123_456; 5_000]}]}).to_string();
    assert!(parse(Chat, &numbers).unwrap().estimate.fixed_tokens >= 10_000);
}

#[test]
fn sealed_reasoning_counts_for_less_than_text() {
    let sealed = "A".repeat(6_000);
    for (protocol, items) in [
        (Responses, json!([{"type":"reasoning","encrypted_content":sealed}])),
        (Messages, json!([{"content":[{"type":"thinking","thinking":"","signature":sealed}]}])),
        (Messages, json!([{"content":[{"data":sealed,"type":"redacted_thinking"}]}])),
    ] {
        assert!((1_000..1_030).contains(&tokens_of_items(protocol, items)));
    }
}

// Prefix

#[test]
fn a_request_that_goes_on_where_another_ended_begins_with_its_digests() {
    let key = [7; 32];
    let first = parse(Responses, r#"{"model":"m","input":[{"a":1},"b", 3]}"#).unwrap();
    let longer = parse(Responses, r#"{"input":[ {"a":1} ,"b",3,{"c":[{}]}],"model":"m"}"#).unwrap();
    let (first, longer) = (first.prefix(&key), longer.prefix(&key));
    assert_eq!((first.digests.len(), longer.digests.len()), (3, 4));
    assert_eq!(first.digests[..], longer.digests[..3]);
    assert!(first.digests[0].len() == 32 && first.digests[0].chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(longer.digest_after(3), first.digest_after(3));
}

#[test]
fn digests_differ_by_key_by_content_and_by_where_items_part() {
    let digests = |body: &str, key| parse(Chat, body).unwrap().prefix(&[key; 32]).digests;
    let base = digests(r#"{"model":"m","messages":["ab","c"]}"#, 1);
    assert_ne!(base, digests(r#"{"model":"m","messages":["ab","c"]}"#, 2));
    assert_ne!(base[1], digests(r#"{"model":"m","messages":["ab","d"]}"#, 1)[1]);
    assert_ne!(base[1], digests(r#"{"model":"m","messages":["a","bc"]}"#, 1)[1]);
    assert_eq!(base[0], digests(r#"{"model":"m","messages":["ab","d"]}"#, 1)[0]);
    assert_ne!(
        digests(r#"{"model":"m","messages":[12,3]}"#, 1)[1],
        digests(r#"{"model":"m","messages":[1,23]}"#, 1)[1]
    );
}

#[test]
fn the_prefix_carries_the_estimate_of_what_is_fixed() {
    let request = parse(Chat, r#"{"model":"m","tools":["abcdef"]}"#).unwrap();
    assert_eq!(request.prefix(&[0; 32]).fixed_tokens, 2);
    assert!(request.prefix(&[0; 32]).digests.is_empty());
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let key = prop_oneof![
            prop::sample::select(&["type", "source", "data", "image_url", "url", "input"][..])
                .prop_map(String::from),
            ".{0,4}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn items_are_found_byte_for_byte_and_forwarding_changes_only_the_model(
        items in prop::collection::vec(json_value(), 0..6),
        pretty in any::<bool>(),
    ) {
        let body = json!({ "model": "m", "messages": items });
        let text = if pretty { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
        let request = parse(Messages, &text).unwrap();
        let found: Vec<Value> =
            request.items.iter().map(|at| serde_json::from_slice(&request.body[at.clone()]).unwrap()).collect();
        prop_assert_eq!(&found, &items);
        let sent: Value = serde_json::from_slice(&request.forward_body("other")).unwrap();
        prop_assert_eq!(sent, json!({ "model": "other", "messages": items }));
    }
}

// Text completions

#[test]
fn a_completions_prompt_is_a_text_token_numbers_or_several_of_either() {
    let parsed =
        |prompt: Value| parse(Completions, &json!({ "model": "m", "prompt": prompt }).to_string()).unwrap();
    let tokens = |prompt: Value| parsed(prompt).estimate.total_tokens();
    assert_eq!(tokens(json!("x".repeat(300))), 100 + ITEM_TOKENS);
    assert_eq!(tokens(json!(["x".repeat(300), "y".repeat(30)])), 110 + 2 * ITEM_TOKENS);
    assert_eq!(tokens(json!([1, 2, 50_000])), 3 + ITEM_TOKENS);
    assert_eq!(tokens(json!([[1, 2, 3], [4]])), 4 + 2 * ITEM_TOKENS);
    assert_eq!(tokens(json!(null)), 0);
    let items = |prompt: Value| parsed(prompt).item_count();
    assert_eq!(items(json!("a")), 1);
    assert_eq!((items(json!([1, 2])), items(json!([[1], [2, 3]])), items(json!(["a", "b", "c"]))), (1, 2, 3));
    for wrong in [
        json!(7),
        json!({"id": "x"}),
        json!([1, "a"]),
        json!([[["a"]]]),
        json!([["a"]]),
        json!([1.5]),
        json!([{}, {"a": 1}]),
    ] {
        let said = parse(Completions, &json!({ "model": "m", "prompt": wrong }).to_string()).unwrap_err();
        assert_eq!(said.field(), Some("prompt"), "{wrong}");
    }
}

#[test]
fn a_completion_bills_every_answer_it_generates() {
    let choices = |body: &str| parse(Completions, body).map(|parsed| parsed.choices).ok();
    assert_eq!(choices(r#"{"model":"m"}"#), Some(1));
    assert_eq!(choices(r#"{"model":"m","n":2,"best_of":5}"#), Some(5));
    assert_eq!(choices(r#"{"model":"m","n":3,"best_of":null}"#), Some(3));
    assert_eq!(choices(r#"{"model":"m","best_of":129}"#), None);
    let parsed = parse(
        Completions,
        r#"{"model":"m","max_tokens":9,"stream":true,"stream_options":{"include_usage":true}}"#,
    )
    .unwrap();
    assert_eq!((parsed.max_output_tokens, parsed.stream, parsed.include_usage), (Some(9), true, true));
}
