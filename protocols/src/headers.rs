//! Which headers cross the gateway, in either direction: those named here, no others.
//!
//! Allow-lists, because a header nobody thought of must not carry a customer's credentials to a
//! provider, nor the operator's account with a provider to a customer.

use codexapi_aggregates::usage::Protocol;
use http::{HeaderMap, HeaderName};

/// `false` tells Anthropic's and OpenAI's clients, and Claude Code, that trying again is in vain.
pub const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Request headers that every provider may see. No `idempotency-key`: two customers may choose the
/// same, and share our account with the provider.
const REQUEST: [&str; 3] = ["accept", "content-type", "user-agent"];

/// Request headers for providers of OpenAI's dialects; with them everything that begins `x-codex-`.
const REQUEST_OPENAI: [&str; 6] =
    ["openai-beta", "originator", "session-id", "session_id", "thread-id", "x-client-request-id"];

/// Request headers for providers of Anthropic's dialect.
const REQUEST_ANTHROPIC: [&str; 4] =
    ["anthropic-beta", "anthropic-version", "anthropic-dangerous-direct-browser-access", "x-app"];

/// Response headers a client gets from the provider. Codex echoes the turn state within a turn.
const RESPONSE: [&str; 4] = ["content-type", "retry-after", "retry-after-ms", "x-codex-turn-state"];

/// The request headers a provider gets; credentials, host and length are set by the transport.
pub fn forwarded_request(protocol: Protocol, headers: &HeaderMap) -> HeaderMap {
    picked(headers, |name| {
        let own: &[&str] = match protocol {
            Protocol::Responses | Protocol::Chat | Protocol::Completions => &REQUEST_OPENAI,
            Protocol::Messages => &REQUEST_ANTHROPIC,
        };
        let codex = protocol != Protocol::Messages && name.starts_with("x-codex-");
        REQUEST.contains(&name) || own.contains(&name) || codex
    })
}

/// The response headers a client gets; our request id is added by the caller. Never `openai-model`,
/// which makes Codex tell the user that the account is flagged, nor the provider's rate limits,
/// which are the operator's.
pub fn passed_response(headers: &HeaderMap) -> HeaderMap {
    picked(headers, |name| RESPONSE.contains(&name))
}

fn picked(headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> HeaderMap {
    let mut picked = HeaderMap::with_capacity(headers.len().min(16));
    for (name, value) in headers {
        if wanted(name.as_str()) {
            picked.append(HeaderName::clone(name), value.clone());
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("v"))).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<String> {
        let mut names: Vec<_> = headers.keys().map(|name| name.to_string()).collect();
        names.sort();
        names
    }

    const SECRETS_AND_TRANSPORT: [&str; 17] = [
        "authorization",
        "x-api-key",
        "cookie",
        "host",
        "forwarded",
        "x-forwarded-for",
        "x-real-ip",
        "connection",
        "keep-alive",
        "transfer-encoding",
        "content-length",
        "te",
        "upgrade",
        "proxy-authorization",
        "accept-encoding",
        "idempotency-key",
        "openai-organization",
    ];

    #[test]
    fn credentials_and_transport_never_reach_a_provider() {
        for protocol in [Protocol::Responses, Protocol::Chat, Protocol::Messages] {
            assert!(forwarded_request(protocol, &headers(&SECRETS_AND_TRANSPORT)).is_empty());
        }
    }

    #[test]
    fn what_codex_and_claude_code_say_to_the_provider_gets_there() {
        let codex = headers(&["x-codex-turn-metadata", "x-codex-turn-state", "originator", "thread-id"]);
        assert_eq!(forwarded_request(Protocol::Responses, &codex), codex);
        assert!(forwarded_request(Protocol::Messages, &codex).is_empty());
        let claude = headers(&["anthropic-beta", "anthropic-version", "x-app", "user-agent"]);
        assert_eq!(forwarded_request(Protocol::Messages, &claude), claude);
        assert!(forwarded_request(Protocol::Chat, &headers(&["x-codexclaude-version"])).is_empty());
    }

    #[test]
    fn a_header_sent_twice_arrives_twice() {
        let mut sent = HeaderMap::new();
        sent.append("anthropic-beta", HeaderValue::from_static("a"));
        sent.append("anthropic-beta", HeaderValue::from_static("b"));
        let got = forwarded_request(Protocol::Messages, &sent);
        assert_eq!(got.get_all("anthropic-beta").iter().count(), 2);
    }

    #[test]
    fn a_client_learns_nothing_of_the_operators_account() {
        let sent = headers(&[
            "content-type",
            "x-codex-turn-state",
            "retry-after",
            "openai-model",
            "openai-organization",
            "openai-processing-ms",
            "set-cookie",
            "x-request-id",
            "request-id",
            "x-ratelimit-remaining-tokens",
            "anthropic-ratelimit-requests-limit",
            "anthropic-organization-id",
            "x-codex-primary-used-percent",
            "x-codex-credits-balance",
            "transfer-encoding",
            "content-length",
            "content-encoding",
            "server",
            "cf-ray",
        ]);
        assert_eq!(names(&passed_response(&sent)), ["content-type", "retry-after", "x-codex-turn-state"]);
    }
}
