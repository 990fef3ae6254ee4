//! The routing policy as an operator needs it: what was decided, and what comes of it here and now.

use std::collections::BTreeSet;

use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook};
use codexapi_aggregates::routing::{
    Ask, Catalog, CrossModel, ModelFamily, POLICY_STREAM, Plan, ProviderKind, ProviderSource, Region,
    RoutingPolicy, RoutingRefusal,
};
use codexapi_aggregates::usage::Protocol;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::clock;
use crate::http::error::Problem;

const CLIENTS: [Protocol; 4] =
    [Protocol::Responses, Protocol::Chat, Protocol::Completions, Protocol::Messages];

/// Which models are shown.
#[derive(Clone, Debug)]
pub enum Shown {
    /// The next ones after a name.
    Page {
        after: Option<String>,
        limit: usize,
    },
    These(BTreeSet<String>),
}

/// The whole policy, with one page of models.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    /// Rises with every decision.
    revision: u64,
    /// The node that answers; providers are those of its configuration.
    node: String,
    /// Where that node stands.
    #[schema(value_type = Option<String>)]
    region: Option<Region>,
    providers: Vec<ConfiguredProvider>,
    family_providers: Vec<FamilyProvider>,
    cross_model: Vec<CrossModelRule>,
    models: Vec<ManagedModel>,
    /// Pass it as `after` for the next page of models; absent on the last.
    next_after: Option<String>,
}

/// A provider of this node's configuration; never its key.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfiguredProvider {
    name: String,
    /// `api` or `signed_in`.
    kind: &'static str,
    /// What it speaks: `responses`, `chat`, `messages`.
    protocols: Vec<&'static str>,
    models: Vec<SoldModel>,
}

#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SoldModel {
    model: String,
    upstream_model: String,
    aliases: Vec<String>,
}

