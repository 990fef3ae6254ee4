//! The share credit and the codes that make a top-up bring more.

pub mod email_link;

use codexapi_aggregates::bonus::{
    BonusAction, BonusCommand, BonusEvent, BonusRefusal, Bonuses, Code, IssueCode, ShareCreditRefusal,
    Standing, claim_share_credit as claim,
};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, BonusCodeId, GrantId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::{Wallet, WalletTerms};
use rand::RngExt;

use crate::clock;
use crate::commands::CommandError;
use crate::config::BonusSettings;
use crate::event_log::EventLog;
use email_link::EmailLink;

/// Letters and digits that people do not take for others.
const LETTERS: &[u8; 31] = b"ABCDEFGHJKLMNPQRSTUVWXYZ2345679";

/// Letters of a code that was drawn at random.
const DRAWN_LETTERS: usize = 10;

/// A share credit, just claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareCreditClaimed {
    pub grant_id: GrantId,
    pub balance_micro: MicroUsd,
    pub position: i64,
}

/// Grants the share credit, once ever, however many ask at once.
pub async fn claim_share_credit(
    log: &EventLog,
    terms: &WalletTerms,
    metadata: &Metadata,
    account_id: AccountId,
    amount_micro: MicroUsd,
) -> Result<ShareCreditClaimed, CommandError<ShareCreditRefusal>> {
    let stream = account_id.to_string();
    let grant_id = GrantId(clock::new_id());
    let (committed, balance_micro) = log
        .execute_pair(&stream, &stream, metadata, |bonuses: &Bonuses, wallet: &Wallet, now| {
            claim(bonuses, wallet, (grant_id, amount_micro), terms, now)
        })
        .await?;
    Ok(ShareCreditClaimed { grant_id, balance_micro, position: committed.second.position })
}

/// A code that was issued to an account.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedCode {
    pub code_id: BonusCodeId,
    pub code: Code,
    /// Where its event stands in the log; 0 where it was issued before.
    pub position: i64,
}

/// What an operator issues. Without a code one is drawn at random.
#[derive(Clone, Debug)]
pub struct NewCode {
    pub code: Option<String>,
    pub basis_points: u32,
    pub plan_id: Option<String>,
    pub expires_at: Timestamp,
}

/// Issues a code to an account.
pub async fn issue_code(
    log: &EventLog,
    metadata: &Metadata,
    account_id: AccountId,
    new: NewCode,
) -> Result<IssuedCode, CommandError<BonusRefusal>> {
    let code_id = BonusCodeId(clock::new_id());
    let NewCode { code, basis_points, plan_id, expires_at } = new;
    let code = code.unwrap_or_else(|| drawn(DRAWN_LETTERS));
    let action = BonusAction::IssueCode(IssueCode { code_id, code, basis_points, plan_id, expires_at });
    issued(log, metadata, account_id, code_id, action).await
}

/// Begins the time for which a customer who came from a link in a mail gets more; the same link again tells of the
/// same discount.
pub async fn issue_email_discount(
    log: &EventLog,
    settings: &BonusSettings,
    metadata: &Metadata,
    account_id: AccountId,
    link: EmailLink,
) -> Result<IssuedCode, CommandError<BonusRefusal>> {
    let basis_points = settings.email_discount_basis_points;
    let expires_at = clock::now().plus_secs(i64::from(settings.email_discount_minutes) * 60);
    let code = format!("MAIL-{}", drawn(DRAWN_LETTERS));
    let action = BonusAction::IssueEmailDiscount { link_id: link.link_id, code, basis_points, expires_at };
    issued(log, metadata, account_id, link.link_id, action).await
}

async fn issued(
    log: &EventLog,
    metadata: &Metadata,
    account_id: AccountId,
    code_id: BonusCodeId,
    action: BonusAction,
) -> Result<IssuedCode, CommandError<BonusRefusal>> {
    let stream = account_id.to_string();
    let committed = log
        .execute(&stream, metadata, |bonuses: &Bonuses, now| {
            bonuses.decide(BonusCommand { action: action.clone(), now })
        })
        .await?;
    if let Some(BonusEvent::CodeIssued { code, kind, basis_points, plan_id, expires_at, at, .. }) =
        committed.events.into_iter().next()
    {
        let (issued_at, standing, returned_by) = (at, Standing::Open, vec![]);
        let code = Code { code, kind, basis_points, plan_id, issued_at, expires_at, standing, returned_by };
        return Ok(IssuedCode { code_id, code, position: committed.position });
    }
    let known =
        |bonuses: &Bonuses| bonuses.codes().find(|(id, _)| **id == code_id).map(|(_, code)| code.clone());
    let known = log.read(&stream, known).await.map_err(CommandError::unread)?;
    let code =
        known.ok_or_else(|| CommandError::Failed(anyhow::anyhow!("a code that was issued is gone")))?;
    Ok(IssuedCode { code_id, code, position: 0 })
}

/// A code of that many letters.
pub(crate) fn drawn(letters: usize) -> String {
    let mut random = rand::rng();
    (0..letters).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}
