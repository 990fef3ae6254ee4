//! Parallel requests on one balance (money.md § 10, row 1).

use super::builders::{Story, place, request, settle};
use crate::examples::{generation, micro};
use crate::ids::GenerationId;
use crate::wallet::{ProviderFailure, SettleHold, WalletAction, WalletEvent, WalletRefusal, WalletTerms};

fn shortfalls(events: &[WalletEvent]) -> i64 {
    let shortfall = |event: &WalletEvent| match event {
        WalletEvent::UsageCharged { shortfall_micro, .. } => shortfall_micro.0,
        _ => 0,
    };
    events.iter().map(shortfall).sum()
}

/// Those of 1 000 parallel requests that are admitted, none of the others being refused for good.
fn admitted(story: &mut Story, input: u64, max_output: u64) -> Vec<u128> {
    let admitted =
        (1_000..2_000).filter(|number| match story.act(place(request(*number, input, max_output))) {
            Ok(_) => true,
            Err(WalletRefusal::MustWait { .. }) => false,
            Err(other) => panic!("only waiting is expected, not {other}"),
        });
    admitted.collect()
}

#[test]
fn of_a_thousand_parallel_requests_exactly_those_that_the_balance_covers_are_admitted() {
    for (k, input, output) in [(1, 100, 256), (2, 1, 1), (7, 1_000, 200), (333, 10, 256), (999, 44, 3)] {
        let cost = i64::try_from(input + output).unwrap();
        let mut story = Story::begin().granted(1, k * cost + cost - 1);
        let running = admitted(&mut story, input, output);
        assert_eq!(running.len(), usize::try_from(k).unwrap());
        for number in running {
            story.act(settle(number, cost)).unwrap();
        }
        assert_eq!(story.wallet.balance(), micro(cost - 1));
        assert_eq!(shortfalls(&story.events), 0);
    }
}

#[test]
fn a_trained_p95_cannot_leak_more_than_the_limit_and_one_worst_case() {
    for balance in [300, 10_000, 64_000, 200_000, 1_000_000] {
        let (input, max_output) = (50, 64_000);
        let worst = input + max_output;
        let mut story = Story::begin().granted(1, balance + 64 * 8);
        story.terms = WalletTerms::default();
        let leak_limit = story.terms.leak_floor_micro.0.max((balance + 64 * 8) / 10);
        for number in 0..64 {
            story = story.with(place(request(number, 0, 8)));
            story.act(settled_with(generation(number), 8, 8)).unwrap();
        }
        assert_eq!(story.wallet.balance(), micro(balance));
        let running = admitted(&mut story, input, max_output);
        assert!(running.len() > 1, "the leak limit lets some run side by side");
        for number in running {
            let cost = i64::try_from(worst).unwrap();
            story.act(settled_with(generation(number), cost, max_output)).unwrap();
        }
        let leaked = shortfalls(&story.events);
        assert!(leaked <= leak_limit + i64::try_from(worst).unwrap(), "{leaked} leaked of {balance}");
    }
}

fn settled_with(generation_id: GenerationId, cost: i64, output_tokens: u64) -> WalletAction {
    WalletAction::SettleHold(SettleHold {
        generation_id,
        cost_micro: micro(cost),
        new_input_tokens: 0,
        output_tokens,
        model: crate::examples::MODEL.into(),
        provider_failure: ProviderFailure::None,
    })
}
