//! Takes the free text of a custom tool out of its wrapping, `{"input": "…"}`, while it comes.
//!
//! A patch can be long; a client that saw nothing of it until its end might take the stream for dead. What
//! has been shown cannot be taken back, so once the text has begun, it is what the model wrote up to the
//! closing quote, whatever follows, and an escape that JSON does not have stands for itself.

use super::write_content::CUSTOM_INPUT;

#[derive(Debug, Default)]
pub(super) struct Unwrapper {
    state: State,
    /// Bytes of the JSON text that have been read.
    at: usize,
    text: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Inside,
    /// The text has ended, or this is no wrapping.
    Over,
}

/// What stands at the beginning of a piece of JSON.
enum Piece<T> {
    Whole(T),
    /// More has to come before it can be told.
    Cut,
    Other,
}

impl Unwrapper {
    /// Reads on in `json`, which is all that has come so far; what is new of the text.
    pub(super) fn read(&mut self, json: &str) -> &str {
        let known = self.text.len();
        if self.state == State::Before {
            self.state = match opening(json) {
                Piece::Whole(at) => {
                    self.at = at;
                    State::Inside
                }
                Piece::Cut => State::Before,
                Piece::Other => State::Over,
            };
        }
        while self.state == State::Inside && self.at < json.len() {
            let rest = &json[self.at..];
            let plain = rest.find(['"', '\\']).unwrap_or(rest.len());
            self.text.push_str(&rest[..plain]);
            self.at += plain;
            match rest.as_bytes().get(plain) {
                None => {}
                Some(b'"') => self.state = State::Over,
                Some(_) => match escape(&rest[plain..]) {
                    Piece::Whole((character, bytes)) => {
                        self.text.push(character);
                        self.at += bytes;
                    }
                    Piece::Cut => break,
                    Piece::Other => {
                        self.text.push('\\');
                        self.at += 1;
                    }
                },
            }
        }
        &self.text[known..]
    }

    /// The text, if it had begun.
    pub(super) fn into_text(self) -> Option<String> {
        (self.at > 0).then_some(self.text)
    }
}

/// Where the text begins.
fn opening(json: &str) -> Piece<usize> {
    let quoted = format!("\"{CUSTOM_INPUT}\"");
    let mut rest = json;
    for token in ["{", &quoted, ":", "\""] {
        rest = rest.trim_start();
        match rest.strip_prefix(token) {
            Some(after) => rest = after,
            None if token.starts_with(rest) => return Piece::Cut,
            None => return Piece::Other,
        }
    }
    Piece::Whole(json.len() - rest.len())
}

/// The character that an escape stands for, and the escape's length in bytes.
fn escape(json: &str) -> Piece<(char, usize)> {
    let character = match json.as_bytes().get(1) {
        None => return Piece::Cut,
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(plain @ (b'"' | b'\\' | b'/')) => char::from(*plain),
        Some(b'u') => return unicode(json),
        Some(_) => return Piece::Other,
    };
    Piece::Whole((character, 2))
}

/// One unit of UTF-16, or a pair of them; half a pair is replaced, as everywhere in Unicode.
fn unicode(json: &str) -> Piece<(char, usize)> {
    let first = match unit(json) {
        Piece::Whole(unit) => unit,
        Piece::Cut => return Piece::Cut,
        Piece::Other => return Piece::Other,
    };
    if !(0xD800..0xDC00).contains(&first) {
        return Piece::Whole((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6));
    }
    match unit(&json[6..]) {
        Piece::Whole(second) if (0xDC00..0xE000).contains(&second) => {
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            Piece::Whole((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12))
        }
        Piece::Cut => Piece::Cut,
        Piece::Whole(_) | Piece::Other => Piece::Whole((char::REPLACEMENT_CHARACTER, 6)),
    }
}

/// `\u` and four hexadecimal digits.
fn unit(json: &str) -> Piece<u32> {
    if json.len() < 2 {
        return if "\\u".starts_with(json) { Piece::Cut } else { Piece::Other };
    }
    let Some(digits) = json.strip_prefix("\\u") else { return Piece::Other };
    let known = digits.bytes().take(4).take_while(u8::is_ascii_hexdigit).count();
    match u32::from_str_radix(&digits[..known], 16) {
        Ok(unit) if known == 4 => Piece::Whole(unit),
        _ if known == digits.len() => Piece::Cut,
        _ => Piece::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text as it comes, and as it is at the end.
    fn unwrapped(json: &str, size: usize) -> (String, Option<String>) {
        let mut unwrapper = Unwrapper::default();
        let mut come = String::new();
        let ends =
            json.char_indices().map(|(at, letter)| at + letter.len_utf8()).skip(size - 1).step_by(size);
        for end in ends.chain([json.len()]) {
            come.push_str(unwrapper.read(&json[..end]));
        }
        (come, unwrapper.into_text())
    }

    fn escaped(text: &str) -> String {
        text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
    }

    proptest! {
        #[test]
        fn any_text_comes_out_as_it_was_wrapped(text: String, size in 1usize..9) {
            let whole = (text.clone(), Some(text.clone()));
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unwrapped(&format!("{{\"input\":{quoted}}}"), size), whole.clone());
            prop_assert_eq!(unwrapped(&format!(" {{ \"input\" : {quoted} }} "), size), whole.clone());
            prop_assert_eq!(unwrapped(&format!("{{\"input\":\"{}\"}}", escaped(&text)), size), whole);
        }

        #[test]
        fn whatever_stands_there_it_comes_as_it_ends(
            json in "(\\{\"input\":\")?[{}\"\\\\:u0d8cinpt😀 ]{0,40}",
            size in 1usize..9,
        ) {
            let (come, text) = unwrapped(&json, size);
            prop_assert_eq!(come, text.unwrap_or_default());
        }
    }

    #[test]
    fn what_is_cut_or_broken_is_shown_as_far_as_it_goes() {
        let cases = [
            ("{\"input\":\"a\\nb", Some("a\nb")),
            ("{\"input\":\"a\\", Some("a")),
            ("{\"input\":\"a\\q\"}", Some("a\\q")),
            ("{\"input\":\"\\ud83d!\"}", Some("\u{fffd}!")),
            ("{\"input\":\"a\",\"input\":\"b\"}", Some("a")),
            ("{\"patch\":\"a\"}", None),
            ("{\"inp", None),
            ("", None),
        ];
        for (json, text) in cases {
            assert_eq!(unwrapped(json, 1).1.as_deref(), text, "{json}");
        }
    }
}
