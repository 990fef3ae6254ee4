//! Takes what another dialect's provider sealed out of a body that is passed through to its own dialect.
//!
//! A session that changed its provider holds our envelopes where the dialect has its own proof, and the
//! provider would refuse them. The reasoning goes with its proof; every other byte stays as it came.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::conversation::{SealedContent, has_foreign_seal};
use crate::json::{as_text, range_in};

#[derive(Deserialize)]
struct ResponsesBody<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessagesBody<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// Where a dialect keeps proof, and what kind of thing it is the proof of.
#[derive(Deserialize)]
struct Sealed<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    encrypted_content: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A Responses body without the reasoning items whose proof is our envelope; `None` where there is none.
pub fn strip_foreign(body: &[u8]) -> Option<Vec<u8>> {
    let body = candidate(body)?;
    let input = serde_json::from_str::<ResponsesBody>(body).ok()?.input?;
    let list = without_sealed(input)?;
    Some(replaced(body, range_in(body.as_bytes(), input.get()), &join(&list)))
}

/// A Messages body without the thinking whose signature is our envelope; `None` where there is none. A turn
/// of which nothing is left goes too.
pub fn strip_foreign_thinking(body: &[u8]) -> Option<Vec<u8>> {
    let body = candidate(body)?;
    let messages = serde_json::from_str::<MessagesBody>(body).ok()?.messages?;
    let list: Vec<&RawValue> = serde_json::from_str(messages.get()).ok()?;
    let mut kept = Vec::with_capacity(list.len());
    let mut changed = false;
    for message in list {
        match thinking_removed(message.get()) {
            None => kept.push(message.get().to_owned()),
            Some(rest) => {
                changed = true;
                kept.extend(rest);
            }
        }
    }
    let range = range_in(body.as_bytes(), messages.get());
    changed.then(|| replaced(body, range, &join(&kept)))
}

fn candidate(body: &[u8]) -> Option<&str> {
    std::str::from_utf8(body).ok().filter(|body| has_foreign_seal(body.as_bytes()))
}

/// One message without its foreign thinking: `None` where it has none, `Some(None)` where it had nothing
/// else.
fn thinking_removed(message: &str) -> Option<Option<String>> {
    if !has_foreign_seal(message.as_bytes()) {
        return None;
    }
    let content = serde_json::from_str::<Message>(message).ok()?.content?;
    let blocks = without_sealed(content)?;
    if blocks.is_empty() {
        return Some(None);
    }
    let stripped = replaced(message, range_in(message.as_bytes(), content.get()), &join(&blocks));
    Some(String::from_utf8(stripped).ok())
}

/// The members of a list that are not sealed by us; `None` where none is, or it is no list.
fn without_sealed(list: &RawValue) -> Option<Vec<String>> {
    let members: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    let kept: Vec<String> = members
        .iter()
        .map(|member| member.get())
        .filter(|member| !is_sealed(member))
        .map(str::to_owned)
        .collect();
    (kept.len() < members.len()).then_some(kept)
}

fn is_sealed(member: &str) -> bool {
    if !has_foreign_seal(member.as_bytes()) {
        return false;
    }
    let Ok(sealed) = serde_json::from_str::<Sealed>(member) else { return false };
    let proof = match sealed.kind.and_then(as_text).as_deref() {
        Some("reasoning") => sealed.encrypted_content,
        Some("thinking") => sealed.signature,
        Some("redacted_thinking") => sealed.data,
        Some(_) | None => None,
    };
    let text = proof.and_then(as_text);
    text.is_some_and(|text| matches!(SealedContent::read(&text), SealedContent::Carried(_)))
}

fn join(members: &[String]) -> String {
    format!("[{}]", members.join(","))
}

fn replaced(whole: &str, range: Range<usize>, by: &str) -> Vec<u8> {
    let whole = whole.as_bytes();
    [&whole[..range.start], by.as_bytes(), &whole[range.end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Seal;

    fn envelope() -> String {
        Seal::Signature { text: "so".into(), signature: "EqQB".into() }.envelope()
    }

    #[test]
    fn reasoning_that_another_provider_sealed_is_cut_out_and_every_other_byte_stays() {
        let sealed = envelope();
        let body = format!(
            r#"{{ "model":"m", "input" : [ {{"role":"user","content":"1.50 \u00e9"}} ,
            {{"type":"reasoning","summary":[],"encrypted_content":"{sealed}"}},
            {{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}}, {{"n":1.500}}], "top_p":1.0}}"#
        );
        let stripped = String::from_utf8(strip_foreign(body.as_bytes()).unwrap()).unwrap();
        let expected = r#"{ "model":"m", "input" : [{"role":"user","content":"1.50 \u00e9"},{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},{"n":1.500}], "top_p":1.0}"#;
        assert_eq!(stripped, expected);
        assert_eq!(strip_foreign(stripped.as_bytes()), None);
    }

    #[test]
    fn thinking_that_another_provider_sealed_is_cut_out_with_a_turn_that_had_nothing_else() {
        let sealed = envelope();
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"hi"}},
            {{"role":"assistant","content":[{{"type":"thinking","thinking":"so","signature":"{sealed}"}},{{"type":"text","text":"a"}}],"x":1.0}},
            {{"role":"assistant","content":[{{"type":"redacted_thinking","data":"{sealed}"}}]}},
            {{"role":"assistant","content":[{{"type":"thinking","thinking":"so","signature":"EqQB"}}]}}]}}"#
        );
        let stripped = String::from_utf8(strip_foreign_thinking(body.as_bytes()).unwrap()).unwrap();
        let expected = r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"text","text":"a"}],"x":1.0},{"role":"assistant","content":[{"type":"thinking","thinking":"so","signature":"EqQB"}]}]}"#;
        assert_eq!(stripped, expected);
    }

    #[test]
    fn a_body_that_only_talks_of_envelopes_is_left_alone() {
        let sealed = envelope();
        let talk = format!(r#"{{"input":[{{"role":"user","content":"{sealed}"}}]}}"#);
        assert_eq!(strip_foreign(talk.as_bytes()), None);
        let talk =
            format!(r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"{sealed}"}}]}}]}}"#);
        assert_eq!(strip_foreign_thinking(talk.as_bytes()), None);
        for body in [&b"cxapi1."[..], b"{\"input\":\"cxapi1.\"}", b"\xffcxapi1.", b"[]"] {
            assert_eq!(strip_foreign(body), None);
            assert_eq!(strip_foreign_thinking(body), None);
        }
    }
}
