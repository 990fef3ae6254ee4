//! Accounts and keys. A key is looked up by a keyed digest; a revoked key never works again.

pub mod events;
mod limits;

#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use events::{
    AccountEvent, KeyKind, KeyLimits, RevealReason, RevocationReason, SuspensionReason, ToolboxChoice,
};
pub use limits::{KeyLimitName, MAX_ALLOWED_MODELS};

use crate::ids::{AccountId, KeyId, PersonId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// The stream of keys that belong to no customer: operator and admin keys.
pub const OPERATOR_STREAM: &str = "operator";

/// Active keys one account may have at a time.
pub const MAX_ACTIVE_KEYS: usize = 50;

/// Keys one account may have had in all; a limit on its state.
pub const MAX_KEYS: usize = 2_000;

// Commands

#[derive(Clone, Debug, PartialEq)]
pub enum AccountCommand {
    RegisterCustomer {
        account_id: AccountId,
        person_id: PersonId,
        now: Timestamp,
    },
    /// `digest` and `prefix` as in `KeyIssued`; a new System Token revokes the one before.
    IssueKey {
        key_id: KeyId,
        kind: KeyKind,
        digest: String,
        prefix: String,
        now: Timestamp,
    },
    RevokeKey {
        key_id: KeyId,
        reason: RevocationReason,
        now: Timestamp,
    },
    RevealToken {
        key_id: KeyId,
        reason: RevealReason,
        now: Timestamp,
    },
    /// All limits of a key at once; they replace the ones before.
    SetKeyLimits {
        key_id: KeyId,
        limits: KeyLimits,
        now: Timestamp,
    },
    SuspendAccount {
        reason: SuspensionReason,
        now: Timestamp,
    },
    ReinstateAccount {
        now: Timestamp,
    },
    SetToolbox {
        choice: ToolboxChoice,
        now: Timestamp,
    },
}

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefusal {
    #[error("this account is not registered")]
    NotRegistered,
    #[error("this account is registered already")]
    AlreadyRegistered,
    #[error("{kind:?} keys do not belong to this kind of account")]
    WrongKindOfKey { kind: KeyKind },
    #[error("there are {MAX_ACTIVE_KEYS} active keys already; revoke one first")]
    TooManyActiveKeys,
    #[error("this account has had {MAX_KEYS} keys; it can have no more")]
    TooManyKeys,
    #[error("key {key_id} exists already")]
    KeyExists { key_id: KeyId },
    #[error("there is no key {key_id} on this account")]
    UnknownKey { key_id: KeyId },
    #[error("a System Token is replaced, not revoked")]
    SystemTokenIsReplaced,
    #[error("key {key_id} is revoked")]
    KeyRevoked { key_id: KeyId },
    #[error("a limit of 0 on {limit} would let nothing through; revoke the key or leave the limit out")]
    ZeroLimit { limit: KeyLimitName },
    #[error("${amount} is no budget: {limit} is more than $0")]
    NegativeBudget { limit: KeyLimitName, amount: MicroUsd },
    #[error("{limit} is counted in a customer's wallet; {kind:?} keys have none")]
    NeedsAWallet { limit: KeyLimitName, kind: KeyKind },
    #[error("a key may name at most {most} models, not {got}")]
    TooManyModels { got: usize, most: usize },
    #[error("{model:?} is not a model's name: 1 to 100 letters, digits, '.', '-', '_', ':' and '/'")]
    BadModelName { model: String },
    #[error("a key cannot be made to expire in the past")]
    ExpiresInThePast,
}

// State

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Key {
    key_id: KeyId,
    kind: KeyKind,
    revoked: bool,
    /// Absent where none were ever set, and once it is revoked.
    limits: Option<Box<KeyLimits>>,
}

/// A customer's account, or the operator's own keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    customer: Option<AccountId>,
    keys: Vec<Key>,
    suspended: Option<SuspensionReason>,
    #[serde(default)]
    toolbox: ToolboxChoice,
}

impl Account {
    pub fn is_registered(&self) -> bool {
        self.customer.is_some()
    }

    /// Why none of its keys works, while it is suspended.
    pub fn suspended(&self) -> Option<SuspensionReason> {
        self.suspended
    }

    /// What the customer wants done with requests during surges.
    pub fn toolbox(&self) -> ToolboxChoice {
        self.toolbox
    }

    /// The limits of a key that works; `None` for any other.
    pub fn key_limits(&self, key_id: KeyId) -> Option<KeyLimits> {
        let key = self.keys.iter().find(|key| key.key_id == key_id && !key.revoked)?;
        Some(key.limits.as_deref().cloned().unwrap_or_default())
    }

    // Rules

    pub fn decide(&self, command: AccountCommand) -> Result<Vec<AccountEvent>, AccountRefusal> {
        match command {
            AccountCommand::RegisterCustomer { account_id, person_id, now } => {
                self.register(account_id, person_id, now)
            }
            AccountCommand::IssueKey { key_id, kind, digest, prefix, now } => {
                self.issue(key_id, kind, digest, prefix, now)
            }
            AccountCommand::RevokeKey { key_id, reason, now } => self.revoke(key_id, reason, now),
            AccountCommand::RevealToken { key_id, reason, now } => self.reveal(key_id, reason, now),
            AccountCommand::SetKeyLimits { key_id, limits, now } => self.set_limits(key_id, limits, now),
            AccountCommand::SuspendAccount { reason, now } => self.suspend(reason, now),
            AccountCommand::ReinstateAccount { now } => self.reinstate(now),
            AccountCommand::SetToolbox { choice, now } => self.set_toolbox(choice, now),
        }
    }

