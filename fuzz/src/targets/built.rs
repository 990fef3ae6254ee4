//! Requests and streams made of what the dialects really say, put together and bent at random: what raw
//! bytes would take ages to reach.

use arbitrary::{Result, Unstructured};
use codexapi_aggregates::usage::Protocol;
use serde_json::{Map, Value, json};

use super::check::{CLIENTS, UPSTREAMS};
use super::seeds::{Kind, lines};
use super::{edits, metering, request, translation};

const MOST_ITEMS: usize = 8;
const MOST_TOOLS: usize = 4;
const MOST_OPTIONS: usize = 4;
const MOST_EVENTS: usize = 24;

/// A request of any dialect, through everything that reads one.
pub fn built_request(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((client, body)) = draw_request(&mut u) else { return };
    let body = body.to_string();
    let response = drawn(&mut u, Protocol::Responses, Kind::Answers).unwrap_or_default().to_string();
    request::read(client, body.as_bytes(), response.as_bytes());
    // The tokenizer takes longer than all the rest.
    if u.ratio(1, 16).unwrap_or_default() {
        request::counted(client, body.as_bytes());
    }
    request::stripped(client, body.as_bytes());
    for upstream in UPSTREAMS {
        translation::request(client, upstream, body.as_bytes());
    }
}

/// A stream of any dialect, through everything that reads one, and back to a client of any.
pub fn built_stream(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let _ = draw_stream(&mut u);
}

/// A whole answer of any dialect, back to a client of any.
pub fn built_answer(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let _ = draw_answer(&mut u);
}

fn draw_stream(u: &mut Unstructured) -> Result<()> {
    let upstream = *u.choose(&UPSTREAMS)?;
    let (client, body) = draw_request(u)?;
    let (body, stream) = (body.to_string(), events(u, upstream)?);
    let stream = stream.as_bytes();
    metering::stream(upstream, u.arbitrary()?, stream);
    edits::relabelled(upstream, stream);
    edits::noted(upstream, stream);
    edits::assembled(upstream, stream);
    edits::restated(stream);
    if let Some(back) = translation::request(client, upstream, body.as_bytes()) {
        translation::stream(client, upstream, &back, body.len(), stream);
    }
    Ok(())
}

fn draw_answer(u: &mut Unstructured) -> Result<()> {
    let upstream = *u.choose(&UPSTREAMS)?;
    let (client, body) = draw_request(u)?;
    let mut answer = drawn(u, upstream, Kind::Answers)?;
    bend(u, &mut answer)?;
    let (body, answer) = (body.to_string(), answer.to_string());
    edits::noted(upstream, answer.as_bytes());
    edits::relabelled(upstream, answer.as_bytes());
    if let Some(back) = translation::request(client, upstream, body.as_bytes()) {
        translation::answer(client, upstream, &back, body.len(), answer.as_bytes());
    }
    Ok(())
}

fn draw_request(u: &mut Unstructured) -> Result<(Protocol, Value)> {
    let client = *u.choose(&CLIENTS)?;
    let mut body = drawn(u, client, Kind::Requests)?;
    if let Value::Object(members) = &mut body {
        members.insert("model".into(), "m".into());
        if u.arbitrary()? && client != Protocol::Completions {
            let name = if client == Protocol::Responses { "input" } else { "messages" };
            members.insert(name.into(), list(u, client, Kind::Items, MOST_ITEMS)?);
        }
        if u.arbitrary()? {
            members.insert("tools".into(), list(u, client, Kind::Tools, MOST_TOOLS)?);
        }
        if client == Protocol::Messages && !members.contains_key("max_tokens") {
            members.insert("max_tokens".into(), 4_096.into());
        }
        for _ in 0..u.int_in_range(0..=MOST_OPTIONS)? {
            if let Value::Object(option) = drawn(u, client, Kind::Options)? {
                members.extend(option);
            }
        }
    }
    bend(u, &mut body)?;
    Ok((client, body))
}

