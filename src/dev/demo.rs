//! The demo customer: the same account, token and $10 however often `dev` is started.

use anyhow::{Context, anyhow};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::{GrantSource, Wallet};
use uuid::Uuid;

use super::secrets::DevSecrets;
use crate::accounts::{self, GrantCredit, NewCustomer};
use crate::app::App;
use crate::commands::CommandError;
use crate::secrets::Token;
use codexapi_aggregates::account::AccountRefusal;

/// Fixed, so that a restart finds the same account.
const DEMO_ACCOUNT: Uuid = Uuid::from_u128(0x0de0_0000_0000_7000_8000_0000_0000_0001);

/// What it starts with, once.
const DEMO_CREDIT: MicroUsd = MicroUsd::dollars(10);

/// Makes sure that the demo customer exists and has had its credit; returns its id and balance.
pub(super) async fn ensure_customer(
    app: &App,
    secrets: &DevSecrets,
) -> anyhow::Result<(AccountId, MicroUsd)> {
    let account_id = AccountId(DEMO_ACCOUNT);
    let metadata = Metadata::process("dev");
    let token = Token::presented(&secrets.customer_token).context("the demo token is no token")?;
    let new = NewCustomer {
        account_id: Some(account_id),
        system_token: Some(token),
        name: Some("Demo customer".into()),
        ..NewCustomer::default()
    };
    match accounts::create_customer(&app.log, &app.config.credentials, &metadata, new).await {
        Ok(_) | Err(CommandError::Refused(AccountRefusal::AlreadyRegistered)) => {}
        Err(error) => return Err(anyhow!("making the demo customer: {error}")),
    }
    let grant = GrantCredit {
        account_id,
        source: GrantSource::Promo,
        amount_micro: DEMO_CREDIT,
        expires_at: None,
        idempotency_key: "demo-credit".into(),
    };
    accounts::grant_credit(&app.log, &app.config.wallet.terms(), &metadata, grant)
        .await
        .map_err(|error| anyhow!("crediting the demo customer: {error}"))?;
    let balance = app.log.read(&account_id.to_string(), Wallet::balance).await?;
    Ok((account_id, balance))
}
