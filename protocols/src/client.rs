//! Who is calling, as far as a client says so itself: for reports, billing policy and how to speak
//! to it. Everything here can be spoofed and grants nothing.

use codexapi_aggregates::usage::ClientFamily;
use http::HeaderMap;

/// codexclaude names its version here, whatever Codex version it wraps.
pub const CODEXCLAUDE_HEADER: &str = "x-codexclaude-version";

/// The longest conversation id that is taken; it names an event stream.
pub const MAX_CONVERSATION_ID_BYTES: usize = 256;

/// The client program. codexclaude wraps Codex and sends its headers too, so it is asked first.
pub fn family(headers: &HeaderMap) -> ClientFamily {
    let originator = text(headers, "originator").unwrap_or_default();
    let agent = text(headers, "user-agent").unwrap_or_default();
    let says = |name: &str| starts_with(originator, name) || starts_with(agent, name);
    if headers.contains_key(CODEXCLAUDE_HEADER) || says("codexclaude") {
        ClientFamily::Codexclaude
    } else if says("codex_") || says("codex-") || says("codex/") {
        ClientFamily::CodexCli
    } else if starts_with(agent, "claude-cli/") || starts_with(agent, "claude-code/") {
        ClientFamily::ClaudeCode
    } else if headers.contains_key("x-codex-turn-metadata") || headers.contains_key("x-codex-window-id") {
        // An app-server client chooses its own originator, but the engine is Codex.
        ClientFamily::CodexCli
    } else if ["openai/", "asyncopenai/", "azureopenai/"].iter().any(|name| starts_with(agent, name)) {
        ClientFamily::OpenaiSdk
    } else if ["anthropic/", "asyncanthropic/"].iter().any(|name| starts_with(agent, name)) {
        ClientFamily::AnthropicSdk
    } else {
        ClientFamily::Other
    }
}

/// Whether the caller behaves as Codex does towards errors and keep-alives.
pub fn is_codex(family: ClientFamily) -> bool {
    match family {
        ClientFamily::CodexCli | ClientFamily::Codexclaude => true,
        ClientFamily::ClaudeCode
        | ClientFamily::OpenaiSdk
        | ClientFamily::AnthropicSdk
        | ClientFamily::Other => false,
    }
}

/// Whether a person reads the session along: an interactive Codex or Claude Code, not a script that takes the last
/// thing said for its result.
pub fn has_a_reader(headers: &HeaderMap) -> bool {
    let originator = text(headers, "originator").unwrap_or_default();
    let agent = text(headers, "user-agent").unwrap_or_default();
    match family(headers) {
        ClientFamily::CodexCli | ClientFamily::Codexclaude => {
            let says = |name: &str| starts_with(originator, name) || starts_with(agent, name);
            says("codex_cli_rs") || says("codex-tui") || says("codex_vscode") || says("codexclaude")
        }
        // As it says of itself: `(external, cli)`; with `-p` and from its SDK it is `(external, sdk-cli)`.
        ClientFamily::ClaudeCode => agent.contains(", cli"),
        ClientFamily::OpenaiSdk | ClientFamily::AnthropicSdk | ClientFamily::Other => false,
    }
}

/// The conversation this request belongs to, where the client names one: Codex's thread, else the
/// body's cache key; Claude Code's session.
pub fn conversation_id(
    family: ClientFamily,
    headers: &HeaderMap,
    prompt_cache_key: Option<&str>,
) -> Option<String> {
    let named = match family {
        ClientFamily::CodexCli | ClientFamily::Codexclaude => text(headers, "thread-id")
            .or_else(|| text(headers, "session-id"))
            .or_else(|| text(headers, "session_id"))
            .or_else(|| text(headers, "x-claude-code-session-id"))
            .or(prompt_cache_key),
        ClientFamily::ClaudeCode => text(headers, "x-claude-code-session-id").or(prompt_cache_key),
        ClientFamily::OpenaiSdk | ClientFamily::AnthropicSdk | ClientFamily::Other => prompt_cache_key,
    };
    let id = named?.trim();
    let fits = !id.is_empty() && id.len() <= MAX_CONVERSATION_ID_BYTES && !id.chars().any(char::is_control);
    fits.then(|| id.to_owned())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.trim().is_empty())
}