    fn register(
        &self,
        account_id: AccountId,
        person_id: PersonId,
        at: Timestamp,
    ) -> Result<Vec<AccountEvent>, AccountRefusal> {
        if self.is_registered() {
            return Err(AccountRefusal::AlreadyRegistered);
        }
        Ok(vec![AccountEvent::CustomerRegistered { account_id, person_id, at }])
    }

    fn issue(
        &self,
        key_id: KeyId,
        kind: KeyKind,
        digest: String,
        prefix: String,
        at: Timestamp,
    ) -> Result<Vec<AccountEvent>, AccountRefusal> {
        match kind {
            KeyKind::SystemToken | KeyKind::Api if !self.is_registered() => {
                return Err(AccountRefusal::NotRegistered);
            }
            KeyKind::Operator | KeyKind::Admin if self.is_registered() => {
                return Err(AccountRefusal::WrongKindOfKey { kind });
            }
            KeyKind::SystemToken | KeyKind::Api | KeyKind::Operator | KeyKind::Admin => {}
        }
        if self.keys.iter().any(|key| key.key_id == key_id) {
            return Err(AccountRefusal::KeyExists { key_id });
        }
        if self.keys.len() >= MAX_KEYS {
            return Err(AccountRefusal::TooManyKeys);
        }
        let replaced = self
            .keys
            .iter()
            .find(|key| kind == KeyKind::SystemToken && key.kind == KeyKind::SystemToken && !key.revoked);
        if replaced.is_none() && self.keys.iter().filter(|key| !key.revoked).count() >= MAX_ACTIVE_KEYS {
            return Err(AccountRefusal::TooManyActiveKeys);
        }
        let revoked = replaced.map(|key| AccountEvent::KeyRevoked {
            key_id: key.key_id,
            reason: RevocationReason::Rotated,
            at,
        });
        let issued = AccountEvent::KeyIssued { key_id, kind, digest, prefix, at };
        Ok(revoked.into_iter().chain([issued]).collect())
    }

    fn revoke(
        &self,
        key_id: KeyId,
        reason: RevocationReason,
        at: Timestamp,
    ) -> Result<Vec<AccountEvent>, AccountRefusal> {
        let key = self.key(key_id)?;
        if key.revoked {
            return Ok(vec![]);
        }
        if key.kind == KeyKind::SystemToken && reason == RevocationReason::Requested {
            return Err(AccountRefusal::SystemTokenIsReplaced);
        }
        Ok(vec![AccountEvent::KeyRevoked { key_id, reason, at }])
    }

    fn reveal(
        &self,
        key_id: KeyId,
        reason: RevealReason,
        at: Timestamp,
    ) -> Result<Vec<AccountEvent>, AccountRefusal> {
        if self.key(key_id)?.revoked {
            return Err(AccountRefusal::KeyRevoked { key_id });
        }
        Ok(vec![AccountEvent::TokenRevealed { key_id, reason, at }])
    }

    /// An account suspended already stays as it is, whatever the reason then.
    fn suspend(&self, reason: SuspensionReason, at: Timestamp) -> Result<Vec<AccountEvent>, AccountRefusal> {
        if !self.is_registered() {
            return Err(AccountRefusal::NotRegistered);
        }
        if self.suspended.is_some() {
            return Ok(vec![]);
        }
        Ok(vec![AccountEvent::AccountSuspended { reason, at }])
    }

    fn reinstate(&self, at: Timestamp) -> Result<Vec<AccountEvent>, AccountRefusal> {
        if !self.is_registered() {
            return Err(AccountRefusal::NotRegistered);
        }
        if self.suspended.is_none() {
            return Ok(vec![]);
        }
        Ok(vec![AccountEvent::AccountReinstated { at }])
    }

    fn set_toolbox(&self, choice: ToolboxChoice, at: Timestamp) -> Result<Vec<AccountEvent>, AccountRefusal> {
        if !self.is_registered() {
            return Err(AccountRefusal::NotRegistered);
        }
        if self.toolbox == choice {
            return Ok(vec![]);
        }
        Ok(vec![AccountEvent::ToolboxSet { choice, at }])
    }

    fn key(&self, key_id: KeyId) -> Result<&Key, AccountRefusal> {
        self.keys.iter().find(|key| key.key_id == key_id).ok_or(AccountRefusal::UnknownKey { key_id })
    }

    fn evolve(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::CustomerRegistered { account_id, .. } => self.customer = Some(account_id),
            AccountEvent::KeyIssued { key_id, kind, .. } => {
                self.keys.push(Key { key_id, kind, revoked: false, limits: None });
            }
            AccountEvent::KeyRevoked { key_id, .. } => {
                for key in self.keys.iter_mut().filter(|key| key.key_id == key_id) {
                    key.revoked = true;
                    key.limits = None;
                }
            }
            AccountEvent::KeyLimitsSet { key_id, limits, .. } => {
                if let Some(key) = self.keys.iter_mut().find(|key| key.key_id == key_id) {
                    key.limits = Some(limits);
                }
            }
            AccountEvent::AccountSuspended { reason, .. } => self.suspended = Some(reason),
            AccountEvent::AccountReinstated { .. } => self.suspended = None,
            AccountEvent::ToolboxSet { choice, .. } => self.toolbox = choice,
            AccountEvent::TokenRevealed { .. } => {}
        }
    }
}

// cqrs-es

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: AccountCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AccountRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        self.evolve(event);
    }
}
