//! A provider's stream that ends at any byte, carried to every client: what may be passed on before the settlement
//! never says *finished*, and what has not ended is never made to look as if it had.

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::meter::{Disposition, MeterSettings, StreamMeter};
use codexapi_protocols::relabel::Relabeler;
use codexapi_protocols::sse::{Frame, SseSplitter};
use codexapi_protocols::translate::{self, AnswerFrame, StreamTranslation, UpstreamModel};
use serde_json::json;

const UPSTREAMS: [Protocol; 3] = [Protocol::Responses, Protocol::Chat, Protocol::Messages];
const CLIENTS: [Protocol; 4] =
    [Protocol::Responses, Protocol::Chat, Protocol::Completions, Protocol::Messages];

/// A provider's stream: thinking, text and calls of tools.
const RECORDED: &str = include_str!("golden/messages/tool_answer.sse");

const METERED: MeterSettings = MeterSettings { choices: 1, include_usage: true };

fn translation(client: Protocol, upstream: Protocol) -> StreamTranslation {
    let model = UpstreamModel { name: "claude-opus-4-8", max_output_tokens: 1_000 };
    let asked = match client {
        Protocol::Responses => json!({"input": "x"}),
        Protocol::Chat => json!({
            "messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": true}}),
        Protocol::Completions => json!({"prompt": "x", "stream_options": {"include_usage": true}}),
        Protocol::Messages => json!({"max_tokens": 100, "messages": [{"role": "user", "content": "x"}]}),
    };
    let mut body = asked;
    body["model"] = "label".into();
    body["stream"] = true.into();
    let frame = AnswerFrame { id: "0a".into(), model: "label".into(), created_at_secs: 1 };
    let written = translate::request(client, upstream, body.to_string().as_bytes(), &model, frame);
    written.expect("it can be carried").back.stream()
}

/// The same answer as another provider streams it.
fn recorded(upstream: Protocol) -> Vec<u8> {
    if upstream == Protocol::Messages {
        return RECORDED.into();
    }
    let mut carried = translation(upstream, Protocol::Messages);
    let mut stream = vec![];
    for frame in frames(RECORDED.as_bytes()) {
        stream.extend_from_slice(&carried.frame(&frame).expect("carried"));
    }
    stream.extend_from_slice(&carried.end().expect("an end"));
    stream
}

fn frames(stream: &[u8]) -> Vec<Frame> {
    let (mut splitter, mut frames) = (SseSplitter::default(), vec![]);
    splitter.push(&Bytes::copy_from_slice(stream), &mut frames).expect("small frames");
    frames.extend(splitter.finish());
    frames
}

enum Carried {
    Native(Relabeler),
    Translated(Box<StreamTranslation>),
}

/// What the client may be sent at once, what waits for the settlement, and whether the provider has finished.
fn carry(client: Protocol, upstream: Protocol, frames: &[Frame]) -> (Vec<u8>, Vec<u8>, bool) {
    let mut meter = StreamMeter::new(upstream, METERED);
    let mut carried = match client == upstream {
        true => Carried::Native(Relabeler::new(client, "label")),
        false => Carried::Translated(Box::new(translation(client, upstream))),
    };
    let (mut told, mut withheld) = (vec![], vec![]);
    for frame in frames {
        let disposition = meter.observe(frame);
        let bytes = match &mut carried {
            Carried::Native(relabeler) => relabeler.frame(frame),
            Carried::Translated(translation) => translation.frame(frame).expect("a frame of the dialect"),
        };
        match disposition {
            Disposition::Forward => told.extend_from_slice(&bytes),
            Disposition::Withhold | Disposition::Hide => withheld.extend_from_slice(&bytes),
            Disposition::UpstreamFailed => panic!("it did not fail"),
        }
    }
    let finished = meter.so_far().terminal.is_finished();
    if let (true, Carried::Translated(translation)) = (finished, &mut carried) {
        withheld.extend_from_slice(&translation.end().expect("it has finished"));
    }
    (told, withheld, finished)
}

fn says_finished(client: Protocol, stream: &[u8]) -> bool {
    let mut meter = StreamMeter::new(client, METERED);
    let withheld = frames(stream).iter().any(|frame| meter.observe(frame) != Disposition::Forward);
    withheld || meter.end().terminal.is_finished()
}

#[test]
fn no_byte_at_which_a_stream_ends_makes_it_look_finished_to_any_client() {
    for upstream in UPSTREAMS {
        let stream = recorded(upstream);
        for client in CLIENTS {
            let mut before: Vec<Frame> = vec![];
            let mut ends = 0;
            for cut in 0..=stream.len() {
                let seen = frames(&stream[..cut]);
                // Between two frames nothing changes.
                if seen == before && cut > 0 {
                    continue;
                }
                let (told, withheld, finished) = carry(client, upstream, &seen);
                let place = format!("{client:?} over {upstream:?}, cut at {cut}");
                assert!(!says_finished(client, &told), "{place}: {}", String::from_utf8_lossy(&told));
                let all = [told, withheld].concat();
                assert_eq!(
                    says_finished(client, &all),
                    finished,
                    "{place}: {}",
                    String::from_utf8_lossy(&all)
                );
                ends += usize::from(finished);
                before = seen;
            }
            assert!(ends > 0, "{client:?} over {upstream:?}: the whole stream is finished");
        }
    }
}
