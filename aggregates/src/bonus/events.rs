//! What an account is given beyond what it pays for.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{BonusCodeId, GrantId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// Where a code comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodeKind {
    /// An operator issued it to this account.
    Operator,
    /// The customer came from a link in a mail; the code's id is the link's.
    EmailSession,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum BonusEvent {
    /// The Token Wallet has a grant of this id, appended with this event.
    ShareCreditClaimed { grant_id: GrantId, amount_micro: MicroUsd, at: Timestamp },
    /// A top-up under this code brings `basis_points` of its credit more, once.
    CodeIssued {
        code_id: BonusCodeId,
        code: String,
        kind: CodeKind,
        basis_points: u32,
        /// The one plan it is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan_id: Option<String>,
        expires_at: Timestamp,
        at: Timestamp,
    },
    /// A payment was started with it; its credit includes the bonus.
    CodeApplied {
        code_id: BonusCodeId,
        payment_id: GrantId,
        credit_micro: MicroUsd,
        bonus_micro: MicroUsd,
        at: Timestamp,
    },
    /// The payment failed or expired: the code can be used again.
    CodeReturned { code_id: BonusCodeId, payment_id: GrantId, at: Timestamp },
    /// The payment was confirmed.
    CodeUsed { code_id: BonusCodeId, payment_id: GrantId, at: Timestamp },
}

impl DomainEvent for BonusEvent {
    fn event_type(&self) -> String {
        match self {
            Self::ShareCreditClaimed { .. } => "bonus.share_credit_claimed",
            Self::CodeIssued { .. } => "bonus.code_issued",
            Self::CodeApplied { .. } => "bonus.code_applied",
            Self::CodeReturned { .. } => "bonus.code_returned",
            Self::CodeUsed { .. } => "bonus.code_used",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}
