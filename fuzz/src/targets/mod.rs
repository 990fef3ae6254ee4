//! What is fuzzed: everything of the dialects that reads what a client or a provider wrote.
//!
//! A body takes any bytes and panics where a promise is broken. Bodies are pure, so that the fuzzer and a
//! plain test run the same ones.

mod built;
mod check;
mod edits;
mod metering;
mod order;
mod request;
mod seeds;
mod splitting;
mod translation;
mod usage;

pub use seeds::noise;

use seeds::Kind;

/// One thing that is fuzzed.
pub struct Target {
    pub name: &'static str,
    pub body: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 14] = [
    Target { name: "sse", body: splitting::sse, seeds: seeds::streams },
    Target { name: "usage", body: usage::usage, seeds: seeds::reports },
    Target { name: "request", body: request::request, seeds: || seeds::bodies(Kind::Requests) },
    Target { name: "count", body: request::count, seeds: || seeds::bodies(Kind::Requests) },
    Target { name: "strip", body: request::strip, seeds: || seeds::bodies(Kind::Requests) },
    Target { name: "meter", body: metering::meter, seeds: seeds::streams },
    Target { name: "relabel", body: edits::relabel, seeds: seeds::streams },
    Target { name: "note", body: edits::note, seeds: seeds::streams },
    Target { name: "assemble", body: edits::assemble, seeds: seeds::streams },
    Target {
        name: "translate_request",
        body: translation::translate_request,
        seeds: || seeds::bodies(Kind::Requests),
    },
    Target {
        name: "translate_answer",
        body: translation::translate_answer,
        seeds: || seeds::exchanges(Kind::Answers),
    },
    Target {
        name: "translate_stream",
        body: translation::translate_stream,
        seeds: || seeds::exchanges(Kind::Events),
    },
    Target { name: "built_request", body: built::built_request, seeds: noise },
    Target { name: "built_exchange", body: built_exchange, seeds: noise },
];

/// Drawn whole or as a stream, by the first byte.
fn built_exchange(data: &[u8]) {
    let (chosen, rest) = check::choice(data);
    if chosen % 4 == 0 { built::built_answer(rest) } else { built::built_stream(rest) }
}
