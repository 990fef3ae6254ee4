//! What an account is given beyond what it pays for: the share credit, once ever, and codes that make a top-up
//! bring more.
//!
//! A code is one account's, and is good for one payment. A payment that is started with it holds it, keeps it when
//! confirmed, and gives it back when it fails or expires.

mod events;
mod share_credit;
#[cfg(test)]
mod tests;
mod top_up;

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use events::{BonusEvent, CodeKind};
pub use share_credit::{ShareCreditRefusal, claim_share_credit};
pub use top_up::{TopUpRefusal, start_with_code};

use crate::ids::{BonusCodeId, GrantId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// Codes an account can have that may still bring something.
pub const MAX_LIVE_CODES: usize = 100;

/// Codes remembered once they cannot; the oldest are forgotten.
pub const MAX_SPENT_CODES: usize = 400;

/// Payments that gave a code back and are remembered, should one of them be paid after all; the oldest are forgotten.
pub const MAX_RETURNS_KEPT: usize = 16;

/// Letters, digits and hyphens of a code.
pub const CODE_LENGTH: std::ops::RangeInclusive<usize> = 4..=32;

/// The most a code adds: as much again.
pub const MAX_BASIS_POINTS: u32 = 10_000;

// Commands

#[derive(Clone, Debug, PartialEq)]
pub struct BonusCommand {
    pub action: BonusAction,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub enum BonusAction {
    /// Only ever with the Token Wallet's grant: see `claim_share_credit`.
    ClaimShareCredit {
        grant_id: GrantId,
        amount_micro: MicroUsd,
    },
    IssueCode(IssueCode),
    /// The same link again, while its discount lasts, changes nothing.
    IssueEmailDiscount {
        link_id: BonusCodeId,
        code: String,
        basis_points: u32,
        expires_at: Timestamp,
    },
    /// With the start of a payment; the same payment again changes nothing.
    ApplyCode {
        code: String,
        payment_id: GrantId,
        plan_id: String,
        credit_micro: MicroUsd,
    },
    /// The payment failed or expired. Changes nothing where the payment holds no code.
    ReturnCode {
        payment_id: GrantId,
    },
    /// The payment was confirmed, be it after it gave its code back. Changes nothing where it holds no code, or gave
    /// back one that another payment has taken since: that credit is promised already.
    UseCode {
        payment_id: GrantId,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct IssueCode {
    pub code_id: BonusCodeId,
    pub code: String,
    pub basis_points: u32,
    pub plan_id: Option<String>,
    pub expires_at: Timestamp,
}

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BonusRefusal {
    #[error("the share credit was claimed before")]
    AlreadyClaimed { claimed_at: Timestamp },
    #[error("a code is {} to {} of A–Z, 0–9 and hyphens", CODE_LENGTH.start(), CODE_LENGTH.end())]
    BadCode,
    #[error("a code adds 1 to {most} basis points, not {got}")]
    BasisPointsOutOfRange { got: u32, most: u32 },
    #[error("a code must expire in the future")]
    ExpiresInThePast,
    #[error("this account has a code {code} that was not used")]
    CodeExists { code: String },
    #[error("an account has at most {most} codes at a time")]
    TooManyCodes { most: usize },
    #[error("this account has no such code")]
    UnknownCode,
    #[error("this code has expired")]
    CodeExpired { expired_at: Timestamp },
    #[error("this code was used")]
    CodeSpent,
    #[error("a payment that is not finished holds this code")]
    CodeHeld { payment_id: GrantId },
    #[error("this code is for {plan_id}")]
    OtherPlan { plan_id: String },
    #[error("a top-up of ${credit} has no bonus")]
    NothingToAdd { credit: MicroUsd },
}

// State

/// One account's bonuses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bonuses {
    share_credit_claimed_at: Option<Timestamp>,
    codes: BTreeMap<BonusCodeId, Code>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Code {
    pub code: String,
    pub kind: CodeKind,
    pub basis_points: u32,
    pub plan_id: Option<String>,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    pub standing: Standing,
    /// Payments that gave it back, oldest first.
    #[serde(default)]
    pub returned_by: Vec<GrantId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Open,
    /// By a payment that is not finished.
    Held(GrantId),
    Used(GrantId),
}

/// What a code would add to a top-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bonus {
    pub code_id: BonusCodeId,
    pub basis_points: u32,
    pub bonus_micro: MicroUsd,
    pub expires_at: Timestamp,
}

impl Bonuses {
    /// When the share credit was claimed, if it was.
    pub fn share_credit_claimed_at(&self) -> Option<Timestamp> {
        self.share_credit_claimed_at
    }

    pub fn codes(&self) -> impl Iterator<Item = (&BonusCodeId, &Code)> {
        self.codes.iter()
    }

    /// What `code` adds to a top-up of `credit_micro` under a plan.
    pub fn bonus_for(
        &self,
        code: &str,
        plan_id: &str,
        credit_micro: MicroUsd,
        now: Timestamp,
    ) -> Result<Bonus, BonusRefusal> {
        let code = code.trim().to_ascii_uppercase();
        // Of codes with one text the newest counts: it can be issued anew once the one before is spent.
        let known = self.codes.iter().filter(|(_, known)| known.code == code);
        let (code_id, found) =
            known.max_by_key(|(_, known)| known.issued_at).ok_or(BonusRefusal::UnknownCode)?;
        match found.standing {
            Standing::Used(_) => return Err(BonusRefusal::CodeSpent),
            Standing::Held(payment_id) => return Err(BonusRefusal::CodeHeld { payment_id }),
            Standing::Open => {}
        }
        if found.expires_at <= now {
            return Err(BonusRefusal::CodeExpired { expired_at: found.expires_at });
        }
        if let Some(only) = found.plan_id.as_ref().filter(|only| *only != plan_id) {
            return Err(BonusRefusal::OtherPlan { plan_id: only.clone() });
        }
        let bonus_micro = credit_micro.basis_points(found.basis_points);
        if !bonus_micro.is_positive() {
            return Err(BonusRefusal::NothingToAdd { credit: credit_micro });
        }
        let (basis_points, expires_at) = (found.basis_points, found.expires_at);
        Ok(Bonus { code_id: *code_id, basis_points, bonus_micro, expires_at })
    }

    // Rules

    /// No event where nothing changes.
    pub fn decide(&self, command: BonusCommand) -> Result<Vec<BonusEvent>, BonusRefusal> {
        let BonusCommand { action, now } = command;
        match action {
            BonusAction::ClaimShareCredit { grant_id, amount_micro } => {
                if let Some(claimed_at) = self.share_credit_claimed_at {
                    return Err(BonusRefusal::AlreadyClaimed { claimed_at });
                }
                Ok(vec![BonusEvent::ShareCreditClaimed { grant_id, amount_micro, at: now }])
            }
            BonusAction::IssueCode(issue) => self.issue(issue, CodeKind::Operator, now),
            BonusAction::IssueEmailDiscount { link_id, code, basis_points, expires_at } => {
                match self.codes.get(&link_id) {
                    Some(Code { standing: Standing::Used(_), .. }) => return Err(BonusRefusal::CodeSpent),
                    Some(known) if known.expires_at <= now => {
                        return Err(BonusRefusal::CodeExpired { expired_at: known.expires_at });
                    }
                    Some(_) => return Ok(vec![]),
                    None => {}
                }
                let issue = IssueCode { code_id: link_id, code, basis_points, plan_id: None, expires_at };
                self.issue(issue, CodeKind::EmailSession, now)
            }
            BonusAction::ApplyCode { code, payment_id, plan_id, credit_micro } => {
                if self.held_by(payment_id).is_some() {
                    return Ok(vec![]);
                }
                let Bonus { code_id, bonus_micro, .. } =
                    self.bonus_for(&code, &plan_id, credit_micro, now)?;
                Ok(vec![BonusEvent::CodeApplied { code_id, payment_id, credit_micro, bonus_micro, at: now }])
            }
            BonusAction::ReturnCode { payment_id } => Ok(self
                .held_by(payment_id)
                .map(|code_id| BonusEvent::CodeReturned { code_id, payment_id, at: now })
                .into_iter()
                .collect()),
            BonusAction::UseCode { payment_id } => Ok(self
                .held_by(payment_id)
                .or_else(|| self.returned_by(payment_id))
                .map(|code_id| BonusEvent::CodeUsed { code_id, payment_id, at: now })
                .into_iter()
                .collect()),
        }
    }

    fn issue(
        &self,
        issue: IssueCode,
        kind: CodeKind,
        now: Timestamp,
    ) -> Result<Vec<BonusEvent>, BonusRefusal> {
        let IssueCode { code_id, code, basis_points, plan_id, expires_at } = issue;
        let code = code.trim().to_ascii_uppercase();
        let is_plain = code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_plain || !CODE_LENGTH.contains(&code.len()) {
            return Err(BonusRefusal::BadCode);
        }
        if !(1..=MAX_BASIS_POINTS).contains(&basis_points) {
            return Err(BonusRefusal::BasisPointsOutOfRange { got: basis_points, most: MAX_BASIS_POINTS });
        }
        if expires_at <= now {
            return Err(BonusRefusal::ExpiresInThePast);
        }
        let live = self.codes.values().filter(|known| known.is_live(now));
        if live.clone().any(|known| known.code == code) {
            return Err(BonusRefusal::CodeExists { code });
        }
        if live.count() >= MAX_LIVE_CODES {
            return Err(BonusRefusal::TooManyCodes { most: MAX_LIVE_CODES });
        }
        Ok(vec![BonusEvent::CodeIssued { code_id, code, kind, basis_points, plan_id, expires_at, at: now }])
    }

    fn held_by(&self, payment_id: GrantId) -> Option<BonusCodeId> {
        let held = |code: &Code| code.standing == Standing::Held(payment_id);
        self.codes.iter().find(|(_, code)| held(code)).map(|(code_id, _)| *code_id)
    }

    fn returned_by(&self, payment_id: GrantId) -> Option<BonusCodeId> {
        let returned =
            |code: &Code| code.standing == Standing::Open && code.returned_by.contains(&payment_id);
        self.codes.iter().find(|(_, code)| returned(code)).map(|(code_id, _)| *code_id)
    }

    fn evolve(&mut self, event: BonusEvent) {
        match event {
            BonusEvent::ShareCreditClaimed { at, .. } => self.share_credit_claimed_at = Some(at),
            BonusEvent::CodeIssued { code_id, code, kind, basis_points, plan_id, expires_at, at } => {
                let standing = Standing::Open;
                let (issued_at, returned_by) = (at, vec![]);
                let code =
                    Code { code, kind, basis_points, plan_id, issued_at, expires_at, standing, returned_by };
                self.codes.insert(code_id, code);
                self.forget_oldest_spent(at);
            }
            BonusEvent::CodeApplied { code_id, payment_id, .. } => {
                self.stands(code_id, Standing::Held(payment_id));
            }
            BonusEvent::CodeReturned { code_id, payment_id, .. } => {
                self.stands(code_id, Standing::Open);
                if let Some(code) = self.codes.get_mut(&code_id) {
                    code.returned_by.push(payment_id);
                    let forgotten = code.returned_by.len().saturating_sub(MAX_RETURNS_KEPT);
                    code.returned_by.drain(..forgotten);
                }
            }
            BonusEvent::CodeUsed { code_id, payment_id, .. } => {
                self.stands(code_id, Standing::Used(payment_id));
            }
        }
    }

    fn stands(&mut self, code_id: BonusCodeId, standing: Standing) {
        if let Some(code) = self.codes.get_mut(&code_id) {
            code.standing = standing;
        }
    }

    fn forget_oldest_spent(&mut self, at: Timestamp) {
        let spent = self.codes.iter().filter(|(_, code)| !code.is_live(at));
        if spent.clone().count() <= MAX_SPENT_CODES {
            return;
        }
        let oldest = spent.min_by_key(|(code_id, code)| (code.issued_at, **code_id));
        if let Some(oldest) = oldest.map(|(code_id, _)| *code_id) {
            self.codes.remove(&oldest);
        }
    }
}

impl Code {
    /// Whether it may still bring something.
    fn is_live(&self, now: Timestamp) -> bool {
        match self.standing {
            Standing::Open => self.expires_at > now,
            Standing::Held(_) => true,
            Standing::Used(_) => false,
        }
    }
}

// cqrs-es

impl Aggregate for Bonuses {
    const TYPE: &'static str = "bonus";
    type Command = BonusCommand;
    type Event = BonusEvent;
    type Error = BonusRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: BonusCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), BonusRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: BonusEvent) {
        self.evolve(event);
    }
}
