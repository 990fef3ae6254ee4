//! One event as one line: sequence, time, type, what it came to, who caused it.

use anyhow::Context as _;
use codexapi_aggregates::account::events::AccountEvent;
use codexapi_aggregates::catalog::CatalogEvent;
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::log::LogEvent;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::pricing::PricingEvent;
use codexapi_aggregates::pricing::timeline::Window;
use codexapi_aggregates::routing::{Region, RoutingEvent};
use codexapi_aggregates::service::ServiceEvent;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{Attempt, AttemptResult, GenerationSettled, UsageEvent};
use codexapi_aggregates::wallet::WalletEvent;
use codexapi_aggregates::wallet::entitlements::WalletFallback;

use super::cash::{of_bonus, of_cash, of_gumroad, of_referral};

/// The line for an event of type `event_type`.
pub(super) fn of(event_type: &str, event: &RecordedEvent) -> anyhow::Result<String> {
    let (sequence, time) = (event.sequence, time(event.recorded_at)?);
    let (what, actor) = (summary(&event.event), &event.metadata.actor);
    Ok(format!("{sequence:>6}  {time}  {event_type:<28}  {what}  by {actor}"))
}

/// `2026-11-22T10:00:00.000000Z`.
pub(super) fn time(moment: Timestamp) -> anyhow::Result<String> {
    let time = chrono::DateTime::from_timestamp_micros(moment.0).context("a time beyond the calendar")?;
    Ok(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

pub(super) fn moment(at: Timestamp) -> String {
    time(at).unwrap_or_else(|_| format!("{} µs", at.0))
}

fn summary(event: &AnyEvent) -> String {
    match event {
        AnyEvent::Account(event) => of_account(event),
        AnyEvent::AutoTopUp(event) => super::auto_topup::of(event),
        AnyEvent::Bonus(event) => of_bonus(event),
        AnyEvent::Cash(event) => of_cash(event),
        AnyEvent::Gumroad(event) => of_gumroad(event),
        AnyEvent::Catalog(event) => of_catalog(event),
        AnyEvent::Log(LogEvent::Sealed { up_to_position, event_count, running_hash, .. }) => {
            format!("{event_count} events up to position {up_to_position}: {running_hash}")
        }
        AnyEvent::Payment(event) => super::payment::of(event),
        AnyEvent::Pricing(event) => of_pricing(event),
        AnyEvent::Referral(event) => of_referral(event),
        AnyEvent::Routing(event) => of_routing(event),
        AnyEvent::Service(event) => of_service(event),
        AnyEvent::Subscription(event) => super::subscription::of(event),
        AnyEvent::Usage(event) => of_usage(event),
        AnyEvent::Wallet(event) => {
            let (what, balance, held) = (of_wallet(event), event.balance(), event.held());
            format!("{what}; balance ${balance}, held ${held}")
        }
    }
}

fn of_catalog(event: &CatalogEvent) -> String {
    match event {
        CatalogEvent::PlanPublished { plan, .. } => {
            let (visibility, sold) = (as_stored(&plan.visibility), as_stored(&plan.sold));
            format!("plan {} at ${}, {visibility}, {sold}", plan.id, plan.price_micro)
        }
        CatalogEvent::PlanWithdrawn { plan_id, .. } => format!("plan {plan_id} withdrawn"),
        CatalogEvent::FairUseSet { plan_id, .. } => format!("fair use of plan {plan_id}"),
    }
}

fn of_wallet(event: &WalletEvent) -> String {
    match event {
        WalletEvent::CreditGranted { grant_id, source, amount_micro, debt_paid_micro, .. } => {
            let paid = noted(", of it paid as debt", *debt_paid_micro);
            format!("+${amount_micro} {} grant {grant_id}{paid}", as_stored(source))
        }
        WalletEvent::GrantExpired { grant_id, expired_micro, kept_micro, .. } => {
            format!("-${expired_micro} of grant {grant_id} expired, ${kept_micro} kept for open holds")
        }
        WalletEvent::HoldPlaced { generation_id, amount_micro, worst_micro, quote, .. } => {
            let model = &quote.model;
            format!("hold ${amount_micro} (at worst ${worst_micro}) for {model} generation {generation_id}")
        }
        WalletEvent::AttemptStarted { generation_id, attempt, .. } => of_attempt(*generation_id, attempt),
        WalletEvent::HoldReleased { generation_id, reason, attempts, .. } => {
            format!("released generation {generation_id}: {}{}", as_stored(reason), of_failed(attempts))
        }
        WalletEvent::HoldExpired { generation_id, reason, amount_micro, .. } => {
            format!("hold ${amount_micro} of generation {generation_id} expired: {}", as_stored(reason))
        }
        WalletEvent::UsageCharged {
            generation_id,
            model,
            cost_micro,
            charged_micro,
            shortfall_micro,
            late,
            ..
        } => {
            let shortfall = noted(", shortfall", *shortfall_micro);
            let late = if *late { ", late" } else { "" };
            format!(
                "-${charged_micro} of ${cost_micro}{shortfall}{late} for {model} generation {generation_id}"
            )
        }
        WalletEvent::ChargeReversed { generation_id, reason, amount_micro, debt_paid_micro, .. } => {
            let paid = noted(", of it paid as debt", *debt_paid_micro);
            format!("+${amount_micro} back for generation {generation_id}: {}{paid}", as_stored(reason))
        }
        WalletEvent::PurchaseMade { purchase_id, item, amount_micro, .. } => {
            format!("-${amount_micro} for purchase {purchase_id}: {}", as_stored(item))
        }
        WalletEvent::CreditAdjusted { adjustment_id, reason, amount_micro, .. } => {
            format!("-${amount_micro} by adjustment {adjustment_id}: {}", as_stored(reason))
        }
        WalletEvent::PaymentReversed { payment_id, amount_micro, debt_added_micro, debt_micro, .. } => {
            let added = noted(", of it new debt", *debt_added_micro);
            format!("-${amount_micro} taken back for payment {payment_id}{added}; debt ${debt_micro}")
        }
        WalletEvent::PaymentReinstated { payment_id, amount_micro, debt_paid_micro, debt_micro, .. } => {
            let paid = noted(", of it paid as debt", *debt_paid_micro);
            format!("+${amount_micro} given back for payment {payment_id}{paid}; debt ${debt_micro}")
        }
        WalletEvent::EntitlementGranted { entitlement_id, source, terms, starts_at, ends_at, .. } => {
            let (plan, from, to) = (&terms.plan_id, moment(*starts_at), moment(*ends_at));
            format!("plan {plan} from {from} to {to}, {} grant {entitlement_id}", as_stored(source))
        }
        WalletEvent::EntitlementEnded { entitlement_id, plan_id, reason, ends_at, .. } => {
            let to = moment(*ends_at);
            format!("plan {plan_id} ends {to}: grant {entitlement_id} ended, {}", as_stored(reason))
        }
        WalletEvent::EntitlementReinstated { entitlement_id, plan_id, ends_at, .. } => {
            format!("plan {plan_id} ends {}: grant {entitlement_id} reinstated", moment(*ends_at))
        }
        WalletEvent::EntitlementGraceSet { plan_id, grace_secs, .. } => {
            format!("plan {plan_id} covers {grace_secs} s beyond its end")
        }
        WalletEvent::EntitlementExpired { plan_id, .. } => format!("plan {plan_id} is over"),
        WalletEvent::WalletFallbackSet {
            fallback: WalletFallback { outside_scope, past_fair_use }, ..
        } => {
            format!("the wallet pays outside a plan: {outside_scope}, past its fair use: {past_fair_use}")
        }
    }
}

fn of_usage(event: &UsageEvent) -> String {
    match event {
        UsageEvent::GenerationOpened { generation_id, attempt, .. } => {
            format!("generation {generation_id} opened at {}", attempt.provider)
        }
        UsageEvent::AttemptStarted { generation_id, attempt, .. } => of_attempt(*generation_id, attempt),
        UsageEvent::GenerationReleased { generation_id, reason, attempts, .. } => {
            format!("released generation {generation_id}: {}{}", as_stored(reason), of_failed(attempts))
        }
        UsageEvent::GenerationSettled(settled) => of_settled(settled),
        UsageEvent::ChargeReversed { generation_id, reason, amount_micro, .. } => {
            format!(
                "charge of ${amount_micro} for generation {generation_id} reversed: {}",
                as_stored(reason)
            )
        }
        UsageEvent::ReviewDismissed { generation_id, .. } => {
            format!("generation {generation_id} was looked at and left as it is")
        }
    }
}

fn of_settled(settled: &GenerationSettled) -> String {
    let GenerationSettled { generation_id, model, served_model, provider, usage, .. } = settled;
    let served = if model == served_model { String::new() } else { format!(" (served by {served_model})") };
    let (input, cached, output) = (usage.total_input(), usage.cached_input, usage.output);
    let (charged, cost, outcome) = (settled.charged_micro, settled.cost_micro, as_stored(&settled.outcome));
    let insured = noted(", insured", settled.insured_micro);
    format!(
        "generation {generation_id} {outcome}: {model}{served} at {provider}, input {input} (cached {cached}), \
         output {output}, charged ${charged} of ${cost}{insured}"
    )
}

fn of_account(event: &AccountEvent) -> String {
    match event {
        AccountEvent::CustomerRegistered { account_id, .. } => format!("customer {account_id}"),
        AccountEvent::KeyIssued { key_id, kind, prefix, .. } => {
            format!("{} key {key_id} ({prefix}…)", kind.name())
        }
        AccountEvent::KeyRevoked { key_id, reason, .. } => {
            format!("key {key_id}: {}", as_stored(reason))
        }
        AccountEvent::TokenRevealed { key_id, reason, .. } => {
            format!("key {key_id}: {}", as_stored(reason))
        }
        AccountEvent::KeyLimitsSet { key_id, limits, .. } => format!("key {key_id}: {}", as_stored(limits)),
        AccountEvent::AccountSuspended { reason, .. } => {
            format!("suspended: {}", as_stored(reason))
        }
        AccountEvent::AccountReinstated { .. } => "reinstated".into(),
        AccountEvent::ToolboxSet { choice, .. } => format!("during surges: {}", choice.name()),
    }
}

fn of_pricing(event: &PricingEvent) -> String {
    match event {
        PricingEvent::RateCardPublished { card, .. } => format!("{} version {}", card.model, card.version),
        PricingEvent::RateCardWithdrawn { model, .. } => format!("{model} is no longer sold"),
        PricingEvent::ModeWindowScheduled { window, .. } => {
            let (mode, landing) = (as_stored(&window.plan.mode), as_stored(&window.plan.landing));
            format!("mode window {}: {mode}, then {landing}, {}", window.number, of_span(window))
        }
        PricingEvent::ModeWindowCancelled { number, .. } => format!("mode window {number} cancelled"),
        PricingEvent::ModeWindowEnded { number, landing, .. } => {
            format!("mode window {number} is over: {}", as_stored(landing))
        }
        PricingEvent::InternalWindowScheduled { window, .. } => {
            format!("internal window {}: {}, {}", window.number, as_stored(&window.plan), of_span(window))
        }
        PricingEvent::InternalWindowCancelled { number, .. } => format!("internal window {number} cancelled"),
        PricingEvent::InternalWindowEnded { number, landing, .. } => {
            format!("internal window {number} is over: {}", as_stored(landing))
        }
        PricingEvent::InternalRatesAdjusted { basis_points, base, .. } => {
            format!("internal rates by {basis_points} basis points: {}", as_stored(base))
        }
        PricingEvent::PerCallPriceSet { amount_micro, .. } => format!("${amount_micro} a call"),
        PricingEvent::BillingPolicySet { family, plan, policy, .. } => {
            let plan = plan.as_ref().map_or(String::new(), |plan| format!(" under {plan}"));
            format!("{}{plan} is billed {}", family.name(), as_stored(policy))
        }
        PricingEvent::ServingCostSet { family, input, output, .. } => {
            let (input, output) = (MicroUsd(input.0), MicroUsd(output.0));
            format!("serving {} is reckoned at ${input} in, ${output} out", family.name())
        }
    }
}

/// Why each attempt of a generation that came to nothing failed.
fn of_failed(attempts: &[AttemptResult]) -> String {
    attempts
        .iter()
        .map(|AttemptResult { attempt, status, ended, .. }| {
            let status = status.map(|status| format!(" {status}")).unwrap_or_default();
            let ended = ended.map(|ended| format!(" {}", as_stored(&ended))).unwrap_or_default();
            format!("; {} at {}{ended}{status}", attempt.number, attempt.provider)
        })
        .collect()
}

fn of_span<P>(window: &Window<P>) -> String {
    let moment = |at: Timestamp| time(at).unwrap_or_else(|_| format!("{at:?}"));
    format!("from {} to {}", moment(window.start), moment(window.end))
}

fn of_attempt(generation_id: GenerationId, attempt: &Attempt) -> String {
    let Attempt { number, provider, upstream_model } = attempt;
    format!("attempt {number} of generation {generation_id}: {upstream_model} at {provider}")
}

fn of_routing(event: &RoutingEvent) -> String {
    let within = |region: &Option<Region>| region.as_ref().map_or(String::new(), |r| format!(" in {r}"));
    match event {
        RoutingEvent::TargetsSet { model, region, targets, .. } => {
            format!("targets of {model}{}: {}", within(region), as_stored(targets))
        }
        RoutingEvent::FamilyProviderSet { family, region, source, .. } => {
            format!("{} models{}: {}", family.name(), within(region), as_stored(source))
        }
        RoutingEvent::CrossModelSet { region, mode, .. } => {
            format!("cross-model routing{}: {}", within(region), as_stored(mode))
        }
        RoutingEvent::ModelSet { model, rule, .. } => format!("{model}: {}", as_stored(rule)),
        RoutingEvent::HealthSettingsSet { settings, .. } => as_stored(settings),
        RoutingEvent::HealthMonitorWoken { .. } => "the health monitor goes on".into(),
    }
}

fn of_service(event: &ServiceEvent) -> String {
    match event {
        ServiceEvent::MaintenanceSet { message, .. } => format!("maintenance: {message:?}"),
        ServiceEvent::MaintenanceCleared { .. } => "maintenance is over".into(),
    }
}

/// As it stands in the event, but a lone name without quotes.
pub(super) fn as_stored(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value).expect("what stands in an event can be written as JSON") {
        serde_json::Value::String(name) => name,
        other => other.to_string(),
    }
}

fn noted(label: &str, amount: MicroUsd) -> String {
    if amount == MicroUsd::ZERO { String::new() } else { format!("{label} ${amount}") }
}
