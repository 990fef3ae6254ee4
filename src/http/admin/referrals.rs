//! `/referrals/pending` and `/referrals/{commission_id}/review`: commissions that wait for an operator.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use codexapi_aggregates::ids::CommissionId;
use codexapi_aggregates::referral::{CommissionStanding, RejectionReason, Review};
use codexapi_projections::referral_commissions::{self, CommissionRow};
use codexapi_protocols::errors::ErrorKind;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Actor;
use super::body::AdminBody;
use super::review::{PageQuery, Paging};
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;
use crate::referrals::{self, ReviewError};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingCommissions {
    /// Newest first.
    commissions: Vec<PendingCommission>,
    /// Pass it as `cursor` for the next page; absent on the last.
    next_cursor: Option<String>,
}

/// A commission that waits. Amounts in micro-USD.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PendingCommission {
    commission_id: Uuid,
    /// Who earned it.
    referrer_id: Uuid,
    /// Who bought.
    referred_id: Uuid,
    payment_id: Uuid,
    purchase_micro: i64,
    basis_points: i64,
    amount_micro: i64,
    /// What refunds and disputes leave of it: what approving pays.
    remaining_micro: i64,
    #[schema(example = "12.000000")]
    remaining_usd: String,
    earned_at: DateTime<Utc>,
}

/// Pays the commission or rejects it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReviewCommission {
    approve: bool,
    /// Why it is rejected: `self_referral`, `abuse`, `purchase_reversed` or `requested`; wanted where `approve` is
    /// false, and only there.
    #[schema(value_type = Option<String>)]
    reason: Option<RejectionReason>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommissionReviewed {
    /// `paid` or `rejected`.
    #[schema(value_type = String)]
    standing: CommissionStanding,
    /// What is in the Cash Wallet; 0 where it was rejected.
    paid_micro: i64,
    #[schema(example = "12.000000")]
    paid_usd: String,
}

/// Commissions that wait for an operator.
#[utoipa::path(
    get, path = "/admin/api/referrals/pending", operation_id = "list_pending_referrals", tag = "operator accounts",
    params(PageQuery),
    responses((status = 200, body = PendingCommissions), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<PendingCommissions>, Problem> {
    let Paging { limit, cursor } = Paging::of(&uri)?;
    let page = referral_commissions::pending(&app.pool, cursor, limit).await?;
    let next_cursor = page.next.map(|next| next.to_string());
    let commissions = page.rows.into_iter().map(PendingCommission::of).collect();
    Ok(Json(PendingCommissions { commissions, next_cursor }))
}

/// Pays a commission into its referrer's Cash Wallet or rejects it, once.
#[utoipa::path(
    post, path = "/admin/api/referrals/{commission_id}/review", operation_id = "review_referral",
    tag = "operator accounts", params(("commission_id" = String, Path)), request_body = ReviewCommission,
    responses((status = 200, body = CommissionReviewed), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn review(
    State(app): State<Arc<App>>,
    Path(commission_id): Path<String>,
    actor: Actor,
    _: NoQuery,
    AdminBody(ReviewCommission { approve, reason }): AdminBody<ReviewCommission>,
) -> Result<Json<CommissionReviewed>, Problem> {
    let commission_id: CommissionId = commission_id
        .parse()
        .map_err(|_| Problem::invalid("invalid_commission_id", "A commission's id is a UUID."))?;
    let review = match (approve, reason) {
        (true, None) => Review::Approve,
        (false, Some(reason)) => Review::Reject(reason),
        (true, Some(_)) | (false, None) => {
            let message = "`reason` says why it is not approved: it stands where `approve` is false.";
            return Err(Problem::invalid("reason_of_rejection", message));
        }
    };
    let commission = referrals::review(&app.log, &actor.metadata, commission_id, review).await?;
    let paid = match commission.standing {
        CommissionStanding::Paid => commission.remaining_micro,
        CommissionStanding::Pending | CommissionStanding::Rejected => Default::default(),
    };
    Ok(Json(CommissionReviewed {
        standing: commission.standing,
        paid_micro: paid.0,
        paid_usd: paid.to_string(),
    }))
}

impl PendingCommission {
    fn of(row: CommissionRow) -> Self {
        Self {
            commission_id: row.commission_id,
            referrer_id: row.account_id,
            referred_id: row.referred_id,
            payment_id: row.payment_id,
            purchase_micro: row.purchase_micro.0,
            basis_points: row.basis_points,
            amount_micro: row.amount_micro.0,
            remaining_micro: row.remaining_micro.0,
            remaining_usd: row.remaining_micro.to_string(),
            earned_at: row.earned_at,
        }
    }
}

impl From<ReviewError> for Problem {
    fn from(error: ReviewError) -> Self {
        match error {
            ReviewError::Unknown(_) => {
                Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "unknown_commission", error.to_string())
            }
            ReviewError::Command(error) => error.into(),
            ReviewError::Read(error) => error.into(),
        }
    }
}
