//! `/api/v1/referral`: the caller's code and what it has earned, and who referred the caller.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::referral::{CommissionStanding, Referral, ReferralRefusal, SettlingRefusal};
use codexapi_projections::MAX_PAGE;
use codexapi_projections::referral_commissions::{self, CommissionRow};
use codexapi_protocols::errors::ErrorKind;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::cash_wallet::{self, CashWalletStatus};
use crate::accounts::marks::{self, Mark};
use crate::app::App;
use crate::http::address::ClientAddress;
use crate::http::admin::body::AdminBody;
use crate::http::auth::{CustomerCaller, Principal};
use crate::http::envelope::RequestId;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::{NoQuery, QueryParams};
use crate::referrals::{self, AttributionRefusal};

/// Commissions on a page where the caller names no number.
const DEFAULT_LIMIT: u32 = 50;

#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReferralQuery {
    /// Commissions on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
}

/// The referral club, as the caller stands in it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReferralStatus {
    /// What friends name.
    code: String,
    /// What each confirmed purchase of theirs earns now, in hundredths of a percent; 0 where the club has ended.
    commission_basis_points: u32,
    /// Whether the caller was referred.
    referred: bool,
    /// Newest first.
    commissions: Vec<CommissionLine>,
    /// Pass it as `cursor` for the next page; absent on the last.
    next_cursor: Option<String>,
    /// Where approved commissions are paid to.
    cash_wallet: CashWalletStatus,
}

/// What one purchase has earned. Who bought is not told.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CommissionLine {
    commission_id: Uuid,
    /// `pending`, `paid` or `rejected`.
    #[schema(value_type = String)]
    standing: CommissionStanding,
    purchase_micro: i64,
    amount_micro: i64,
    /// What refunds and disputes leave of it.
    remaining_micro: i64,
    #[schema(example = "12.000000")]
    remaining_usd: String,
    earned_at: DateTime<Utc>,
}

/// Who referred the caller.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameReferrer {
    /// The friend's code.
    #[schema(example = "7QX4KD9T")]
    code: String,
}

#[derive(Serialize, ToSchema)]
pub struct ReferrerNamed {
    referred: bool,
}

/// The caller's code and commissions, and the Cash Wallet they go to.
#[utoipa::path(
    get, path = "/api/v1/referral", operation_id = "referral", tag = "billing", params(ReferralQuery),
    responses((status = 200, body = ReferralStatus), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    Extension(principal): Extension<Principal>,
    Extension(request_id): Extension<RequestId>,
    Extension(address): Extension<ClientAddress>,
    uri: Uri,
) -> Result<Json<ReferralStatus>, Problem> {
    let ReferralQuery { limit, cursor } = ReferralQuery::of(&uri)?;
    let account_id = caller.account_id;
    mark_network(&app, account_id, address).await?;
    let metadata = principal.metadata(&request_id);
    let code = referrals::code(&app.log, &metadata, account_id).await.map_err(Problem::unavailable)?;
    let referrer = app.log.read(&account_id.to_string(), Referral::referrer).await;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let page = referral_commissions::page(&app.pool, account_id.0, cursor, limit).await?;
    Ok(Json(ReferralStatus {
        code,
        commission_basis_points: app.config.bonuses.referral_basis_points,
        referred: referrer.map_err(Problem::unavailable)?.is_some(),
        next_cursor: page.next.map(|next| next.to_string()),
        commissions: page.rows.into_iter().map(CommissionLine::of).collect(),
        cash_wallet: cash_wallet::of(&app, account_id).await?,
    }))
}

/// Names who referred the caller: once, before the first purchase.
#[utoipa::path(
    post, path = "/api/v1/referral", operation_id = "name_referrer", tag = "billing", request_body = NameReferrer,
    responses((status = 200, body = ReferrerNamed), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn name_referrer(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    Extension(principal): Extension<Principal>,
    Extension(request_id): Extension<RequestId>,
    Extension(address): Extension<ClientAddress>,
    _: NoQuery,
    AdminBody(NameReferrer { code }): AdminBody<NameReferrer>,
) -> Result<Json<ReferrerNamed>, Problem> {
    mark_network(&app, caller.account_id, address).await?;
    let metadata = principal.metadata(&request_id);
    referrals::attribute(&app.log, &metadata, caller.account_id, &code).await?;
    Ok(Json(ReferrerNamed { referred: true }))
}

/// Whoever has a code and whoever names one is marked, so that two accounts of one household are known for that.
async fn mark_network(
    app: &App,
    account_id: AccountId,
    ClientAddress(address): ClientAddress,
) -> Result<(), Problem> {
    let Some(address) = address else { return Ok(()) };
    let mark = Mark::network(&app.config.credentials.token_digest_key, address);
    marks::add(&app.pool, account_id, &[mark]).await.map_err(Problem::unavailable)
}

impl ReferralQuery {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let params = QueryParams::of(uri, &["limit", "cursor"])?;
        Ok(Self {
            limit: params.number("limit", 1..=MAX_PAGE)?,
            cursor: params.cursor("cursor", "nextCursor")?,
        })
    }
}

impl CommissionLine {
    fn of(row: CommissionRow) -> Self {
        Self {
            commission_id: row.commission_id,
            standing: row.standing,
            purchase_micro: row.purchase_micro.0,
            amount_micro: row.amount_micro.0,
            remaining_micro: row.remaining_micro.0,
            remaining_usd: row.remaining_micro.to_string(),
            earned_at: row.earned_at,
        }
    }
}

impl From<AttributionRefusal> for Problem {
    fn from(refusal: AttributionRefusal) -> Self {
        match refusal {
            AttributionRefusal::UnknownCode => {
                Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "unknown_code", "Nobody has this code.")
            }
            AttributionRefusal::Referral(refusal) => refusal.into(),
        }
    }
}

impl From<ReferralRefusal> for Problem {
    fn from(refusal: ReferralRefusal) -> Self {
        use ReferralRefusal as R;
        let (status, code) = match refusal {
            R::SelfReferral => (StatusCode::CONFLICT, "self_referral"),
            R::Circular => (StatusCode::CONFLICT, "circular_referral"),
            R::AlreadyAttributed { .. } => (StatusCode::CONFLICT, "already_referred"),
            R::AlreadyPurchased { .. } => (StatusCode::CONFLICT, "already_purchased"),
            R::UnknownCommission { .. } => (StatusCode::NOT_FOUND, "unknown_commission"),
            R::AlreadyReviewed { .. } => (StatusCode::CONFLICT, "already_reviewed"),
            R::NothingLeft => (StatusCode::CONFLICT, "nothing_left"),
            R::TooManyPending { .. } => (StatusCode::CONFLICT, "too_many_pending"),
        };
        Self::new(status, ErrorKind::InvalidRequest, code, refusal.to_string())
    }
}

impl From<SettlingRefusal> for Problem {
    fn from(refusal: SettlingRefusal) -> Self {
        match refusal {
            SettlingRefusal::Referral(refusal) => refusal.into(),
            SettlingRefusal::Cash(refusal) => refusal.into(),
        }
    }
}
