//! Decisions about routing, from an operator's body to the events of one command: all of them or none.
//!
//! Providers and models are checked against this node's configuration and the price book here, since the policy knows
//! neither: a misspelt name would be a rule that never counts. Decisions are made one after the other, each on what
//! the ones before have changed.

use std::collections::BTreeSet;

use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook};
use codexapi_aggregates::routing::{
    Catalog, CrossModel, ModelFamily, ModelRule, POLICY_STREAM, PolicyRefusal, ProviderKind, ProviderSource,
    Region, RoutingAction, RoutingCommand, RoutingEvent, RoutingPolicy, TargetRule,
};
use codexapi_aggregates::time::Timestamp;
use codexapi_protocols::errors::ErrorKind;
use cqrs_es::Aggregate;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{given, named};
use super::{Actor, positions, refusal};
use crate::app::App;
use crate::clock;
use crate::http::error::Problem;

/// Decisions of one request; each is one event at most.
const MOST_DECISIONS: usize = 100;

/// Decisions about routing, made together or not at all.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decisions {
    /// The `revision` these decisions were made on; where others have changed the policy since, they are refused.
    pub expected_revision: Option<u64>,
    #[serde(default)]
    #[schema(required = false)]
    pub models: Vec<ModelDecision>,
    #[serde(default)]
    #[schema(required = false)]
    pub targets: Vec<TargetsDecision>,
    #[serde(default)]
    #[schema(required = false)]
    pub family_providers: Vec<FamilyDecision>,
    #[serde(default)]
    #[schema(required = false)]
    pub cross_model: Vec<CrossModelDecision>,
}

/// What is left out stays as it is; null clears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelDecision {
    pub model: String,
    pub enabled: Option<bool>,
    /// What it is shown as, and may be asked for by.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub label: Option<Option<String>>,
    /// Further names it may be asked for by; the whole list.
    pub aliases: Option<Vec<String>>,
    /// The longest a generation may take, every attempt included, 1 to 3600; 3600 where none is set.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    pub deadline_secs: Option<Option<u32>>,
    /// The longest a provider may say nothing in a stream, before it begins or later, 1 to 1800; 300 where none is
    /// set. An answer that is not streamed is bounded by `deadlineSecs` alone.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    pub idle_secs: Option<Option<u32>>,
}

/// Which providers serve a model, first to last; none leaves it to the rules below this one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetsDecision {
    pub model: String,
    /// Where it counts; everywhere without one.
    #[schema(value_type = Option<String>)]
    pub region: Option<Region>,
    pub targets: Vec<TargetDecision>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetDecision {
    pub provider: String,
    /// The provider's name of the model; the configured one by default.
    pub upstream_model: Option<String>,
    /// Its share of first attempts beside the others' weights, 1 by default; 0 serves only when others fail.
    #[serde(default = "one")]
    pub weight: u32,
}

/// Where a family of models is bought.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FamilyDecision {
    /// `gpt`, `claude` or `deepseek`.
    #[schema(value_type = String)]
    pub family: ModelFamily,
    /// Where it counts; everywhere without one.
    #[schema(value_type = Option<String>)]
    pub region: Option<Region>,
    /// Null takes the rule away.
    #[serde(deserialize_with = "named")]
    pub source: Option<SourceName>,
    /// The configured provider, where the source is `external`.
    pub provider: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceName {
    /// Every configured API that sells the model, in the order of the file.
    Configured,
    /// The signed-in Codex account.
    SignedIn,
    /// One configured provider.
    External,
}

/// Whether one of two models answers for the other.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CrossModelDecision {
    /// Where it counts; everywhere without one.
    #[schema(value_type = Option<String>)]
    pub region: Option<Region>,
    /// `native`, `gpt55_via_opus48` or `opus48_via_gpt55`; null takes the rule away.
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    pub mode: Option<CrossModel>,
}

