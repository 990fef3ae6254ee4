//! Random policies over random configurations.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{command, provider, region, rule, targets};
use crate::routing::{
    Ask, Catalog, CatalogProvider, CrossModel, MAX_TARGETS, ModelFamily, ModelRule, ProviderKind,
    ProviderSource, RoutingAction, RoutingPolicy, TargetRule,
};
use crate::usage::Protocol;

const MODELS: [&str; 5] = ["gpt-5.5", "claude-opus-4-8", "deepseek-v4-pro", "gpt-5.4", "llama"];
const REGIONS: [&str; 2] = ["canada", "chicago"];
const PROTOCOLS: [Protocol; 3] = [Protocol::Responses, Protocol::Chat, Protocol::Messages];

fn pick<T: Clone + std::fmt::Debug + 'static>(items: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(items.to_vec())
}

fn place() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(pick(&REGIONS))
}

/// Some of these exist, some do not.
fn provider_name() -> impl Strategy<Value = String> {
    (0..8_u32).prop_map(|number| format!("p{number}"))
}

fn source() -> impl Strategy<Value = Option<ProviderSource>> {
    prop_oneof![
        Just(None),
        Just(Some(ProviderSource::Configured)),
        Just(Some(ProviderSource::SignedIn)),
        provider_name().prop_map(|provider| Some(ProviderSource::External { provider })),
    ]
}

fn action() -> impl Strategy<Value = RoutingAction> {
    let one = (provider_name(), prop::option::of(Just("up".to_owned())), 0..5_u32)
        .prop_map(|(provider, upstream_model, weight)| TargetRule { provider, upstream_model, weight });
    let modes =
        [None, Some(CrossModel::Native), Some(CrossModel::Gpt55ViaOpus48), Some(CrossModel::Opus48ViaGpt55)];
    let names = prop::collection::vec((0..12_u32).prop_map(|n| format!("alias-{n}")), 0..4);
    prop_oneof![
        (pick(&MODELS), place(), prop::collection::vec(one, 0..6))
            .prop_map(|(model, within, rules)| targets(model, within, rules)),
        (pick(&ModelFamily::ALL), place(), source()).prop_map(|(family, within, source)| {
            RoutingAction::SetFamilyProvider { family, region: within.map(region), source }
        }),
        (place(), pick(&modes))
            .prop_map(|(within, mode)| RoutingAction::SetCrossModel { region: within.map(region), mode }),
        (pick(&MODELS), prop::bool::weighted(0.8), names).prop_map(|(model, enabled, aliases)| {
            rule(model, ModelRule { enabled, aliases, ..ModelRule::default() })
        }),
    ]
}

fn catalog() -> impl Strategy<Value = Catalog> {
    let protocols = prop::sample::subsequence(PROTOCOLS.to_vec(), 0..=3);
    let models = prop::sample::subsequence(MODELS.to_vec(), 0..=5);
    let one = (protocols, models, prop::bool::weighted(0.2));
    prop::collection::vec(one, 0..6).prop_map(|providers| {
        let named = providers.into_iter().enumerate().map(|(number, (protocols, models, signed_in))| {
            let kind = if signed_in { ProviderKind::SignedIn } else { ProviderKind::Api };
            CatalogProvider { kind, ..provider(&format!("p{number}"), &protocols, &models) }
        });
        Catalog { providers: named.collect() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_names_only_what_is_configured_and_an_alias_has_its_models_plan(
        actions in prop::collection::vec(action(), 0..25),
        catalog in catalog(),
        within in place(),
        client in pick(&[Protocol::Responses, Protocol::Chat, Protocol::Messages, Protocol::Completions]),
    ) {
        let mut policy = RoutingPolicy::default();
        let mut events = 0;
        for action in actions {
            // A name that is taken and a target named twice are refused; anything else is decided.
            for event in policy.decide(command(action)).unwrap_or_default() {
                policy.evolve(event);
                events += 1;
            }
        }
        prop_assert_eq!(policy.revision(), events);
        let within = within.map(region);
        let plan = |label: &str| policy.plan(&catalog, &Ask { label, client, region: within.as_ref() });
        for model in MODELS {
            let planned = plan(model);
            for alias in &policy.model(model).aliases {
                prop_assert_eq!(&plan(alias), &planned);
            }
            let Ok(planned) = planned else { continue };
            prop_assert!((1..=MAX_TARGETS).contains(&planned.targets.len()));
            for target in &planned.targets {
                let known = catalog.providers.iter().find(|known| known.name == target.provider);
                prop_assert!(known.is_some_and(|known| known.protocols.contains(&target.protocol)));
            }
            let order: BTreeSet<usize> = planned.order(7, None).into_iter().collect();
            prop_assert_eq!(order.len(), planned.targets.len());
        }
        // A snapshot is the same policy.
        let stored = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(&serde_json::from_str::<RoutingPolicy>(&stored).unwrap(), &policy);
    }
}
