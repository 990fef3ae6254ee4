//! Pages of what waits for an operator.

use codexapi_projections::MAX_PAGE;
use http::Uri;
use utoipa::IntoParams;

use crate::http::error::Problem;
use crate::http::query::QueryParams;

/// Rows on a page where the operator names no number.
const DEFAULT_LIMIT: u32 = 50;

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what `Paging` reads")]
pub struct PageQuery {
    /// Rows on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Which page.
pub(super) struct Paging {
    pub limit: u32,
    pub cursor: Option<i64>,
}

impl Paging {
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        let params = QueryParams::of(uri, &["limit", "cursor"])?;
        let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(DEFAULT_LIMIT);
        Ok(Self { limit, cursor: params.cursor("cursor", "nextCursor")? })
    }
}