fn starts_with(value: &str, prefix: &str) -> bool {
    value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn clients_are_known_by_what_they_really_send() {
        let cases: [(&[(&str, &str)], ClientFamily); 11] = [
            (&[("originator", "codex_exec")], ClientFamily::CodexCli),
            (&[("originator", "codex_cli_rs")], ClientFamily::CodexCli),
            (&[("originator", "codex_vscode")], ClientFamily::CodexCli),
            (
                &[("user-agent", "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm (codex_exec; 0.169.0)")],
                ClientFamily::CodexCli,
            ),
            (
                &[("originator", "my-app"), ("user-agent", "my-app/0.1"), ("x-codex-window-id", "t:0")],
                ClientFamily::CodexCli,
            ),
            (&[("user-agent", "claude-cli/2.1.197 (external, sdk-cli)")], ClientFamily::ClaudeCode),
            (&[("originator", "codexclaude")], ClientFamily::Codexclaude),
            (&[("originator", "codex_exec"), ("x-codexclaude-version", "2.0.11")], ClientFamily::Codexclaude),
            (&[("user-agent", "OpenAI/Python 3.54.0")], ClientFamily::OpenaiSdk),
            (&[("user-agent", "AsyncAnthropic/Python 2.12.0")], ClientFamily::AnthropicSdk),
            (&[("user-agent", "curl/8.0")], ClientFamily::Other),
        ];
        for (sent, expected) in cases {
            assert_eq!(family(&headers(sent)), expected, "{sent:?}");
        }
    }

    #[test]
    fn a_script_has_no_reader() {
        let reads = |sent: &[(&'static str, &'static str)]| has_a_reader(&headers(sent));
        assert!(reads(&[("originator", "codex_cli_rs")]));
        assert!(reads(&[("user-agent", "codex-tui/0.169.0 (Debian)")]));
        assert!(reads(&[("user-agent", "claude-cli/2.1.197 (external, cli)")]));
        assert!(!reads(&[("originator", "codex_exec"), ("user-agent", "codex_exec/0.169.0")]));
        assert!(!reads(&[("user-agent", "claude-cli/2.1.197 (external, sdk-cli)")]));
        assert!(!reads(&[("user-agent", "OpenAI/Python 3.54.0")]) && !reads(&[]));
    }

    #[test]
    fn codex_names_its_thread_else_its_session_else_its_cache_key() {
        let codex = ClientFamily::CodexCli;
        let both = headers(&[("thread-id", "t"), ("session-id", "s")]);
        assert_eq!(conversation_id(codex, &both, Some("k")).as_deref(), Some("t"));
        let session = headers(&[("session-id", "s"), ("thread-id", " ")]);
        assert_eq!(conversation_id(codex, &session, Some("k")).as_deref(), Some("s"));
        assert_eq!(conversation_id(codex, &headers(&[]), Some("k")).as_deref(), Some("k"));
        assert_eq!(conversation_id(codex, &headers(&[]), None), None);
    }

    #[test]
    fn others_are_named_by_their_own_header_or_cache_key_only() {
        let sent = headers(&[("x-claude-code-session-id", "c"), ("thread-id", "t")]);
        assert_eq!(conversation_id(ClientFamily::ClaudeCode, &sent, None).as_deref(), Some("c"));
        assert_eq!(conversation_id(ClientFamily::Other, &sent, None), None);
        assert_eq!(conversation_id(ClientFamily::Other, &sent, Some("k")).as_deref(), Some("k"));
    }

    #[test]
    fn an_id_that_could_not_name_a_stream_is_none() {
        let long = "x".repeat(MAX_CONVERSATION_ID_BYTES + 1);
        for id in ["", "  ", "a\0b", "a\nb", &long] {
            assert_eq!(conversation_id(ClientFamily::Other, &HeaderMap::new(), Some(id)), None, "{id:?}");
        }
    }
}
