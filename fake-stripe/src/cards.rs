//! What cards do when they are asked for money.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Card {
    Approves,
    /// Says neither yes nor no until a test does: a bank debit in the shape of a card.
    Processing,
    GenericDecline,
    InsufficientFunds,
    #[serde(rename = "lost_card")]
    Lost,
    #[serde(rename = "expired_card")]
    Expired,
    /// Its holder must be there: declined when they are not, asked when they are.
    AuthenticationRequired,
}

/// How a decline is told.
pub struct Decline {
    pub code: &'static str,
    pub decline_code: &'static str,
    pub message: &'static str,
}

impl Card {
    /// Stripe's names for cards that behave so.
    pub fn of_test_id(id: &str) -> Option<Card> {
        match id {
            "pm_card_visa" | "pm_card_mastercard" | "tok_visa" | "tok_mastercard" => Some(Card::Approves),
            "pm_card_visa_chargeDeclined"
            | "pm_card_chargeDeclined"
            | "pm_card_chargeCustomerFail"
            | "tok_chargeDeclined"
            | "tok_chargeCustomerFail" => Some(Card::GenericDecline),
            "pm_card_visa_chargeDeclinedInsufficientFunds"
            | "pm_card_chargeDeclinedInsufficientFunds"
            | "tok_chargeDeclinedInsufficientFunds" => Some(Card::InsufficientFunds),
            "pm_card_visa_chargeDeclinedLostCard" | "pm_card_chargeDeclinedLostCard" => Some(Card::Lost),
            "pm_card_chargeDeclinedExpiredCard" | "tok_chargeDeclinedExpiredCard" => Some(Card::Expired),
            "pm_card_authenticationRequired" | "tok_authenticationRequired" => {
                Some(Card::AuthenticationRequired)
            }
            _ => None,
        }
    }

    pub fn decline(self) -> Option<Decline> {
        let declined = |decline_code, message| Decline { code: "card_declined", decline_code, message };
        match self {
            Card::Approves | Card::Processing => None,
            Card::GenericDecline => Some(declined("generic_decline", "Your card was declined.")),
            Card::InsufficientFunds => {
                Some(declined("insufficient_funds", "Your card has insufficient funds."))
            }
            Card::Lost => Some(declined("lost_card", "Your card was declined.")),
            Card::Expired => Some(Decline {
                code: "expired_card",
                decline_code: "expired_card",
                message: "Your card has expired.",
            }),
            Card::AuthenticationRequired => Some(Decline {
                code: "authentication_required",
                decline_code: "authentication_required",
                message: "Your card was declined. This transaction requires authentication.",
            }),
        }
    }

    pub fn last4(self) -> &'static str {
        match self {
            Card::Approves => "4242",
            Card::Processing => "0077",
            Card::GenericDecline => "0002",
            Card::InsufficientFunds => "9995",
            Card::Lost => "9987",
            Card::Expired => "0069",
            Card::AuthenticationRequired => "3184",
        }
    }
}
