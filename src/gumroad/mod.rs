//! Customers who bought at Gumroad: an account at once, and its credit when Gumroad or an operator says so.
//!
//! Marks are written before they are compared, and the account before its sign-up: wherever this is cut off, the
//! worst that is left is an account without credit, and a second try that waits for an operator.

mod client;

use std::net::IpAddr;
use std::sync::Arc;

use codexapi_aggregates::account::AccountRefusal;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::gumroad::{
    self, DoubtReason, GumroadLicence, GumroadRefusal, SignUp, Signup, Verdict,
};
use codexapi_aggregates::ids::{AccountId, GrantId};
use codexapi_aggregates::wallet::{Wallet, WalletTerms};
use codexapi_projections::{ReadError, gumroad_signups};

use crate::accounts::marks::{self, Mark, MarkKind};
use crate::accounts::{self, CreatedCustomer, NewCustomer};
use crate::clock;
use crate::commands::CommandError;
use crate::config::{CredentialSettings, GumroadSettings};
use crate::event_log::EventLog;

pub use client::{Gumroad, LicenceCheck};

/// Who signs up.
#[derive(Clone, Debug)]
pub struct Buyer {
    pub email: String,
    pub name: Option<String>,
    pub country: Option<String>,
    pub mobile: Option<String>,
    pub licence_key: Option<String>,
    pub device_fingerprint: Option<String>,
    pub address: Option<IpAddr>,
}

/// A new customer, and what became of the credit.
#[derive(Clone, Debug)]
pub struct Registered {
    pub customer: CreatedCustomer,
    pub signup: Signup,
}

/// Why nobody is registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterRefusal {
    #[error("Gumroad does not know this licence key, or its purchase was taken back")]
    LicenceNotGood,
    #[error("this licence key has brought its credit")]
    LicenceTaken,
    #[error(transparent)]
    Account(AccountRefusal),
    #[error(transparent)]
    Gumroad(GumroadRefusal),
}

/// What registering needs of the service.
#[derive(Clone)]
pub struct Register {
    pub log: EventLog,
    pub gumroad: Arc<Gumroad>,
    pub credentials: CredentialSettings,
    pub settings: GumroadSettings,
    pub terms: WalletTerms,
}

impl Register {
    /// Makes the account; grants the credit where the licence is good and nothing speaks against it.
    pub async fn register(
        &self,
        metadata: &Metadata,
        buyer: Buyer,
    ) -> Result<Registered, CommandError<RegisterRefusal>> {
        let verified = self.check_licence(buyer.licence_key.as_deref()).await?;
        let account_id = AccountId(clock::new_id());
        let doubts = self.doubts(account_id, &buyer).await.map_err(CommandError::unread)?;
        let customer = self.create(metadata, account_id, &buyer).await?;
        let ask = SignUp {
            account_id,
            has_licence: buyer.licence_key.is_some(),
            verified,
            doubts,
            amount_micro: self.settings.gumroad_credit_usd,
            grant_id: GrantId(clock::new_id()),
        };
        let stream = match &buyer.licence_key {
            Some(licence_key) => self.licence_stream(licence_key),
            None => account_stream(account_id),
        };
        let signup = match self.sign_up(metadata, &stream, &ask).await {
            // Another was quicker with this licence: the account stands, and an operator looks at it.
            Err(CommandError::Refused(RegisterRefusal::Gumroad(GumroadRefusal::LicenceTaken))) => {
                let mut ask = ask;
                ask.doubts.push(DoubtReason::LicenceTaken);
                self.sign_up(metadata, &account_stream(account_id), &ask).await?
            }
            signed_up => signed_up?,
        };
        Ok(Registered { customer, signup })
    }

    /// Whether Gumroad says that the licence is good. A bad one, and one that has brought its credit, end it here.
    async fn check_licence(&self, licence_key: Option<&str>) -> Result<bool, CommandError<RegisterRefusal>> {
        let Some(licence_key) = licence_key else { return Ok(false) };
        let stream = self.licence_stream(licence_key);
        let holder = self.log.read(&stream, GumroadLicence::holder).await.map_err(CommandError::unread)?;
        if holder.is_some() {
            return Err(CommandError::Refused(RegisterRefusal::LicenceTaken));
        }
        match self.gumroad.check(licence_key).await {
            LicenceCheck::Good => Ok(true),
            LicenceCheck::NotGood => Err(CommandError::Refused(RegisterRefusal::LicenceNotGood)),
            LicenceCheck::Unknown(error) => {
                tracing::warn!(error = format!("{error:#}"), "a licence could not be verified at Gumroad");
                Ok(false)
            }
        }
    }

