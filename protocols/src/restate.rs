//! Says something else in an object's own members: ids, states, what was asked. What stands deeper,
//! the model's words among it, is never touched.

use std::ops::Range;

use bytes::Bytes;

use super::json::{Token, Walk};
use super::sse::Frame;

/// Members and their new values, as JSON.
pub type Members<'a> = [(&'a str, String)];

/// `object` with these members; the ones it does not have are put first. Text that is no object stays
/// as it is.
pub fn restate(object: &str, members: &Members) -> String {
    if !object.trim_ascii_start().starts_with('{') {
        return object.to_owned();
    }
    let mut places: Vec<(Range<usize>, &str)> = Vec::new();
    let mut added = String::new();
    for (name, value) in members {
        match member(object, name) {
            Some(at) => places.push((at, value)),
            None => added.push_str(&format!("{}:{value},", serde_json::Value::from(*name))),
        }
    }
    places.sort_by_key(|(at, _)| at.start);
    let open = object.find('{').map_or(0, |at| at + 1);
    if object[open..].trim_ascii_start().starts_with('}') {
        added.pop();
    }
    let mut stated = String::with_capacity(object.len() + added.len() + 64);
    stated.push_str(&object[..open]);
    stated.push_str(&added);
    let mut from = open;
    for (at, value) in places {
        stated.push_str(&object[from..at.start]);
        stated.push_str(value);
        from = at.end;
    }
    stated.push_str(&object[from..]);
    stated
}

/// An event of a Responses stream with these members in its `response`; the same bytes where it has
/// none.
pub fn restate_event(frame: &Frame, members: &Members) -> Bytes {
    let Some(data) = frame.data() else { return frame.bytes().clone() };
    // Most events are of single words.
    if memchr::memmem::find(&data, br#""response""#).is_none() {
        return frame.bytes().clone();
    }
    let Ok(text) = std::str::from_utf8(&data) else { return frame.bytes().clone() };
    let Some(at) = member(text, "response").filter(|at| text[at.clone()].starts_with('{')) else {
        return frame.bytes().clone();
    };
    let stated = restate(&text[at.clone()], members);
    frame.with_data([&text[..at.start], &stated, &text[at.end..]].concat().as_bytes())
}

/// Where the value of an object's own member stands.
pub fn member(object: &str, name: &str) -> Option<Range<usize>> {
    let mut walk = Walk::new(object);
    while let Some(token) = walk.next() {
        if walk.depth() != 1 || !matches!(token, Token::Key { raw } if raw == name) {
            continue;
        }
        let first = walk.next()?;
        let start = walk.token_range().start;
        let mut last = first;
        while walk.depth() > 1 {
            last = walk.next()?;
        }
        debug_assert!(first == last || last == Token::Close);
        return Some(start..walk.token_range().end);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_objects_own_members_are_restated() {
        let object = r#"{"id":"a", "output":[{"id":"b","status":"x"}] ,"status" : {"id":1}}"#;
        let members = [("status", "\"done\"".to_owned()), ("id", "\"c\"".to_owned())];
        assert_eq!(
            restate(object, &members),
            r#"{"id":"c", "output":[{"id":"b","status":"x"}] ,"status" : "done"}"#
        );
    }

    #[test]
    fn what_is_missing_is_put_first() {
        let members = [("store", "true".to_owned()), ("id", "null".to_owned())];
        assert_eq!(restate(r#"{"id":"a"}"#, &members), r#"{"store":true,"id":null}"#);
        assert_eq!(restate("{ }", &members), r#"{"store":true,"id":null }"#);
        assert_eq!(restate("[1]", &members), "[1]");
    }

    #[test]
    fn an_event_is_restated_in_its_response_alone() {
        let members = [("id", "\"new\"".to_owned())];
        let event = |data: &str| {
            let mut frames = Vec::new();
            let chunk = Bytes::from(format!("event: e\ndata: {data}\n\n"));
            crate::sse::SseSplitter::default().push(&chunk, &mut frames).expect("small");
            String::from_utf8(restate_event(&frames[0], &members).to_vec()).expect("text")
        };
        assert_eq!(
            event(r#"{"id":"x","response":{"id":"old"}}"#),
            "event: e\ndata: {\"id\":\"x\",\"response\":{\"id\":\"new\"}}\n\n"
        );
        assert_eq!(
            event(r#"{"id":"x","item":{"id":"old"}}"#),
            "event: e\ndata: {\"id\":\"x\",\"item\":{\"id\":\"old\"}}\n\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            restate(&text, &[("a", "1".to_owned())]);
        }
    }
}
