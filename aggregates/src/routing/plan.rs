//! From the name a client uses to an ordered list of providers: the policy applied to what is configured.
//!
//! Pure, so that the same question has the same answer on every node, and so that what a decision
//! would do can be shown before it is made.

use super::{CrossModel, MAX_TARGETS, ModelFamily, ProviderSource, Region, RoutingPolicy, TargetRule};
use crate::usage::Protocol;

const GPT_5_5: &str = "gpt-5.5";
const OPUS_4_8: &str = "claude-opus-4-8";

/// Every provider that there is, in the operator's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    pub providers: Vec<CatalogProvider>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogProvider {
    pub name: String,
    pub kind: ProviderKind,
    /// What it speaks; `completions` counts for nothing here.
    pub protocols: Vec<Protocol>,
    pub models: Vec<CatalogModel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    Api,
    /// The signed-in Codex account; it serves only where a rule names it.
    SignedIn,
}

/// A model as we sell it and as one provider calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogModel {
    pub model: String,
    pub upstream: String,
    pub aliases: Vec<String>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The model as the client names it.
    pub label: &'a str,
    pub client: Protocol,
    /// Where the request is served.
    pub region: Option<&'a Region>,
}

/// Who may serve a request, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the label means: what is billed.
    pub model: String,
    /// The model that is to answer.
    pub served_model: String,
    /// At least one, at most `MAX_TARGETS`.
    pub targets: Vec<PlannedTarget>,
    /// Of the billed model, where set.
    pub deadline_secs: Option<u32>,
    pub idle_secs: Option<u32>,
    /// The policy's, when it was made.
    pub revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTarget {
    pub provider: String,
    pub upstream_model: String,
    /// What the provider is asked in.
    pub protocol: Protocol,
    /// 0 serves only when others fail.
    pub weight: u32,
}

/// Why nobody may serve a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingRefusal {
    #[error("no model is called {label:?}")]
    UnknownModel { label: String },
    #[error("{model} is switched off")]
    ModelDisabled { model: String },
    #[error("no provider serves {model} at present")]
    NoProvider { model: String },
}

impl RoutingPolicy {
    /// Who may serve what `ask` names. A rule of which no provider is in the catalog is passed over
    /// for the next: explicit targets, then the family's source, then the configured order.
    ///
    /// # Errors
    /// The name means nothing, the model is switched off, or nobody is left who serves it.
    pub fn plan(&self, catalog: &Catalog, ask: &Ask) -> Result<Plan, RoutingRefusal> {
        let model = self
            .resolve(catalog, ask.label)
            .ok_or_else(|| RoutingRefusal::UnknownModel { label: ask.label.into() })?;
        let rule = self.model(model);
        if !rule.enabled {
            return Err(RoutingRefusal::ModelDisabled { model: model.into() });
        }
        let served_model = self.served_for(model, ask.region);
        let targets = self.targets_of(catalog, served_model, ask);
        if targets.is_empty() {
            return Err(RoutingRefusal::NoProvider { model: model.into() });
        }
        Ok(Plan {
            model: model.into(),
            served_model: served_model.into(),
            targets,
            deadline_secs: rule.deadline_secs,
            idle_secs: rule.idle_secs,
            revision: self.revision(),
        })
    }

    /// The model a name means: by the policy first, so that it can give a configured name another
    /// meaning, then by the configuration.
    pub fn resolve<'a>(&'a self, catalog: &'a Catalog, label: &str) -> Option<&'a str> {
        if let Some((model, _)) = self.meant_by(label) {
            return Some(model);
        }
        let configured = || catalog.providers.iter().flat_map(|provider| &provider.models);
        let named = configured().find(|known| known.model == label).map(|known| known.model.as_str());
        let targeted = || self.targets.get_key_value(label).map(|(model, _)| model.as_str());
        let aliased = || configured().find(|known| known.aliases.iter().any(|alias| alias == label));
        named.or_else(targeted).or_else(|| aliased().map(|known| known.model.as_str()))
    }

