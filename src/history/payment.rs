//! What happened to a payment, in words.

use codexapi_aggregates::payment::{PaymentEvent, Purpose};

use super::line::as_stored;

pub(super) fn of(event: &PaymentEvent) -> String {
    match event {
        PaymentEvent::PaymentStarted {
            account_id, channel, purpose, plan_id, quantity, price_micro, ..
        } => {
            let buys = match purpose {
                Purpose::TokenCredit { credit_micro } => format!("${credit_micro} of credit"),
                Purpose::CashTopUp => "cash".into(),
                Purpose::Entitlement { terms } => format!("{} s of a plan", terms.length_secs()),
            };
            let plan = plan_id.as_ref().map_or_else(String::new, |plan| format!(" ({quantity} × {plan})"));
            format!("${price_micro} by {} for {buys}{plan}, account {account_id}", as_stored(channel))
        }
        PaymentEvent::CheckoutOpened { session_id, .. } => format!("paid at checkout {session_id}"),
        PaymentEvent::PaymentCredited { paid_micro, granted_micro, remaining_micro, .. } => {
            let less = if remaining_micro == granted_micro {
                String::new()
            } else {
                format!(", of which ${remaining_micro} remain")
            };
            format!("${paid_micro} paid, ${granted_micro} granted{less}")
        }
        PaymentEvent::PaymentFailed { reason, .. } => format!("failed: {}", as_stored(reason)),
        PaymentEvent::PaymentExpired { .. } => "expired".into(),
        PaymentEvent::RefundRecorded { refund_id, amount_micro, status, remaining_micro, .. } => {
            format!(
                "refund {refund_id} of ${amount_micro} {}: ${remaining_micro} should remain",
                as_stored(status)
            )
        }
        PaymentEvent::DisputeRecorded { dispute_id, amount_micro, status, remaining_micro, .. } => {
            format!(
                "dispute {dispute_id} of ${amount_micro} {}: ${remaining_micro} should remain",
                as_stored(status)
            )
        }
    }
}
