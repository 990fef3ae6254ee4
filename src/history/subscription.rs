//! What happened to a subscription, in words.

use codexapi_aggregates::subscription::SubscriptionEvent;

use super::line::{as_stored, moment};

pub(super) fn of(event: &SubscriptionEvent) -> String {
    match event {
        SubscriptionEvent::Requested { terms, .. } => {
            let (plan, price, payment) = (&terms.entitlement.plan_id, terms.price_micro, terms.payment_id);
            format!("plan {plan} for ${price} a period asked for: payment {payment}")
        }
        SubscriptionEvent::Started { payment_id, provider_id, period_ends_at, .. } => {
            format!("payment {payment_id} began {provider_id}; paid until {}", moment(*period_ends_at))
        }
        SubscriptionEvent::Renewed { payment_id, period_ends_at, .. } => {
            format!("payment {payment_id} renewed it; paid until {}", moment(*period_ends_at))
        }
        SubscriptionEvent::PastDue { payment_id, grace_ends_at, .. } => {
            format!("payment {payment_id} is past due; covered until {}", moment(*grace_ends_at))
        }
        SubscriptionEvent::CancellationSet { ends_at, .. } => {
            format!("cancelled: it ends {}", moment(*ends_at))
        }
        SubscriptionEvent::CancellationLifted { .. } => "not cancelled any more".into(),
        SubscriptionEvent::Ended { reason, .. } => format!("over: {}", as_stored(reason)),
    }
}
