//! Given what was decided and what is configured, who serves.

mod deciding;
mod ordering;
mod planning;
mod properties;

use super::{
    Ask, Catalog, CatalogModel, CatalogProvider, ModelRule, Plan, ProviderKind, Region, RoutingAction,
    RoutingCommand, RoutingPolicy, RoutingRefusal, TargetRule,
};
use crate::examples::second;
use crate::usage::Protocol;

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

fn target(provider: &str, weight: u32) -> TargetRule {
    TargetRule { provider: provider.into(), upstream_model: None, weight }
}

fn targets(model: &str, within: Option<&str>, targets: Vec<TargetRule>) -> RoutingAction {
    RoutingAction::SetTargets { model: model.into(), region: within.map(region), targets }
}

fn rule(model: &str, rule: ModelRule) -> RoutingAction {
    RoutingAction::SetModel { model: model.into(), rule }
}

fn command(action: RoutingAction) -> RoutingCommand {
    RoutingCommand { action, now: second(0) }
}

/// A policy after these decisions, none of which may be refused.
fn decided(actions: impl IntoIterator<Item = RoutingAction>) -> RoutingPolicy {
    let mut policy = RoutingPolicy::default();
    for action in actions {
        for event in policy.decide(command(action)).expect("an allowed decision") {
            policy.evolve(event);
        }
    }
    policy
}

/// A provider that calls every model as we do, with its own name before it.
fn provider(name: &str, protocols: &[Protocol], models: &[&str]) -> CatalogProvider {
    let model = |model: &&str| CatalogModel {
        model: (*model).into(),
        upstream: format!("{name}/{model}"),
        aliases: vec![format!("{model}-latest")],
    };
    CatalogProvider {
        name: name.into(),
        kind: ProviderKind::Api,
        protocols: protocols.to_vec(),
        models: models.iter().map(model).collect(),
    }
}

/// Two external providers, a Claude one, and the signed-in account.
fn catalog() -> Catalog {
    use Protocol::{Chat, Messages, Responses};
    let signed_in = CatalogProvider {
        kind: ProviderKind::SignedIn,
        ..provider("codex-home", &[Responses], &["gpt-5.5"])
    };
    Catalog {
        providers: vec![
            signed_in,
            provider("openai", &[Responses, Chat], &["gpt-5.5", "gpt-5.4"]),
            provider("oneprovider", &[Responses, Chat, Messages], &["gpt-5.5", "claude-opus-4-8"]),
            provider("anthropic", &[Messages], &["claude-opus-4-8"]),
        ],
    }
}

fn plan(policy: &RoutingPolicy, label: &str, within: Option<&str>) -> Result<Plan, RoutingRefusal> {
    let within = within.map(region);
    let ask = Ask { label, client: Protocol::Responses, region: within.as_ref() };
    policy.plan(&catalog(), &ask)
}

/// Names of the planned providers, in order.
fn providers(policy: &RoutingPolicy, label: &str, within: Option<&str>) -> Vec<String> {
    plan(policy, label, within).unwrap().targets.into_iter().map(|target| target.provider).collect()
}