    fn served_for<'a>(&self, model: &'a str, region: Option<&Region>) -> &'a str {
        let mode = self.cross_model.nearest_first(region).next().copied().unwrap_or_default();
        match mode {
            CrossModel::Gpt55ViaOpus48 if model == GPT_5_5 => OPUS_4_8,
            CrossModel::Opus48ViaGpt55 if model == OPUS_4_8 => GPT_5_5,
            CrossModel::Native | CrossModel::Gpt55ViaOpus48 | CrossModel::Opus48ViaGpt55 => model,
        }
    }

    fn targets_of(&self, catalog: &Catalog, model: &str, ask: &Ask) -> Vec<PlannedTarget> {
        let explicit = self.targets.get(model).into_iter().flat_map(|rules| rules.nearest_first(ask.region));
        let explicit = explicit.map(|rule| by_rule(catalog, rule, model, ask.client));
        let family = ModelFamily::of(model).and_then(|family| self.families.get(&family));
        let by_family = family
            .into_iter()
            .flat_map(|rules| rules.nearest_first(ask.region))
            .map(|source| by_source(catalog, source, model, ask.client));
        let mut candidates = explicit.chain(by_family);
        let chosen = candidates.find(|targets| !targets.is_empty());
        chosen.unwrap_or_else(|| by_source(catalog, &ProviderSource::Configured, model, ask.client))
    }
}

impl Plan {
    /// The order in which targets are tried, as indices of `targets`: the sticky one (provider and
    /// upstream model) first if it is still in the plan, else one chosen by weight, always the same for
    /// the same `key`; then the others as they stand.
    pub fn order(&self, key: u64, sticky: Option<(&str, &str)>) -> Vec<usize> {
        let is_sticky = |target: &PlannedTarget| {
            sticky == Some((target.provider.as_str(), target.upstream_model.as_str()))
        };
        let first = self.targets.iter().position(is_sticky).unwrap_or_else(|| self.by_weight(key));
        let others = (0..self.targets.len()).filter(|index| *index != first);
        std::iter::once(first).filter(|index| *index < self.targets.len()).chain(others).collect()
    }

    fn by_weight(&self, key: u64) -> usize {
        let total: u64 = self.targets.iter().map(|target| u64::from(target.weight)).sum();
        if total == 0 {
            return 0;
        }
        let mut left = spread(key) % total;
        let chosen = self.targets.iter().position(|target| {
            let weight = u64::from(target.weight);
            let hit = left < weight;
            left = left.saturating_sub(weight);
            hit
        });
        chosen.unwrap_or(0)
    }
}

/// Targets of a rule that are in the catalog.
fn by_rule(catalog: &Catalog, rule: &[TargetRule], model: &str, client: Protocol) -> Vec<PlannedTarget> {
    let planned = rule.iter().filter_map(|target| {
        let provider = catalog.providers.iter().find(|provider| provider.name == target.provider)?;
        let configured = || provider.upstream_of(model).unwrap_or(model);
        let upstream_model = target.upstream_model.as_deref().unwrap_or_else(configured);
        provider.planned(upstream_model, client, target.weight)
    });
    planned.take(MAX_TARGETS).collect()
}

/// Every provider of a source that sells the model; the first serves, the others when it fails.
fn by_source(
    catalog: &Catalog,
    source: &ProviderSource,
    model: &str,
    client: Protocol,
) -> Vec<PlannedTarget> {
    let is_of_source = |provider: &&CatalogProvider| match source {
        ProviderSource::Configured => provider.kind == ProviderKind::Api,
        ProviderSource::SignedIn => provider.kind == ProviderKind::SignedIn,
        ProviderSource::External { provider: name } => provider.name == *name,
    };
    let selling = catalog.providers.iter().filter(is_of_source);
    let planned = selling.filter_map(|provider| provider.planned(provider.upstream_of(model)?, client, 0));
    let mut targets: Vec<PlannedTarget> = planned.take(MAX_TARGETS).collect();
    if let Some(first) = targets.first_mut() {
        first.weight = 1;
    }
    targets
}

impl CatalogProvider {
    fn upstream_of(&self, model: &str) -> Option<&str> {
        self.models.iter().find(|known| known.model == model).map(|known| known.upstream.as_str())
    }

    /// `None` where it speaks nothing that the client can be answered from.
    fn planned(&self, upstream_model: &str, client: Protocol, weight: u32) -> Option<PlannedTarget> {
        let protocol = preferred(client).into_iter().find(|protocol| self.protocols.contains(protocol))?;
        Some(PlannedTarget {
            provider: self.name.clone(),
            upstream_model: upstream_model.into(),
            protocol,
            weight,
        })
    }
}

/// What a provider is best asked in for a client: its own dialect, then the one that loses least.
fn preferred(client: Protocol) -> [Protocol; 3] {
    use Protocol::{Chat, Messages, Responses};
    match client {
        Responses => [Responses, Messages, Chat],
        Chat => [Chat, Responses, Messages],
        Messages => [Messages, Responses, Chat],
        Protocol::Completions => [Responses, Chat, Messages],
    }
}

/// Spreads keys evenly however alike they are (the finalizer of splitmix64, a bijection).
fn spread(key: u64) -> u64 {
    let mixed = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
