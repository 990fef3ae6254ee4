//! Keys as each vendor takes them: a bearer token, and at Anthropic `x-api-key` too.

use http::HeaderMap;

use crate::refusal::Refusal;
use crate::request::Dialect;

/// Checks the request's key against `wanted`; without one, any key or none will do.
pub fn check(dialect: Dialect, headers: &HeaderMap, wanted: Option<&str>) -> Result<(), Refusal> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let bearer = text(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
    let given = match dialect {
        Dialect::Messages => text(headers, "x-api-key").or(bearer),
        Dialect::Responses | Dialect::Chat => bearer,
    };
    match given {
        None => Err(Refusal::NoKey),
        Some(given) if given != wanted => Err(Refusal::WrongKey),
        Some(_) => Ok(()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
