//! What stands behind the `?`: read by name, refused by name.
//!
//! A misspelt or unreadable parameter that is silently ignored answers another question than the one that was asked.
//! Here every refusal names the parameter and what it should be, in our own words.

use std::ops::RangeInclusive;

use axum::extract::{FromRequestParts, Query};
use chrono::NaiveDate;
use http::Uri;
use http::request::Parts;

use super::error::Problem;
use super::nul;

/// The parameters of one request, each at most once.
#[derive(Debug, Default)]
pub struct QueryParams(Vec<(String, String)>);

/// For routes that take no parameters: refuses any.
pub struct NoQuery;

impl QueryParams {
    /// # Errors
    /// A parameter that is not `known`, stands twice, is no text, or is text with U+0000 in it.
    pub fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Err(refused("The query cannot be read: it is not `name=value` pairs, percent-encoded."));
        };
        for (place, (name, value)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(refused(unknown(name, known)));
            }
            if pairs[..place].iter().any(|(earlier, _)| earlier == name) {
                return Err(refused(format!("`{name}` stands in the query twice.")));
            }
            if value.contains('\0') {
                return Err(refused(format!("`{name}`: {}.", nul::REFUSED)));
            }
        }
        Ok(Self(pairs))
    }

    /// The value of `name` as sent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// Not a whole number in `range`.
    pub fn number(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let (least, most) = (*range.start(), *range.end());
        let number = text.parse().ok().filter(|number| range.contains(number));
        let refusal = || refused(format!("`{name}` is a whole number from {least} to {most}."));
        number.map(Some).ok_or_else(refusal)
    }

    /// # Errors
    /// Not a day.
    pub fn day(&self, name: &str) -> Result<Option<NaiveDate>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| refused(format!("`{name}` is a day such as 2026-11-22.")))
    }

    /// What a page before gave as the key of the next one.
    ///
    /// # Errors
    /// Not such a key.
    pub fn cursor(&self, name: &str, given_as: &str) -> Result<Option<i64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let key = text.parse().ok().filter(|key| *key >= 0);
        let message = format!("`{name}` is the `{given_as}` of the page before.");
        key.map(Some).ok_or_else(|| Problem::invalid("invalid_cursor", message))
    }
}

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        QueryParams::of(&parts.uri, &[]).map(|_| Self)
    }
}

fn refused(message: impl Into<String>) -> Problem {
    Problem::invalid("invalid_query", message)
}

fn unknown(name: &str, known: &[&str]) -> String {
    // What was sent is shown back, so it is shown short.
    let shown: String = name.chars().take(64).collect();
    match known {
        [] => format!("`{shown}` is not a parameter of this URL; it takes none."),
        known => format!("`{shown}` is not a parameter of this URL. It takes: {}.", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<QueryParams, Problem> {
        QueryParams::of(&format!("/x?{text}").parse().expect("a URL"), &["limit", "from", "before"])
    }

    #[test]
    fn a_number_is_refused_outside_its_range_by_name() {
        for bad in ["0", "201", "-1", "many", "1.5", ""] {
            let params = query(&format!("limit={bad}")).expect("known");
            let refusal = params.number("limit", 1..=200).expect_err(bad);
            assert_eq!(refusal.message, "`limit` is a whole number from 1 to 200.");
        }
        assert_eq!(query("limit=200").expect("known").number("limit", 1..=200).expect("good"), Some(200));
        assert_eq!(query("").expect("none").number("limit", 1..=200).expect("good"), None);
    }

    #[test]
    fn an_unknown_or_repeated_parameter_is_refused_by_name() {
        let refusal = query("limt=3").expect_err("misspelt").message;
        assert_eq!(refusal, "`limt` is not a parameter of this URL. It takes: limit, from, before.");
        assert!(query("limit=3&limit=4").expect_err("twice").message.contains("`limit` stands"));
    }

    #[test]
    fn text_with_nul_in_it_is_refused_by_name() {
        let refusal = query("from=a%00b").expect_err("U+0000").message;
        assert_eq!(refusal, "`from`: text must not contain the character U+0000.");
        assert!(
            query("fr%00om=a").expect_err("U+0000").message.starts_with("`fr\\u0000om` is not a parameter")
        );
    }

    #[test]
    fn days_and_cursors_are_refused_by_name() {
        let params = query("from=yesterday&before=-7").expect("known");
        assert!(params.day("from").expect_err("no day").message.contains("`from`"));
        let refusal = params.cursor("before", "nextBefore").expect_err("negative");
        assert_eq!((refusal.code, refusal.message.contains("`before`")), ("invalid_cursor", true));
    }
}
