//! What there is to check: every provider under every name of a model that it is asked for by.

use std::collections::BTreeMap;

use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook};
use codexapi_aggregates::routing::{Catalog, POLICY_STREAM, ProviderKind, RoutingPolicy};
use codexapi_aggregates::usage::Protocol;

use super::Checks;
use crate::clock;

/// One thing that is checked: its circuit is the provider's and the upstream model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckTarget {
    pub provider: String,
    pub upstream_model: String,
    /// The model whose prices count.
    pub model: String,
    /// The first that the provider speaks.
    pub protocol: Protocol,
    pub kind: ProviderKind,
}

/// Which targets; without a model, those of all models that are not switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// By its own name, its label or an alias.
    pub model: Option<String>,
    pub provider: Option<String>,
}

impl Checks {
    /// The targets of models with a price in force, by provider and upstream model, each once.
    pub(super) async fn targets(&self, which: &Which) -> anyhow::Result<Vec<CheckTarget>> {
        let now = clock::now();
        let priced: Vec<String> = self
            .log
            .read(BOOK_STREAM, |book: &PriceBook| {
                book.cards_in_force(now).map(|card| card.model.clone()).collect()
            })
            .await?;
        let catalog = self.gateway.providers().catalog();
        self.log
            .read(POLICY_STREAM, |policy: &RoutingPolicy| targets_of(policy, catalog, &priced, which))
            .await
    }
}

fn targets_of(
    policy: &RoutingPolicy,
    catalog: &Catalog,
    priced: &[String],
    which: &Which,
) -> Vec<CheckTarget> {
    let named = which.model.as_deref().map(|label| policy.resolve(catalog, label));
    let wanted = |model: &str| match named {
        None => policy.model(model).enabled,
        Some(resolved) => resolved == Some(model),
    };
    let configured = catalog.providers.iter().flat_map(|provider| {
        provider.models.iter().map(move |sold| (provider, sold.model.as_str(), sold.upstream.as_str()))
    });
    let ruled = policy.targets().flat_map(|(model, _, rules)| {
        rules.iter().filter_map(move |rule| {
            let provider = catalog.providers.iter().find(|provider| provider.name == rule.provider)?;
            let sold = provider.models.iter().find(|sold| sold.model == model);
            let configured = || sold.map_or(model, |sold| sold.upstream.as_str());
            Some((provider, model, rule.upstream_model.as_deref().unwrap_or_else(configured)))
        })
    });
    let mut targets = BTreeMap::new();
    for (provider, model, upstream) in configured.chain(ruled) {
        let asked_for = which.provider.as_ref().is_none_or(|name| *name == provider.name);
        if !asked_for || !wanted(model) || !priced.iter().any(|priced| priced == model) {
            continue;
        }
        let Some(protocol) = provider.protocols.first().copied() else { continue };
        targets.entry((provider.name.clone(), upstream.to_owned())).or_insert_with(|| CheckTarget {
            provider: provider.name.clone(),
            upstream_model: upstream.to_owned(),
            model: model.to_owned(),
            protocol,
            kind: provider.kind,
        });
    }
    targets.into_values().collect()
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::routing::{
        CatalogModel, CatalogProvider, ModelRule, RoutingAction, RoutingCommand, TargetRule,
    };
    use codexapi_aggregates::time::Timestamp;
    use cqrs_es::Aggregate;

    use super::*;

    fn provider(name: &str, models: &[(&str, &str)]) -> CatalogProvider {
        let sold = |(model, upstream): &(&str, &str)| CatalogModel {
            model: (*model).into(),
            upstream: (*upstream).into(),
            aliases: vec![format!("{model}-alias")],
        };
        CatalogProvider {
            name: name.into(),
            kind: ProviderKind::Api,
            protocols: vec![Protocol::Chat, Protocol::Messages],
            models: models.iter().map(sold).collect(),
        }
    }

    fn catalog() -> Catalog {
        let providers = vec![
            provider("one", &[("gpt-5.5", "gpt"), ("free-model", "free")]),
            provider("two", &[("gpt-5.5", "gpt"), ("claude-opus-4-8", "opus")]),
        ];
        Catalog { providers }
    }

    fn policy(actions: Vec<RoutingAction>) -> RoutingPolicy {
        let mut policy = RoutingPolicy::default();
        for action in actions {
            let events = policy.decide(RoutingCommand { action, now: Timestamp::from_secs(1) });
            events.expect("allowed").into_iter().for_each(|event| policy.apply(event));
        }
        policy
    }

    fn found(policy: &RoutingPolicy, which: &Which) -> Vec<(String, String)> {
        let priced = ["gpt-5.5".to_owned(), "claude-opus-4-8".to_owned()];
        let targets = targets_of(policy, &catalog(), &priced, which);
        targets.into_iter().map(|target| (target.provider, target.upstream_model)).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(provider, model)| ((*provider).into(), (*model).into())).collect()
    }

    #[test]
    fn every_priced_model_is_checked_at_every_provider_that_has_it() {
        let all = found(&RoutingPolicy::default(), &Which::default());
        assert_eq!(all, pairs(&[("one", "gpt"), ("two", "gpt"), ("two", "opus")]));
    }

    #[test]
    fn rules_add_what_the_catalog_does_not_name_and_a_target_of_both_is_checked_once() {
        let rule = |provider: &str, upstream: Option<&str>| TargetRule {
            provider: provider.into(),
            upstream_model: upstream.map(str::to_owned),
            weight: 1,
        };
        let targets = vec![rule("one", Some("gpt-next")), rule("two", None), rule("gone", None)];
        let policy =
            policy(vec![RoutingAction::SetTargets { model: "gpt-5.5".into(), region: None, targets }]);
        let which = Which { model: Some("gpt-5.5-alias".into()), provider: None };
        assert_eq!(found(&policy, &which), pairs(&[("one", "gpt"), ("one", "gpt-next"), ("two", "gpt")]));
        let which = Which { model: Some("gpt-5.5".into()), provider: Some("two".into()) };
        assert_eq!(found(&policy, &which), pairs(&[("two", "gpt")]));
    }

    #[test]
    fn a_model_that_is_switched_off_is_checked_only_by_name() {
        let rule = ModelRule { enabled: false, ..ModelRule::default() };
        let policy = policy(vec![RoutingAction::SetModel { model: "gpt-5.5".into(), rule }]);
        assert_eq!(found(&policy, &Which::default()), pairs(&[("two", "opus")]));
        let which = Which { model: Some("gpt-5.5".into()), provider: None };
        assert_eq!(found(&policy, &which), pairs(&[("one", "gpt"), ("two", "gpt")]));
        let which = Which { model: Some("no-such".into()), provider: None };
        assert_eq!(found(&policy, &which), pairs(&[]));
    }
}
