//! The routing policy: what the operator has decided about who serves which model, as audited events.
//!
//! It says nothing about which providers exist; that is configuration, and comes with each question
//! (`plan`). So a provider that leaves the configuration leaves every plan at once, and the policy
//! can be folded anywhere.

pub mod events;
pub mod plan;
mod refusal;
mod scoped;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use events::{
    CrossModel, HealthSettings, ModelFamily, ModelRule, NotARegion, ProviderSource, Region, RoutingEvent,
    TargetRule,
};
pub use plan::{
    Ask, Catalog, CatalogModel, CatalogProvider, Plan, PlannedTarget, ProviderKind, RoutingRefusal,
};
pub use refusal::{PolicyRefusal, SettingName};

use crate::pricing::is_model_name;
use crate::time::Timestamp;
use refusal::{refuse_label, refuse_model_name, refuse_provider_name, within};
use scoped::Scoped;

/// The one stream of the routing policy.
pub const POLICY_STREAM: &str = "policy";

/// Targets one rule, and so one plan, may have.
pub const MAX_TARGETS: usize = 16;

/// Regions that rules may name.
pub const MAX_REGIONS: usize = 20;

/// Models that may have targets of their own, and models that may have a rule.
pub const MAX_RULED_MODELS: usize = 200;

/// Aliases one model may have.
pub const MAX_ALIASES: usize = 50;

const MAX_PROMPT_CHARS: usize = 500;

// Commands

#[derive(Clone, Debug, PartialEq)]
pub struct RoutingCommand {
    pub action: RoutingAction,
    pub now: Timestamp,
}

/// A decision. A rule with a region counts there in place of the global one.
#[derive(Clone, Debug, PartialEq)]
pub enum RoutingAction {
    /// In order; none takes the rule away.
    SetTargets {
        model: String,
        region: Option<Region>,
        targets: Vec<TargetRule>,
    },
    /// `None` takes the rule away.
    SetFamilyProvider {
        family: ModelFamily,
        region: Option<Region>,
        source: Option<ProviderSource>,
    },
    /// `None` takes the rule away.
    SetCrossModel {
        region: Option<Region>,
        mode: Option<CrossModel>,
    },
    SetModel {
        model: String,
        rule: ModelRule,
    },
    SetHealthSettings {
        settings: HealthSettings,
    },
    WakeHealthMonitor,
}

// State

/// Everything the operator has decided about routing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoutingPolicy {
    revision: u64,
    targets: BTreeMap<String, Scoped<Vec<TargetRule>>>,
    families: BTreeMap<ModelFamily, Scoped<ProviderSource>>,
    cross_model: Scoped<CrossModel>,
    /// Only those that differ from the default rule.
    models: BTreeMap<String, ModelRule>,
    health: HealthSettings,
}

