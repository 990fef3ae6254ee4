//! An operator's changes of a customer's credit, up, down, or to a balance: each an event of the difference, at most
//! once per idempotency key, never an overwrite.

use codexapi_aggregates::account::{Account, AccountRefusal};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, AdjustmentId, GrantId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::{
    AdjustmentReason, GrantSource, Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal,
    WalletTerms,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::notes::{self, MAX_NOTE_CHARS};
use crate::clock;
use crate::commands::CommandError;
use crate::event_log::{EventLog, IdempotencyKey};

/// What idempotency keys are kept under, whichever way an operator moves credit.
const COMMAND: &str = "adjust_credit";

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct AdjustCredit {
    pub account_id: AccountId,
    pub change: CreditChange,
    /// Free text for other operators; erasable, never in the log.
    pub note: Option<String>,
    /// The caller's: the same key with the same change moves credit once and answers as the first time.
    pub idempotency_key: String,
}

/// Up, down, or to a balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditChange {
    Up {
        amount_micro: MicroUsd,
        source: GrantSource,
        expires_at: Option<Timestamp>,
    },
    Down {
        amount_micro: MicroUsd,
        reason: TakingReason,
    },
    /// The difference to `balance_micro`, provided that the balance still is what the operator saw.
    To {
        balance_micro: MicroUsd,
        seen_micro: MicroUsd,
    },
}

/// Why an operator takes credit away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakingReason {
    GrantedInError,
    DuplicateCredit,
    Abuse,
    CustomerRequest,
}

impl From<TakingReason> for AdjustmentReason {
    fn from(reason: TakingReason) -> Self {
        match reason {
            TakingReason::GrantedInError => Self::GrantedInError,
            TakingReason::DuplicateCredit => Self::DuplicateCredit,
            TakingReason::Abuse => Self::Abuse,
            TakingReason::CustomerRequest => Self::CustomerRequest,
        }
    }
}

/// What a change has come to, as it was first made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditAdjusted {
    /// The grant's or the adjustment's id; none where nothing had to change.
    pub movement_id: Option<Uuid>,
    /// Negative where credit was taken; of a grant that paid debt, what was left of it.
    pub change_micro: MicroUsd,
    pub debt_paid_micro: MicroUsd,
    pub balance_micro: MicroUsd,
    /// The key had been used before; nothing moved this time.
    pub replayed: bool,
    pub position: i64,
    pub events: usize,
}

/// Why no credit moved.
#[derive(Debug, thiserror::Error)]
pub enum AdjustRefusal {
    #[error(transparent)]
    Account(AccountRefusal),
    #[error(transparent)]
    Wallet(WalletRefusal),
    #[error("the balance is ${balance} and not the ${seen} that was seen; look again and decide anew")]
    BalanceChanged { balance: MicroUsd, seen: MicroUsd },
    #[error("${debt} is owed, and credit pays that first: grant credit instead of naming a balance")]
    OwesDebt { debt: MicroUsd },
    #[error("a balance is $0 or more; ${balance} is not")]
    NegativeBalance { balance: MicroUsd },
    #[error("a note has at most {MAX_NOTE_CHARS} characters, not {chars}")]
    NoteLength { chars: usize },
}