/// A stream, mostly in an order in which a provider sends its events.
fn events(u: &mut Unstructured, upstream: Protocol) -> Result<String> {
    let known = lines(upstream, Kind::Events);
    let mut stream = String::new();
    let mut at = u.choose_index(known.len())?;
    for _ in 0..u.int_in_range(0..=MOST_EVENTS)? {
        let mut event = parsed(known[at % known.len()]);
        if u.ratio(1, 4)? {
            bend(u, &mut event)?;
        }
        if upstream != Protocol::Chat {
            stream.push_str(&format!("event: {}\n", event["type"].as_str().unwrap_or("x").escape_debug()));
        }
        stream.push_str(&format!("data: {event}\n\n"));
        at = if u.ratio(3, 4)? { at + 1 } else { u.choose_index(known.len())? };
    }
    if upstream == Protocol::Chat && u.arbitrary()? {
        stream.push_str("data: [DONE]\n\n");
    }
    Ok(stream)
}

fn list(u: &mut Unstructured, protocol: Protocol, kind: Kind, most: usize) -> Result<Value> {
    let length = u.int_in_range(0..=most)?;
    (0..length).map(|_| drawn(u, protocol, kind)).collect::<Result<Vec<Value>>>().map(Value::from)
}

fn drawn(u: &mut Unstructured, protocol: Protocol, kind: Kind) -> Result<Value> {
    let known = lines(protocol, kind);
    if known.is_empty() {
        return Ok(json!({}));
    }
    Ok(parsed(known[u.choose_index(known.len())?]))
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).expect("a seed is JSON")
}

/// Changes a few things anywhere in `whole`.
fn bend(u: &mut Unstructured, whole: &mut Value) -> Result<()> {
    for _ in 0..u.int_in_range(0..=3)? {
        let mut place = &mut *whole;
        while !u.ratio(1, 3)? {
            place = match descend(u, place)? {
                Ok(deeper) => deeper,
                Err(leaf) => {
                    place = leaf;
                    break;
                }
            };
        }
        change(u, place)?;
    }
    Ok(())
}

/// A member of a container, or the leaf that it is.
fn descend<'a>(
    u: &mut Unstructured,
    place: &'a mut Value,
) -> Result<std::result::Result<&'a mut Value, &'a mut Value>> {
    let length = match place {
        Value::Array(list) => list.len(),
        Value::Object(members) => members.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    if length == 0 {
        return Ok(Err(place));
    }
    let nth = u.choose_index(length)?;
    Ok(match place {
        Value::Array(list) => Ok(&mut list[nth]),
        Value::Object(members) => Ok(members.values_mut().nth(nth).expect("counted above")),
        leaf => Err(leaf),
    })
}

fn change(u: &mut Unstructured, place: &mut Value) -> Result<()> {
    match place {
        Value::Array(list) if !list.is_empty() && u.arbitrary()? => {
            let nth = u.choose_index(list.len())?;
            if u.arbitrary()? {
                list.remove(nth);
            } else {
                list.push(list[nth].clone());
            }
        }
        Value::Object(members) if !members.is_empty() && u.arbitrary()? => {
            let nth = u.choose_index(members.len())?;
            let name = members.keys().nth(nth).expect("counted above").clone();
            let value = members.remove(&name).unwrap_or_default();
            if u.arbitrary()? {
                let mut inner = Map::new();
                inner.insert(name.clone(), value);
                members.insert(name, inner.into());
            }
        }
        Value::Number(number) if u.arbitrary()? => *number = u.arbitrary::<u16>()?.into(),
        Value::String(text) if u.arbitrary()? => text.push_str(u.arbitrary()?),
        any => *any = odd(u)?,
    }
    Ok(())
}

fn odd(u: &mut Unstructured) -> Result<Value> {
    let values = [
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!(" "),
        json!("auto"),
        json!("a\r\n\0\"\\\u{2028}é漢"),
        json!("{\"a\":"),
        json!("cxapi1.eyJrIjoic2lnbmF0dXJlIiwidGV4dCI6InNvIiwic2lnbmF0dXJlIjoiRXFRQiJ9"),
        json!("data:image/png;base64,AA=="),
        json!([]),
        json!({}),
        json!([[]]),
        json!([{"type": "text", "text": "x"}]),
        json!({"type": "text"}),
    ];
    Ok(values[u.choose_index(values.len())?].clone())
}