/// Why none of the decisions was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum NotDecided {
    #[error("`{place}`: {refusal}")]
    Policy { place: String, refusal: PolicyRefusal },
    #[error("the policy is at revision {is}, these decisions were made on {expected}; read it again")]
    Changed { is: u64, expected: u64 },
    #[error("`{place}`: no model is called {model:?}: it has neither a provider nor a price")]
    UnknownModel { place: String, model: String },
    #[error("`{place}`: no provider is called {provider:?} in this node's configuration")]
    UnknownProvider { place: String, provider: String },
    #[error("`{place}`: no signed-in account is configured on this node")]
    NoSignedInAccount { place: String },
    #[error("`{place}`: the source `external` wants a `provider`, and no other source takes one")]
    ProviderAndSource { place: String },
}

/// Makes all decisions in one append, or none; returns the events' positions.
pub async fn decide(app: &App, actor: &Actor, decisions: &Decisions) -> Result<Vec<i64>, Problem> {
    match decisions.count() {
        0 => return Err(Problem::invalid("no_decision", "The body holds no decision.")),
        count if count > MOST_DECISIONS => {
            let message = format!("One request makes at most {MOST_DECISIONS} decisions, not {count}.");
            return Err(Problem::invalid("too_many_decisions", message));
        }
        _ => {}
    }
    let now = clock::now();
    let priced: BTreeSet<String> = app
        .log
        .read(BOOK_STREAM, |book: &PriceBook| {
            book.cards_in_force(now).map(|card| card.model.clone()).collect()
        })
        .await
        .map_err(Problem::unavailable)?;
    let catalog = app.gateway.providers().catalog();
    let committed = app
        .log
        .execute(POLICY_STREAM, &actor.metadata, |policy: &RoutingPolicy, now| {
            decisions.events(policy, catalog, &priced, now)
        })
        .await?;
    Ok(positions(committed.position, committed.events.len()))
}

impl Decisions {
    fn count(&self) -> usize {
        self.models.len() + self.targets.len() + self.family_providers.len() + self.cross_model.len()
    }

    fn events(
        &self,
        policy: &RoutingPolicy,
        catalog: &Catalog,
        priced: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Vec<RoutingEvent>, NotDecided> {
        if let Some(expected) = self.expected_revision.filter(|expected| *expected != policy.revision()) {
            return Err(NotDecided::Changed { is: policy.revision(), expected });
        }
        let mut made = Made { after: policy.clone(), catalog, priced, now, events: vec![] };
        for (index, decision) in self.models.iter().enumerate() {
            made.model(format!("models[{index}]"), decision)?;
        }
        for (index, decision) in self.targets.iter().enumerate() {
            made.targets(format!("targets[{index}]"), decision)?;
        }
        for (index, decision) in self.family_providers.iter().enumerate() {
            made.family(format!("familyProviders[{index}]"), decision)?;
        }
        for (index, CrossModelDecision { region, mode }) in self.cross_model.iter().enumerate() {
            let action = RoutingAction::SetCrossModel { region: region.clone(), mode: *mode };
            made.decide(format!("crossModel[{index}]"), action)?;
        }
        Ok(made.events)
    }
}

/// Decisions made so far, and the policy as it would be.
struct Made<'a> {
    after: RoutingPolicy,
    catalog: &'a Catalog,
    priced: &'a BTreeSet<String>,
    now: Timestamp,
    events: Vec<RoutingEvent>,
}

