use super::{catalog, decided, plan, providers, region, rule, target, targets};
use crate::routing::{
    Ask, CatalogModel, CrossModel, ModelFamily, ModelRule, PlannedTarget, ProviderSource, RoutingAction,
    RoutingPolicy, RoutingRefusal, TargetRule,
};
use crate::usage::Protocol::{self, Chat, Completions, Messages, Responses};

fn family(family: ModelFamily, within: Option<&str>, source: ProviderSource) -> RoutingAction {
    RoutingAction::SetFamilyProvider { family, region: within.map(region), source: Some(source) }
}

fn external(provider: &str) -> ProviderSource {
    ProviderSource::External { provider: provider.into() }
}

fn cross(within: Option<&str>, mode: CrossModel) -> RoutingAction {
    RoutingAction::SetCrossModel { region: within.map(region), mode: Some(mode) }
}

#[test]
fn without_a_rule_the_configured_order_counts_and_the_signed_in_account_does_not_serve() {
    let plan = plan(&RoutingPolicy::default(), "gpt-5.5", None).unwrap();
    let planned = |provider: &str, weight| PlannedTarget {
        provider: provider.into(),
        upstream_model: format!("{provider}/gpt-5.5"),
        protocol: Responses,
        weight,
    };
    assert_eq!(plan.targets, [planned("openai", 1), planned("oneprovider", 0)]);
    assert_eq!((plan.model.as_str(), plan.served_model.as_str()), ("gpt-5.5", "gpt-5.5"));
    assert_eq!((plan.deadline_secs, plan.idle_secs, plan.revision), (None, None, 0));
}

#[test]
fn what_nobody_may_serve_is_refused_precisely() {
    let unknown = RoutingRefusal::UnknownModel { label: "gpt-9".into() };
    assert_eq!(plan(&RoutingPolicy::default(), "gpt-9", None), Err(unknown));
    let off = decided([rule(
        "gpt-5.5",
        ModelRule { enabled: false, aliases: vec!["fast".into()], ..ModelRule::default() },
    )]);
    let disabled = RoutingRefusal::ModelDisabled { model: "gpt-5.5".into() };
    for label in ["gpt-5.5", "fast", "gpt-5.5-latest"] {
        assert_eq!(plan(&off, label, None), Err(disabled.clone()), "{label}");
    }
    let nowhere = decided([targets("gpt-9", None, vec![target("vanished", 1)])]);
    assert_eq!(plan(&nowhere, "gpt-9", None), Err(RoutingRefusal::NoProvider { model: "gpt-9".into() }));
}

#[test]
fn a_name_means_what_the_policy_says_before_what_the_configuration_says() {
    let means = |policy: &RoutingPolicy, label: &str| plan(policy, label, None).map(|plan| plan.model);
    assert_eq!(means(&RoutingPolicy::default(), "gpt-5.5-latest").unwrap(), "gpt-5.5");
    let renamed = ModelRule {
        label: Some("Opus, the best".into()),
        aliases: vec!["gpt-5.5-latest".into(), "gpt-5.4".into()],
        ..ModelRule::default()
    };
    let policy = decided([rule("claude-opus-4-8", renamed)]);
    for label in ["Opus, the best", "gpt-5.5-latest", "gpt-5.4", "claude-opus-4-8", "claude-opus-4-8-latest"]
    {
        assert_eq!(means(&policy, label).unwrap(), "claude-opus-4-8", "{label}");
    }
    assert_eq!(means(&policy, "gpt-5.5").unwrap(), "gpt-5.5");
}

#[test]
fn a_model_that_only_a_rule_knows_is_served_by_the_rules_targets() {
    let policy = decided([targets("gpt-next", None, vec![target("openai", 1)])]);
    let plan = plan(&policy, "gpt-next", None).unwrap();
    assert_eq!(plan.targets[0].upstream_model, "gpt-next");
}

