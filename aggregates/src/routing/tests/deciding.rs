use cqrs_es::test::TestFramework;

use super::{command, decided, region, rule, target, targets};
use crate::examples::second;
use crate::routing::{
    CrossModel, HealthSettings, MAX_ALIASES, MAX_REGIONS, MAX_RULED_MODELS, MAX_TARGETS, ModelFamily,
    ModelRule, PolicyRefusal, ProviderSource, Region, RoutingAction, RoutingEvent, RoutingPolicy,
    SettingName, TargetRule,
};

fn family(family: ModelFamily, within: Option<&str>, source: Option<ProviderSource>) -> RoutingAction {
    RoutingAction::SetFamilyProvider { family, region: within.map(region), source }
}

fn cross(within: Option<&str>, mode: Option<CrossModel>) -> RoutingAction {
    RoutingAction::SetCrossModel { region: within.map(region), mode }
}

fn health(settings: HealthSettings) -> RoutingAction {
    RoutingAction::SetHealthSettings { settings }
}

fn external(provider: &str) -> Option<ProviderSource> {
    Some(ProviderSource::External { provider: provider.into() })
}

fn aliases(names: &[&str]) -> ModelRule {
    ModelRule { aliases: names.iter().map(|name| (*name).to_owned()).collect(), ..ModelRule::default() }
}

fn refused(policy: &RoutingPolicy, action: RoutingAction) -> PolicyRefusal {
    policy.decide(command(action)).expect_err("a refusal")
}

#[tokio::test]
async fn every_decision_is_one_event_and_deciding_the_same_again_is_none() {
    let at = second(0);
    let opus = ModelRule { label: Some("Opus".into()), ..aliases(&["best"]) };
    let settings =
        HealthSettings { enabled: true, asleep_until: Some(second(60)), ..HealthSettings::default() };
    let decisions = [
        (
            targets("gpt-5.5", Some("canada"), vec![target("openai", 3)]),
            RoutingEvent::TargetsSet {
                model: "gpt-5.5".into(),
                region: Some(region("canada")),
                targets: vec![target("openai", 3)],
                at,
            },
        ),
        (
            family(ModelFamily::Gpt, None, Some(ProviderSource::SignedIn)),
            RoutingEvent::FamilyProviderSet {
                family: ModelFamily::Gpt,
                region: None,
                source: Some(ProviderSource::SignedIn),
                at,
            },
        ),
        (
            cross(None, Some(CrossModel::Gpt55ViaOpus48)),
            RoutingEvent::CrossModelSet { region: None, mode: Some(CrossModel::Gpt55ViaOpus48), at },
        ),
        (
            rule("claude-opus-4-8", opus.clone()),
            RoutingEvent::ModelSet { model: "claude-opus-4-8".into(), rule: opus, at },
        ),
        (health(settings.clone()), RoutingEvent::HealthSettingsSet { settings, at }),
        (RoutingAction::WakeHealthMonitor, RoutingEvent::HealthMonitorWoken { at }),
    ];
    let mut given = vec![];
    for (action, event) in decisions {
        let framework = || TestFramework::<RoutingPolicy>::with(());
        let first = framework().given(given.clone()).when_async(command(action.clone())).await;
        assert_eq!(first.inspect_result(), Ok(vec![event.clone()]));
        given.push(event);
        let again = framework().given(given.clone()).when_async(command(action)).await;
        assert_eq!(again.inspect_result(), Ok(vec![]));
    }
}

#[test]
fn the_revision_rises_with_every_event() {
    let policy = decided([
        cross(None, Some(CrossModel::Native)),
        cross(None, Some(CrossModel::Native)),
        cross(None, None),
        targets("gpt-5.5", None, vec![target("openai", 1)]),
    ]);
    assert_eq!(policy.revision(), 3);
}

#[test]
fn what_is_taken_away_leaves_nothing_behind() {
    let set = |on: bool| {
        [
            targets("gpt-5.5", Some("canada"), if on { vec![target("openai", 1)] } else { vec![] }),
            family(ModelFamily::Gpt, Some("canada"), if on { external("openai") } else { None }),
            cross(Some("canada"), on.then_some(CrossModel::Native)),
            rule("gpt-5.5", ModelRule { enabled: !on, ..ModelRule::default() }),
        ]
    };
    let on = decided(set(true));
    assert_eq!((on.targets().count(), on.families().count(), on.models().count()), (1, 1, 1));
    let policy = decided(set(true).into_iter().chain(set(false)));
    assert_eq!((policy.targets().count(), policy.families().count(), policy.models().count()), (0, 0, 0));
    assert_eq!(policy.cross_models().count(), 0);
    assert_eq!(policy.decide(command(targets("gpt-5.5", Some("canada"), vec![]))), Ok(vec![]));
}

