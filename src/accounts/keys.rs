//! Keys of customers and of the operator.

use codexapi_aggregates::account::{
    Account, AccountCommand, AccountRefusal, KeyKind, OPERATOR_STREAM, RevealReason, RevocationReason,
};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, KeyId};
use codexapi_aggregates::time::Timestamp;

use crate::clock;
use crate::commands::CommandError;
use crate::config::CredentialSettings;
use crate::event_log::EventLog;
use crate::secrets::{self, Token, TokenDigestKey};

/// A key that was just issued, with its secret.
#[derive(Clone, Debug)]
pub struct IssuedKey {
    pub key_id: KeyId,
    pub kind: KeyKind,
    pub token: Token,
    /// Where the log names it; it works once `api_keys` has come so far.
    pub position: i64,
}

/// Why a token is not shown.
#[derive(Debug, thiserror::Error)]
pub enum RevealError {
    #[error("no sealing key is configured: tokens are shown once, when they are made")]
    NoSealingKey,
    #[error("no sealed copy of this token was kept; issue a new one")]
    NoSealedCopy,
    #[error(transparent)]
    Command(CommandError<AccountRefusal>),
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

/// Issues a key: of `account` for `SystemToken` (which replaces the one before) and `Api`, of the operator (`None`)
/// for `Operator` and `Admin`.
pub async fn issue_key(
    log: &EventLog,
    credentials: &CredentialSettings,
    metadata: &Metadata,
    account: Option<AccountId>,
    kind: KeyKind,
) -> Result<IssuedKey, CommandError<AccountRefusal>> {
    let (key_id, token) = (KeyId(clock::new_id()), Token::generate(kind));
    seal(log, credentials, key_id, &token).await.map_err(CommandError::unread)?;
    let issued = log
        .execute(&stream(account), metadata, |state: &Account, now| {
            state.decide(issue_command(key_id, kind, &token, &credentials.token_digest_key, now))
        })
        .await;
    if matches!(issued, Err(CommandError::Refused(_))) {
        forget_sealed(log, key_id).await.map_err(CommandError::unread)?;
    }
    Ok(IssuedKey { key_id, kind, token, position: issued?.position })
}

/// Revokes a key; revoking it again changes nothing. Returns the position after which it is refused everywhere.
pub async fn revoke_key(
    log: &EventLog,
    metadata: &Metadata,
    account: Option<AccountId>,
    key_id: KeyId,
    reason: RevocationReason,
) -> Result<i64, CommandError<AccountRefusal>> {
    let committed = log
        .execute(&stream(account), metadata, |state: &Account, now| {
            state.decide(AccountCommand::RevokeKey { key_id, reason, now })
        })
        .await?;
    Ok(committed.position)
}

/// Shows a token again. The event that says who looked and why is durable before the token is.
pub async fn reveal_token(
    log: &EventLog,
    credentials: &CredentialSettings,
    metadata: &Metadata,
    account: Option<AccountId>,
    key_id: KeyId,
    reason: RevealReason,
) -> Result<Token, RevealError> {
    let sealer = credentials.sealer().ok_or(RevealError::NoSealingKey)?;
    log.execute(&stream(account), metadata, |state: &Account, now| {
        state.decide(AccountCommand::RevealToken { key_id, reason, now })
    })
    .await
    .map_err(RevealError::Command)?;
    let token = secrets::open_sealed(log.pool(), &sealer, key_id).await.map_err(RevealError::Failed)?;
    token.ok_or(RevealError::NoSealedCopy)
}

pub(super) fn issue_command(
    key_id: KeyId,
    kind: KeyKind,
    token: &Token,
    digest_key: &TokenDigestKey,
    now: Timestamp,
) -> AccountCommand {
    let (digest, prefix) = (token.digest(digest_key).to_string(), token.prefix());
    AccountCommand::IssueKey { key_id, kind, digest, prefix, now }
}

/// Keeps the sealed copy, where there is a key to seal with.
pub(super) async fn seal(
    log: &EventLog,
    credentials: &CredentialSettings,
    key_id: KeyId,
    token: &Token,
) -> anyhow::Result<()> {
    match credentials.sealer() {
        Some(sealer) => secrets::store_sealed(log.pool(), &sealer, key_id, token).await,
        None => Ok(()),
    }
}

/// Drops the copy of a token whose key was refused.
pub(super) async fn forget_sealed(log: &EventLog, key_id: KeyId) -> anyhow::Result<()> {
    secrets::forget_sealed(log.pool(), key_id).await
}

pub(super) fn stream(account: Option<AccountId>) -> String {
    account.map_or_else(|| OPERATOR_STREAM.into(), |account| account.to_string())
}