#[test]
fn explicit_targets_come_in_their_order_with_their_weights_and_names() {
    let named = TargetRule { upstream_model: Some("gpt-5.5-eu".into()), ..target("oneprovider", 3) };
    let policy =
        decided([targets("gpt-5.5", None, vec![named, target("vanished", 9), target("codex-home", 0)])]);
    let plan = plan(&policy, "gpt-5.5", None).unwrap();
    let seen: Vec<_> =
        plan.targets.iter().map(|t| (t.provider.as_str(), t.upstream_model.as_str(), t.weight)).collect();
    assert_eq!(seen, [("oneprovider", "gpt-5.5-eu", 3), ("codex-home", "codex-home/gpt-5.5", 0)]);
}

#[test]
fn a_rule_for_a_region_counts_there_and_nowhere_else() {
    let policy = decided([
        targets("gpt-5.5", None, vec![target("oneprovider", 1)]),
        targets("gpt-5.5", Some("canada"), vec![target("openai", 1)]),
        family(ModelFamily::Claude, Some("chicago"), external("anthropic")),
        cross(Some("canada"), CrossModel::Opus48ViaGpt55),
    ]);
    assert_eq!(providers(&policy, "gpt-5.5", None), ["oneprovider"]);
    assert_eq!(providers(&policy, "gpt-5.5", Some("chicago")), ["oneprovider"]);
    assert_eq!(providers(&policy, "gpt-5.5", Some("canada")), ["openai"]);
    assert_eq!(providers(&policy, "claude-opus-4-8", Some("chicago")), ["anthropic"]);
    assert_eq!(providers(&policy, "claude-opus-4-8", None), ["oneprovider", "anthropic"]);
    let in_canada = plan(&policy, "claude-opus-4-8", Some("canada")).unwrap();
    assert_eq!((in_canada.model.as_str(), in_canada.served_model.as_str()), ("claude-opus-4-8", "gpt-5.5"));
}

#[test]
fn a_regional_rule_can_say_that_nothing_is_special_there() {
    let policy = decided([
        family(ModelFamily::Gpt, None, ProviderSource::SignedIn),
        family(ModelFamily::Gpt, Some("canada"), ProviderSource::Configured),
        cross(None, CrossModel::Gpt55ViaOpus48),
        cross(Some("canada"), CrossModel::Native),
    ]);
    assert_eq!(providers(&policy, "gpt-5.5", Some("canada")), ["openai", "oneprovider"]);
    assert_eq!(plan(&policy, "gpt-5.5", None).unwrap().served_model, "claude-opus-4-8");
}

#[test]
fn a_family_is_bought_where_the_operator_says() {
    let policy = decided([family(ModelFamily::Gpt, None, ProviderSource::SignedIn)]);
    assert_eq!(providers(&policy, "gpt-5.5", None), ["codex-home"]);
    assert_eq!(providers(&policy, "gpt-5.4", None), ["openai"], "the account has no such model");
    assert_eq!(providers(&policy, "claude-opus-4-8", None), ["oneprovider", "anthropic"], "another family");
    let policy = decided([family(ModelFamily::Claude, None, external("anthropic"))]);
    assert_eq!(providers(&policy, "claude-opus-4-8", None), ["anthropic"]);
}

#[test]
fn a_rule_of_which_no_provider_is_left_is_passed_over() {
    let policy = decided([
        targets("gpt-5.5", Some("canada"), vec![target("gone", 1)]),
        targets("gpt-5.5", None, vec![target("vanished", 1)]),
        family(ModelFamily::Gpt, Some("canada"), external("gone")),
        family(ModelFamily::Gpt, None, external("oneprovider")),
    ]);
    assert_eq!(providers(&policy, "gpt-5.5", Some("canada")), ["oneprovider"]);
    let policy = decided([family(ModelFamily::Gpt, None, external("gone"))]);
    assert_eq!(providers(&policy, "gpt-5.5", None), ["openai", "oneprovider"]);
}

