//! What operators send: JSON of a known shape, of a bounded size.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::http::error::Problem;

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

/// A whole body of at most `limit_bytes`.
pub async fn whole(request: Request, limit_bytes: usize) -> Result<Bytes, Problem> {
    let read = Limited::new(request.into_body(), limit_bytes).collect().await;
    Ok(read.map_err(|error| unreadable(&*error, limit_bytes))?.to_bytes())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // A list would be read as an object's fields in order, which nobody means.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid("invalid_body", "The body should be a JSON object."));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, cause) = (error.path().to_string(), error.inner());
        match path.as_str() {
            "." => unlike(cause),
            field => unlike(format_args!("`{field}`: {cause}")),
        }
    })?;
    deserializer.end().map_err(unlike)?;
    Ok(read)
}

fn unlike(why: impl std::fmt::Display) -> Problem {
    Problem::invalid("invalid_body", format!("The body is not what this URL takes: {why}."))
}

fn unreadable(error: &(dyn std::error::Error + Send + Sync + 'static), limit_bytes: usize) -> Problem {
    if error.is::<LengthLimitError>() {
        let (status, kind) = (StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::InvalidRequest);
        let message = format!("The body is larger than {limit_bytes} bytes.");
        return Problem::new(status, kind, "request_too_large", message);
    }
    Problem::invalid("unreadable_body", "The body could not be read to its end.")
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
            (r#"{"keys": 1}"#, "`keys`: invalid type"),
            (r#"{"kes": []}"#, "`kes`: unknown field `kes`"),
            ("{}", "missing field `keys`"),
            (r#"{"keys": []} {}"#, "trailing characters"),
        ];
        for (text, told) in cases {
            assert!(refused(text).contains(told), "{text}: {}", refused(text));
        }
    }
}
