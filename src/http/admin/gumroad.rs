//! `/gumroad/pending` and `/gumroad/{user_id}/review`: Gumroad buyers whose credit waits for an operator.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use codexapi_aggregates::gumroad::{DenialReason, DoubtReason, SignupStanding, Verdict};
use codexapi_aggregates::ids::GrantId;
use codexapi_projections::gumroad_signups::{self, GumroadSignup};
use codexapi_protocols::errors::ErrorKind;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Actor;
use super::body::AdminBody;
use super::ids;
use super::review::{PageQuery, Paging};
use crate::app::App;
use crate::clock;
use crate::gumroad::{self, ReviewError};
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingSignups {
    /// Newest first.
    signups: Vec<WaitingSignup>,
    /// Pass it as `cursor` for the next page; absent on the last.
    next_cursor: Option<String>,
}

/// A Gumroad buyer whose credit waits.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WaitingSignup {
    user_id: Uuid,
    has_licence: bool,
    /// Gumroad says that the licence is good.
    verified: bool,
    #[schema(value_type = Vec<String>)]
    waits_for: Vec<DoubtReason>,
    amount_micro: i64,
    #[schema(example = "200.000000")]
    amount_usd: String,
    signed_up_at: DateTime<Utc>,
}

/// Grants the credit or denies it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReviewSignup {
    approve: bool,
    /// Why it is denied: `no_purchase`, `duplicate`, `abuse` or `requested`; wanted where `approve` is false, and only
    /// there.
    #[schema(value_type = Option<String>)]
    reason: Option<DenialReason>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignupReviewed {
    /// `granted` or `denied`.
    #[schema(value_type = String)]
    standing: SignupStanding,
    grant_id: Option<Uuid>,
    amount_micro: i64,
}

/// Gumroad buyers whose credit waits for an operator.
#[utoipa::path(
    get, path = "/admin/api/gumroad/pending", operation_id = "list_pending_gumroad", tag = "operator accounts",
    params(PageQuery),
    responses((status = 200, body = WaitingSignups), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<WaitingSignups>, Problem> {
    let Paging { limit, cursor } = Paging::of(&uri)?;
    let page = gumroad_signups::waiting(&app.pool, cursor, limit).await?;
    let next_cursor = page.next.map(|next| next.to_string());
    Ok(Json(WaitingSignups { signups: page.rows.into_iter().map(WaitingSignup::of).collect(), next_cursor }))
}

/// Grants a Gumroad buyer's credit or denies it, once.
#[utoipa::path(
    post, path = "/admin/api/gumroad/{user_id}/review", operation_id = "review_gumroad", tag = "operator accounts",
    params(("user_id" = String, Path, description = "The account's id")), request_body = ReviewSignup,
    responses((status = 200, body = SignupReviewed), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn review(
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    actor: Actor,
    _: NoQuery,
    AdminBody(ReviewSignup { approve, reason }): AdminBody<ReviewSignup>,
) -> Result<Json<SignupReviewed>, Problem> {
    let account_id = ids::account_id(&user_id)?;
    let verdict = match (approve, reason) {
        (true, None) => Verdict::Grant { grant_id: GrantId(clock::new_id()) },
        (false, Some(reason)) => Verdict::Deny(reason),
        (true, Some(_)) | (false, None) => {
            let message = "`reason` says why it is not approved: it stands where `approve` is false.";
            return Err(Problem::invalid("reason_of_denial", message));
        }
    };
    let terms = app.config.wallet.terms();
    let signup = gumroad::review(&app.log, &terms, &actor.metadata, account_id, verdict).await?;
    Ok(Json(SignupReviewed {
        standing: signup.standing,
        grant_id: signup.grant_id.map(|grant_id| grant_id.0),
        amount_micro: signup.amount_micro.0,
    }))
}

impl WaitingSignup {
    fn of(row: GumroadSignup) -> Self {
        Self {
            user_id: row.account_id,
            has_licence: row.has_licence,
            verified: row.verified,
            waits_for: row.doubts,
            amount_micro: row.amount_micro.0,
            amount_usd: row.amount_micro.to_string(),
            signed_up_at: row.signed_up_at,
        }
    }
}

impl From<ReviewError> for Problem {
    fn from(error: ReviewError) -> Self {
        match error {
            ReviewError::Unknown(_) => {
                Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "unknown_signup", error.to_string())
            }
            ReviewError::Command(error) => error.into(),
            ReviewError::Read(error) => error.into(),
        }
    }
}
