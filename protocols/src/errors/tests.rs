use codexapi_aggregates::usage::ClientFamily::{ClaudeCode, CodexCli, Codexclaude, Other};
use codexapi_aggregates::usage::Protocol::{Chat, Messages, Responses};
use serde_json::{Value, json};

use super::*;
use crate::meter::{Disposition, MeterSettings, StreamMeter};
use crate::sse::{Frame, SseSplitter};

const REFUSAL: ErrorShape = ErrorShape {
    status: 402,
    kind: ErrorKind::InsufficientCredit,
    code: Some("insufficient_credit"),
    param: None,
    message: "Balance $0.01, \"needed\" $0.02",
    request_id: "req_1",
};

const FAILURE: FailureFrame = FailureFrame {
    kind: ErrorKind::UpstreamFailed,
    message: "The provider failed. You were not charged.",
    response_id: "resp_1",
    model: "gpt",
    created_at_secs: 1_700_000_000,
    sequence_number: 7,
    request_id: "req_1",
};

fn frames(bytes: &Bytes) -> Vec<Frame> {
    let mut frames = vec![];
    SseSplitter::default().push(bytes, &mut frames).unwrap();
    frames
}

fn events(bytes: &Bytes) -> Vec<Value> {
    frames(bytes)
        .iter()
        .map(|frame| {
            let event: Value = serde_json::from_slice(&frame.data().unwrap()).unwrap();
            let named = frame.event().map(|name| std::str::from_utf8(name).unwrap().to_owned());
            assert_eq!(named.as_deref().or(event["type"].as_str()), event["type"].as_str());
            event
        })
        .collect()
}

#[test]
fn a_refusal_speaks_the_callers_dialect() {
    for protocol in [Responses, Chat] {
        let body: Value = serde_json::from_slice(&render_json(protocol, &REFUSAL)).unwrap();
        let expected = json!({"error":{
            "message": REFUSAL.message, "type": "insufficient_quota", "param": null, "code": "insufficient_credit"}});
        assert_eq!(body, expected);
    }
    let body: Value = serde_json::from_slice(&render_json(Messages, &REFUSAL)).unwrap();
    let expected = json!({"type":"error","request_id":"req_1",
        "error":{"type":"billing_error","message":REFUSAL.message}});
    assert_eq!(body, expected);
}

#[test]
fn a_body_too_large_has_its_own_word_at_anthropic() {
    assert_eq!(anthropic_type(ErrorKind::InvalidRequest, 413), "request_too_large");
    assert_eq!(anthropic_type(ErrorKind::InvalidRequest, 400), "invalid_request_error");
    assert_eq!(anthropic_type(ErrorKind::Overloaded, 529), "overloaded_error");
}

#[test]
fn codex_is_refused_in_a_stream_that_begins_and_fails() {
    let stream = codex_refusal_stream("resp_1", "gpt", "invalid_prompt", "No credit.", 1_700_000_000);
    let events = events(&stream);
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["response.created", "response.failed"]);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        assert_eq!(
            (&event["response"]["id"], &event["response"]["model"]),
            (&json!("resp_1"), &json!("gpt"))
        );
    }
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[1]["response"]["status"], "failed");
    assert_eq!(events[1]["response"]["error"], json!({"code":"invalid_prompt","message":"No credit."}));
}

#[test]
fn what_waiting_mends_is_retried_by_codex_and_what_it_cannot_mend_is_not() {
    assert_eq!(responses_code(ErrorKind::InsufficientCredit), "invalid_prompt");
    assert_eq!(responses_code(ErrorKind::RateLimited), "rate_limit_exceeded");
    assert_eq!(responses_code(ErrorKind::UpstreamFailed), "server_error");
}

#[test]
fn a_failure_in_mid_stream_takes_the_form_each_client_notices() {
    let codex = events(&failure_frame(Responses, CodexCli, &FAILURE));
    assert_eq!(codex.len(), 1);
    assert_eq!((&codex[0]["type"], &codex[0]["sequence_number"]), (&json!("response.failed"), &json!(7)));
    let sdk = events(&failure_frame(Responses, Other, &FAILURE));
    assert_eq!((&sdk[0]["type"], &sdk[1]["type"]), (&json!("error"), &json!("response.failed")));
    assert_eq!((&sdk[0]["sequence_number"], &sdk[1]["sequence_number"]), (&json!(7), &json!(8)));
    let chat: Value =
        serde_json::from_slice(&frames(&failure_frame(Chat, Other, &FAILURE))[0].data().unwrap()).unwrap();
    assert_eq!(chat["error"]["message"], FAILURE.message);
    let messages = events(&failure_frame(Messages, ClaudeCode, &FAILURE));
    assert_eq!(messages[0]["error"], json!({"type":"api_error","message":FAILURE.message}));
}

#[test]
fn a_gateway_before_this_one_recognises_our_failures_and_signs_of_life() {
    for (protocol, family) in
        [(Responses, CodexCli), (Responses, Other), (Chat, Other), (Messages, ClaudeCode)]
    {
        let settings = MeterSettings { choices: 1, include_usage: false };
        let mut meter = StreamMeter::new(protocol, settings);
        for frame in frames(&keepalive_frame(protocol, family)) {
            assert_eq!(meter.observe(&frame), Disposition::Forward);
        }
        for frame in frames(&failure_frame(protocol, family, &FAILURE)) {
            assert_eq!(meter.observe(&frame), Disposition::UpstreamFailed);
        }
        assert!(meter.end().terminal.is_failed());
    }
}

#[test]
fn codex_is_kept_alive_by_events_and_others_by_comments_or_pings() {
    for family in [CodexCli, Codexclaude] {
        assert_eq!(events(&keepalive_frame(Responses, family))[0]["type"], "keepalive");
    }
    for frame in [keepalive_frame(Responses, Other), keepalive_frame(Chat, CodexCli)] {
        assert!(frame.starts_with(b":") && frames(&frame)[0].data().is_none());
    }
    assert_eq!(events(&keepalive_frame(Messages, ClaudeCode))[0]["type"], "ping");
}
