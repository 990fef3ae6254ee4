//! Referring: codes, who named whose, and what an operator decides about commissions.

use codexapi_aggregates::cash::CashWallet;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, CommissionId};
use codexapi_aggregates::referral::{
    self, Attribute, Commission, Referral, ReferralAction, ReferralCommand, ReferralRefusal, Review,
    SettlingRefusal,
};
use codexapi_projections::{ReadError, referral_commissions};
use sqlx::PgPool;

use crate::accounts::marks;
use crate::bonuses::drawn;
use crate::commands::CommandError;
use crate::event_log::EventLog;

/// Letters of a code; some 4 × 10¹¹ codes.
const CODE_LETTERS: usize = 8;

/// Codes drawn before giving up: each is taken already with a chance of one in millions.
const DRAWS: usize = 5;

/// The account's code, issued the first time it is asked for.
pub async fn code(log: &EventLog, metadata: &Metadata, account_id: AccountId) -> anyhow::Result<String> {
    let stream = account_id.to_string();
    let known = log.read(&stream, |referral: &Referral| referral.code().map(str::to_owned)).await?;
    if let Some(code) = known {
        return Ok(code);
    }
    let code = taken_for(log.pool(), account_id).await?;
    let issued = log
        .execute(&stream, metadata, |referral: &Referral, now| {
            referral.decide(ReferralCommand { action: ReferralAction::IssueCode { code: code.clone() }, now })
        })
        .await;
    issued.map_err(|error| anyhow::anyhow!("issuing a referral code: {error}"))?;
    Ok(code)
}

/// Takes a code that is nobody else's.
async fn taken_for(pool: &PgPool, account_id: AccountId) -> anyhow::Result<String> {
    for _ in 0..DRAWS {
        sqlx::query("INSERT INTO referral_codes (code, account_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(drawn(CODE_LETTERS))
            .bind(account_id.0)
            .execute(pool)
            .await?;
        let taken = sqlx::query_scalar("SELECT code FROM referral_codes WHERE account_id = $1")
            .bind(account_id.0)
            .fetch_optional(pool)
            .await?;
        if let Some(code) = taken {
            return Ok(code);
        }
    }
    anyhow::bail!("every referral code that was drawn is taken")
}

/// Why nobody is noted as the referrer.
#[derive(Debug, thiserror::Error)]
pub enum AttributionRefusal {
    #[error("nobody has this code")]
    UnknownCode,
    #[error(transparent)]
    Referral(ReferralRefusal),
}

/// A new customer names the code of who referred them.
pub async fn attribute(
    log: &EventLog,
    metadata: &Metadata,
    account_id: AccountId,
    code: &str,
) -> Result<AccountId, CommandError<AttributionRefusal>> {
    let code = code.trim().to_ascii_uppercase();
    let referrer: Option<uuid::Uuid> =
        sqlx::query_scalar("SELECT account_id FROM referral_codes WHERE code = $1")
            .bind(&code)
            .fetch_optional(log.pool())
            .await
            .map_err(CommandError::unread)?;
    let referrer_id =
        referrer.map(AccountId).ok_or(CommandError::Refused(AttributionRefusal::UnknownCode))?;
    let referrers_referrer =
        log.read(&referrer_id.to_string(), Referral::referrer).await.map_err(CommandError::unread)?;
    let is_same_person =
        marks::shared(log.pool(), account_id, referrer_id).await.map_err(CommandError::unread)?;
    let attribute = Attribute { account_id, referrer_id, code, referrers_referrer, is_same_person };
    let attributed = log
        .execute(&account_id.to_string(), metadata, |referral: &Referral, now| {
            let action = ReferralAction::Attribute(attribute.clone());
            referral.decide(ReferralCommand { action, now })
        })
        .await;
    attributed.map_err(|error| error.map(AttributionRefusal::Referral))?;
    Ok(referrer_id)
}

/// Why a commission was not reviewed.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error("there is no commission {0}, or the read models lag")]
    Unknown(CommissionId),
    #[error(transparent)]
    Command(CommandError<SettlingRefusal>),
    #[error("{0}")]
    Read(ReadError),
}

/// What an operator decides about a commission; approving pays it into the referrer's Cash Wallet.
pub async fn review(
    log: &EventLog,
    metadata: &Metadata,
    commission_id: CommissionId,
    review: Review,
) -> Result<Commission, ReviewError> {
    let row = referral_commissions::get(log.pool(), commission_id.0).await.map_err(ReviewError::Read)?;
    let referrer = row.ok_or(ReviewError::Unknown(commission_id))?.account_id.to_string();
    let reviewed = log
        .execute_pair(&referrer, &referrer, metadata, |referral: &Referral, cash: &CashWallet, now| {
            referral::review(referral, cash, commission_id, review, now)
        })
        .await;
    reviewed.map(|(_, commission)| commission).map_err(ReviewError::Command)
}