#[test]
fn names_that_are_none_are_refused() {
    let policy = RoutingPolicy::default();
    let bad_model = PolicyRefusal::BadModelName { model: "gpt 5".into() };
    assert_eq!(refused(&policy, targets("gpt 5", None, vec![])), bad_model);
    assert_eq!(refused(&policy, rule("gpt 5", ModelRule::default())), bad_model);
    let upstream = TargetRule { upstream_model: Some("gpt 5".into()), ..target("openai", 1) };
    assert_eq!(refused(&policy, targets("gpt-5.5", None, vec![upstream])), bad_model);
    let bad_provider = PolicyRefusal::BadProviderName { provider: "Open AI".into() };
    assert_eq!(refused(&policy, targets("gpt-5.5", None, vec![target("Open AI", 1)])), bad_provider);
    assert_eq!(refused(&policy, family(ModelFamily::Gpt, None, external("Open AI"))), bad_provider);
    let bad_alias = PolicyRefusal::BadAlias { alias: "two words".into() };
    assert_eq!(refused(&policy, rule("gpt-5.5", aliases(&["two words"]))), bad_alias);
    for label in ["", " x", "a\nb", "gpt-\u{202e}5.5", &"x".repeat(101)] {
        let labelled = ModelRule { label: Some(label.into()), ..ModelRule::default() };
        assert_eq!(
            refused(&policy, rule("gpt-5.5", labelled)),
            PolicyRefusal::BadLabel { label: label.into() }
        );
    }
    let labelled = ModelRule { label: Some("Deepseek v4 Budget".into()), ..ModelRule::default() };
    assert!(policy.decide(command(rule("deepseek-v4-pro", labelled))).is_ok());
}

#[test]
fn a_region_is_a_short_lower_case_name() {
    for good in ["canada", "chicago", "eu-west-1", &"x".repeat(40)] {
        assert_eq!(good.parse::<Region>().unwrap().name(), good);
    }
    for bad in ["", "Canada", "new york", &"x".repeat(41)] {
        assert!(bad.parse::<Region>().is_err(), "{bad}");
        let json = serde_json::Value::from(bad);
        assert!(serde_json::from_value::<Region>(json).is_err(), "{bad} in an event");
    }
}

#[test]
fn targets_are_at_most_sixteen_and_each_of_its_own() {
    let many = |count: usize| (0..count).map(|n| target(&format!("p{n}"), 1)).collect::<Vec<_>>();
    let policy = RoutingPolicy::default();
    assert!(policy.decide(command(targets("gpt-5.5", None, many(MAX_TARGETS)))).is_ok());
    let refusal = PolicyRefusal::TooManyTargets { got: 17, most: 16 };
    assert_eq!(refused(&policy, targets("gpt-5.5", None, many(17))), refusal);
    let twice = vec![target("openai", 1), target("openai", 2)];
    let refusal = PolicyRefusal::RepeatedTarget { provider: "openai".into() };
    assert_eq!(refused(&policy, targets("gpt-5.5", None, twice)), refusal);
    let other = TargetRule { upstream_model: Some("mini".into()), ..target("openai", 1) };
    assert!(policy.decide(command(targets("gpt-5.5", None, vec![target("openai", 1), other]))).is_ok());
}

#[test]
fn regions_and_ruled_models_are_limited() {
    let somewhere = |n: usize| cross(Some(&format!("region-{n}")), Some(CrossModel::Native));
    let policy = decided((0..MAX_REGIONS).map(somewhere));
    let refusal = PolicyRefusal::TooManyRegions { most: MAX_REGIONS };
    assert_eq!(refused(&policy, somewhere(99)), refusal);
    assert_eq!(refused(&policy, family(ModelFamily::Gpt, Some("x"), external("openai"))), refusal);
    assert_eq!(refused(&policy, targets("gpt-5.5", Some("x"), vec![target("openai", 1)])), refusal);
    let known = targets("gpt-5.5", Some("region-7"), vec![target("openai", 1)]);
    assert!(policy.decide(command(known)).is_ok());

    let refusal = PolicyRefusal::TooManyModels { most: MAX_RULED_MODELS };
    let targeted = |n: usize| targets(&format!("m{n}"), None, vec![target("openai", 1)]);
    assert_eq!(refused(&decided((0..MAX_RULED_MODELS).map(targeted)), targeted(999)), refusal);
    let ruled = |n: usize| rule(&format!("m{n}"), ModelRule { enabled: false, ..ModelRule::default() });
    let policy = decided((0..MAX_RULED_MODELS).map(ruled));
    assert_eq!(refused(&policy, ruled(999)), refusal);
    assert!(policy.decide(command(rule("m0", aliases(&["first"])))).is_ok());
}

