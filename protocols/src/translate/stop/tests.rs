use codexapi_aggregates::usage::Usage;
use proptest::prelude::*;

use super::*;
use crate::conversation::{CallName, Reasoning, ToolCall};

fn texts(stops: &[&str]) -> Vec<String> {
    stops.iter().map(|stop| (*stop).to_owned()).collect()
}

/// The events of a text in these pieces.
fn said(pieces: &[&str]) -> Vec<Event> {
    let mut events = vec![Event::PartStarted(PartKind::Text)];
    events.extend(pieces.iter().map(|piece| Event::Delta((*piece).to_owned())));
    events.push(Event::PartEnded(OutputPart::Text(pieces.concat())));
    events
}

fn finished(stop: Stop) -> Event {
    Event::Finished { stop, usage: Some(Usage { input: 3, output: 40, ..Usage::default() }) }
}

fn cut(stops: &[&str], events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut cutter = StopCutter::new(&texts(stops));
    let mut out = vec![];
    events.into_iter().for_each(|event| cutter.cut(event, &mut out));
    out
}

/// The text as its deltas make it, which its end must agree with.
fn text_of(events: &[Event]) -> String {
    let mut joined = String::new();
    let mut whole = None;
    for event in events {
        match event {
            Event::Delta(delta) => joined.push_str(delta),
            Event::PartEnded(OutputPart::Text(text)) => whole = Some(text.clone()),
            Event::Started { .. } | Event::PartStarted(_) | Event::PartEnded(_) | Event::Finished { .. } => {}
        }
    }
    assert_eq!(whole.as_ref(), Some(&joined));
    joined
}

/// Letter by letter, as a provider would look for stop texts while the model writes.
fn oracle(text: &str, stops: &[&str]) -> (String, Option<String>) {
    let mut written = String::new();
    for letter in text.chars() {
        written.push(letter);
        let complete = stops.iter().filter(|stop| !stop.is_empty() && written.ends_with(**stop));
        if let Some(stop) = complete.max_by_key(|stop| stop.len()) {
            written.truncate(written.len() - stop.len());
            return (written, Some((*stop).to_owned()));
        }
    }
    (written, None)
}

#[test]
fn text_before_a_stop_text_is_passed_on_at_once_and_the_rest_swallowed() {
    let mut cutter = StopCutter::new(&texts(&["END"]));
    let mut out = vec![];
    for event in said(&["one E", "xN EN", "D two", " three"]) {
        cutter.cut(event, &mut out);
        if out.len() == 2 {
            assert_eq!(out[1], Event::Delta("one ".into()), "only what may be a beginning is held back");
        }
    }
    cutter.cut(Event::PartStarted(PartKind::Reasoning), &mut out);
    cutter.cut(Event::Delta("hm".into()), &mut out);
    cutter.cut(finished(Stop::ToolUse), &mut out);
    assert_eq!(
        out,
        [
            Event::PartStarted(PartKind::Text),
            Event::Delta("one ".into()),
            Event::Delta("ExN ".into()),
            Event::PartEnded(OutputPart::Text("one ExN ".into())),
            finished(Stop::StopText("END".into())),
        ]
    );
}

#[test]
fn a_beginning_that_comes_to_nothing_is_passed_on_at_the_end() {
    let events = said(&["a E", "N"]).into_iter().chain([finished(Stop::Length)]);
    let out = cut(&["END"], events);
    assert_eq!(text_of(&out), "a EN");
    assert_eq!(out.last(), Some(&finished(Stop::Length)));
}

#[test]
fn thinking_and_the_input_of_tools_are_no_place_for_stop_texts() {
    let call = ToolCall { call_id: "c".into(), name: CallName::function("f"), input: "END".into() };
    let events = vec![
        Event::PartStarted(PartKind::Reasoning),
        Event::Delta("END".into()),
        Event::PartEnded(OutputPart::Reasoning(Reasoning { texts: vec!["END".into()], seal: None })),
        Event::PartStarted(PartKind::ToolCall { call_id: "c".into(), name: CallName::function("f") }),
        Event::Delta("END".into()),
        Event::PartEnded(OutputPart::ToolCall(call)),
        finished(Stop::ToolUse),
    ];
    assert_eq!(cut(&["END"], events.clone()), events);
}

#[test]
fn no_stop_texts_or_empty_ones_change_nothing() {
    let events = said(&["abc", "d"]);
    assert_eq!(cut(&[], events.clone()), events);
    assert_eq!(cut(&[""], events.clone()), events);
}

#[test]
fn a_whole_answer_is_cut_and_keeps_its_usage() {
    let usage = Some(Usage { input: 3, output: 40, ..Usage::default() });
    let call = ToolCall { call_id: "c".into(), name: CallName::function("f"), input: "{}".into() };
    let parts = vec![OutputPart::Text("one END two".into()), OutputPart::ToolCall(call)];
    let mut answer = Answer { id: None, parts, stop: Stop::ToolUse, usage };
    cut_answer(&mut answer, &texts(&["", "END"]));
    let parts = vec![OutputPart::Text("one ".into())];
    assert_eq!(answer, Answer { id: None, parts, stop: Stop::StopText("END".into()), usage });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn however_the_text_is_split_it_ends_where_a_provider_would_have_ended_it(
        pieces in prop::collection::vec("[abé]{0,4}", 0..8),
        stops in prop::collection::vec("[abé]{0,4}", 0..4),
    ) {
        let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (text, stop) = oracle(&pieces.concat(), &stops);
        let stop = stop.map_or(Stop::Done, Stop::StopText);

        let out = cut(&stops, said(&pieces).into_iter().chain([finished(Stop::Done)]));
        prop_assert_eq!(text_of(&out), text.clone());
        prop_assert_eq!(out.last(), Some(&finished(stop.clone())));

        let mut answer =
            Answer { id: None, parts: vec![OutputPart::Text(pieces.concat())], stop: Stop::Done, usage: None };
        cut_answer(&mut answer, &texts(&stops));
        prop_assert_eq!(answer.parts, vec![OutputPart::Text(text)]);
        prop_assert_eq!(answer.stop, stop);
    }
}

#[test]
fn stop_texts_too_many_or_too_long_to_look_for_are_refused() {
    let most = vec!["x".repeat(MAX_STOP_BYTES); MAX_STOPS];
    assert_eq!(check(&most), Ok(()));
    let is_refused = |stops: &[String]| matches!(check(stops), Err(Untranslatable::NotCarried { field, .. }) if field == "stop");
    assert!(is_refused(&vec!["x".to_owned(); MAX_STOPS + 1]));
    assert!(is_refused(&["x".repeat(MAX_STOP_BYTES + 1)]));
}
