//! What the fast provider answers, and how the load generator knows that it got through whole.

use std::time::Duration;

use bytes::Bytes;

/// Stands in every answer, and in every piece of a streamed one.
pub const MARK: &str = "benchmark";

/// Pieces of a streamed answer that hold text.
pub const PIECES: usize = 20;

/// Between two pieces.
pub const PIECE_GAP: Duration = Duration::from_millis(5);

/// Tokens an answer is billed as.
const OUTPUT_TOKENS: u64 = 64;

/// Four bytes are a token: what a gateway estimates is about that.
fn input_tokens(request_bytes: usize) -> u64 {
    (request_bytes as u64 / 4).max(1)
}

fn usage(request_bytes: usize) -> String {
    let input = input_tokens(request_bytes);
    let total = input + OUTPUT_TOKENS;
    format!(r#"{{"prompt_tokens":{input},"completion_tokens":{OUTPUT_TOKENS},"total_tokens":{total}}}"#)
}

/// The whole answer to a request of that many bytes, about 1 KB.
pub fn whole(number: u64, request_bytes: usize) -> Bytes {
    let text = format!("{MARK} {}", "lorem ipsum dolor sit amet ".repeat(26));
    let usage = usage(request_bytes);
    Bytes::from(format!(
        r#"{{"id":"chatcmpl-{number}","object":"chat.completion","created":1,"model":"gpt-5.5","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{usage}}}"#
    ))
}

/// The frames of a streamed answer: `PIECES` of text, then the end.
pub fn pieces(number: u64, request_bytes: usize) -> Vec<Bytes> {
    let frame = |delta: &str, reason: &str, usage: &str| {
        Bytes::from(format!(
            "data: {{\"id\":\"chatcmpl-{number}\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5.5\",\
             \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}],\"usage\":{usage}}}\n\n"
        ))
    };
    let text = format!(r#"{{"role":"assistant","content":"{MARK} of the stream "}}"#);
    let last = frame("{}", "\"stop\"", "null");
    let usage = Bytes::from(format!(
        "data: {{\"id\":\"chatcmpl-{number}\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5.5\",\
         \"choices\":[],\"usage\":{}}}\n\ndata: [DONE]\n\n",
        usage(request_bytes)
    ));
    (0..PIECES).map(|_| frame(&text, "null", "null")).chain([last, usage]).collect()
}

/// How often `MARK` stands in a body.
pub fn marks(body: &[u8]) -> usize {
    memchr::memmem::find_iter(body, MARK.as_bytes()).count()
}

/// Whether a streamed answer came to its end.
pub fn is_ended(body: &[u8]) -> bool {
    body.trim_ascii_end().ends_with(b"data: [DONE]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_the_json_and_the_events_they_say() {
        let answer: serde_json::Value = serde_json::from_slice(&whole(7, 1_024)).expect("JSON");
        assert_eq!(answer["usage"]["prompt_tokens"], 256);
        assert_eq!(marks(&whole(7, 1_024)), 1);
        let stream = pieces(7, 1_024).concat();
        assert_eq!((marks(&stream), is_ended(&stream)), (PIECES, true));
        for data in String::from_utf8(stream).expect("text").split("\n\n").filter(|frame| !frame.is_empty()) {
            let data = data.strip_prefix("data: ").expect("an event");
            assert!(data == "[DONE]" || serde_json::from_str::<serde_json::Value>(data).is_ok(), "{data}");
        }
        assert!(!is_ended(b"data: {}\n\n"));
    }
}
