//! `POST /api/v1/wallet/topupemail-session-discount`: more for a top-up, for a while, because a mail was answered.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::bonuses;
use crate::bonuses::email_link::{EmailLink, LinkRefusal};
use crate::clock;
use crate::http::admin::body::AdminBody;
use crate::http::auth::{CustomerCaller, Principal};
use crate::http::envelope::RequestId;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;

/// What the mail's link carried.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CameFromEmail {
    /// The link's `discount` parameter.
    #[schema(example = "mail_0192…")]
    link_token: String,
}

/// A code that is good until `expiresAt`. The same link tells of the same code.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmailDiscount {
    #[schema(example = "MAIL-7QX4KD9TRP")]
    code: String,
    /// What a top-up under the code brings more, in hundredths of a percent.
    bonus_basis_points: u32,
    expires_at: DateTime<Utc>,
    server_time: DateTime<Utc>,
    seconds_left: u32,
}

/// Begins the time for which the caller's top-ups bring more.
#[utoipa::path(
    post, path = "/api/v1/wallet/topupemail-session-discount", operation_id = "email_session_discount",
    tag = "billing", request_body = CameFromEmail,
    responses((status = 200, body = EmailDiscount), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn issue(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    Extension(principal): Extension<Principal>,
    Extension(request_id): Extension<RequestId>,
    _: NoQuery,
    AdminBody(CameFromEmail { link_token }): AdminBody<CameFromEmail>,
) -> Result<Json<EmailDiscount>, Problem> {
    let (key, settings) = (&app.config.credentials.token_digest_key, &app.config.bonuses);
    if settings.email_discount_basis_points == 0 {
        let message = "There is no such offer at present.";
        return Err(Problem::new(StatusCode::CONFLICT, ErrorKind::InvalidRequest, "not_offered", message));
    }
    let link = EmailLink::read(&link_token, key, caller.account_id, clock::now())?;
    let metadata = principal.metadata(&request_id);
    let issued =
        bonuses::issue_email_discount(&app.log, settings, &metadata, caller.account_id, link).await?;
    let now = clock::now();
    let moment = |at: codexapi_aggregates::time::Timestamp| DateTime::from_timestamp_micros(at.0);
    Ok(Json(EmailDiscount {
        bonus_basis_points: issued.code.basis_points,
        expires_at: moment(issued.code.expires_at).unwrap_or_default(),
        server_time: moment(now).unwrap_or_default(),
        seconds_left: issued.code.expires_at.secs_after(now),
        code: issued.code.code,
    }))
}

impl From<LinkRefusal> for Problem {
    fn from(refusal: LinkRefusal) -> Self {
        let (status, kind, code, message) = match refusal {
            LinkRefusal::NotOurs => (
                StatusCode::FORBIDDEN,
                ErrorKind::Permission,
                "link_not_yours",
                "This link was not sent to your account.",
            ),
            LinkRefusal::Expired => {
                (StatusCode::CONFLICT, ErrorKind::InvalidRequest, "link_expired", "This link has expired.")
            }
        };
        Self::new(status, kind, code, message)
    }
}
