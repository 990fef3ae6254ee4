//! `POST /api/v1/gumroad/register`: an account for somebody who bought at Gumroad.

use std::sync::Arc;

use anyhow::Context;
use axum::extract::State;
use axum::{Extension, Json};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::gumroad::{DoubtReason, GumroadRefusal, SignupStanding};
use codexapi_aggregates::printable::shows;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::address::ClientAddress;
use super::admin::body::AdminBody;
use super::envelope::RequestId;
use super::error::{ErrorBody, Problem};
use super::query::NoQuery;
use crate::accounts::given::{MAX_EMAIL_CHARS, MAX_NAME_CHARS, is_address};
use crate::app::App;
use crate::gumroad::{Buyer, Register, RegisterRefusal};

/// Characters of each field at most.
const MAX_MOBILE: usize = 32;
const MAX_LICENCE_KEY: usize = 128;
const MAX_FINGERPRINT: usize = 512;

/// Who signs up. Empty fields count as left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GumroadSignUp {
    email: String,
    name: Option<String>,
    /// Two letters, as DE.
    country: Option<String>,
    mobile: Option<String>,
    /// From the receipt. Without it the credit waits for an operator.
    #[schema(example = "A1B2C3D4-E5F60718-9A0B1C2D-3E4F5061")]
    license_key: Option<String>,
    /// What tells this device from others; kept as a digest.
    device_fingerprint: Option<String>,
}

/// The new account. The token is shown here and never again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GumroadAccount {
    account_id: Uuid,
    /// The System Token: for `Authorization: Bearer` and for every client.
    system_token: String,
    source: &'static str,
    credit: GumroadCredit,
}

/// What became of the credit.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GumroadCredit {
    /// `granted`, or `waiting` for an operator.
    #[schema(value_type = String)]
    standing: SignupStanding,
    /// Why it waits: `no_licence`, `licence_taken`, `not_verified`, `repeated_device`, `repeated_network`,
    /// `repeated_email`.
    #[schema(value_type = Vec<String>)]
    waits_for: Vec<DoubtReason>,
    amount_micro: i64,
    #[schema(example = "200.000000")]
    amount_usd: String,
}

/// Makes an account for a Gumroad buyer; a licence key that Gumroad calls good brings its credit once.
#[utoipa::path(
    post, path = "/api/v1/gumroad/register", operation_id = "gumroad_register", tag = "account",
    request_body = GumroadSignUp, security(()),
    responses((status = 201, body = GumroadAccount), (status = 400, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 429, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub async fn register(
    State(app): State<Arc<App>>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    _: NoQuery,
    AdminBody(body): AdminBody<GumroadSignUp>,
) -> Result<(StatusCode, Json<GumroadAccount>), Problem> {
    let buyer = Buyer { address, ..body.read()? };
    app.sign_ups.count(address)?;
    let register = Register {
        log: app.log.clone(),
        gumroad: Arc::clone(&app.gumroad),
        credentials: app.config.credentials.clone(),
        settings: app.config.gumroad.clone(),
        terms: app.config.wallet.terms(),
    };
    let metadata = Metadata { request_id: Some(request_id), ..Metadata::process("gumroad") };
    // A task of its own: a caller who leaves midway must not leave an account without its sign-up.
    let registering = app.tasks().spawn(async move { register.register(&metadata, buyer).await });
    let registered = registering.await.context("registering").map_err(Problem::failed)??;
    let (customer, signup) = (registered.customer, registered.signup);
    let account = GumroadAccount {
        account_id: customer.account_id.0,
        system_token: customer.system_token.token.reveal().to_owned(),
        source: "gumroad.com",
        credit: GumroadCredit {
            standing: signup.standing,
            waits_for: signup.doubts,
            amount_micro: signup.amount_micro.0,
            amount_usd: signup.amount_micro.to_string(),
        },
    };
    Ok((StatusCode::CREATED, Json(account)))
}

impl GumroadSignUp {
    fn read(self) -> Result<Buyer, Problem> {
        let email = short("email", Some(self.email), MAX_EMAIL_CHARS)?.unwrap_or_default();
        if !is_address(&email) {
            return Err(Problem::invalid("invalid_email", "`email` is an e-mail address."));
        }
        let country = short("country", self.country, 2)?.map(|country| country.to_ascii_uppercase());
        if country.as_ref().is_some_and(|country| {
            country.len() != 2 || !country.bytes().all(|letter| letter.is_ascii_uppercase())
        }) {
            return Err(Problem::invalid("invalid_country", "`country` is two letters, as DE."));
        }
        Ok(Buyer {
            email,
            name: short("name", self.name, MAX_NAME_CHARS)?,
            country,
            mobile: short("mobile", self.mobile, MAX_MOBILE)?,
            licence_key: short("licenseKey", self.license_key, MAX_LICENCE_KEY)?,
            device_fingerprint: short("deviceFingerprint", self.device_fingerprint, MAX_FINGERPRINT)?,
            address: None,
        })
    }
}

/// A field without the blanks around it; `None` where nothing is left.
fn short(name: &str, text: Option<String>, most: usize) -> Result<Option<String>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let text = text.trim();
    if text.chars().count() > most || !shows(text) {
        let message =
            format!("`{name}` has at most {most} characters and no control or invisible characters.");
        return Err(Problem::invalid("invalid_field", message));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

impl From<RegisterRefusal> for Problem {
    fn from(refusal: RegisterRefusal) -> Self {
        let (code, message) = match refusal {
            RegisterRefusal::LicenceNotGood => (
                "license_not_good",
                "Gumroad does not know this licence key, or its purchase was taken back.",
            ),
            RegisterRefusal::LicenceTaken => {
                ("license_taken", "This licence key has brought its credit, or waits to.")
            }
            RegisterRefusal::Account(refusal) => return refusal.into(),
            RegisterRefusal::Gumroad(refusal) => return refusal.into(),
        };
        Self::new(StatusCode::CONFLICT, ErrorKind::InvalidRequest, code, message)
    }
}

impl From<GumroadRefusal> for Problem {
    fn from(refusal: GumroadRefusal) -> Self {
        let (status, code) = match refusal {
            GumroadRefusal::LicenceTaken => (StatusCode::CONFLICT, "license_taken"),
            GumroadRefusal::UnknownSignup => (StatusCode::NOT_FOUND, "unknown_signup"),
            GumroadRefusal::AlreadyReviewed { .. } => (StatusCode::CONFLICT, "already_reviewed"),
            GumroadRefusal::Wallet(_) => (StatusCode::CONFLICT, "wallet_refuses"),
        };
        Self::new(status, ErrorKind::InvalidRequest, code, refusal.to_string())
    }
}
