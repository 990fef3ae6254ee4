//! The Messages dialect against bodies and streams as Claude Code and Anthropic write them.

use bytes::Bytes;
use codexapi_aggregates::usage::Usage;
use codexapi_protocols::conversation::*;
use codexapi_protocols::sse::SseSplitter;
use codexapi_protocols::translate::messages::{
    StreamReader, StreamWriter, read_answer, read_request, write_request,
};
use codexapi_protocols::translate::{AnswerContext, AnswerFrame, UpstreamModel};
use serde_json::{Value, json};

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("golden/messages/", $name))
    };
}

const UPSTREAM: UpstreamModel = UpstreamModel { name: "claude-opus-4-8", max_output_tokens: 128_000 };

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("a golden file is JSON")
}

fn plain(text: &str) -> Part {
    Part::Text(Text::plain(text))
}

fn result(call_id: &str, kind: CallKind, text: &str) -> Item {
    let parts = vec![plain(text)];
    Item::ToolResult(ToolResult { call_id: call_id.into(), kind, parts, is_error: false, cache: None })
}

/// Every event of a stream, and the answer they add up to.
fn read_stream(stream: &str) -> (Vec<Event>, Answer) {
    let mut splitter = SseSplitter::default();
    let mut frames = vec![];
    splitter.push(&Bytes::copy_from_slice(stream.as_bytes()), &mut frames).expect("small frames");
    let mut reader = StreamReader::new(ToolNames::default());
    let mut events: Vec<Event> =
        frames.iter().flat_map(|frame| reader.read(frame).expect("a frame of the dialect")).collect();
    events.extend(reader.end().expect("a good end"));
    let mut answer = Answer { id: None, parts: vec![], stop: Stop::Done, usage: None };
    for event in &events {
        match event {
            Event::Started { id, .. } => answer.id.clone_from(id),
            Event::PartStarted(_) | Event::Delta(_) => {}
            Event::PartEnded(part) => answer.parts.push(part.clone()),
            Event::Finished { stop, usage } => (answer.stop, answer.usage) = (stop.clone(), *usage),
        }
    }
    (events, answer)
}

#[test]
fn claude_codes_request_is_understood() {
    let read = read_request(parsed(golden!("claude_code_request.json"))).expect("it can be carried");
    assert_eq!(read.instructions.len(), 2, "the note on billing is no instruction");
    assert_eq!(read.instructions[0].cache, Some(CacheLifetime::OneHour));
    assert_eq!((read.max_output_tokens, read.stream), (Some(64_000), true));
    assert_eq!(read.thinking.mode, Some(ThinkingMode::Adaptive));
    assert_eq!(read.thinking.effort.as_deref(), Some("high"));
    assert!(read.prompt_cache_key.is_some() && read.thinking.wants_seal);
    let is_system = |item: &Item| matches!(item, Item::Message(Message { role: Role::System, .. }));
    assert!(is_system(&read.items[1]), "{:?}", read.items[1]);
    assert_eq!(read.items.len(), 8);
    let Item::ToolResult(result) = &read.items[7] else { panic!("{:?}", read.items[7]) };
    assert!(result.is_error && result.cache == Some(CacheLifetime::FiveMinutes));
    assert_eq!(read.tools.len(), 3);
}

#[test]
fn claude_codes_request_goes_on_to_a_provider() {
    let read = read_request(parsed(golden!("claude_code_request.json"))).expect("it can be carried");
    let written = write_request(&read, &UPSTREAM).expect("it can be written");
    assert_eq!(written, parsed(golden!("claude_code_request.written.json")));
}

#[test]
fn codexs_conversation_becomes_a_request() {
    let patch = CallName::custom("apply_patch");
    let read = CallName { namespace: Some("mcp__files".into()), ..CallName::function("read") };
    let picture = Source::Data { media_type: "image/png".into(), base64: "iVBORw==".into() };
    let picture = Part::Image(Image { source: picture, detail: Some("high".into()), cache: None });
    let message = |role, parts| Item::Message(Message { role, parts });
    let call = |call_id: &str, name: &CallName, input: &str| {
        Item::ToolCall(ToolCall { call_id: call_id.into(), name: name.clone(), input: input.into() })
    };
    let signed = Seal::Signature { text: "I rename it.".into(), signature: "EqQB".into() };
    let foreign = Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() };
    let thought = |seal| Item::Reasoning(Reasoning { texts: vec!["I rename it.".into()], seal: Some(seal) });
    let function = FunctionTool {
        name: "read".into(),
        namespace: Some("mcp__files".into()),
        parameters: json!({ "type": "object", "properties": { "path": { "type": "string" } } }),
        strict: Some(false),
        ..FunctionTool::default()
    };
    let grammar = Some(Grammar { syntax: "lark".into(), definition: "start: begin_patch".into() });
    let description = Some("Edits files".into());
    let search = json!({ "type": "web_search", "external_web_access": false });
    let conversation = Conversation {
        items: vec![
            message(Role::Developer, vec![plain("You are Codex.")]),
            message(Role::User, vec![plain("Rename a to b"), picture]),
            thought(foreign),
            thought(signed),
            call("call_1", &patch, "*** Begin Patch"),
            call("call_2", &read, "{\"path\":\"b\"}"),
            result("call_1", CallKind::Custom, "done"),
            result("call_2", CallKind::Function, "hello"),
        ],
        tools: vec![
            Tool::Custom { name: "apply_patch".into(), description, grammar },
            Tool::Function(function),
            Tool::ToolSearch { description: Some("Finds tools".into()), parameters: json!({}) },
            Tool::WebSearch { options: search.as_object().cloned().unwrap_or_default() },
        ],
        tool_choice: Some(ToolChoice::Auto),
        parallel_tool_calls: Some(false),
        thinking: Thinking {
            effort: Some("medium".into()),
            summary: Some("auto".into()),
            wants_seal: true,
            ..Thinking::default()
        },
        format: OutputFormat::JsonSchema {
            name: Some("codex_output_schema".into()),
            description: None,
            schema: json!({ "type": "object", "additionalProperties": false }),
            strict: Some(true),
        },
        verbosity: Some("low".into()),
        prompt_cache_key: Some("thread".into()),
        stream: true,
        choices: 1,
        ..Conversation::default()
    };
    let written = write_request(&conversation, &UPSTREAM).expect("it can be written");
    assert_eq!(written, parsed(golden!("codex_request.written.json")));
}

