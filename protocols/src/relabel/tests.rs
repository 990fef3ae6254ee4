use codexapi_aggregates::usage::Protocol::{Chat, Messages, Responses};

use super::*;
use crate::sse::SseSplitter;

fn frames(stream: &str) -> Vec<Frame> {
    let mut frames = vec![];
    SseSplitter::default().push(&Bytes::copy_from_slice(stream.as_bytes()), &mut frames).unwrap();
    frames
}

fn relabelled(protocol: Protocol, label: &str, stream: &str) -> String {
    let mut relabeler = Relabeler::new(protocol, label);
    let out: Vec<u8> = frames(stream).iter().flat_map(|frame| relabeler.frame(frame).to_vec()).collect();
    String::from_utf8(out).unwrap()
}

#[test]
fn every_chat_chunk_gets_the_label_at_its_own_place_only() {
    let chunk = |content: &str, model: &str| {
        format!(
            "data: {{\"id\":\"c\",\"model\":\"{model}\",\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n"
        )
    };
    let tricky = r#"\"model\":\"up\" ,\"model\":\"up\""#;
    let stream = [chunk("a", "up"), chunk(tricky, "up"), chunk("c", "other")].concat();
    let expected = [chunk("a", "la\\\"bel"), chunk(tricky, "la\\\"bel"), chunk("c", "la\\\"bel")].concat();
    assert_eq!(relabelled(Chat, "la\"bel", &stream), expected);
}

#[test]
fn a_model_nested_before_the_chunks_own_is_left_alone() {
    let first = "data: {\"model\":\"up\",\"x\":1}\n\n";
    let nested = "data: {\"meta\":{\"model\":\"up\"},\"model\":\"up\"}\n\n";
    let absent = "data: {\"meta\":[{\"model\":\"up\"}]}\n\ndata: [DONE]\n\n: c\n\n";
    let stream = [first, nested, absent].concat();
    let expected = [
        "data: {\"model\":\"L\",\"x\":1}\n\n",
        "data: {\"meta\":{\"model\":\"up\"},\"model\":\"L\"}\n\n",
        absent,
    ];
    assert_eq!(relabelled(Chat, "L", &stream), expected.concat());
}

#[test]
fn spacing_and_lines_of_the_data_do_not_matter() {
    let stream = "event: x\ndata: {\"model\" : \"up\",\ndata: \"y\":1}\n\n";
    assert_eq!(relabelled(Chat, "L", stream), "event: x\ndata: {\"model\" : \"L\",\ndata: \"y\":1}\n\n");
}

#[test]
fn frames_that_say_the_label_already_are_not_copied() {
    let frame = &frames("data: {\"model\":\"L\"}\n\n")[0];
    let mut relabeler = Relabeler::new(Chat, "L");
    for _ in 0..2 {
        assert_eq!(relabeler.frame(frame).as_ptr(), frame.bytes().as_ptr());
    }
}

#[test]
fn a_response_and_a_message_carry_the_label_inside() {
    let stream = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"up\",\"instructions\":\"\\\"model\\\":\\\"up\\\"\"}}\n\nevent: d\ndata: {\"type\":\"d\",\"delta\":\"\\\"response\\\"\",\"model\":\"up\"}\n\n";
    let expected = stream.replacen("\"model\":\"up\"", "\"model\":\"L\"", 1);
    assert_eq!(relabelled(Responses, "L", stream), expected);
    let stream = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"up\"}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"content_block\":{\"input\":{\"model\":\"up\",\"message\":{\"model\":\"up\"}}}}\n\n";
    let expected = stream.replacen("\"model\":\"up\"", "\"model\":\"L\"", 1);
    assert_eq!(relabelled(Messages, "L", stream), expected);
}

#[test]
fn a_body_gets_the_label_at_its_top_only() {
    let body = Bytes::from_static(br#"{"content":[{"input":{"model":"up"}}],"model": "up","x":1e99}"#);
    let relabeler = Relabeler::new(Messages, "L");
    assert_eq!(relabeler.body(&body), r#"{"content":[{"input":{"model":"up"}}],"model": "L","x":1e99}"#);
    for same in [&br#"{"model":"L"}"#[..], b"{}", b"oops", br#"{"model":null}"#] {
        let same = Bytes::from_static(same);
        assert_eq!(relabeler.body(&same).as_ptr(), same.as_ptr());
    }
}

#[test]
fn an_array_names_no_model() {
    for (protocol, data) in [
        (Chat, r#"["up"]"#),
        (Responses, r#"{"response":["up"]}"#),
        (Responses, r#"[{"model":"up","object":"response"}]"#),
        (Messages, r#"{"message":["up"]}"#),
    ] {
        let stream = format!("data: {data}\n\n");
        assert_eq!(relabelled(protocol, "label", &stream), stream);
    }
}