    /// Marks the account that is to be, and says which marks others have, too.
    async fn doubts(&self, account_id: AccountId, buyer: &Buyer) -> anyhow::Result<Vec<DoubtReason>> {
        let key = &self.credentials.token_digest_key;
        let known = [
            Some(Mark::email(key, &buyer.email)),
            buyer.device_fingerprint.as_deref().map(|fingerprint| Mark::device(key, fingerprint)),
            buyer.address.map(|address| Mark::network(key, address)),
        ];
        let known: Vec<Mark> = known.into_iter().flatten().collect();
        marks::add(self.log.pool(), account_id, &known).await?;
        let repeated = marks::repeated(self.log.pool(), account_id).await?;
        Ok(repeated
            .into_iter()
            .map(|kind| match kind {
                MarkKind::Device => DoubtReason::RepeatedDevice,
                MarkKind::Network => DoubtReason::RepeatedNetwork,
                MarkKind::Email => DoubtReason::RepeatedEmail,
            })
            .collect())
    }

    async fn create(
        &self,
        metadata: &Metadata,
        account_id: AccountId,
        buyer: &Buyer,
    ) -> Result<CreatedCustomer, CommandError<RegisterRefusal>> {
        let new = NewCustomer {
            account_id: Some(account_id),
            name: buyer.name.clone(),
            email: Some(buyer.email.clone()),
            country: buyer.country.clone(),
            mobile: buyer.mobile.clone(),
            system_token: None,
        };
        let created = accounts::create_customer(&self.log, &self.credentials, metadata, new).await;
        if created.is_err() {
            marks::forget(self.log.pool(), account_id).await.map_err(CommandError::unread)?;
        }
        created.map_err(|error| error.map(RegisterRefusal::Account))
    }

    async fn sign_up(
        &self,
        metadata: &Metadata,
        stream: &str,
        ask: &SignUp,
    ) -> Result<Signup, CommandError<RegisterRefusal>> {
        let wallet = ask.account_id.to_string();
        let decide = |licence: &GumroadLicence, wallet: &Wallet, now| {
            gumroad::sign_up(licence, wallet, ask, &self.terms, now)
        };
        let signed_up = self.log.execute_pair(stream, &wallet, metadata, decide).await;
        signed_up.map(|(_, signup)| signup).map_err(|error| error.map(RegisterRefusal::Gumroad))
    }

    fn licence_stream(&self, licence_key: &str) -> String {
        // Named, so that licences and tokens are never keyed alike.
        let said = format!("codexapi gumroad licence v1\0{}", licence_key.trim().to_ascii_uppercase());
        format!("licence-{}", hex::encode(self.credentials.token_digest_key.mac(said.as_bytes())))
    }
}

/// Why a sign-up was not reviewed.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error("there is no sign-up of {0}, or the read models lag")]
    Unknown(AccountId),
    #[error(transparent)]
    Command(CommandError<GumroadRefusal>),
    #[error("{0}")]
    Read(ReadError),
}

/// What an operator decides about a sign-up that waits.
pub async fn review(
    log: &EventLog,
    terms: &WalletTerms,
    metadata: &Metadata,
    account_id: AccountId,
    verdict: Verdict,
) -> Result<Signup, ReviewError> {
    let row = gumroad_signups::get(log.pool(), account_id.0).await.map_err(ReviewError::Read)?;
    let stream = row.ok_or(ReviewError::Unknown(account_id))?.stream;
    let reviewed = log
        .execute_pair(
            &stream,
            &account_id.to_string(),
            metadata,
            |licence: &GumroadLicence, wallet: &Wallet, now| {
                gumroad::review(licence, wallet, (account_id, verdict), terms, now)
            },
        )
        .await;
    reviewed.map(|(_, signup)| signup).map_err(ReviewError::Command)
}

fn account_stream(account_id: AccountId) -> String {
    format!("account-{account_id}")
}
