//! What happened to a Cash Wallet, and what an account was given beyond what it pays for, in a few words.

use codexapi_aggregates::bonus::BonusEvent;
use codexapi_aggregates::cash::CashEvent;
use codexapi_aggregates::gumroad::{GumroadEvent, Signup};
use codexapi_aggregates::referral::{Commission, ReferralEvent};

use super::line::as_stored;

pub(super) fn of_cash(event: &CashEvent) -> String {
    let what = match event {
        CashEvent::ToppedUp { payment_id, amount_micro, .. } => {
            format!("+${amount_micro} payment {payment_id}")
        }
        CashEvent::PaymentTakenBack { payment_id, amount_micro, .. } => {
            format!("-${amount_micro} of payment {payment_id} taken back")
        }
        CashEvent::PaymentReinstated { payment_id, amount_micro, .. } => {
            format!("+${amount_micro} of payment {payment_id} reinstated")
        }
        CashEvent::CommissionPaid { commission_id, amount_micro, .. } => {
            format!("+${amount_micro} commission {commission_id}")
        }
        CashEvent::CommissionTakenBack { commission_id, amount_micro, .. } => {
            format!("-${amount_micro} of commission {commission_id} taken back")
        }
        CashEvent::CommissionReinstated { commission_id, amount_micro, .. } => {
            format!("+${amount_micro} of commission {commission_id} reinstated")
        }
        CashEvent::TokensBought { purchase_id, plan_id, quantity, amount_micro, credit_micro, .. } => {
            format!(
                "-${amount_micro} for {quantity} × {plan_id}, ${credit_micro} of credit, grant {purchase_id}"
            )
        }
    };
    format!("{what}; balance ${}, debt ${}", event.balance(), event.debt())
}

pub(super) fn of_bonus(event: &BonusEvent) -> String {
    match event {
        BonusEvent::ShareCreditClaimed { grant_id, amount_micro, .. } => {
            format!("${amount_micro} for sharing, grant {grant_id}")
        }
        BonusEvent::CodeIssued { code, kind, basis_points, .. } => {
            format!("{} code {code}: {basis_points} basis points more", as_stored(kind))
        }
        BonusEvent::CodeApplied { code_id, payment_id, credit_micro, bonus_micro, .. } => {
            format!("code {code_id} adds ${bonus_micro} to the ${credit_micro} of payment {payment_id}")
        }
        BonusEvent::CodeReturned { code_id, payment_id, .. } => {
            format!("code {code_id} is back from payment {payment_id}")
        }
        BonusEvent::CodeUsed { code_id, payment_id, .. } => {
            format!("code {code_id} is used by payment {payment_id}")
        }
    }
}

pub(super) fn of_gumroad(event: &GumroadEvent) -> String {
    let Signup { account_id, doubts, amount_micro, .. } = event.signup();
    match event {
        GumroadEvent::SignedUp { .. } => {
            format!("customer {account_id} from Gumroad, in doubt: {}", as_stored(doubts))
        }
        GumroadEvent::CreditGranted { .. } => format!("+${amount_micro} for customer {account_id}"),
        GumroadEvent::CreditDenied { reason, .. } => {
            format!("${amount_micro} denied to customer {account_id}: {}", as_stored(reason))
        }
    }
}

pub(super) fn of_referral(event: &ReferralEvent) -> String {
    let told = |commission: &Commission| {
        let Commission { commission_id, amount_micro, remaining_micro, referred_id, .. } = commission;
        format!(
            "commission {commission_id} of customer {referred_id}'s purchase: ${remaining_micro} of ${amount_micro}"
        )
    };
    match event {
        ReferralEvent::CodeIssued { code, .. } => format!("code {code}"),
        ReferralEvent::Attributed { referrer_id, code, .. } => {
            format!("referred by customer {referrer_id} with {code}")
        }
        ReferralEvent::FirstPurchaseNoted { payment_id, .. } => {
            format!("first purchase, payment {payment_id}")
        }
        ReferralEvent::AttributionVoided { referrer_id, .. } => {
            format!("named customer {referrer_id} after the first purchase")
        }
        ReferralEvent::CommissionEarned { commission, .. }
        | ReferralEvent::CommissionAdjusted { commission, .. }
        | ReferralEvent::CommissionApproved { commission, .. } => told(commission),
        ReferralEvent::CommissionRejected { commission, reason, .. } => {
            format!("{}: {}", told(commission), as_stored(reason))
        }
    }
}