#[test]
fn an_answer_with_thinking_and_a_call_is_the_same_whole_and_streamed() {
    let whole =
        read_answer(golden!("tool_answer.json").as_bytes(), &ToolNames::default()).expect("an answer");
    let usage = Usage {
        input: 3,
        cached_input: 18_000,
        cache_write_5m: 100,
        cache_write_1h: 20,
        output: 89,
        reasoning: 12,
        web_search_calls: 0,
    };
    assert_eq!((whole.stop.clone(), whole.usage), (Stop::ToolUse, Some(usage)));
    let OutputPart::ToolCall(call) = &whole.parts[3] else { panic!("{:?}", whole.parts) };
    assert_eq!(call.input, r#"{"command": "ls", "all": true}"#, "as the model wrote it");
    let (events, streamed) = read_stream(golden!("tool_answer.sse"));
    assert_eq!(streamed, whole);
    let at_start = Usage { output: 1, reasoning: 0, ..usage };
    let id = Some("msg_01XFDUDYJgAACzvnptvVoYEL".into());
    assert_eq!(events[0], Event::Started { id, usage: Some(at_start) });
}

#[test]
fn an_answer_with_a_search_is_the_same_whole_and_streamed() {
    let whole =
        read_answer(golden!("search_answer.json").as_bytes(), &ToolNames::default()).expect("an answer");
    let search = WebSearchCall { id: "srvtoolu_01WYG3".into(), query: Some("weather NYC".into()) };
    assert_eq!(whole.parts, [OutputPart::WebSearch(search), OutputPart::Text("It is mild.".into())]);
    assert_eq!(whole.usage.map(|usage| usage.web_search_calls), Some(1));
    assert_eq!(read_stream(golden!("search_answer.sse")).1, whole);
}

#[test]
fn the_stream_of_another_provider_has_every_event_in_order() {
    let seal = Seal::Encrypted { id: "rs_1".into(), content: "gAAA".into() };
    let envelope = seal.envelope();
    let name = CallName::function("Bash");
    let input = "{\"command\":\"ls\"}";
    let usage = Usage {
        input: 30,
        cached_input: 18_000,
        output: 89,
        reasoning: 12,
        web_search_calls: 1,
        ..Usage::default()
    };
    let call = ToolCall { call_id: "call_1".into(), name: name.clone(), input: input.into() };
    let reasoning = Reasoning { texts: vec!["I look.".into()], seal: Some(seal) };
    let search = WebSearchCall { id: "ws_1".into(), query: Some("weather".into()) };
    let events = [
        Event::Started { id: Some("resp_1".into()), usage: None },
        Event::PartStarted(PartKind::Reasoning),
        Event::Delta("I look.".into()),
        Event::PartEnded(OutputPart::Reasoning(reasoning)),
        Event::PartStarted(PartKind::WebSearch { id: "ws_1".into() }),
        Event::PartEnded(OutputPart::WebSearch(search)),
        Event::PartStarted(PartKind::Text),
        Event::Delta("It ".into()),
        Event::Delta("is mild.".into()),
        Event::PartEnded(OutputPart::Text("It is mild.".into())),
        Event::PartStarted(PartKind::ToolCall { call_id: "call_1".into(), name }),
        Event::Delta(input.into()),
        Event::PartEnded(OutputPart::ToolCall(call)),
        Event::Finished { stop: Stop::ToolUse, usage: Some(usage) },
    ];
    let frame = AnswerFrame { id: "01ab".into(), model: "claude-opus-4-8".into(), created_at_secs: 0 };
    let context = AnswerContext { frame, conversation: Conversation::default() };
    let mut writer = StreamWriter::new(&context);
    let mut out = vec![];
    events.iter().for_each(|event| writer.write(event, &mut out));
    let written = String::from_utf8(out).expect("JSON is UTF-8");
    assert_eq!(written, golden!("written.sse").replace("ENVELOPE", &envelope));
}
