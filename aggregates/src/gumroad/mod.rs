//! Credit for those who bought at Gumroad: once per licence key, ever.
//!
//! A stream is one licence's, named by its keyed digest, so that the log itself keeps two accounts from having one
//! licence's credit. Without a licence it is the account's own. Credit comes at once only for a licence that Gumroad
//! says is good and where nothing speaks against it; everything else waits for an operator.

mod events;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use events::{DenialReason, DoubtReason, GumroadEvent, Signup, SignupStanding};

use crate::ids::{AccountId, GrantId};
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::{
    GrantSource, Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal, WalletTerms,
};

// Commands

/// A customer signs up.
#[derive(Clone, Debug, PartialEq)]
pub struct SignUp {
    pub account_id: AccountId,
    pub has_licence: bool,
    pub verified: bool,
    /// What speaks against credit at once, besides a licence that was not given or not verified.
    pub doubts: Vec<DoubtReason>,
    pub amount_micro: MicroUsd,
    pub grant_id: GrantId,
}

/// What an operator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Grant { grant_id: GrantId },
    Deny(DenialReason),
}

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GumroadRefusal {
    #[error("another account has this licence's credit, or waits for it")]
    LicenceTaken,
    #[error("this sign-up is not known")]
    UnknownSignup,
    #[error("this sign-up was reviewed before")]
    AlreadyReviewed { standing: SignupStanding },
    #[error(transparent)]
    Wallet(#[from] WalletRefusal),
}

// State

/// One licence, or one account without.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GumroadLicence {
    signup: Option<Signup>,
}

/// Events of a licence and of the customer's wallet, to be appended atomically, and the sign-up after them.
pub type LicenceAndWallet = (Vec<GumroadEvent>, Vec<WalletEvent>, Signup);

impl GumroadLicence {
    /// Whose it is: who has its credit or waits for it.
    pub fn holder(&self) -> Option<AccountId> {
        self.signup.as_ref().filter(|signup| signup.standing != SignupStanding::Denied).map(|s| s.account_id)
    }
}

/// Takes a sign-up in, and grants the credit where nothing speaks against it. The same account again changes nothing.
///
/// # Errors
/// Another account holds the licence, or the wallet takes no such grant.
pub fn sign_up(
    licence: &GumroadLicence,
    wallet: &Wallet,
    ask: &SignUp,
    terms: &WalletTerms,
    now: Timestamp,
) -> Result<LicenceAndWallet, GumroadRefusal> {
    if let Some(known) = &licence.signup
        && known.standing != SignupStanding::Denied
    {
        if known.account_id != ask.account_id {
            return Err(GumroadRefusal::LicenceTaken);
        }
        return Ok((vec![], vec![], known.clone()));
    }
    let lacking = match (ask.has_licence, ask.verified) {
        (true, true) => None,
        (true, false) => Some(DoubtReason::NotVerified),
        (false, _) => Some(DoubtReason::NoLicence),
    };
    let mut doubts: Vec<DoubtReason> = lacking.into_iter().chain(ask.doubts.iter().copied()).collect();
    doubts.sort_unstable();
    doubts.dedup();
    let signup = Signup {
        account_id: ask.account_id,
        has_licence: ask.has_licence,
        verified: ask.has_licence && ask.verified,
        doubts,
        amount_micro: ask.amount_micro,
        standing: SignupStanding::Waiting,
        grant_id: None,
        signed_up_at: now,
    };
    let mut events = vec![GumroadEvent::SignedUp { signup: signup.clone(), at: now }];
    if !signup.doubts.is_empty() {
        return Ok((events, vec![], signup));
    }
    let (granted, wallet_events, signup) = grant(signup, wallet, ask.grant_id, terms, now)?;
    events.push(granted);
    Ok((events, wallet_events, signup))
}

/// What an operator decides about a sign-up that waits.
///
/// # Errors
/// There is none, or it was reviewed before, or the wallet takes no such grant.
pub fn review(
    licence: &GumroadLicence,
    wallet: &Wallet,
    (account_id, verdict): (AccountId, Verdict),
    terms: &WalletTerms,
    now: Timestamp,
) -> Result<LicenceAndWallet, GumroadRefusal> {
    let signup = licence.signup.clone().filter(|signup| signup.account_id == account_id);
    let mut signup = signup.ok_or(GumroadRefusal::UnknownSignup)?;
    match (signup.standing, verdict) {
        (SignupStanding::Waiting, Verdict::Grant { grant_id }) => {
            let (granted, wallet_events, signup) = grant(signup, wallet, grant_id, terms, now)?;
            Ok((vec![granted], wallet_events, signup))
        }
        (SignupStanding::Waiting, Verdict::Deny(reason)) => {
            signup.standing = SignupStanding::Denied;
            let denied = GumroadEvent::CreditDenied { signup: signup.clone(), reason, at: now };
            Ok((vec![denied], vec![], signup))
        }
        (standing @ (SignupStanding::Granted | SignupStanding::Denied), _) => {
            Err(GumroadRefusal::AlreadyReviewed { standing })
        }
    }
}

fn grant(
    mut signup: Signup,
    wallet: &Wallet,
    grant_id: GrantId,
    terms: &WalletTerms,
    now: Timestamp,
) -> Result<(GumroadEvent, Vec<WalletEvent>, Signup), WalletRefusal> {
    let (source, amount_micro) = (GrantSource::Gumroad, signup.amount_micro);
    let action = WalletAction::GrantCredit { grant_id, source, amount_micro, expires_at: None };
    let wallet_events = wallet.decide(WalletCommand { action, terms: terms.clone(), now })?;
    (signup.standing, signup.grant_id) = (SignupStanding::Granted, Some(grant_id));
    Ok((GumroadEvent::CreditGranted { signup: signup.clone(), at: now }, wallet_events, signup))
}

// cqrs-es

impl Aggregate for GumroadLicence {
    const TYPE: &'static str = "gumroad";
    /// Both commands concern the wallet, too, and are functions over the two; alone it is told nothing.
    type Command = std::convert::Infallible;
    type Event = GumroadEvent;
    type Error = GumroadRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: std::convert::Infallible,
        _: &(),
        _: &EventSink<Self>,
    ) -> Result<(), GumroadRefusal> {
        match command {}
    }

    fn apply(&mut self, event: GumroadEvent) {
        self.signup = Some(event.signup().clone());
    }
}
