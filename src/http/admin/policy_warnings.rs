//! Rules that can be made and yet may serve nobody: an operator is told of them beside the answer.
//!
//! They are no refusals: a provider may know more models than its configuration lists, and another node of the
//! deployment more than this one.

use codexapi_aggregates::routing::{Catalog, CatalogProvider, ModelFamily};

use super::policy_change::{Decisions, SourceName};

/// What is to be looked at of these decisions, which were made.
pub fn warnings(decisions: &Decisions, catalog: &Catalog) -> Vec<String> {
    let provider = |name: &str| catalog.providers.iter().find(|provider| provider.name == name);
    let mut warnings = Vec::new();
    for (place, decision) in decisions.targets.iter().enumerate() {
        for (number, target) in decision.targets.iter().enumerate() {
            let Some(known) = provider(&target.provider) else { continue };
            let wanted = target.upstream_model.as_deref();
            if !lists(known, &decision.model, wanted) {
                let (name, asked) = (&target.provider, wanted.unwrap_or(&decision.model));
                warnings.push(format!(
                    "`targets[{place}].targets[{number}]`: provider {name} does not list {asked:?} in this node's \
                     configuration; requests are sent there all the same, and refused if it has no such model"
                ));
            }
        }
    }
    for (place, decision) in decisions.family_providers.iter().enumerate() {
        let Some(name) =
            decision.provider.as_deref().filter(|_| decision.source == Some(SourceName::External))
        else {
            continue;
        };
        if provider(name).is_some_and(|known| !sells(known, decision.family)) {
            let family = decision.family.name();
            warnings.push(format!(
                "`familyProviders[{place}]`: provider {name} lists no model of the family {family} in this node's \
                 configuration; the rule is passed over here"
            ));
        }
    }
    warnings
}

/// Whether a provider lists a model, by our name or, where a target names one, by its own.
fn lists(provider: &CatalogProvider, model: &str, upstream: Option<&str>) -> bool {
    provider
        .models
        .iter()
        .any(|sold| upstream.map_or(sold.model == model, |upstream| sold.upstream == upstream))
}

fn sells(provider: &CatalogProvider, family: ModelFamily) -> bool {
    provider.models.iter().any(|sold| ModelFamily::of(&sold.model) == Some(family))
}
