//! What is written is read as it was, whatever it is.

use codexapi_aggregates::usage::Usage;
use proptest::prelude::*;
use serde_json::{Number, json};

use super::*;

/// Shown and wanted back, unlike OpenAI's.
const THINKING_MODEL: &str = "kimi-k2.6";
const OPENAI_MODEL: &str = "gpt-5.5";

fn words() -> impl Strategy<Value = String> {
    "[a-z\"\\\\\né漢 ]{1,12}"
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_-]{1,12}"
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof!["[a-z]{1,8}".prop_map(|path| Source::Url(format!("https://x.test/{path}"))), data_source()]
}

fn data_source() -> impl Strategy<Value = Source> {
    ("image/(png|jpeg)", "[A-Za-z0-9+/]{0,12}")
        .prop_map(|(media_type, base64)| Source::Data { media_type, base64 })
}

fn user_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        words().prop_map(|words| text(&words)),
        (source(), prop::option::of("low|high|auto")).prop_map(|(source, detail)| Part::Image(Image {
            source,
            detail,
            cache: None
        })),
        (data_source(), prop::option::of(name())).prop_map(|(source, name)| Part::File(File {
            source,
            name,
            cache: None
        })),
    ]
}

fn text_parts(most: usize) -> impl Strategy<Value = Vec<Part>> {
    prop::collection::vec(words().prop_map(|words| text(&words)), 0..=most)
}

/// Thinking, words, a refusal, and calls with their results.
type Turn = (Option<String>, Vec<Part>, Option<String>, Vec<(String, String, Vec<Part>)>);

#[derive(Clone, Debug)]
enum Said {
    System(Vec<Part>),
    User(Vec<Part>),
    Assistant(Turn),
}

fn said() -> impl Strategy<Value = Said> {
    let calls = prop::collection::vec((name(), words(), text_parts(2)), 0..3);
    let turn = (prop::option::of(words()), text_parts(2), prop::option::of(words()), calls);
    prop_oneof![
        text_parts(2).prop_map(Said::System),
        prop::collection::vec(user_part(), 0..4).prop_map(Said::User),
        turn.prop_map(Said::Assistant),
    ]
}

fn items(said: Vec<Said>, thinks: bool) -> Vec<Item> {
    let mut items = vec![message(Role::User, vec![text("begin")])];
    let mut next_id = 0;
    for said in said {
        match said {
            Said::System(parts) => items.push(message(Role::System, parts)),
            Said::User(parts) => items.push(message(Role::User, parts)),
            Said::Assistant((thinking, mut parts, refusal, calls)) => {
                // Without a call thinking is not wanted back.
                let thinking = thinking.filter(|_| thinks && !calls.is_empty());
                items.extend(thinking.map(|words| Item::Reasoning(thought(&words))));
                parts.extend(refusal.map(Part::Refusal));
                if !parts.is_empty() {
                    items.push(message(Role::Assistant, parts));
                }
                let mut results = vec![];
                for (name, input, parts) in calls {
                    next_id += 1;
                    let id = format!("call_{next_id}");
                    items.push(Item::ToolCall(call(&id, CallName::function(name), &input)));
                    results.push(result(&id, CallKind::Function, parts));
                }
                items.extend(results);
            }
        }
    }
    items
}

fn tools() -> impl Strategy<Value = Vec<Tool>> {
    let function = (name(), prop::option::of(words()), prop::option::of(any::<bool>()), name());
    prop::collection::vec(function, 0..3).prop_map(|functions| {
        let functions = functions.into_iter().map(|(name, description, strict, parameter)| {
            Tool::Function(FunctionTool {
                name,
                description,
                parameters: json!({"type": "object", "properties": {parameter: {"type": "string"}}}),
                strict,
                ..FunctionTool::default()
            })
        });
        functions.collect()
    })
}

fn number() -> impl Strategy<Value = Option<Number>> {
    let decimal = prop_oneof![Just(json!(0.25)), Just(json!(1)), Just(json!(-0.5)), Just(json!(2.0))];
    prop::option::of(decimal.prop_map(|value| value.as_number().cloned().expect("a number")))
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let stop = prop::collection::vec(words(), 0..=MAX_STOPS);
    (number(), number(), number(), number(), prop::option::of(any::<i64>()), stop).prop_map(
        |(temperature, top_p, presence_penalty, frequency_penalty, seed, stop)| Sampling {
            temperature,
            top_p,
            top_k: None,
            presence_penalty,
            frequency_penalty,
            seed,
            stop,
        },
    )
}

fn format() -> impl Strategy<Value = OutputFormat> {
    let schema = (name(), prop::option::of(words()), prop::option::of(any::<bool>()));
    prop_oneof![
        Just(OutputFormat::Text),
        Just(OutputFormat::JsonObject),
        schema.prop_map(|(name, description, strict)| OutputFormat::JsonSchema {
            name: Some(name),
            description,
            schema: json!({"type": "object"}),
            strict,
        }),
    ]
}

fn tool_choice() -> impl Strategy<Value = Option<ToolChoice>> {
    prop_oneof![
        Just(None),
        Just(Some(ToolChoice::Auto)),
        Just(Some(ToolChoice::None)),
        Just(Some(ToolChoice::Required)),
        Just(Some(ToolChoice::Named(CallName::default()))),
    ]
}

