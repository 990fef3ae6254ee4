//! What happened to an automatic top-up, in words.

use codexapi_aggregates::auto_topup::AutoTopUpEvent;

use super::line::as_stored;

pub(super) fn of(event: &AutoTopUpEvent) -> String {
    match event {
        AutoTopUpEvent::SwitchedOn { order, threshold_micro, monthly_limit_micro, .. } => format!(
            "on: {} for ${} below ${threshold_micro}, at most ${monthly_limit_micro} a month",
            order.plan_id.as_deref().unwrap_or("credit"),
            order.price_micro
        ),
        AutoTopUpEvent::SwitchedOff { reason, .. } => format!("off: {}", as_stored(reason)),
        AutoTopUpEvent::AttemptStarted { payment_id, arming, balance_micro, spent_micro, .. } => format!(
            "attempt {arming} at a balance of ${balance_micro}: payment {payment_id}; ${spent_micro} this month"
        ),
        AutoTopUpEvent::AttemptCredited { payment_id, .. } => format!("payment {payment_id} is credited"),
        AutoTopUpEvent::AttemptFailed { payment_id, reason, failures, .. } => {
            format!("payment {payment_id} failed: {}, {failures} in a row", as_stored(reason))
        }
    }
}
