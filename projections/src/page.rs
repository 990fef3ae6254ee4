//! Lists are read in pages, newest first, by key: a page costs the same however far back it is, and
//! rows that arrive meanwhile neither repeat nor hide others.

/// The most rows a page has.
pub const MAX_PAGE: u32 = 200;

/// Rows, newest first.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// What to pass as `before` for the next page; absent after the last one.
    pub next: Option<i64>,
}

/// How many rows to ask the database for: one more than shown tells whether there is a next page.
pub(crate) fn rows_to_read(limit: u32) -> i64 {
    i64::from(limit.clamp(1, MAX_PAGE)) + 1
}

impl<T> Page<T> {
    /// Makes a page of what `rows_to_read(limit)` fetched; `key` is a row's position.
    pub(crate) fn of(mut rows: Vec<T>, limit: u32, key: impl Fn(&T) -> i64) -> Self {
        let shown = limit.clamp(1, MAX_PAGE) as usize;
        let more = rows.len() > shown;
        rows.truncate(shown);
        let next = if more { rows.last().map(key) } else { None };
        Self { rows, next }
    }
}
