use super::{decided, plan, target, targets};
use crate::routing::Plan;

fn weighted(weights: [u32; 3]) -> Plan {
    let rules = ["openai", "oneprovider", "codex-home"].into_iter().zip(weights);
    let rules = rules.map(|(provider, weight)| target(provider, weight)).collect();
    plan(&decided([targets("gpt-5.5", None, rules)]), "gpt-5.5", None).unwrap()
}

fn firsts(plan: &Plan) -> [usize; 3] {
    let mut counts = [0; 3];
    for key in 0..30_000 {
        let order = plan.order(key, None);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2], "every target once");
        assert!(order[1] < order[2], "the others as they stand");
        assert_eq!(order, plan.order(key, None));
        counts[order[0]] += 1;
    }
    counts
}

#[test]
fn first_attempts_are_shared_by_weight_even_where_keys_are_alike() {
    let [first, second, third] = firsts(&weighted([3, 1, 0]));
    assert!((22_000..23_000).contains(&first) && (7_000..8_000).contains(&second), "{first} and {second}");
    assert_eq!(third, 0, "weight 0 serves only when others fail");
    assert_eq!(firsts(&weighted([0, 0, 0])), [30_000, 0, 0]);
    assert_eq!(firsts(&weighted([0, u32::MAX, 0])), [0, 30_000, 0]);
}

#[test]
fn the_sticky_target_comes_first_while_it_is_in_the_plan() {
    let mut plan = weighted([1, 0, 0]);
    let [first, last] = [0, 2].map(|at: usize| plan.targets[at].clone());
    assert_eq!(plan.order(7, Some((&last.provider, &last.upstream_model))), [2, 0, 1]);
    assert_eq!(plan.order(7, Some((&first.provider, &first.upstream_model))), [0, 1, 2]);
    assert_eq!(plan.order(7, Some(("vanished", &last.upstream_model))), [0, 1, 2]);
    // Another model of the same provider knows nothing of the conversation.
    assert_eq!(plan.order(7, Some((&last.provider, "another"))), [0, 1, 2]);
    plan.targets[1].provider.clone_from(&last.provider);
    plan.targets[1].upstream_model = "another".into();
    assert_eq!(plan.order(7, Some((&last.provider, &last.upstream_model))), [2, 0, 1]);
}
