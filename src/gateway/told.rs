//! What a client is told in headers, trailers and its last chunk: the generation's id, its cost, the balance, and
//! what is left of its key's limits; in the names its SDK or CLI reads.
//!
//! An answer that is not streamed has its cost in headers. A streamed one begins before its cost is known: it
//! has the cost in trailers, which HTTP sends only to clients with `TE: trailers`, and, for those who ask by
//! `x-codexapi-include-cost: true`, in the usage of its last chunk, whether they asked for usage or not.

use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{ClientFamily, Protocol};
use codexapi_aggregates::wallet::{HoldLimits, KeyUseNow};
use codexapi_protocols::client::is_codex;
use http::header::TRAILER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::generation::Generation;
use crate::clock;

const COST: HeaderName = HeaderName::from_static("x-codexapi-cost-micro");
const BALANCE: HeaderName = HeaderName::from_static("x-codexapi-balance-micro");
const GENERATION: HeaderName = HeaderName::from_static("x-codexapi-generation-id");
const NOTICE: HeaderName = HeaderName::from_static("x-codexapi-notice");
const INCLUDE_COST: HeaderName = HeaderName::from_static("x-codexapi-include-cost");

/// The settled amounts of one generation, in micro-USD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paid {
    pub charged_micro: MicroUsd,
    pub balance_micro: MicroUsd,
    /// A plan paid, and nothing was charged.
    pub by_plan: bool,
}

/// What is left of a key's limits in the running minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyHeadroom {
    /// Limit and what is left.
    requests: Option<(u64, u64)>,
    tokens: Option<(u64, u64)>,
    resets_at: Timestamp,
    resets_secs: u64,
}

impl KeyHeadroom {
    pub fn new(limits: &HoldLimits, used: &KeyUseNow, now: Timestamp) -> Self {
        let left = |limit: u64, used: u64| (limit, limit.saturating_sub(used));
        let resets_micros = used.minute_ends_at.0.saturating_sub(now.0).max(0).unsigned_abs();
        Self {
            requests: limits
                .requests_per_minute
                .map(|limit| left(limit.into(), used.requests_this_minute.into())),
            tokens: limits.tokens_per_minute.map(|limit| left(limit, used.tokens_this_minute)),
            resets_at: used.minute_ends_at,
            resets_secs: resets_micros.div_ceil(1_000_000),
        }
    }
}

/// Whether the client wants the cost in its last chunk.
pub(super) fn is_cost_asked_for(headers: &HeaderMap) -> bool {
    headers.get(INCLUDE_COST).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// Headers of every answer of a generation, known when it begins.
pub(super) fn at_the_beginning(generation: &Generation, headers: &mut HeaderMap) {
    headers.insert(GENERATION, text(&generation.id.to_string()));
    if let Some(notice) = &generation.notice {
        headers.insert(NOTICE, text(&notice.text));
    }
    limits(&generation.limits, generation.protocol(), headers);
    if let Some(balance) = generation.balance_micro
        && is_codex(generation.caller.family)
    {
        codex_credits(balance, generation.by_plan, headers);
    }
}

/// Headers of an answer that is not streamed: what it cost.
pub(super) fn at_the_end(paid: &Paid, family: ClientFamily, headers: &mut HeaderMap) {
    for (name, value) in trailers(paid) {
        headers.extend(name.map(|name| (name, value)));
    }
    if is_codex(family) {
        codex_credits(paid.balance_micro, paid.by_plan, headers);
    }
}

/// Trailers of a streamed answer: what it cost.
pub(super) fn trailers(paid: &Paid) -> HeaderMap {
    HeaderMap::from_iter([
        (COST, HeaderValue::from(paid.charged_micro.0)),
        (BALANCE, HeaderValue::from(paid.balance_micro.0)),
    ])
}

/// Says which trailers will follow.
pub(super) fn announce_trailers(headers: &mut HeaderMap) {
    headers.insert(TRAILER, HeaderValue::from_static("x-codexapi-cost-micro, x-codexapi-balance-micro"));
}

/// The cost as JSON, for the usage of the last chunk.
pub(super) fn note(generation: &Generation, paid: &Paid) -> String {
    serde_json::json!({
        "generationId": generation.id.to_string(),
        "costMicro": paid.charged_micro.0,
        "costUsd": paid.charged_micro.to_string(),
        "balanceMicro": paid.balance_micro.0,
        "balanceUsd": paid.balance_micro.to_string(),
    })
    .to_string()
}

/// Codex shows the balance from these, and that a plan pays.
fn codex_credits(balance: MicroUsd, by_plan: bool, headers: &mut HeaderMap) {
    let said = |is_so: bool| HeaderValue::from_static(if is_so { "true" } else { "false" });
    headers.insert("x-codex-credits-has-credits", said(by_plan || balance > MicroUsd::ZERO));
    headers.insert("x-codex-credits-unlimited", said(by_plan));
    headers.insert("x-codex-credits-balance", text(&cents(balance)));
}

/// Dollars with two decimals, rounded down: a balance is never shown as more than it is.
fn cents(amount: MicroUsd) -> String {
    let cents = amount.0.div_euclid(10_000);
    format!("{}.{:02}", cents.div_euclid(100), cents.rem_euclid(100))
}

fn limits(headroom: &KeyHeadroom, protocol: Protocol, headers: &mut HeaderMap) {
    let kinds = [("requests", headroom.requests), ("tokens", headroom.tokens)];
    for (kind, left) in kinds {
        let Some((limit, left)) = left else { continue };
        let (names, reset) = match protocol {
            Protocol::Responses | Protocol::Chat | Protocol::Completions => (
                [
                    format!("x-ratelimit-limit-{kind}"),
                    format!("x-ratelimit-remaining-{kind}"),
                    format!("x-ratelimit-reset-{kind}"),
                ],
                format!("{}s", headroom.resets_secs),
            ),
            Protocol::Messages => (
                [
                    format!("anthropic-ratelimit-{kind}-limit"),
                    format!("anthropic-ratelimit-{kind}-remaining"),
                    format!("anthropic-ratelimit-{kind}-reset"),
                ],
                clock::rfc3339(headroom.resets_at),
            ),
        };
        let values = [HeaderValue::from(limit), HeaderValue::from(left), text(&reset)];
        for (name, value) in names.into_iter().zip(values) {
            headers.insert(HeaderName::try_from(name).expect("a fixed name"), value);
        }
    }
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("plain ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_is_never_shown_as_more_than_it_is() {
        for (micro, shown) in [(12_349_999, "12.34"), (9_999, "0.00"), (0, "0.00"), (1_000_000, "1.00")] {
            assert_eq!(cents(MicroUsd(micro)), shown);
        }
    }

    #[test]
    fn limits_are_told_in_the_names_of_the_callers_dialect() {
        let headroom = KeyHeadroom { requests: Some((60, 12)), resets_secs: 33, ..KeyHeadroom::default() };
        let mut openai = HeaderMap::new();
        limits(&headroom, Protocol::Chat, &mut openai);
        assert_eq!(openai["x-ratelimit-limit-requests"], "60");
        assert_eq!(openai["x-ratelimit-remaining-requests"], "12");
        assert_eq!(openai["x-ratelimit-reset-requests"], "33s");
        let mut anthropic = HeaderMap::new();
        limits(&headroom, Protocol::Messages, &mut anthropic);
        assert_eq!(anthropic["anthropic-ratelimit-requests-remaining"], "12");
        assert!(!anthropic.contains_key("anthropic-ratelimit-tokens-limit"), "no limit, no header");
    }
}