#[test]
fn a_name_means_one_model() {
    let labelled = ModelRule { label: Some("GPT".into()), ..aliases(&["fast"]) };
    let policy = decided([rule("gpt-5.5", labelled)]);
    let taken = |name: &str| PolicyRefusal::NameTaken { name: name.into(), model: "gpt-5.5".into() };
    for name in ["fast", "GPT", "gpt-5.5"] {
        assert_eq!(refused(&policy, rule("gpt-5.4", aliases(&[name]))), taken(name));
        let labelled = ModelRule { label: Some(name.into()), ..ModelRule::default() };
        assert_eq!(refused(&policy, rule("gpt-5.4", labelled)), taken(name));
    }
    let disabled = ModelRule { enabled: false, ..ModelRule::default() };
    assert_eq!(refused(&policy, rule("fast", disabled)), taken("fast"), "it could never be asked for");
    assert!(
        policy.decide(command(rule("gpt-5.5", aliases(&["fast", "faster"])))).is_ok(),
        "its own may stay"
    );
    let freed = decided([rule("gpt-5.5", aliases(&["fast"])), rule("gpt-5.5", ModelRule::default())]);
    assert!(freed.decide(command(rule("gpt-5.4", aliases(&["fast"])))).is_ok());
}

#[test]
fn aliases_are_kept_in_one_order_without_repetition() {
    let policy = decided([rule("gpt-5.5", aliases(&["b", "a", "b", "gpt-5.5"]))]);
    assert_eq!(policy.model("gpt-5.5").aliases, ["a", "b"]);
    assert_eq!(policy.decide(command(rule("gpt-5.5", aliases(&["a", "b"])))), Ok(vec![]));
    let names: Vec<String> = (0..=MAX_ALIASES).map(|n| format!("alias-{n}")).collect();
    let many: Vec<&str> = names.iter().map(String::as_str).collect();
    let refusal = PolicyRefusal::TooManyAliases { got: 51, most: 50 };
    assert_eq!(refused(&policy, rule("gpt-5.4", aliases(&many))), refusal);
}

#[test]
fn numbers_out_of_range_are_refused_with_the_range() {
    let policy = RoutingPolicy::default();
    let out = |field, got, least, most| PolicyRefusal::OutOfRange { field, got, least, most };
    for got in [0, 3_601] {
        let slow = ModelRule { deadline_secs: Some(got), ..ModelRule::default() };
        assert_eq!(refused(&policy, rule("gpt-5.5", slow)), out(SettingName::DeadlineSecs, got, 1, 3_600));
    }
    for got in [0, 1_801] {
        let idle = ModelRule { idle_secs: Some(got), ..ModelRule::default() };
        assert_eq!(refused(&policy, rule("gpt-5.5", idle)), out(SettingName::IdleSecs, got, 1, 1_800));
    }
    let usual = HealthSettings::default;
    for got in [9, 86_401] {
        let settings = HealthSettings { interval_secs: got, ..usual() };
        assert_eq!(refused(&policy, health(settings)), out(SettingName::IntervalSecs, got, 10, 86_400));
    }
    for got in [0, 101] {
        let settings = HealthSettings { failures_to_open: got, ..usual() };
        assert_eq!(refused(&policy, health(settings)), out(SettingName::FailuresToOpen, got, 1, 100));
    }
    for got in [0, 600_001] {
        let settings = HealthSettings { latency_threshold_ms: got, ..usual() };
        assert_eq!(refused(&policy, health(settings)), out(SettingName::LatencyThresholdMs, got, 1, 600_000));
    }
    for got in [0, 501] {
        let settings = HealthSettings { prompt: "é".repeat(got), ..usual() };
        assert_eq!(refused(&policy, health(settings)), PolicyRefusal::PromptLength { got, most: 500 });
    }
    let edges = ModelRule { deadline_secs: Some(3_600), idle_secs: Some(1), ..ModelRule::default() };
    assert!(policy.decide(command(rule("gpt-5.5", edges))).is_ok());
}

#[test]
fn the_health_monitor_sleeps_until_its_time_or_until_it_is_woken() {
    let asleep = |until| HealthSettings {
        enabled: true,
        asleep_until: Some(second(until)),
        ..HealthSettings::default()
    };
    assert_eq!(refused(&RoutingPolicy::default(), health(asleep(0))), PolicyRefusal::AsleepInThePast);
    let policy = decided([health(asleep(60))]);
    assert!(!policy.health().is_awake(second(59)));
    assert!(policy.health().is_awake(second(60)));
    let woken = decided([health(asleep(60)), RoutingAction::WakeHealthMonitor]);
    assert!(woken.health().is_awake(second(1)));
    assert!(!HealthSettings::default().is_awake(second(1)), "probes cost money and begin when asked for");
}

#[test]
fn a_family_is_told_by_the_beginning_of_a_name() {
    for (model, family) in [
        ("gpt-5.5", Some(ModelFamily::Gpt)),
        ("o4-mini", Some(ModelFamily::Gpt)),
        ("claude-opus-4-8", Some(ModelFamily::Claude)),
        ("deepseek-v4-pro", Some(ModelFamily::Deepseek)),
        ("opus", None),
        ("o", None),
        ("llama", None),
    ] {
        assert_eq!(ModelFamily::of(model), family, "{model}");
    }
}