#[test]
fn one_model_answers_for_the_other_and_what_is_billed_stays() {
    let there = decided([cross(None, CrossModel::Gpt55ViaOpus48)]);
    let asked = plan(&there, "gpt-5.5-latest", None).unwrap();
    assert_eq!((asked.model.as_str(), asked.served_model.as_str()), ("gpt-5.5", "claude-opus-4-8"));
    assert_eq!(asked.targets[0].upstream_model, "oneprovider/claude-opus-4-8");
    assert_eq!(plan(&there, "claude-opus-4-8", None).unwrap().served_model, "claude-opus-4-8");
    assert_eq!(plan(&there, "gpt-5.4", None).unwrap().served_model, "gpt-5.4");
    let back = decided([cross(None, CrossModel::Opus48ViaGpt55)]);
    assert_eq!(plan(&back, "claude-opus-4-8", None).unwrap().served_model, "gpt-5.5");
    assert_eq!(plan(&back, "gpt-5.5", None).unwrap().served_model, "gpt-5.5");
}

#[test]
fn targets_are_those_of_the_model_that_answers_and_deadlines_of_the_one_that_is_billed() {
    let slow = ModelRule { deadline_secs: Some(900), idle_secs: Some(60), ..ModelRule::default() };
    let off = ModelRule { enabled: false, deadline_secs: Some(1), ..ModelRule::default() };
    let policy = decided([
        cross(None, CrossModel::Gpt55ViaOpus48),
        targets("claude-opus-4-8", None, vec![target("anthropic", 1)]),
        targets("gpt-5.5", None, vec![target("openai", 1)]),
        rule("gpt-5.5", slow),
        rule("claude-opus-4-8", off),
    ]);
    let asked = plan(&policy, "gpt-5.5", None).unwrap();
    assert_eq!((asked.deadline_secs, asked.idle_secs, asked.revision), (Some(900), Some(60), 5));
    assert_eq!(providers(&policy, "gpt-5.5", None), ["anthropic"], "what is not sold by its name may answer");
}

#[test]
fn a_provider_is_asked_in_the_clients_own_dialect_or_the_one_that_loses_least() {
    let asked = |spoken: &[Protocol], client| {
        let mut catalog = catalog();
        catalog.providers.retain(|provider| provider.name == "openai");
        catalog.providers[0].protocols = spoken.to_vec();
        let ask = Ask { label: "gpt-5.5", client, region: None };
        RoutingPolicy::default().plan(&catalog, &ask).map(|plan| plan.targets[0].protocol).ok()
    };
    let every = [Chat, Messages, Responses];
    assert_eq!(
        [Responses, Chat, Messages, Completions].map(|c| asked(&every, c)).map(Option::unwrap),
        [Responses, Chat, Messages, Responses]
    );
    assert_eq!(asked(&[Chat, Messages], Responses), Some(Messages));
    assert_eq!(asked(&[Messages, Responses], Chat), Some(Responses));
    assert_eq!(asked(&[Chat, Responses], Messages), Some(Responses));
    assert_eq!(asked(&[Messages, Chat], Completions), Some(Chat));
    assert_eq!(asked(&[Messages], Chat), Some(Messages));
    assert_eq!(asked(&[Chat], Messages), Some(Chat));
    assert_eq!(asked(&[], Chat), None);
    assert_eq!(asked(&[Completions], Completions), None, "no provider is asked in it");
}

#[test]
fn a_plan_has_at_most_sixteen_targets() {
    let mut catalog = catalog();
    let model = CatalogModel { model: "gpt-5.5".into(), upstream: "x".into(), aliases: vec![] };
    catalog.providers = (0..40)
        .map(|n| {
            let mut provider = super::provider(&format!("p{n}"), &[Responses], &[]);
            provider.models.push(model.clone());
            provider
        })
        .collect();
    let ask = Ask { label: "gpt-5.5", client: Responses, region: None };
    assert_eq!(RoutingPolicy::default().plan(&catalog, &ask).unwrap().targets.len(), 16);
}
