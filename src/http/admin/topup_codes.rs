//! `/users/{user_id}/topup-codes` and `/topup-email-link`: what makes one customer's top-up bring more.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use codexapi_aggregates::account::{Account, AccountRefusal};
use codexapi_aggregates::bonus::{Bonuses, Code, CodeKind, Standing};
use codexapi_aggregates::ids::{AccountId, BonusCodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::body::{AdminBody, OptionalBody};
use super::ids;
use super::{Actor, moment};
use crate::app::App;
use crate::bonuses::email_link::EmailLink;
use crate::bonuses::{self, NewCode};
use crate::clock;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;
use crate::named_moment::NamedMoment;

/// A code for one customer, good for one top-up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssueTopUpCode {
    /// 4 to 32 letters, digits and hyphens; drawn at random where it is left out.
    code: Option<String>,
    /// What the top-up brings more, in hundredths of a percent, 1 to 10000.
    bonus_basis_points: u32,
    /// The one plan it is for; any, where it is left out.
    plan_id: Option<String>,
    #[schema(value_type = DateTime<Utc>)]
    expires_at: NamedMoment,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopUpCode {
    code_id: Uuid,
    code: String,
    /// `operator` or `email_session`.
    #[schema(value_type = String)]
    kind: CodeKind,
    bonus_basis_points: u32,
    plan_id: Option<String>,
    issued_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    /// `open`, `held` (by a payment that is not finished) or `used`.
    standing: &'static str,
    payment_id: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopUpCodes {
    /// Newest first; at most 500.
    codes: Vec<TopUpCode>,
}

/// Nothing need be said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeEmailLink {}

/// What goes into a mail to the customer, as its link's `discount` parameter.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmailLinkMade {
    link_token: String,
    /// Until when following it begins the discount.
    expires_at: DateTime<Utc>,
}

/// The customer's codes, used ones too.
#[utoipa::path(
    get, path = "/admin/api/users/{user_id}/topup-codes", operation_id = "list_topup_codes",
    tag = "operator accounts", params(("user_id" = String, Path, description = "The account's id")),
    responses((status = 200, body = TopUpCodes), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    _: NoQuery,
) -> Result<Json<TopUpCodes>, Problem> {
    let account_id = registered(&app, &user_id).await?;
    let codes = |bonuses: &Bonuses| -> Vec<(BonusCodeId, Code)> {
        bonuses.codes().map(|(code_id, code)| (*code_id, code.clone())).collect()
    };
    let mut codes = app.log.read(&account_id.to_string(), codes).await.map_err(Problem::unavailable)?;
    codes.sort_by_key(|(code_id, code)| std::cmp::Reverse((code.issued_at, *code_id)));
    let codes = codes.into_iter().map(|(code_id, code)| TopUpCode::of(code_id, code)).collect();
    Ok(Json(TopUpCodes { codes }))
}

/// Issues a code to the customer.
#[utoipa::path(
    post, path = "/admin/api/users/{user_id}/topup-codes", operation_id = "issue_topup_code",
    tag = "operator accounts", params(("user_id" = String, Path, description = "The account's id")),
    request_body = IssueTopUpCode,
    responses((status = 200, body = TopUpCode), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn issue(
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    actor: Actor,
    _: NoQuery,
    AdminBody(body): AdminBody<IssueTopUpCode>,
) -> Result<Json<TopUpCode>, Problem> {
    let account_id = registered(&app, &user_id).await?;
    let new = NewCode {
        code: body.code,
        basis_points: body.bonus_basis_points,
        plan_id: body.plan_id,
        expires_at: body.expires_at.0,
    };
    let issued = bonuses::issue_code(&app.log, &actor.metadata, account_id, new).await?;
    Ok(Json(TopUpCode::of(issued.code_id, issued.code)))
}

/// Makes what a link in a mail to the customer carries; nothing begins until it is followed.
#[utoipa::path(
    post, path = "/admin/api/users/{user_id}/topup-email-link", operation_id = "make_topup_email_link",
    tag = "operator accounts", params(("user_id" = String, Path, description = "The account's id")),
    request_body = MakeEmailLink,
    responses((status = 200, body = EmailLinkMade), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn make_link(
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    _: NoQuery,
    OptionalBody(MakeEmailLink {}): OptionalBody<MakeEmailLink>,
) -> Result<Json<EmailLinkMade>, Problem> {
    let account_id = registered(&app, &user_id).await?;
    let days = i64::from(app.config.bonuses.email_link_days);
    let expires_at = clock::now().plus_secs(days * 86_400);
    let link = EmailLink { link_id: BonusCodeId(clock::new_id()), expires_at };
    let link_token = link.text(&app.config.credentials.token_digest_key, account_id);
    Ok(Json(EmailLinkMade { link_token, expires_at: moment(expires_at) }))
}

async fn registered(app: &App, user_id: &str) -> Result<AccountId, Problem> {
    let account_id = ids::account_id(user_id)?;
    let registered = app.log.read(&account_id.to_string(), Account::is_registered).await;
    if registered.map_err(Problem::unavailable)? {
        Ok(account_id)
    } else {
        Err(AccountRefusal::NotRegistered.into())
    }
}

impl TopUpCode {
    fn of(code_id: BonusCodeId, code: Code) -> Self {
        let (standing, payment_id) = match code.standing {
            Standing::Open => ("open", None),
            Standing::Held(payment_id) => ("held", Some(payment_id.0)),
            Standing::Used(payment_id) => ("used", Some(payment_id.0)),
        };
        Self {
            code_id: code_id.0,
            code: code.code,
            kind: code.kind,
            bonus_basis_points: code.basis_points,
            plan_id: code.plan_id,
            issued_at: moment(code.issued_at),
            expires_at: moment(code.expires_at),
            standing,
            payment_id,
        }
    }
}
