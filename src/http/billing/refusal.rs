//! What customers and operators are told when money does not move.

use codexapi_aggregates::bonus::{BonusRefusal, ShareCreditRefusal};
use codexapi_aggregates::cash::{CashRefusal, PurchaseRefusal};
use codexapi_aggregates::wallet::WalletRefusal;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;

use crate::http::error::Problem;

impl From<BonusRefusal> for Problem {
    fn from(refusal: BonusRefusal) -> Self {
        use BonusRefusal as R;
        let (status, code) = match refusal {
            R::AlreadyClaimed { .. } => (StatusCode::CONFLICT, "already_claimed"),
            R::BadCode => (StatusCode::BAD_REQUEST, "bad_code"),
            R::BasisPointsOutOfRange { .. } => (StatusCode::BAD_REQUEST, "basis_points_out_of_range"),
            R::ExpiresInThePast => (StatusCode::BAD_REQUEST, "expires_in_the_past"),
            R::CodeExists { .. } => (StatusCode::CONFLICT, "code_exists"),
            R::TooManyCodes { .. } => (StatusCode::CONFLICT, "too_many_codes"),
            R::UnknownCode => (StatusCode::NOT_FOUND, "unknown_code"),
            R::CodeExpired { .. } => (StatusCode::CONFLICT, "code_expired"),
            R::CodeSpent => (StatusCode::CONFLICT, "code_spent"),
            R::CodeHeld { .. } => (StatusCode::CONFLICT, "code_held"),
            R::OtherPlan { .. } => (StatusCode::CONFLICT, "other_plan"),
            R::NothingToAdd { .. } => (StatusCode::CONFLICT, "nothing_to_add"),
        };
        told(status, code, &refusal)
    }
}

impl From<ShareCreditRefusal> for Problem {
    fn from(refusal: ShareCreditRefusal) -> Self {
        match refusal {
            ShareCreditRefusal::Bonus(refusal) => refusal.into(),
            ShareCreditRefusal::Wallet(refusal) => of_wallet(&refusal),
        }
    }
}

impl From<CashRefusal> for Problem {
    fn from(refusal: CashRefusal) -> Self {
        use CashRefusal as R;
        let (status, code) = match refusal {
            R::AmountOutOfRange { .. } => (StatusCode::BAD_REQUEST, "amount_out_of_range"),
            R::PaymentExists { .. } => (StatusCode::CONFLICT, "payment_exists"),
            R::UnknownPayment { .. } => (StatusCode::NOT_FOUND, "unknown_payment"),
            R::CommissionExists { .. } => (StatusCode::CONFLICT, "commission_exists"),
            R::UnknownCommission { .. } => (StatusCode::NOT_FOUND, "unknown_commission"),
            R::MoreThanTakenBack { .. } => (StatusCode::CONFLICT, "more_than_taken_back"),
            R::InDebt { .. } => (StatusCode::PAYMENT_REQUIRED, "cash_wallet_in_debt"),
            R::InsufficientCash { .. } => (StatusCode::PAYMENT_REQUIRED, "insufficient_cash"),
        };
        told(status, code, &refusal)
    }
}

impl From<PurchaseRefusal> for Problem {
    fn from(refusal: PurchaseRefusal) -> Self {
        match refusal {
            PurchaseRefusal::Cash(refusal) => refusal.into(),
            PurchaseRefusal::Wallet(refusal) => of_wallet(&refusal),
        }
    }
}

/// A Token Wallet that takes no more grants; nothing else of it can stand in the way of a grant of ours.
pub(super) fn of_wallet(refusal: &WalletRefusal) -> Problem {
    told(StatusCode::CONFLICT, "wallet_refuses", refusal)
}

fn told(status: StatusCode, code: &'static str, refusal: &dyn std::error::Error) -> Problem {
    Problem::new(status, ErrorKind::InvalidRequest, code, sentence(&refusal.to_string()))
}

/// A refusal as a sentence for people.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
