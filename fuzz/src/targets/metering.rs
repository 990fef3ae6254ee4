//! Meters: nothing is delivered that did not come, an end is said once, and no report credits.

use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::meter::{Disposition, MeterSettings, Metered, StreamMeter, Terminal, meter_body};

use super::check::{CEILING_TOKENS, assert_believable, choice, client, frames};

/// The most kept of a name, and of an error's text.
const LONGEST_NAME: usize = 256;
const LONGEST_MESSAGE: usize = 2_048;

/// The first byte chooses the dialect and whether the client asked for usage; the rest is both a stream and
/// a body.
pub fn meter(data: &[u8]) {
    let (chosen, rest) = choice(data);
    stream(client(chosen), chosen & 4 != 0, rest);
    let metered = meter_body(client(chosen), rest);
    sound(&metered, rest.len());
}

pub fn stream(protocol: Protocol, include_usage: bool, stream: &[u8]) {
    let settings = MeterSettings { choices: 2, include_usage };
    let mut meter = StreamMeter::new(protocol, settings);
    let (mut seen, mut events, mut withholding) = (0, 0, false);
    let mut ended = Terminal::None;
    for frame in frames(stream) {
        seen += frame.bytes().len();
        events += u64::from(frame.data().is_some());
        let said = meter.observe(&frame);
        let so_far = meter.so_far();
        sound(so_far, seen);
        assert_eq!(so_far.events_seen, events);
        assert!(ended == Terminal::None || ended == so_far.terminal, "an end is recorded once");
        assert_eq!(said == Disposition::UpstreamFailed, so_far.terminal.is_failed());
        assert!(!withholding || said != Disposition::Forward, "nothing passes after the end");
        assert!(!so_far.terminal.is_finished() || said != Disposition::Forward);
        withholding |= said == Disposition::Withhold;
        ended = so_far.terminal.clone();
    }
    sound(&meter.end(), seen);
}

fn sound(metered: &Metered, read: usize) {
    let read = read as u64;
    assert!(metered.output_bytes <= read, "{} of {read}", metered.output_bytes);
    assert!(metered.output_started || metered.output_bytes == 0);
    assert!(metered.web_search_calls <= read);
    assert!(metered.estimated_output_tokens() <= read);
    for report in [&metered.usage, &metered.usage_so_far].into_iter().flatten() {
        if let Ok(usage) = report.check(CEILING_TOKENS) {
            assert_believable(&usage);
        }
    }
    let estimated = metered.estimated_usage(10, CEILING_TOKENS);
    assert!(estimated.output <= read && estimated.total_input() <= CEILING_TOKENS);
    for name in [&metered.response_id, &metered.served_model].into_iter().flatten() {
        assert!(name.len() <= LONGEST_NAME && !name.chars().any(char::is_control));
    }
    match &metered.terminal {
        Terminal::Failed(error) | Terminal::ErrorInBand(error) => {
            assert!(error.code.as_ref().is_none_or(|code| code.len() <= LONGEST_NAME));
            assert!(error.message.as_ref().is_none_or(|text| text.len() <= LONGEST_MESSAGE));
        }
        Terminal::Completed { finish_reason: word } | Terminal::Incomplete { reason: word } => {
            assert!(word.as_ref().is_none_or(|word| word.len() <= LONGEST_NAME));
        }
        Terminal::None => {}
    }
}