/// Changes a registered customer's credit.
///
/// # Errors
/// Refused with its numbers; what is refused leaves no trace, its note neither.
pub async fn adjust_credit(
    log: &EventLog,
    terms: &WalletTerms,
    metadata: &Metadata,
    adjust: AdjustCredit,
) -> Result<CreditAdjusted, CommandError<AdjustRefusal>> {
    let refuse = |refusal| Err(CommandError::Refused(refusal));
    let note = adjust.note.as_deref().map(str::trim).filter(|note| !note.is_empty());
    let chars = note.map_or(0, |note| note.chars().count());
    if chars > MAX_NOTE_CHARS {
        return refuse(AdjustRefusal::NoteLength { chars });
    }
    let stream = adjust.account_id.to_string();
    if !log.read(&stream, Account::is_registered).await.map_err(CommandError::unread)? {
        return refuse(AdjustRefusal::Account(AccountRefusal::NotRegistered));
    }
    let movement_id = clock::new_id();
    if let Some(note) = note {
        let written = notes::write(log.pool(), adjust.account_id, movement_id, note).await;
        written.map_err(CommandError::unread)?;
    }
    let key = IdempotencyKey {
        command: COMMAND,
        account: stream.clone(),
        key: adjust.idempotency_key.clone(),
        inputs_digest: inputs_digest(adjust.change),
        keep_forever: true,
    };
    let decide = |wallet: &Wallet, now| match action(wallet, adjust.change, movement_id)? {
        Some(action) => {
            wallet.decide(WalletCommand { action, terms: terms.clone(), now }).map_err(AdjustRefusal::Wallet)
        }
        None => Ok(vec![]),
    };
    let result = log.execute_once(&stream, metadata, key, decide).await;
    let moved = result.as_ref().is_ok_and(|committed| movement_of(&committed.events) == Some(movement_id));
    let may_have_moved = matches!(result, Err(CommandError::Unavailable { outcome_unknown: true, .. }));
    if note.is_some() && !moved && !may_have_moved {
        notes::forget(log.pool(), movement_id).await.map_err(CommandError::unread)?;
    }
    let committed = result?;
    let balance_micro = match committed.events.last() {
        Some(event) => event.balance(),
        None => log.read(&stream, Wallet::balance).await.map_err(CommandError::unread)?,
    };
    let (change_micro, debt_paid_micro) = committed.events.iter().find_map(change_of).unwrap_or_default();
    Ok(CreditAdjusted {
        movement_id: movement_of(&committed.events),
        change_micro,
        debt_paid_micro,
        balance_micro,
        replayed: committed.replayed,
        position: committed.position,
        events: committed.events.len(),
    })
}

/// What the wallet is asked; nothing where the balance is the one that was named.
fn action(
    wallet: &Wallet,
    change: CreditChange,
    movement_id: Uuid,
) -> Result<Option<WalletAction>, AdjustRefusal> {
    let up = |source, amount_micro, expires_at| WalletAction::GrantCredit {
        grant_id: GrantId(movement_id),
        source,
        amount_micro,
        expires_at,
    };
    let down = |reason, amount_micro| WalletAction::AdjustDown {
        adjustment_id: AdjustmentId(movement_id),
        reason,
        amount_micro,
    };
    match change {
        CreditChange::Up { amount_micro, source, expires_at } => {
            Ok(Some(up(source, amount_micro, expires_at)))
        }
        CreditChange::Down { amount_micro, reason } => Ok(Some(down(reason.into(), amount_micro))),
        CreditChange::To { balance_micro, seen_micro } => {
            let balance = wallet.balance();
            if balance_micro < MicroUsd::ZERO {
                return Err(AdjustRefusal::NegativeBalance { balance: balance_micro });
            }
            if balance != seen_micro {
                return Err(AdjustRefusal::BalanceChanged { balance, seen: seen_micro });
            }
            if balance_micro < balance {
                return Ok(Some(down(AdjustmentReason::BalanceSet, balance - balance_micro)));
            }
            if wallet.debt().is_positive() {
                return Err(AdjustRefusal::OwesDebt { debt: wallet.debt() });
            }
            let missing = balance_micro - balance;
            Ok(missing.is_positive().then(|| up(GrantSource::Admin, missing, None)))
        }
    }
}

fn movement_of(events: &[WalletEvent]) -> Option<Uuid> {
    events.iter().find_map(|event| match event {
        WalletEvent::CreditGranted { grant_id, .. } => Some(grant_id.0),
        WalletEvent::CreditAdjusted { adjustment_id, .. } => Some(adjustment_id.0),
        _ => None,
    })
}

/// What an event did to the balance, and to the debt.
fn change_of(event: &WalletEvent) -> Option<(MicroUsd, MicroUsd)> {
    match event {
        WalletEvent::CreditGranted { amount_micro, debt_paid_micro, .. } => {
            Some((*amount_micro - *debt_paid_micro, *debt_paid_micro))
        }
        WalletEvent::CreditAdjusted { amount_micro, .. } => {
            Some((MicroUsd::ZERO - *amount_micro, MicroUsd::ZERO))
        }
        _ => None,
    }
}

fn inputs_digest(change: CreditChange) -> [u8; 32] {
    let inputs = serde_json::to_vec(&change).expect("amounts and enums are JSON");
    Sha256::digest(&inputs).into()
}
