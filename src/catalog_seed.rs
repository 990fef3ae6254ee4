//! From a list of plans to the catalogue: fills an empty one at start, publishes a list when told to.
//!
//! A start never changes a plan that is on sale, nor an operator's fair use, because a file was edited.

use codexapi_aggregates::catalog::{
    CATALOG_STREAM, Catalog, CatalogCommand, CatalogEvent, CatalogRefusal, Plan,
};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::PlanId;
use codexapi_aggregates::time::Timestamp;
use cqrs_es::Aggregate;

use crate::commands::CommandError;
use crate::config::plans::PlanList;
use crate::event_log::EventLog;

/// Publishes the whole list if the catalogue holds no plan; otherwise changes nothing.
pub async fn fill_empty_catalog(
    log: &EventLog,
    plans: &PlanList,
) -> Result<Vec<PlanId>, CommandError<CatalogRefusal>> {
    let metadata = Metadata::process("plan_list");
    let committed = log
        .execute(CATALOG_STREAM, &metadata, |catalog: &Catalog, now| {
            if *catalog == Catalog::default() { publish_all(catalog, plans.plans(), now) } else { Ok(vec![]) }
        })
        .await?;
    Ok(published(&committed.events))
}

/// Publishes every plan that differs from the one on sale, all in one append. What the list does not name stays.
pub async fn publish(
    log: &EventLog,
    metadata: &Metadata,
    plans: &PlanList,
) -> Result<Vec<PlanId>, CommandError<CatalogRefusal>> {
    let committed = log
        .execute(CATALOG_STREAM, metadata, |catalog: &Catalog, now| publish_all(catalog, plans.plans(), now))
        .await?;
    Ok(published(&committed.events))
}

fn publish_all(
    catalog: &Catalog,
    plans: &[Plan],
    now: Timestamp,
) -> Result<Vec<CatalogEvent>, CatalogRefusal> {
    let mut catalog = catalog.clone();
    let mut events = Vec::new();
    for plan in plans {
        for event in catalog.decide(CatalogCommand::Publish { plan: Box::new(plan.clone()), now })? {
            catalog.apply(event.clone());
            events.push(event);
        }
    }
    Ok(events)
}

fn published(events: &[CatalogEvent]) -> Vec<PlanId> {
    let plan = |event: &CatalogEvent| match event {
        CatalogEvent::PlanPublished { plan, .. } => Some(plan.id.clone()),
        CatalogEvent::PlanWithdrawn { .. } | CatalogEvent::FairUseSet { .. } => None,
    };
    events.iter().filter_map(plan).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_the_same_list_again_changes_nothing() {
        let plans = PlanList::built_in();
        let mut catalog = Catalog::default();
        let first = publish_all(&catalog, plans.plans(), Timestamp(5)).expect("published");
        assert_eq!(published(&first).len(), plans.plans().len());
        first.into_iter().for_each(|event| catalog.apply(event));
        assert_eq!(publish_all(&catalog, plans.plans(), Timestamp(9)), Ok(vec![]));
    }
}
