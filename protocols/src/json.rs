//! A walk over JSON text that serde has already found valid: where values stand and how long they
//! are, without building anything.
//!
//! Metering needs lengths and byte positions of what is forwarded untouched; a tree of values would
//! cost more than all the rest of a request. On text that is not JSON the walk ends early or names
//! nonsense, but never panics.

use memchr::memchr2;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// One step of a walk. Keys and texts are as written, between their quotes, escapes not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// An object or array begins; `key` is empty inside arrays and at the top.
    Open {
        key: &'a str,
    },
    Close,
    Key {
        raw: &'a str,
    },
    /// A string value; `bytes` is its length once escapes are resolved (never too short).
    Text {
        key: &'a str,
        raw: &'a str,
        bytes: u64,
    },
    /// A number, `true`, `false` or `null`.
    Scalar {
        raw: &'a str,
    },
}

pub struct Walk<'a> {
    text: &'a str,
    at: usize,
    token_start: usize,
    /// For each open container, whether it is an object.
    open: Vec<bool>,
    key: &'a str,
    expects_key: bool,
}

impl<'a> Walk<'a> {
    pub fn new(text: &'a str) -> Self {
        Walk { text, at: 0, token_start: 0, open: Vec::new(), key: "", expects_key: false }
    }

    /// Containers open after the last token.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Bytes of the last token, quotes and brackets included.
    pub fn token_range(&self) -> Range<usize> {
        self.token_start..self.at
    }

    fn value_key(&self) -> &'a str {
        if self.open.last() == Some(&true) { self.key } else { "" }
    }

    fn string(&mut self) -> Option<Token<'a>> {
        let (end, bytes) = string_end(self.text.as_bytes(), self.at + 1)?;
        let raw = self.text.get(self.at + 1..end)?;
        self.at = end + 1;
        if self.expects_key {
            self.key = raw;
            return Some(Token::Key { raw });
        }
        Some(Token::Text { key: self.value_key(), raw, bytes })
    }

    fn scalar(&mut self) -> Option<Token<'a>> {
        let rest = self.text.get(self.at..)?;
        let length = rest.find([',', '}', ']', ' ', '\n', '\r', '\t', ':', '"']).unwrap_or(rest.len());
        self.at += length.max(1);
        rest.get(..length.max(1)).map(|raw| Token::Scalar { raw })
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            self.token_start = self.at;
            match byte {
                b'"' => return self.string(),
                b'{' | b'[' => {
                    let key = self.value_key();
                    self.at += 1;
                    self.open.push(byte == b'{');
                    self.expects_key = byte == b'{';
                    return Some(Token::Open { key });
                }
                b'}' | b']' => {
                    self.at += 1;
                    self.open.pop();
                    self.expects_key = false;
                    return Some(Token::Close);
                }
                b',' => {
                    self.at += 1;
                    self.expects_key = self.open.last() == Some(&true);
                }
                b':' => {
                    self.at += 1;
                    self.expects_key = false;
                }
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                _ => return self.scalar(),
            }
        }
    }
}

/// The closing quote of the string whose first byte after the opening quote is at `from`, and the
/// string's length once escapes are resolved. `None` where the string does not end.
pub fn string_end(text: &[u8], from: usize) -> Option<(usize, u64)> {
    let mut at = from;
    let mut bytes = 0u64;
    loop {
        let found = at + memchr2(b'"', b'\\', text.get(at..)?)?;
        bytes += (found - at) as u64;
        if text[found] == b'"' {
            return Some((found, bytes));
        }
        let unicode = text.get(found + 1) == Some(&b'u');
        // One \uXXXX is at most three bytes of UTF-8; a surrogate pair counts as six instead of four.
        bytes += if unicode { 3 } else { 1 };
        at = found + if unicode { 6 } else { 2 };
    }
}

/// The text of a JSON string; `None` for any other value.
pub fn as_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text>(raw.get()).ok().map(|text| text.0)
}

/// The tree of a whole text.
///
/// serde_json's own reading of a [`Value`] takes an object whose first key is its name for raw JSON apart: the
/// text under it would become structure that nobody has counted. Here every object is what it says.
pub fn value(text: &[u8]) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Tree.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

struct Tree;

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number beyond any"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Tree)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            members.insert(key, entries.next_value_seed(Tree)?);
        }
        Ok(Value::Object(members))
    }
}

/// The fields of a JSON object; `None` for anything else. serde alone would read an array as the fields in
/// order.
pub fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    let is_object = text.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(text).ok()).flatten()
}

/// A value that is read only where it is written as an object: serde alone would read an array as the fields in
/// order, and what is carried must be what is metered.
#[derive(Debug, Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(std::marker::PhantomData)).map(Self)
    }
}

/// Whether a field that is present says `null`.
pub fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// For `deserialize_with`: `Some` for every field that is present, `null` included, so that its
/// place is known.
pub fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Where `part` stands in `whole`, which it must be borrowed from.
pub fn range_in(whole: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    debug_assert!(start + part.len() <= whole.len(), "the part is borrowed from the whole");
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_names_keys_texts_and_depths() {
        let mut walk = Walk::new(r#"{"a": ["x\n", {"b\"c": -1.5e3}], "d": null}"#);
        let tokens: Vec<_> = walk.by_ref().collect();
        assert_eq!(
            tokens,
            [
                Token::Open { key: "" },
                Token::Key { raw: "a" },
                Token::Open { key: "a" },
                Token::Text { key: "", raw: r"x\n", bytes: 2 },
                Token::Open { key: "" },
                Token::Key { raw: r#"b\"c"# },
                Token::Scalar { raw: "-1.5e3" },
                Token::Close,
                Token::Close,
                Token::Key { raw: "d" },
                Token::Scalar { raw: "null" },
                Token::Close,
            ]
        );
        assert_eq!(walk.depth(), 0);
    }

    #[test]
    fn the_length_of_a_text_is_what_it_is_once_escapes_are_resolved() {
        for text in ["plain", "line\nbreak", "quote \" and \\", "é ü 漢字", ""] {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(string_end(json.as_bytes(), 1), Some((json.len() - 1, text.len() as u64)), "{text}");
        }
        assert_eq!(string_end(br#"\u00e9""#, 0), Some((6, 3)));
    }

    #[test]
    fn text_that_is_not_json_ends_the_walk_without_panic() {
        for text in ["", "\"", "\"\\", "{\"a", "}}]]", ":::", "{\"a\":\"\\u12", "é", "[é,\"é", "\u{feff}{"]
        {
            assert!(Walk::new(text).count() <= text.len(), "{text}");
        }
    }

    #[test]
    fn a_tree_is_what_its_text_says_also_where_that_is_serde_jsons_own_word() {
        let inner = r#"{"$serde_json::private::RawValue":"{\"a\":[1]}"}"#;
        let text = format!(r#" {{"x":[{inner},-1,1.5,true,null,"\u00e9"],"y":{inner}}} "#);
        let tree = value(text.as_bytes()).expect("JSON");
        assert_eq!(tree["y"]["$serde_json::private::RawValue"], r#"{"a":[1]}"#);
        assert_eq!(tree["x"][0], tree["y"]);
        assert_eq!(tree["x"][5], "\u{e9}");
        assert_eq!(serde_json::to_string(&tree["y"]).expect("JSON"), inner);
        for broken in ["", "{", "1 2", r#"{"a":}"#, &"[".repeat(200)] {
            assert!(value(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_walk_panic_or_run_on(text in ".{0,60}") {
            proptest::prop_assert!(Walk::new(&text).count() <= text.len());
        }
    }
}