impl RoutingPolicy {
    /// Rises with every event; what was chosen under another revision is to be chosen anew.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn health(&self) -> &HealthSettings {
        &self.health
    }

    /// What is set for a model; the default where nothing is.
    pub fn model(&self, model: &str) -> ModelRule {
        self.models.get(model).cloned().unwrap_or_default()
    }

    /// Every model with a rule of its own.
    pub fn models(&self) -> impl Iterator<Item = (&str, &ModelRule)> {
        self.models.iter().map(|(model, rule)| (model.as_str(), rule))
    }

    /// Every rule about targets: model, region, targets in order.
    pub fn targets(&self) -> impl Iterator<Item = (&str, Option<&Region>, &[TargetRule])> {
        self.targets.iter().flat_map(|(model, scoped)| {
            scoped.every().map(move |(region, targets)| (model.as_str(), region, targets.as_slice()))
        })
    }

    /// Every rule about families: family, region, source.
    pub fn families(&self) -> impl Iterator<Item = (ModelFamily, Option<&Region>, &ProviderSource)> {
        self.families.iter().flat_map(|(family, scoped)| {
            scoped.every().map(move |(region, source)| (*family, region, source))
        })
    }

    /// Every cross-model rule: region, mode.
    pub fn cross_models(&self) -> impl Iterator<Item = (Option<&Region>, CrossModel)> {
        self.cross_model.every().map(|(region, mode)| (region, *mode))
    }

    // Rules

    /// No event where nothing changes.
    pub fn decide(&self, command: RoutingCommand) -> Result<Vec<RoutingEvent>, PolicyRefusal> {
        let at = command.now;
        match command.action {
            RoutingAction::SetTargets { model, region, targets } => {
                self.set_targets(model, region, targets, at)
            }
            RoutingAction::SetFamilyProvider { family, region, source } => {
                self.set_family_provider(family, region, source, at)
            }
            RoutingAction::SetCrossModel { region, mode } => {
                self.refuse_new_region(region.as_ref())?;
                if self.cross_model.get(region.as_ref()) == mode.as_ref() {
                    return Ok(vec![]);
                }
                Ok(vec![RoutingEvent::CrossModelSet { region, mode, at }])
            }
            RoutingAction::SetModel { model, rule } => self.set_model(model, rule, at),
            RoutingAction::SetHealthSettings { settings } => self.set_health(settings, at),
            RoutingAction::WakeHealthMonitor if self.health.asleep_until.is_none() => Ok(vec![]),
            RoutingAction::WakeHealthMonitor => Ok(vec![RoutingEvent::HealthMonitorWoken { at }]),
        }
    }

    fn set_targets(
        &self,
        model: String,
        region: Option<Region>,
        targets: Vec<TargetRule>,
        at: Timestamp,
    ) -> Result<Vec<RoutingEvent>, PolicyRefusal> {
        refuse_model_name(&model)?;
        if targets.len() > MAX_TARGETS {
            return Err(PolicyRefusal::TooManyTargets { got: targets.len(), most: MAX_TARGETS });
        }
        let mut seen = BTreeSet::new();
        for target in &targets {
            refuse_provider_name(&target.provider)?;
            if let Some(upstream) = &target.upstream_model {
                refuse_model_name(upstream)?;
            }
            if !seen.insert((&target.provider, &target.upstream_model)) {
                return Err(PolicyRefusal::RepeatedTarget { provider: target.provider.clone() });
            }
        }
        let known = self.targets.get(&model);
        let before = known.and_then(|scoped| scoped.get(region.as_ref()));
        if before.map_or(&[][..], Vec::as_slice) == targets {
            return Ok(vec![]);
        }
        if known.is_none() && self.targets.len() >= MAX_RULED_MODELS {
            return Err(PolicyRefusal::TooManyModels { most: MAX_RULED_MODELS });
        }
        self.refuse_new_region(region.as_ref())?;
        Ok(vec![RoutingEvent::TargetsSet { model, region, targets, at }])
    }

    fn set_family_provider(
        &self,
        family: ModelFamily,
        region: Option<Region>,
        source: Option<ProviderSource>,
        at: Timestamp,
    ) -> Result<Vec<RoutingEvent>, PolicyRefusal> {
        if let Some(ProviderSource::External { provider }) = &source {
            refuse_provider_name(provider)?;
        }
        let before = self.families.get(&family).and_then(|scoped| scoped.get(region.as_ref()));
        if before == source.as_ref() {
            return Ok(vec![]);
        }
        self.refuse_new_region(region.as_ref())?;
        Ok(vec![RoutingEvent::FamilyProviderSet { family, region, source, at }])
    }

    fn set_model(
        &self,
        model: String,
        mut rule: ModelRule,
        at: Timestamp,
    ) -> Result<Vec<RoutingEvent>, PolicyRefusal> {
        refuse_model_name(&model)?;
        if let Some(label) = &rule.label {
            refuse_label(label)?;
        }
        rule.aliases.sort_unstable();
        rule.aliases.dedup();
        rule.aliases.retain(|alias| *alias != model);
        if rule.aliases.len() > MAX_ALIASES {
            return Err(PolicyRefusal::TooManyAliases { got: rule.aliases.len(), most: MAX_ALIASES });
        }
        if let Some(alias) = rule.aliases.iter().find(|alias| !is_model_name(alias)) {
            return Err(PolicyRefusal::BadAlias { alias: alias.clone() });
        }
        for name in rule.aliases.iter().chain(&rule.label).chain([&model]) {
            if let Some((taken_by, _)) = self.meant_by(name).filter(|(other, _)| **other != model) {
                return Err(PolicyRefusal::NameTaken { name: name.clone(), model: taken_by.clone() });
            }
        }
        within(SettingName::DeadlineSecs, rule.deadline_secs, 1, 3_600)?;
        within(SettingName::IdleSecs, rule.idle_secs, 1, 1_800)?;
        if self.model(&model) == rule {
            return Ok(vec![]);
        }
        if !self.models.contains_key(&model) && self.models.len() >= MAX_RULED_MODELS {
            return Err(PolicyRefusal::TooManyModels { most: MAX_RULED_MODELS });
        }
        Ok(vec![RoutingEvent::ModelSet { model, rule, at }])
    }

    fn set_health(
        &self,
        settings: HealthSettings,
        at: Timestamp,
    ) -> Result<Vec<RoutingEvent>, PolicyRefusal> {
        within(SettingName::IntervalSecs, Some(settings.interval_secs), 10, 86_400)?;
        within(SettingName::FailuresToOpen, Some(settings.failures_to_open), 1, 100)?;
        within(SettingName::LatencyThresholdMs, Some(settings.latency_threshold_ms), 1, 600_000)?;
        let got = settings.prompt.chars().count();
        if !(1..=MAX_PROMPT_CHARS).contains(&got) {
            return Err(PolicyRefusal::PromptLength { got, most: MAX_PROMPT_CHARS });
        }
        if self.health == settings {
            return Ok(vec![]);
        }
        let sleeps_anew = settings.asleep_until != self.health.asleep_until;
        if sleeps_anew && settings.asleep_until.is_some_and(|until| until <= at) {
            return Err(PolicyRefusal::AsleepInThePast);
        }
        Ok(vec![RoutingEvent::HealthSettingsSet { settings, at }])
    }

    /// The model that a name means by the policy: its own name, its label or an alias.
    fn meant_by(&self, name: &str) -> Option<(&String, &ModelRule)> {
        self.models.get_key_value(name).or_else(|| {
            self.models.iter().find(|(_, rule)| {
                rule.label.as_deref() == Some(name) || rule.aliases.iter().any(|alias| alias == name)
            })
        })
    }

    fn refuse_new_region(&self, region: Option<&Region>) -> Result<(), PolicyRefusal> {
        let Some(region) = region else { return Ok(()) };
        let targets = self.targets.values().flat_map(|scoped| scoped.regional.keys());
        let families = self.families.values().flat_map(|scoped| scoped.regional.keys());
        let named: BTreeSet<&Region> =
            targets.chain(families).chain(self.cross_model.regional.keys()).collect();
        if named.len() < MAX_REGIONS || named.contains(region) {
            return Ok(());
        }
        Err(PolicyRefusal::TooManyRegions { most: MAX_REGIONS })
    }

    fn evolve(&mut self, event: RoutingEvent) {
        self.revision += 1;
        match event {
            RoutingEvent::TargetsSet { model, region, targets, .. } => {
                let rule = (!targets.is_empty()).then_some(targets);
                self.targets.entry(model).or_default().set(region, rule);
                self.targets.retain(|_, scoped| !scoped.is_empty());
            }
            RoutingEvent::FamilyProviderSet { family, region, source, .. } => {
                self.families.entry(family).or_default().set(region, source);
            }
            RoutingEvent::CrossModelSet { region, mode, .. } => self.cross_model.set(region, mode),
            RoutingEvent::ModelSet { model, rule, .. } => {
                if rule == ModelRule::default() {
                    self.models.remove(&model);
                } else {
                    self.models.insert(model, rule);
                }
            }
            RoutingEvent::HealthSettingsSet { settings, .. } => self.health = settings,
            RoutingEvent::HealthMonitorWoken { .. } => self.health.asleep_until = None,
        }
    }
}

// cqrs-es

impl Aggregate for RoutingPolicy {
    const TYPE: &'static str = "routing";
    type Command = RoutingCommand;
    type Event = RoutingEvent;
    type Error = PolicyRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: RoutingCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), PolicyRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: RoutingEvent) {
        self.evolve(event);
    }
}
