//! The smallest part of a plan that still fails: delta debugging, which leaves out larger and smaller parts in turn.

use crate::plan::{Plan, Step};

/// Leaves out what can be left out while `fails` still holds, with at most `tries` attempts. `plan` fails as it is.
pub async fn shrink(plan: &Plan, tries: usize, mut fails: impl AsyncFnMut(&Plan) -> bool) -> Plan {
    let (mut smallest, mut parts, mut left) = (plan.clone(), 2, tries);
    while smallest.steps.len() > 1 && left > 0 {
        let size = smallest.steps.len().div_ceil(parts);
        let mut found = None;
        for candidate in candidates(&smallest.steps, size) {
            if left == 0 {
                break;
            }
            left -= 1;
            let candidate = Plan { steps: candidate, ..smallest.clone() };
            if fails(&candidate).await {
                found = Some(candidate);
                break;
            }
        }
        match found {
            Some(smaller) => {
                smallest = smaller;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(smallest.steps.len()),
        }
    }
    smallest
}

/// Each part alone, then everything but each part.
fn candidates(steps: &[Step], size: usize) -> Vec<Vec<Step>> {
    let parts: Vec<&[Step]> = steps.chunks(size).collect();
    let alone = parts.iter().map(|part| part.to_vec());
    let without = (0..parts.len()).map(|left_out| {
        let kept = parts.iter().enumerate().filter(|(place, _)| *place != left_out);
        kept.flat_map(|(_, part)| part.to_vec()).collect()
    });
    // Of two parts, each alone is everything but the other.
    match parts.len() {
        2 => alone.collect(),
        _ => alone.chain(without).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Act;

    fn plan(steps: u32) -> Plan {
        let step = |id| Step { id, at_ms: u64::from(id), act: Act::RevokeKey { customer: 0 } };
        Plan { seed: 1, nodes: 1, customers: 1, steps: (1..=steps).map(step).collect() }
    }

    fn ids(plan: &Plan) -> Vec<u32> {
        plan.steps.iter().map(|step| step.id).collect()
    }

    #[tokio::test]
    async fn two_steps_that_fail_together_are_found_among_many() {
        let mut tries = 0;
        let smallest = shrink(&plan(100), 200, async |plan: &Plan| {
            tries += 1;
            let ids = ids(plan);
            ids.contains(&17) && ids.contains(&83)
        })
        .await;
        assert_eq!(ids(&smallest), [17, 83]);
        assert!(tries < 80, "{tries}");
    }

    #[tokio::test]
    async fn one_step_is_found_quickly_and_no_more_is_tried_than_allowed() {
        let smallest = shrink(&plan(100), 30, async |plan: &Plan| ids(plan).contains(&42)).await;
        assert_eq!(ids(&smallest), [42]);
        let mut tries = 0;
        let kept = shrink(&plan(100), 5, async |_: &Plan| {
            tries += 1;
            false
        })
        .await;
        assert_eq!((ids(&kept).len(), tries), (100, 5));
    }
}
