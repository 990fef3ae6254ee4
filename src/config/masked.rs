//! What an error may repeat of what it was given: no password before an address's host, and nothing that looks like a
//! key. Either may have been written into the wrong place, and errors end up in logs.

/// How keys of providers, of Stripe and of this service begin.
const BEGINNINGS: [&str; 8] = ["sk-", "sk_", "pk_", "rk_", "whsec_", "xai-", "gsk_", "g2g-"];
/// The least characters of a key that begins so, of one that mixes cases and digits, and of one in hexadecimal. Names of
/// models, ids and words are none of these.
const KNOWN: usize = 10;
const MIXED: usize = 20;
const HEXADECIMAL: usize = 32;

/// `value` as an error may show it.
pub(super) fn masked(value: &str) -> String {
    without_keys(&without_user(value))
}

/// `text`, which may quote several values, without what looks like a key.
pub(super) fn without_keys(text: &str) -> String {
    let ends_word = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == '-');
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(ends_word) {
        let word = piece.trim_end_matches(ends_word);
        shown.push_str(if looks_like_a_key(word) { "…" } else { word });
        shown.push_str(&piece[word.len()..]);
    }
    shown
}

fn looks_like_a_key(word: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| word.bytes().any(|byte| kind(&byte));
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    (word.len() >= KNOWN && BEGINNINGS.iter().any(|beginning| word.starts_with(beginning)))
        || (word.len() >= MIXED && mixed)
        || (word.len() >= HEXADECIMAL && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// What an address has before its host may be a password.
pub(super) fn without_user(value: &str) -> String {
    let user = value.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
    match user {
        Some((scheme, (_, host))) => format!("{scheme}://…@{host}"),
        None => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_passwords_are_left_out_and_all_else_is_kept() {
        for (value, shown) in [
            ("sk-proj-SECRET", "…"),
            ("https://api.example.com/?key=sk_live_0123456789", "https://api.example.com/?key=…"),
            ("https://user:hunter2@api.example.com/v1", "https://…@api.example.com/v1"),
            ("AIzaSyA1234567890abcdefgh is not dollars", "… is not dollars"),
            (&"5a".repeat(32), "…"),
        ] {
            assert_eq!(masked(value), shown);
        }
        for kept in [
            "claude-sonnet-4-5-20250929",
            "terms_allow_resale_and_more",
            "CODEXAPI_DATABASE_CONNECTIONS",
            "01a22f8e-8c1a-7542-adf7-aa1690a6ad91",
            "https://generativelanguage.googleapis.com/v1beta/openai/",
        ] {
            assert_eq!(masked(kept), kept);
        }
    }
}
