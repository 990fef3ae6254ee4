//! What operators send: JSON of a known shape, of a bounded size.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::http::error::Problem;
use crate::http::nul;
use crate::http::whole_body::whole;

/// The largest body.
const LIMIT_BYTES: usize = 64 * 1024;

/// A body read into `T`. One must be sent: an empty variable in a script is no wish to clear everything.
pub struct AdminBody<T>(pub T);

/// A body read into `T`; no body at all is read as `{}`. For what changes nothing by being left out.
pub struct OptionalBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for AdminBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        parse(&whole(request, LIMIT_BYTES).await?).map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = whole(request, LIMIT_BYTES).await?;
        parse(if body.is_empty() { b"{}" } else { &body }).map(Self)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // A list would be read as an object's fields in order, which nobody means.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid("invalid_body", "The body should be a JSON object."));
    }
    // What cannot be read at all is told of below, with what is wrong with it.
    if let Some(path) = serde_json::from_slice(body).ok().and_then(|sent| nul::holder(&sent)) {
        return Err(match path.as_str() {
            "" => unlike(nul::REFUSED),
            field => unlike(format_args!("`{field}`: {}", nul::REFUSED)),
        });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, cause) = (error.path().to_string(), in_words(error.inner()));
        match path.as_str() {
            "." => unlike(cause),
            field => unlike(format_args!("`{field}`: {cause}")),
        }
    })?;
    deserializer.end().map_err(unlike)?;
    Ok(read)
}

/// Numbers as people name them, where the parser names a type of this program's language.
fn in_words(cause: &serde_json::Error) -> String {
    let told = cause.to_string();
    // The last one: what was sent is quoted before it.
    let Some((before, rest)) = told.rsplit_once("expected ") else { return told };
    let (kind, place) = rest.split_once(' ').unwrap_or((rest, ""));
    let range = match kind {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i32" | "i64" => "a whole number",
        _ => return told,
    };
    format!("{before}expected {range} {place}").trim_end().to_owned()
}

fn unlike(why: impl std::fmt::Display) -> Problem {
    Problem::invalid("invalid_body", format!("The body is not what this URL takes: {why}."))
}

/// A field that may be left out (stays as it is), null (is cleared) or given.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A field that must stand there, if only as null.
pub fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Limits {
        limit: Option<u32>,
    }

    #[tokio::test]
    async fn an_empty_body_is_no_wish_to_clear_everything() {
        let sent = |text: &'static str| Request::new(Body::from(text));
        for text in ["", " ", "null", "[]"] {
            let refused = AdminBody::<Limits>::from_request(sent(text), &()).await.map(|body| body.0);
            assert_eq!(refused.expect_err(text).code, "invalid_body");
        }
        let AdminBody(all) = AdminBody::<Limits>::from_request(sent("{}"), &()).await.expect("an object");
        let OptionalBody(none) = OptionalBody::<Limits>::from_request(sent(""), &()).await.expect("nothing");
        assert_eq!((all, none), (Limits { limit: None }, Limits { limit: None }));
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_with_the_field() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nested {
            #[expect(dead_code, reason = "only read")]
            keys: Vec<Limits>,
        }
        let refused = |text: &str| parse::<Nested>(text.as_bytes()).map(|_| ()).expect_err(text).message;
        let cases = [
            (r#"{"keys": [{"limit": 1}, {"limit": "2"}]}"#, "`keys[1].limit`: invalid type"),
            (
                r#"{"keys": [{"limit": "expected u8 at"}]}"#,
                r#"string "expected u8 at", expected a whole number from 0 to 4294967295 at line 1"#,
            ),
            (r#"{"keys": [{"limit": -1}]}"#, "`-1`, expected a whole number from 0 to 4294967295 at line 1"),
            (r#"{"keys": 1}"#, "`keys`: invalid type"),
            (r#"{"kes": []}"#, "`kes`: unknown field `kes`"),
            ("{}", "missing field `keys`"),
            (r#"{"keys": []} {}"#, "trailing characters"),
            (
                r#"{"keys": [{"limit": "\u0000"}]}"#,
                "`keys[0].limit`: text must not contain the character U+0000",
            ),
            (r#"{"\u0000": []}"#, "takes: text must not contain the character U+0000"),
        ];
        for (text, told) in cases {
            assert!(refused(text).contains(told), "{text}: {}", refused(text));
        }
    }
}