/// A rule about where a family is bought; without a region it counts everywhere.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FamilyProvider {
    family: &'static str,
    #[schema(value_type = Option<String>)]
    region: Option<Region>,
    /// `configured`, `signed_in` or `external`.
    source: &'static str,
    /// Where the source is `external`.
    provider: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CrossModelRule {
    #[schema(value_type = Option<String>)]
    region: Option<Region>,
    #[schema(value_type = String)]
    mode: CrossModel,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ManagedModel {
    model: String,
    enabled: bool,
    /// Whether a price is in force; without one it is not sold.
    priced: bool,
    label: Option<String>,
    aliases: Vec<String>,
    deadline_secs: Option<u32>,
    idle_secs: Option<u32>,
    /// `gpt`, `claude`, `deepseek`, or none.
    family: Option<&'static str>,
    targets: Vec<TargetsRule>,
    /// What each client's request would be served by now, everywhere and in each region that rules name.
    plans: Vec<RegionPlans>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TargetsRule {
    #[schema(value_type = Option<String>)]
    region: Option<Region>,
    targets: Vec<RuledTarget>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RuledTarget {
    provider: String,
    upstream_model: Option<String>,
    weight: u32,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RegionPlans {
    /// None is where no region's rule counts.
    #[schema(value_type = Option<String>)]
    region: Option<Region>,
    clients: Vec<ClientPlan>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ClientPlan {
    /// What the client speaks.
    client: &'static str,
    served_model: Option<String>,
    /// In the order they are tried, but for weights.
    targets: Vec<PlannedTarget>,
    /// Why nobody serves it.
    refusal: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PlannedTarget {
    provider: String,
    upstream_model: String,
    /// What the provider is asked in.
    protocol: &'static str,
    weight: u32,
}

/// The policy as this node sees it, which includes everything that any node has committed and it has heard of.
pub async fn view(app: &App, shown: &Shown) -> Result<PolicyView, Problem> {
    let now = clock::now();
    let priced: BTreeSet<String> = app
        .log
        .read(BOOK_STREAM, |book: &PriceBook| {
            book.cards_in_force(now).map(|card| card.model.clone()).collect()
        })
        .await
        .map_err(Problem::unavailable)?;
    let (catalog, region) = (app.gateway.providers().catalog(), app.gateway.region());
    let node = &app.config.node.node_name;
    app.log
        .read(POLICY_STREAM, |policy: &RoutingPolicy| {
            let look = Look { policy, catalog, priced: &priced, region };
            look.view(node, shown)
        })
        .await
        .map_err(Problem::unavailable)
}

/// Every provider of a configuration.
pub fn configured(catalog: &Catalog) -> Vec<ConfiguredProvider> {
    let providers = catalog.providers.iter().map(|provider| ConfiguredProvider {
        name: provider.name.clone(),
        kind: match provider.kind {
            ProviderKind::Api => "api",
            ProviderKind::SignedIn => "signed_in",
        },
        protocols: provider.protocols.iter().map(|protocol| protocol.name()).collect(),
        models: provider
            .models
            .iter()
            .map(|sold| SoldModel {
                model: sold.model.clone(),
                upstream_model: sold.upstream.clone(),
                aliases: sold.aliases.clone(),
            })
            .collect(),
    });
    providers.collect()
}

/// Every rule about families.
pub fn families(policy: &RoutingPolicy) -> Vec<FamilyProvider> {
    let rules = policy.families().map(|(family, region, source)| {
        let (source, provider) = match source {
            ProviderSource::Configured => ("configured", None),
            ProviderSource::SignedIn => ("signed_in", None),
            ProviderSource::External { provider } => ("external", Some(provider.clone())),
        };
        FamilyProvider { family: family.name(), region: region.cloned(), source, provider }
    });
    rules.collect()
}

/// Every model that a provider, a price or a rule knows.
pub fn known_models(
    policy: &RoutingPolicy,
    catalog: &Catalog,
    priced: &BTreeSet<String>,
) -> BTreeSet<String> {
    let configured = catalog.providers.iter().flat_map(|provider| &provider.models);
    let configured = configured.map(|sold| sold.model.clone());
    let ruled = policy.models().map(|(model, _)| model.to_owned());
    let targeted = policy.targets().map(|(model, _, _)| model.to_owned());
    priced.iter().cloned().chain(configured).chain(ruled).chain(targeted).collect()
}

struct Look<'a> {
    policy: &'a RoutingPolicy,
    catalog: &'a Catalog,
    priced: &'a BTreeSet<String>,
    region: Option<&'a Region>,
}

impl Look<'_> {
    fn view(&self, node: &str, shown: &Shown) -> PolicyView {
        let mut models = known_models(self.policy, self.catalog, self.priced);
        let mut next_after = None;
        match shown {
            Shown::These(these) => models.retain(|model| these.contains(model)),
            Shown::Page { after, limit } => {
                models.retain(|model| after.as_ref().is_none_or(|after| model > after));
                let more = models.len() > *limit;
                models = models.into_iter().take(*limit).collect();
                next_after = models.last().filter(|_| more).cloned();
            }
        }
        PolicyView {
            revision: self.policy.revision(),
            node: node.to_owned(),
            region: self.region.cloned(),
            providers: configured(self.catalog),
            family_providers: families(self.policy),
            cross_model: self
                .policy
                .cross_models()
                .map(|(region, mode)| CrossModelRule { region: region.cloned(), mode })
                .collect(),
            models: models.into_iter().map(|model| self.model(model)).collect(),
            next_after,
        }
    }

    fn model(&self, model: String) -> ManagedModel {
        let rule = self.policy.model(&model);
        let rules = self.policy.targets().filter(|(ruled, _, _)| *ruled == model);
        let targets = rules.map(|(_, region, targets)| TargetsRule {
            region: region.cloned(),
            targets: targets
                .iter()
                .map(|target| RuledTarget {
                    provider: target.provider.clone(),
                    upstream_model: target.upstream_model.clone(),
                    weight: target.weight,
                })
                .collect(),
        });
        ManagedModel {
            enabled: rule.enabled,
            priced: self.priced.contains(&model),
            label: rule.label,
            aliases: rule.aliases,
            deadline_secs: rule.deadline_secs,
            idle_secs: rule.idle_secs,
            family: ModelFamily::of(&model).map(ModelFamily::name),
            targets: targets.collect(),
            plans: self.regions().into_iter().map(|region| self.plans(&model, region)).collect(),
            model,
        }
    }

    /// Nowhere in particular, then this node's, then every one that rules name.
    fn regions(&self) -> Vec<Option<Region>> {
        let targets = self.policy.targets().filter_map(|(_, region, _)| region);
        let families = self.policy.families().filter_map(|(_, region, _)| region);
        let cross = self.policy.cross_models().filter_map(|(region, _)| region);
        let named: BTreeSet<&Region> = targets.chain(families).chain(cross).chain(self.region).collect();
        std::iter::once(None).chain(named.into_iter().cloned().map(Some)).collect()
    }

    fn plans(&self, model: &str, region: Option<Region>) -> RegionPlans {
        let clients = CLIENTS.map(|client| {
            let ask = Ask { label: model, client, region: region.as_ref() };
            client_plan(client, self.policy.plan(self.catalog, &ask))
        });
        RegionPlans { region, clients: clients.into() }
    }
}

fn client_plan(client: Protocol, plan: Result<Plan, RoutingRefusal>) -> ClientPlan {
    let client = client.name();
    match plan {
        Ok(plan) => {
            let targets = plan.targets.into_iter().map(|target| PlannedTarget {
                provider: target.provider,
                upstream_model: target.upstream_model,
                protocol: target.protocol.name(),
                weight: target.weight,
            });
            let served_model = Some(plan.served_model);
            ClientPlan { client, served_model, targets: targets.collect(), refusal: None }
        }
        Err(refusal) => {
            let refusal = Some(refusal.to_string());
            ClientPlan { client, served_model: None, targets: vec![], refusal }
        }
    }
}
