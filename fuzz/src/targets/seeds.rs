//! What the dialects really say, one JSON text a line, and the inputs that are made of it.

use codexapi_aggregates::usage::Protocol;

use super::check::{CLIENTS, UPSTREAMS};

/// The longest is eight times as many bytes.
const MOST_NOISE_INPUTS: usize = 128;

/// What a line is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Requests,
    /// Messages or input items.
    Items,
    Tools,
    /// Members of requests and of their parts.
    Options,
    Answers,
    /// Of a stream, in an order in which they may come.
    Events,
}

macro_rules! seeds {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/", $name, ".jsonl"))
    };
}

/// The lines of one kind; none where a dialect has none.
pub fn lines(protocol: Protocol, kind: Kind) -> Vec<&'static str> {
    let text = match (protocol, kind) {
        (Protocol::Responses, Kind::Requests) => seeds!("responses.requests"),
        (Protocol::Responses, Kind::Items) => seeds!("responses.items"),
        (Protocol::Responses, Kind::Tools) => seeds!("responses.tools"),
        (Protocol::Responses, Kind::Options) => seeds!("responses.options"),
        (Protocol::Responses, Kind::Answers) => seeds!("responses.answers"),
        (Protocol::Responses, Kind::Events) => seeds!("responses.events"),
        (Protocol::Chat, Kind::Requests) => seeds!("chat.requests"),
        (Protocol::Chat, Kind::Items) => seeds!("chat.items"),
        (Protocol::Chat, Kind::Tools) => seeds!("chat.tools"),
        (Protocol::Chat, Kind::Options) => seeds!("chat.options"),
        (Protocol::Chat | Protocol::Completions, Kind::Answers) => seeds!("chat.answers"),
        (Protocol::Chat | Protocol::Completions, Kind::Events) => seeds!("chat.events"),
        (Protocol::Messages, Kind::Requests) => seeds!("messages.requests"),
        (Protocol::Messages, Kind::Items) => seeds!("messages.items"),
        (Protocol::Messages, Kind::Tools) => seeds!("messages.tools"),
        (Protocol::Messages, Kind::Options) => seeds!("messages.options"),
        (Protocol::Messages, Kind::Answers) => seeds!("messages.answers"),
        (Protocol::Messages, Kind::Events) => seeds!("messages.events"),
        (Protocol::Completions, Kind::Requests) => seeds!("completions.requests"),
        (Protocol::Completions, Kind::Options) => seeds!("completions.options"),
        (Protocol::Completions, Kind::Items | Kind::Tools) => "",
    };
    text.lines().collect()
}

/// A digit for the dialect, then a body.
pub fn bodies(kind: Kind) -> Vec<Vec<u8>> {
    let of = |nth| lines(CLIENTS[nth], kind).into_iter().map(move |line| format!("{nth}{line}").into_bytes());
    (0..CLIENTS.len()).flat_map(of).collect()
}

/// A digit for the dialect, then a stream of all its events.
pub fn streams() -> Vec<Vec<u8>> {
    let one = |nth: usize| format!("{nth}{}", stream(CLIENTS[nth])).into_bytes();
    (0..CLIENTS.len()).map(one).chain(bodies(Kind::Answers)).collect()
}

/// Lines of usage, as answers report it.
pub fn reports() -> Vec<Vec<u8>> {
    let openai = r#"{"input_tokens":20,"input_tokens_details":{"cached_tokens":5},"output_tokens":10,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":30}"#;
    let chat = r#"{"prompt_tokens":20,"completion_tokens":10,"total_tokens":30,"prompt_tokens_details":{"cached_tokens":5,"cache_write_tokens":1},"completion_tokens_details":{"reasoning_tokens":3},"prompt_cache_hit_tokens":5}"#;
    let messages = r#"{"input_tokens":20,"cache_read_input_tokens":5,"cache_creation_input_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":2},"server_tool_use":{"web_search_requests":1}}
{"output_tokens":10,"output_tokens_details":{"thinking_tokens":3}}"#;
    let each = [openai, chat, messages].into_iter().enumerate();
    each.map(|(nth, text)| format!("{nth}{text}").into_bytes()).collect()
}

/// Bytes that mean nothing, the same ones every time: long enough for a body that builds of them.
pub fn noise() -> Vec<Vec<u8>> {
    let mut state = 1u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (1..=MOST_NOISE_INPUTS).map(|length| (0..length * 8).map(|_| byte()).collect()).collect()
}

/// Every pair of dialects with a long request, a zero byte and an answer or a stream.
pub fn exchanges(kind: Kind) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for (client, speaks) in CLIENTS.into_iter().enumerate() {
        let Some(request) = lines(speaks, Kind::Requests).into_iter().max_by_key(|line| line.len()) else {
            continue;
        };
        for (upstream, serves) in UPSTREAMS.into_iter().enumerate() {
            let answers = match kind {
                Kind::Events => vec![stream(serves)],
                Kind::Requests | Kind::Items | Kind::Tools | Kind::Options | Kind::Answers => {
                    lines(serves, kind).into_iter().map(str::to_owned).collect()
                }
            };
            let one = |answer: String| format!("{client}{upstream}{request}\0{answer}").into_bytes();
            inputs.extend(answers.into_iter().map(one));
        }
    }
    inputs
}

fn stream(protocol: Protocol) -> String {
    let mut stream: String =
        lines(protocol, Kind::Events).iter().map(|line| format!("data: {line}\n\n")).collect();
    if matches!(protocol, Protocol::Chat | Protocol::Completions) {
        stream.push_str("data: [DONE]\n\n");
    }
    stream
}