impl Made<'_> {
    fn model(&mut self, place: String, decision: &ModelDecision) -> Result<(), NotDecided> {
        self.refuse_unknown_model(&place, &decision.model)?;
        let before = self.after.model(&decision.model);
        let rule = ModelRule {
            enabled: decision.enabled.unwrap_or(before.enabled),
            label: decision.label.clone().unwrap_or(before.label),
            aliases: decision.aliases.clone().unwrap_or(before.aliases),
            deadline_secs: decision.deadline_secs.unwrap_or(before.deadline_secs),
            idle_secs: decision.idle_secs.unwrap_or(before.idle_secs),
        };
        self.decide(place, RoutingAction::SetModel { model: decision.model.clone(), rule })
    }

    fn targets(&mut self, place: String, decision: &TargetsDecision) -> Result<(), NotDecided> {
        self.refuse_unknown_model(&place, &decision.model)?;
        let targets = decision.targets.iter().map(|target| TargetRule {
            provider: target.provider.clone(),
            upstream_model: target.upstream_model.clone(),
            weight: target.weight,
        });
        let (model, region) = (decision.model.clone(), decision.region.clone());
        let action = RoutingAction::SetTargets { model, region, targets: targets.collect() };
        // The rules go first: they know better what is wrong with a name that is none.
        self.decide(place.clone(), action)?;
        decision.targets.iter().try_for_each(|target| self.refuse_unknown_provider(&place, &target.provider))
    }

    fn family(&mut self, place: String, decision: &FamilyDecision) -> Result<(), NotDecided> {
        let source = match (decision.source, &decision.provider) {
            (None, None) => None,
            (Some(SourceName::Configured), None) => Some(ProviderSource::Configured),
            (Some(SourceName::SignedIn), None) => {
                let signed_in = |kind: ProviderKind| kind == ProviderKind::SignedIn;
                if !self.catalog.providers.iter().any(|provider| signed_in(provider.kind)) {
                    return Err(NotDecided::NoSignedInAccount { place });
                }
                Some(ProviderSource::SignedIn)
            }
            (Some(SourceName::External), Some(provider)) => {
                self.refuse_unknown_provider(&place, provider)?;
                Some(ProviderSource::External { provider: provider.clone() })
            }
            (Some(SourceName::External), None)
            | (None | Some(SourceName::Configured | SourceName::SignedIn), Some(_)) => {
                return Err(NotDecided::ProviderAndSource { place });
            }
        };
        let (family, region) = (decision.family, decision.region.clone());
        self.decide(place, RoutingAction::SetFamilyProvider { family, region, source })
    }

    fn decide(&mut self, place: String, action: RoutingAction) -> Result<(), NotDecided> {
        let decided = self.after.decide(RoutingCommand { action, now: self.now });
        let events = decided.map_err(|refusal| NotDecided::Policy { place, refusal })?;
        for event in events {
            self.after.apply(event.clone());
            self.events.push(event);
        }
        Ok(())
    }

    fn refuse_unknown_model(&self, place: &str, model: &str) -> Result<(), NotDecided> {
        let mut configured = self.catalog.providers.iter().flat_map(|provider| &provider.models);
        let known = configured.any(|sold| sold.model == model)
            || self.priced.contains(model)
            || self.after.models().any(|(ruled, _)| ruled == model)
            || self.after.targets().any(|(ruled, _, _)| ruled == model);
        if known {
            return Ok(());
        }
        Err(NotDecided::UnknownModel { place: place.into(), model: model.chars().take(100).collect() })
    }

    fn refuse_unknown_provider(&self, place: &str, provider: &str) -> Result<(), NotDecided> {
        if self.catalog.providers.iter().any(|known| known.name == provider) {
            return Ok(());
        }
        let provider = provider.chars().take(100).collect();
        Err(NotDecided::UnknownProvider { place: place.into(), provider })
    }
}

impl From<NotDecided> for Problem {
    fn from(error: NotDecided) -> Self {
        let (status, code) = match &error {
            NotDecided::Policy { refusal, .. } => refusal::of_policy(refusal),
            NotDecided::Changed { .. } => (StatusCode::CONFLICT, "policy_changed"),
            NotDecided::UnknownModel { .. } => (StatusCode::BAD_REQUEST, "unknown_model"),
            NotDecided::UnknownProvider { .. } => (StatusCode::BAD_REQUEST, "unknown_provider"),
            NotDecided::NoSignedInAccount { .. } => (StatusCode::BAD_REQUEST, "no_signed_in_account"),
            NotDecided::ProviderAndSource { .. } => (StatusCode::BAD_REQUEST, "provider_and_source"),
        };
        Self::new(status, ErrorKind::InvalidRequest, code, error.to_string())
    }
}

fn one() -> u32 {
    1
}
