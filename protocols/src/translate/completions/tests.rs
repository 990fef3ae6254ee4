use codexapi_aggregates::usage::Usage;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::conversation::*;
use crate::translate::{AnswerContext, AnswerFrame};

fn context(conversation: Conversation) -> AnswerContext {
    let frame = AnswerFrame { id: "0a1b".into(), model: "gpt-5.5".into(), created_at_secs: 1_700_000_000 };
    AnswerContext { frame, conversation }
}

fn answer(text: &str, stop: Stop) -> Answer {
    let usage = Some(Usage { input: 5, cached_input: 4, output: 3, reasoning: 1, ..Usage::default() });
    let parts = vec![
        OutputPart::Reasoning(Reasoning { texts: vec!["Hm.".into()], seal: None }),
        OutputPart::Text(text.into()),
    ];
    Answer { id: Some("msg_1".into()), parts, stop, usage }
}

fn usage() -> Value {
    json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 1}})
}

fn stream(pieces: &[&str], stop: Stop, context: &AnswerContext) -> Vec<Value> {
    let thought = Reasoning { texts: vec!["Hm.".into()], seal: None };
    let mut events = vec![
        Event::Started { id: None, usage: None },
        Event::PartStarted(PartKind::Reasoning),
        Event::Delta("Hm.".into()),
        Event::PartEnded(OutputPart::Reasoning(thought)),
        Event::PartStarted(PartKind::Text),
    ];
    events.extend(pieces.iter().map(|piece| Event::Delta((*piece).into())));
    events.push(Event::PartEnded(OutputPart::Text(pieces.concat())));
    events.push(Event::Finished { stop, usage: answer("", Stop::Done).usage });
    let mut writer = StreamWriter::new(context);
    let mut out = vec![];
    events.iter().for_each(|event| writer.write(event, &mut out));
    let text = String::from_utf8(out).expect("text");
    let mut data: Vec<&str> =
        text.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").expect("data")).collect();
    assert_eq!(data.pop(), Some("[DONE]"));
    data.iter().map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

#[test]
fn a_prompt_is_what_the_user_says() {
    let expected = Conversation {
        items: vec![Item::Message(Message {
            role: Role::User,
            parts: vec![Part::Text(Text::plain("Say hi"))],
        })],
        max_output_tokens: Some(DEFAULT_MAX_TOKENS),
        choices: 1,
        ..Conversation::default()
    };
    assert_eq!(read_request(json!({"model": "m", "prompt": "Say hi"})), Ok(expected.clone()));
    let body = json!({"prompt": ["Say hi"], "n": 1, "best_of": 1, "logprobs": null, "suffix": "", "echo": false,
        "logit_bias": {}, "user": "u", "never_heard_of": 1});
    assert_eq!(read_request(body), Ok(expected));
}

#[test]
fn its_settings_are_carried() {
    let body = json!({"prompt": "x", "max_tokens": 50, "temperature": 0.2, "top_p": 1, "seed": 3,
        "presence_penalty": 1, "frequency_penalty": -1, "stop": ["\n", "END"], "stream": true,
        "stream_options": {"include_usage": true}});
    let conversation = read_request(body).expect("a good request");
    assert_eq!(conversation.max_output_tokens, Some(50));
    assert_eq!(conversation.sampling.stop, ["\n", "END"]);
    assert_eq!(conversation.sampling.seed, Some(3));
    assert_eq!(conversation.sampling.temperature.map(|number| number.to_string()), Some("0.2".into()));
    assert!(conversation.stream && conversation.include_usage);
}

#[test]
fn what_a_chat_model_cannot_give_is_refused_by_name() {
    for (member, value) in [
        ("n", json!(2)),
        ("best_of", json!(3)),
        ("logprobs", json!(0)),
        ("logit_bias", json!({"1": 1})),
        ("suffix", json!("the end")),
        ("prompt", json!(["a", "b"])),
        ("prompt", json!([1, 2, 3])),
        ("prompt", json!([[1, 2], [3]])),
    ] {
        let mut body = json!({"prompt": "x"});
        body[member] = value;
        let refusal = read_request(body).expect_err("to be refused");
        assert!(matches!(refusal, Untranslatable::NotCarried { .. }), "{refusal}");
        assert_eq!(refusal.field(), Some(member));
    }
}

#[test]
fn what_is_not_the_dialect_is_refused_at_its_place() {
    for (member, value) in [
        ("prompt", json!(null)),
        ("prompt", json!("")),
        ("prompt", json!([])),
        ("prompt", json!({})),
        ("prompt", json!([true])),
        ("max_tokens", json!(0)),
        ("n", json!("1")),
        ("stop", json!(7)),
        ("echo", json!("yes")),
        ("stream", json!(1)),
        ("suffix", json!(1)),
    ] {
        let mut body = json!({"prompt": "x"});
        body[member] = value;
        let refusal = read_request(body).expect_err("to be refused");
        assert!(matches!(refusal, Untranslatable::Wrong { .. }), "{refusal}");
        assert_eq!(refusal.field(), Some(member));
    }
    assert!(matches!(read_request(json!("x")), Err(Untranslatable::NotReadable { .. })));
}

#[test]
fn an_answer_is_its_text_alone() {
    let body = write_answer(&answer("Hi", Stop::Done), &context(Conversation::default()));
    assert_eq!(
        body,
        json!({"id": "cmpl-0a1b", "object": "text_completion", "created": 1_700_000_000, "model": "gpt-5.5",
            "choices": [{"text": "Hi", "index": 0, "logprobs": null, "finish_reason": "stop"}],
            "usage": usage()})
    );
}

#[test]
fn a_stream_is_its_text_in_pieces_and_usage_if_it_was_asked_for() {
    let body = json!({"prompt": "x", "stream": true, "stream_options": {"include_usage": true}});
    let context = context(read_request(body).expect("a good request"));
    let chunk = |choices: Value, usage: Value| {
        json!({"id": "cmpl-0a1b", "object": "text_completion", "created": 1_700_000_000, "model": "gpt-5.5",
            "choices": choices, "usage": usage})
    };
    let said = |text: &str, reason: Value| json!([{"text": text, "index": 0, "logprobs": null, "finish_reason": reason}]);
    assert_eq!(
        stream(&["H", "i"], Stop::Length, &context),
        [
            chunk(said("H", Value::Null), Value::Null),
            chunk(said("i", Value::Null), Value::Null),
            chunk(said("", json!("length")), Value::Null),
            chunk(json!([]), usage()),
        ]
    );
    let unasked = AnswerContext { conversation: Conversation::default(), ..context };
    let chunks = stream(&["H", "i"], Stop::Length, &unasked);
    assert!(chunks.len() == 3 && chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[test]
fn the_prompt_stands_before_the_answer_where_the_client_wants_it() {
    let body = json!({"prompt": "Say hi:", "echo": true});
    let context = context(read_request(body).expect("a good request"));
    assert_eq!(write_answer(&answer(" Hi", Stop::Done), &context)["choices"][0]["text"], "Say hi: Hi");
    let chunks = stream(&[" Hi"], Stop::Done, &context);
    let texts: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["text"]).collect();
    assert_eq!(texts, ["Say hi:", " Hi", ""]);
}

#[test]
fn every_reason_to_end_has_its_word() {
    for (stop, word) in [
        (Stop::Done, "stop"),
        (Stop::StopText("x".into()), "stop"),
        (Stop::ToolUse, "stop"),
        (Stop::Length, "length"),
        (Stop::Paused, "length"),
        (Stop::ContentFilter, "content_filter"),
        (Stop::Refused, "content_filter"),
    ] {
        let body = write_answer(&answer("x", stop.clone()), &context(Conversation::default()));
        assert_eq!(body["choices"][0]["finish_reason"], word, "{stop:?}");
    }
}

#[test]
fn every_member_that_changes_nothing_may_be_left_out() {
    for (member, reason) in DROPPED {
        let mut body = json!({"prompt": "x"});
        body[member] = json!({"any": "thing"});
        assert_eq!(read_request(body), read_request(json!({"prompt": "x"})), "{member}: {reason}");
    }
}

/// Values that some member may have, each where it should not be.
const VALUES: [&str; 14] = [
    "null",
    "true",
    "-1",
    "0",
    "1",
    "2.5",
    "\"\"",
    "\"x\"",
    "[]",
    "[1]",
    "[\"x\"]",
    "[[1]]",
    "{}",
    "{\"include_usage\":1}",
];

proptest! {
    #[test]
    fn a_stream_says_the_same_as_the_whole_answer(
        prompt in "[a-zé]{1,8}",
        echo in any::<bool>(),
        pieces in prop::collection::vec("[a-zé\"\n]{1,4}", 0..6),
    ) {
        let context = context(read_request(json!({"prompt": prompt, "echo": echo})).expect("a good request"));
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let whole = write_answer(&answer(&pieces.concat(), Stop::Done), &context);
        let streamed: String = stream(&pieces, Stop::Done, &context)
            .iter()
            .map(|chunk| chunk["choices"][0]["text"].as_str().expect("a text"))
            .collect();
        prop_assert_eq!(&whole["choices"][0]["text"], &streamed);
    }

    #[test]
    fn no_json_makes_the_reader_panic(
        member in "prompt|suffix|echo|n|best_of|logprobs|stop|stream|stream_options|max_tokens",
        value in prop::sample::select(VALUES.to_vec()),
    ) {
        let mut body = json!({"prompt": "x"});
        body[&member] = serde_json::from_str(value).expect("JSON");
        let _ = read_request(body);
    }
}
