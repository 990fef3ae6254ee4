//! Translation between dialects: whatever is read, what is written is the other dialect, whole and in order.

use bytes::Bytes;
use codexapi_aggregates::usage::{Protocol, Usage};
use codexapi_protocols::meter::{MeterSettings, Metered, StreamMeter, meter_body};
use codexapi_protocols::request::ParsedRequest;
use codexapi_protocols::translate::responses::LEAST_OUTPUT_TOKENS;
use codexapi_protocols::translate::{self, AnswerFrame, AnswerTranslation, UpstreamModel};

use super::check::{
    CEILING_TOKENS, UPSTREAMS, assert_bounded, choice, client, frames, halves, is_json, upstream,
    whole_frames,
};
use super::order::Order;

/// One that takes every form of thinking.
const MODEL: UpstreamModel = UpstreamModel { name: "claude-opus-4-8", max_output_tokens: 128_000 };

/// The first byte chooses the client's dialect; the rest is a body, written for every provider.
pub fn translate_request(data: &[u8]) {
    let (chosen, body) = choice(data);
    for upstream in UPSTREAMS {
        request(client(chosen), upstream, body);
    }
}

/// Two bytes choose the dialects of client and provider; a request, a zero byte and an answer follow.
pub fn translate_answer(data: &[u8]) {
    let (chosen, rest) = choice(data);
    let (provider, rest) = choice(rest);
    let (body, answered) = halves(rest);
    let Some(back) = request(client(chosen), upstream(provider), body) else { return };
    answer(client(chosen), upstream(provider), &back, body.len(), answered);
}

/// Two bytes choose the dialects of client and provider; a request, a zero byte and a stream follow.
pub fn translate_stream(data: &[u8]) {
    let (chosen, rest) = choice(data);
    let (provider, rest) = choice(rest);
    let (body, answered) = halves(rest);
    let Some(back) = request(client(chosen), upstream(provider), body) else { return };
    stream(client(chosen), upstream(provider), &back, body.len(), answered);
}

/// Writes a body for a provider of another dialect; the way back, where it could be written.
pub fn request(client: Protocol, upstream: Protocol, body: &[u8]) -> Option<AnswerTranslation> {
    let frame = AnswerFrame { id: "01ab".into(), model: "label".into(), created_at_secs: 1_700_000_000 };
    let written = translate::request(client, upstream, body, &MODEL, frame).ok()?;
    assert_bounded(written.body.len(), body.len());
    let read = ParsedRequest::parse(upstream, &written.body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written.body)));
    assert_eq!(read.model, MODEL.name);
    if upstream == Protocol::Responses {
        assert!(read.store == Some(false) && !read.background && read.previous_response_id.is_none());
    }
    if let Ok(asked) = ParsedRequest::parse(client, &Bytes::copy_from_slice(body)) {
        not_dearer(&asked, &read);
    }
    Some(written.back)
}

/// What was held for what the client asks covers what the provider is asked.
fn not_dearer(asked: &ParsedRequest, sent: &ParsedRequest) {
    assert_eq!(asked.stream, sent.stream);
    assert!(sent.choices <= asked.choices, "{} of {}", sent.choices, asked.choices);
    if let Some(limit) = sent.max_output_tokens {
        let held = asked.max_output_tokens.unwrap_or(MODEL.max_output_tokens);
        assert!(limit <= held.max(LEAST_OUTPUT_TOKENS), "{limit} asked, {held} held");
    }
}

pub fn answer(client: Protocol, upstream: Protocol, back: &AnswerTranslation, asked: usize, body: &[u8]) {
    let Ok(written) = back.answer(body) else { return };
    assert_bounded(written.len(), asked + body.len());
    assert!(is_json(&written));
    let told = meter_body(client, &written);
    assert!(told.terminal.is_finished(), "{}", String::from_utf8_lossy(&written));
    same_usage(&meter_body(upstream, body), &told);
}

pub fn stream(client: Protocol, upstream: Protocol, back: &AnswerTranslation, asked: usize, body: &[u8]) {
    let mut reported = StreamMeter::new(upstream, SETTINGS);
    let mut told = Told { meter: StreamMeter::new(client, SETTINGS), order: Order::new(client), bytes: 0 };
    let mut translation = back.stream();
    let mut read = asked;
    for frame in frames(body) {
        read += frame.bytes().len();
        // What comes after the end is no part of the answer.
        if !told.order.is_over() {
            reported.observe(&frame);
        }
        let Ok(written) = translation.frame(&frame) else { return };
        told.take(&written, read);
    }
    let Ok(written) = translation.end() else { return };
    told.take(&written, read);
    if let Some(number) = translation.sequence_number() {
        assert_eq!(number, told.order.events(), "the next frame's number");
    }
    let is_over = told.order.is_over();
    let told = told.meter.end();
    assert_eq!(told.terminal.is_finished(), is_over, "{:?}", told.terminal);
    if is_over {
        same_usage(&reported.end(), &told);
    }
}

const SETTINGS: MeterSettings = MeterSettings { choices: 1, include_usage: true };

/// What the client was told so far.
struct Told {
    meter: StreamMeter,
    order: Order,
    bytes: usize,
}

impl Told {
    fn take(&mut self, written: &[u8], read: usize) {
        self.bytes += written.len();
        assert_bounded(self.bytes, read);
        for frame in whole_frames(written) {
            self.meter.observe(&frame);
            self.order.next(&frame);
        }
    }
}

/// Where both say what it cost, it is the same.
#[track_caller]
fn same_usage(reported: &Metered, told: &Metered) {
    let usage = |metered: &Metered| metered.usage.as_ref()?.check(CEILING_TOKENS).ok();
    let tokens = |usage: &Usage| (usage.total_input(), usage.output);
    if let (Some(reported), Some(told)) = (usage(reported), usage(told)) {
        assert_eq!(tokens(&reported), tokens(&told));
    }
}
