//! What operators do with customers and keys: create, issue, revoke, show again, list, credit, limit, suspend.
//!
//! Personal data goes to its erasable table and a token's sealed copy to its own before the event that names them is
//! appended: a row that no event names means nothing, while an event whose row is missing could not be mended.

mod adjusting;
mod credit;
pub mod given;
mod in_force;
mod keys;
mod limits;
pub mod listing;
pub mod marks;
pub mod notes;
pub mod persons;
mod plans;
mod recalling;
mod standing;

use codexapi_aggregates::account::{Account, AccountCommand, AccountEvent, AccountRefusal, KeyKind};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, KeyId, PersonId};
use codexapi_aggregates::time::Timestamp;
use cqrs_es::Aggregate;

use crate::clock;
use crate::commands::{CommandError, Committed};
use crate::config::CredentialSettings;
use crate::event_log::EventLog;
use crate::secrets::Token;

pub use adjusting::{AdjustCredit, AdjustRefusal, CreditAdjusted, CreditChange, TakingReason, adjust_credit};
pub use credit::{GrantCredit, grant_credit};
pub use in_force::{BELIEVED_FOR, WAIT, wait_until_in_force};
pub use keys::{IssuedKey, RevealError, issue_key, reveal_token, revoke_key};
pub use limits::{LimitsError, SetLimits, set_key_limits};
use persons::Person;
pub use plans::{GrantHours, HoursGranted, HoursRefusal, MAX_HOURS, end_entitlement, grant_hours};
pub use recalling::recall_grant;
pub use standing::{reinstate, suspend};

/// Who becomes a customer.
#[derive(Clone, Debug, Default)]
pub struct NewCustomer {
    /// Given where creating must be repeatable: a second time it is refused as registered already.
    pub account_id: Option<AccountId>,
    pub name: Option<String>,
    pub email: Option<String>,
    pub country: Option<String>,
    pub mobile: Option<String>,
    /// Given where the token must be a certain one; else it is drawn at random.
    pub system_token: Option<Token>,
}

/// A new customer and the System Token, which is shown here and, without a sealing key, never again.
#[derive(Clone, Debug)]
pub struct CreatedCustomer {
    pub account_id: AccountId,
    pub system_token: IssuedKey,
}

/// Registers a customer and issues the System Token, in one append.
///
/// # Errors
/// `AlreadyRegistered` where the given account exists.
pub async fn create_customer(
    log: &EventLog,
    credentials: &CredentialSettings,
    metadata: &Metadata,
    new: NewCustomer,
) -> Result<CreatedCustomer, CommandError<AccountRefusal>> {
    let account_id = new.account_id.unwrap_or_else(|| AccountId(clock::new_id()));
    let person_id = PersonId(clock::new_id());
    let key_id = KeyId(clock::new_id());
    let token = new.system_token.unwrap_or_else(|| Token::generate(KeyKind::SystemToken));
    let NewCustomer { name, email, country, mobile, .. } = new;
    let person = Person { person_id: person_id.0, name, email, country, mobile };
    persons::store(log.pool(), &person).await.map_err(CommandError::unread)?;
    keys::seal(log, credentials, key_id, &token).await.map_err(CommandError::unread)?;

    let result = log
        .execute(&account_id.to_string(), metadata, |account: &Account, now| {
            register_with_token(account, account_id, person_id, key_id, &token, credentials, now)
        })
        .await;
    if matches!(result, Err(CommandError::Refused(_))) {
        persons::forget(log.pool(), person_id).await.map_err(CommandError::unread)?;
        keys::forget_sealed(log, key_id).await.map_err(CommandError::unread)?;
    }
    let Committed { position, .. } = result?;
    let system_token = IssuedKey { key_id, kind: KeyKind::SystemToken, token, position };
    Ok(CreatedCustomer { account_id, system_token })
}

fn register_with_token(
    account: &Account,
    account_id: AccountId,
    person_id: PersonId,
    key_id: KeyId,
    token: &Token,
    credentials: &CredentialSettings,
    now: Timestamp,
) -> Result<Vec<AccountEvent>, AccountRefusal> {
    let mut events = account.decide(AccountCommand::RegisterCustomer { account_id, person_id, now })?;
    let mut registered = account.clone();
    events.iter().cloned().for_each(|event| registered.apply(event));
    events.extend(registered.decide(keys::issue_command(
        key_id,
        KeyKind::SystemToken,
        token,
        &credentials.token_digest_key,
        now,
    ))?);
    Ok(events)
}
