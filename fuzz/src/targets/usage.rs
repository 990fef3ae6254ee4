//! Usage reports: garbage never credits, and what is believed is what the report says.

use codexapi_aggregates::usage::{Protocol, Usage};
use codexapi_protocols::usage::{
    MessagesReport, UsageRejected, parse_anthropic, parse_openai_chat, parse_openai_responses,
};
use serde_json::Value;
use serde_json::value::RawValue;

use super::check::{CEILING_TOKENS, assert_believable, choice, upstream, value};

/// The first byte chooses the dialect; every line of the rest is a report of one stream.
pub fn usage(data: &[u8]) {
    let (chosen, reports) = choice(data);
    let protocol = upstream(chosen);
    let mut merged = MessagesReport::default();
    for line in reports.split(|byte| *byte == b'\n') {
        let Ok(report) = serde_json::from_slice::<&RawValue>(line) else { continue };
        merged.update(report);
        if let Ok(usage) = parse(protocol, report) {
            assert_believable(&usage);
            if let Some(said) = value(line) {
                as_reported(protocol, &usage, &said);
            }
        }
    }
    if let Ok(usage) = merged.check(CEILING_TOKENS) {
        assert_believable(&usage);
    }
}

fn parse(protocol: Protocol, report: &RawValue) -> Result<Usage, UsageRejected> {
    match protocol {
        Protocol::Responses => parse_openai_responses(report, CEILING_TOKENS),
        Protocol::Chat | Protocol::Completions => parse_openai_chat(report, CEILING_TOKENS),
        Protocol::Messages => parse_anthropic(report, CEILING_TOKENS),
    }
}

fn as_reported(protocol: Protocol, usage: &Usage, said: &Value) {
    let figure = |name: &str| said[name].as_u64();
    let (input, output) = match protocol {
        Protocol::Responses => ("input_tokens", "output_tokens"),
        Protocol::Chat | Protocol::Completions => ("prompt_tokens", "completion_tokens"),
        Protocol::Messages => {
            assert_eq!(Some(usage.input), figure("input_tokens"));
            assert_eq!(Some(usage.output), figure("output_tokens"));
            return;
        }
    };
    assert_eq!(Some(usage.total_input()), figure(input), "{said}");
    assert_eq!(Some(usage.output), figure(output), "{said}");
    if let Some(total) = figure("total_tokens") {
        assert_eq!(total, usage.total_input() + usage.output);
    }
}
