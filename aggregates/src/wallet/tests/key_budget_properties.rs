//! However many requests a key sends at once, its budget is passed by one of them at the most.

use proptest::prelude::*;
use proptest::sample::Index;

use super::builders::{Story, place, request, settle};
use crate::examples::micro;
use crate::wallet::{HoldLimits, PlaceHold, WalletRefusal};

#[derive(Clone, Debug)]
enum Step {
    Ask {
        input: u64,
        max_output: u64,
    },
    /// Settled at some percent of its worst case.
    Settle {
        which: Index,
        percent: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..500_u64, 0..5_000_u64).prop_map(|(input, max_output)| Step::Ask { input, max_output }),
        1 => (any::<Index>(), 0..=100_i64).prop_map(|(which, percent)| Step::Settle { which, percent }),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn a_budget_is_passed_by_one_request_at_the_most(steps in steps(), budget in 1..50_000_i64) {
        let mut story = Story::begin().granted(1, 1_000_000_000);
        let limits = HoldLimits { daily_budget_micro: Some(micro(budget)), ..HoldLimits::default() };
        let (mut running, mut spent, mut worst_of_one) = (Vec::<(u128, i64)>::new(), 0, 0);
        for (number, step) in (1..).zip(&steps) {
            match step {
                Step::Ask { input, max_output } => {
                    let asked = PlaceHold { limits, ..request(number, *input, *max_output) };
                    let worst = i64::try_from(input + max_output).unwrap();
                    match story.act(place(asked)) {
                        Ok(_) => {
                            running.push((number, worst));
                            worst_of_one = worst.max(worst_of_one);
                        }
                        Err(WalletRefusal::BudgetMayBeSpent { .. }) => {
                            let all: i64 = running.iter().map(|(_, worst)| worst).sum();
                            prop_assert!(!running.is_empty() && spent + all + worst > budget);
                        }
                        Err(WalletRefusal::DailyBudget { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                Step::Settle { which, percent } if !running.is_empty() => {
                    let (number, worst) = running.swap_remove(which.index(running.len()));
                    spent += worst * percent / 100;
                    story.act(settle(number, worst * percent / 100)).expect("it is open");
                }
                Step::Settle { .. } => {}
            }
            // All that run may still cost their worst.
            let all: i64 = running.iter().map(|(_, worst)| worst).sum();
            prop_assert!(spent + all <= budget + worst_of_one, "{spent} spent and {all} at stake of {budget}");
        }
    }
}