/// A conversation that the dialect can say all of, and the model it is for.
fn conversation() -> impl Strategy<Value = (Conversation, &'static str)> {
    let spoken =
        (prop::collection::vec(said(), 0..6), tools(), tool_choice(), prop::option::of(any::<bool>()));
    let effort = prop::option::of("none|minimal|low|medium|high|xhigh");
    let settings = (1u64..100_000, sampling(), effort, format(), prop::option::of("low|high"), any::<bool>());
    (spoken, settings, prop::option::of(name()), any::<bool>()).prop_map(
        |((said, tools, choice, parallel), settings, prompt_cache_key, thinks)| {
            let (limit, sampling, effort, format, verbosity, stream) = settings;
            let first = tools.first().and_then(CallName::of);
            let tool_choice = match (choice, &first) {
                (_, None) => None,
                (Some(ToolChoice::Named(_)), Some(name)) => Some(ToolChoice::Named(name.clone())),
                (choice, Some(_)) => choice,
            };
            let conversation = Conversation {
                items: items(said, thinks),
                tools,
                tool_choice,
                parallel_tool_calls: parallel.filter(|_| first.is_some()),
                max_output_tokens: Some(limit),
                sampling,
                thinking: Thinking { effort, ..Thinking::default() },
                format,
                verbosity: verbosity.filter(|_| !thinks),
                stream,
                include_usage: stream,
                choices: 1,
                prompt_cache_key,
                ..Conversation::default()
            };
            (conversation, if thinks { THINKING_MODEL } else { OPENAI_MODEL })
        },
    )
}

fn usage() -> impl Strategy<Value = Option<Usage>> {
    let tokens = (0u64..9_999, 0u64..9_999, 0u64..9_999, 0u64..9_999, 0u64..9_999);
    prop::option::of(tokens.prop_map(|(input, cached_input, cache_write_5m, output, reasoning)| Usage {
        input,
        cached_input,
        cache_write_5m,
        output: output + reasoning,
        reasoning,
        ..Usage::default()
    }))
}

/// An answer that the dialect can say all of.
fn answer() -> impl Strategy<Value = Answer> {
    let called = (name(), words(), any::<bool>());
    let parts = (
        prop::option::of(words()),
        prop::option::of(words()),
        prop::option::of(words()),
        prop::collection::vec(called, 0..4),
    );
    let cut_short = prop_oneof![Just(None), Just(Some(Stop::Length)), Just(Some(Stop::ContentFilter))];
    (parts, cut_short, usage()).prop_map(|((thinking, words, refusal, calls), cut_short, usage)| {
        let done = if calls.is_empty() { Stop::Done } else { Stop::ToolUse };
        let mut parts: Vec<OutputPart> = vec![];
        parts.extend(thinking.map(|words| OutputPart::Reasoning(thought(&words))));
        parts.extend(words.map(OutputPart::Text));
        parts.extend(refusal.map(OutputPart::Refusal));
        parts.extend(calls.into_iter().enumerate().map(|(nth, (name, input, custom))| {
            let name = if custom { CallName::custom(name) } else { CallName::function(name) };
            OutputPart::ToolCall(call(&format!("call_{nth}"), name, &input))
        }));
        Answer { id: Some("chatcmpl-0a1b".into()), parts, stop: cut_short.unwrap_or(done), usage }
    })
}

fn asked_for_usage() -> AnswerContext {
    context(Conversation { include_usage: true, ..Conversation::default() })
}

proptest! {
    #[test]
    fn a_request_that_is_written_is_read_as_it_was((conversation, model) in conversation()) {
        let body = write_request(&conversation, &upstream(model)).expect("to be written");
        prop_assert_eq!(read_request(body), Ok(conversation));
    }

    #[test]
    fn an_answer_that_is_written_is_read_as_it_was(answer in answer()) {
        let body = write_answer(&answer, &asked_for_usage()).to_string();
        prop_assert_eq!(read_answer(body.as_bytes(), &ToolNames::default()), Ok(answer));
    }

    #[test]
    fn a_stream_that_is_written_is_read_as_it_was_however_it_arrives(
        answer in answer(),
        size in 1usize..6,
        cut in any::<prop::sample::Index>(),
    ) {
        let events = events_of(&answer, size);
        let bytes = write_stream(&events, &asked_for_usage());
        let at = cut.index(bytes.len());
        let read = read_stream(&[&bytes[..at], &bytes[at..]], &ToolNames::default()).expect("a good stream");
        prop_assert_eq!(collect(&read), Some(answer));
        prop_assert_eq!(joined(read), joined(events));
    }

    #[test]
    fn a_stream_makes_the_same_message_as_the_whole_answer(answer in answer(), size in 1usize..6) {
        let whole = write_answer(&answer, &asked_for_usage());
        let stream = write_stream(&events_of(&answer, size), &asked_for_usage());
        let whole = read_answer(whole.to_string().as_bytes(), &ToolNames::default()).expect("an answer");
        let read = read_stream(&[&stream], &ToolNames::default()).expect("a good stream");
        prop_assert_eq!(collect(&read), Some(whole));
    }

    #[test]
    fn a_custom_tools_text_survives_the_way_through_a_function(input in any::<String>(), wire in name()) {
        let tools = [Tool::Custom { name: wire.clone(), description: None, grammar: None }];
        let asked = Conversation {
            items: vec![
                Item::ToolCall(call("c", CallName::custom(&wire), &input)),
                result("c", CallKind::Custom, vec![]),
            ],
            tools: tools.to_vec(),
            ..Conversation::default()
        };
        let mut body = write_request(&asked, &upstream(OPENAI_MODEL)).expect("to be written");
        let calls = body["messages"][0]["tool_calls"].take();
        let answer = json!({"choices": [{"message": {"tool_calls": calls}}]}).to_string();
        let answer = read_answer(answer.as_bytes(), &ToolNames::new(&tools)).expect("an answer");
        let expected = OutputPart::ToolCall(call("c", CallName::custom(wire), &input));
        prop_assert_eq!(answer.parts, vec![expected]);
    }
}
