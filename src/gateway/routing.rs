//! From the model a client names to providers in order: the operator's policy, the health of each provider, and
//! the one this conversation was served by before.
//!
//! A conversation stays with its provider and the model there, whose prompt cache knows it, until that provider is unwell or the
//! operator changes the policy: stickiness carries the policy's revision and is void under another.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use codexapi_aggregates::routing::{Ask, POLICY_STREAM, Plan, PlannedTarget, RoutingPolicy, RoutingRefusal};
use codexapi_aggregates::usage::Protocol;

use super::asked::{Asked, UpstreamRequest};
use super::begin::unavailable;
use super::generation::Generation;
use super::refusal::{DEFAULT_RETRY_SECS, GatewayError};
use super::{Gateway, Incoming};
use crate::upstream::Target;
use crate::upstream::circuits::Pass;

/// Seconds a check may take.
const CHECK_SECS: u32 = 120;

/// The target a conversation was last served by, and the policy then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sticky {
    pub provider: String,
    pub upstream_model: String,
    pub revision: u64,
}

/// One target that is to be tried whatever the policy and its circuit say: a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTarget {
    pub provider: String,
    pub upstream_model: String,
    pub protocol: Protocol,
}

impl CheckedTarget {
    fn plan(&self, model: &str) -> Plan {
        let target = PlannedTarget {
            provider: self.provider.clone(),
            upstream_model: self.upstream_model.clone(),
            protocol: self.protocol,
            weight: 1,
        };
        Plan {
            model: model.to_owned(),
            served_model: model.to_owned(),
            targets: vec![target],
            deadline_secs: Some(CHECK_SECS),
            idle_secs: None,
            revision: 0,
        }
    }
}

/// Where a request may go, in order.
pub(super) struct Route {
    pub plan: Plan,
    targets: Vec<Target>,
    /// It is a check: sent through an open circuit too.
    is_check: bool,
    /// The next one to try.
    next: usize,
    /// The one that was given out last.
    tried: usize,
}

/// A target whose turn it is, with the request ready for it and leave to send it.
pub(super) struct Leg {
    pub target: Target,
    pub request: UpstreamRequest,
    pub pass: Pass,
}

impl Gateway {
    /// The policy's answer to a label; a check of one target has its answer with it.
    pub(super) async fn plan(&self, incoming: &Incoming, label: &str) -> Result<Plan, GatewayError> {
        if let Some(checked) = &incoming.checked {
            return Ok(checked.plan(label));
        }
        let (catalog, region) = (self.providers.catalog(), self.settings.region.as_ref());
        let (planned, failures_to_open) = self
            .log
            .read(POLICY_STREAM, |policy: &RoutingPolicy| {
                let planned = policy.plan(catalog, &Ask { label, client: incoming.protocol, region });
                (planned, policy.health().failures_to_open)
            })
            .await
            .map_err(unavailable)?;
        // Here, because every request reads the policy: the operator's number counts from the next one on.
        self.circuits.open_after(failures_to_open);
        match planned {
            Ok(plan) => Ok(plan),
            Err(RoutingRefusal::UnknownModel { .. }) => Err(self.unknown_model(label).await?),
            Err(RoutingRefusal::ModelDisabled { .. }) => {
                let available = self.models_on_sale().await.map_err(unavailable)?.join(", ");
                Err(GatewayError::ModelDisabled { model: label.to_owned(), available })
            }
            Err(refusal) => {
                tracing::error!(%refusal, label, "no provider serves a model on sale");
                Err(GatewayError::ProviderUnavailable { retry_secs: DEFAULT_RETRY_SECS })
            }
        }
    }

    /// The plan's targets in the order in which they are tried for this conversation.
    pub(super) fn route(&self, plan: Plan, usage_stream: &str, streaming: bool, is_check: bool) -> Route {
        let sticky = self.sticky.get(usage_stream).filter(|sticky| sticky.revision == plan.revision);
        let mut key = DefaultHasher::new();
        usage_stream.hash(&mut key);
        let target = sticky.as_ref().map(|sticky| (sticky.provider.as_str(), sticky.upstream_model.as_str()));
        let in_order = plan.order(key.finish(), target);
        let targets = in_order
            .into_iter()
            .filter_map(|index| self.providers.target(&plan.targets[index]))
            .filter(|target| streaming || !target.provider.only_streams())
            .collect();
        Route { plan, targets, is_check, next: 0, tried: 0 }
    }

    /// The next target that is well and can be asked for this.
    ///
    /// # Errors
    /// Where there is none: what the last one cannot carry, else how long all of them stay closed.
    pub(super) fn next_leg(&self, route: &mut Route, asked: &Asked) -> Result<Leg, GatewayError> {
        if route.targets.is_empty() && !asked.parsed.stream {
            return Err(streams_only());
        }
        let mut refusal = None;
        let mut shortest_wait: Option<Duration> = None;
        while let Some(target) = route.targets.get(route.next).cloned() {
            route.next += 1;
            let pass = match self.circuits.pass(target.circuit()) {
                Ok(pass) => pass,
                Err(_) if route.is_check => self.circuits.probe(target.circuit()),
                Err(left) => {
                    shortest_wait = Some(shortest_wait.map_or(left, |shortest| shortest.min(left)));
                    continue;
                }
            };
            match asked.for_target(&target) {
                Ok(request) => {
                    route.tried = route.next - 1;
                    return Ok(Leg { target, request, pass });
                }
                Err(untranslatable) => refusal = Some(GatewayError::from(untranslatable)),
            }
        }
        let retry_secs = shortest_wait.map_or(DEFAULT_RETRY_SECS, whole_secs);
        Err(refusal.unwrap_or(GatewayError::ProviderUnavailable { retry_secs }))
    }

    /// The conversation goes on with the target that has answered it.
    pub(super) fn stick(&self, generation: &Generation, revision: u64) {
        if !generation.own_stream {
            let (provider, upstream_model) =
                (generation.target.provider.name().to_owned(), generation.target.upstream_model.clone());
            self.sticky
                .insert(generation.usage_stream.clone(), Sticky { provider, upstream_model, revision });
        }
    }
}

impl Route {
    /// Gives the target that was just tried another turn; those after it were passed over.
    pub fn again(&mut self) {
        self.next = self.tried;
    }
}

/// The signed-in account alone serves this.
fn streams_only() -> GatewayError {
    let message = "this model is answered in streams only at the moment: set \"stream\" to true".into();
    GatewayError::BadRequest { message, field: Some("stream".into()) }
}

fn whole_secs(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}
