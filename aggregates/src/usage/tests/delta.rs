//! Cumulative context: only what a conversation was not billed for before is charged.

use cqrs_es::Aggregate;
use proptest::prelude::*;

use super::generations::paid;
use crate::examples::{conversation, micro, settle_generation};
use crate::usage::{
    BillingPolicy, InputPrefix, RatedGeneration, SettleGeneration, TokenUsage, Usage, UsageEvent,
    UsageSource, WalletShare,
};

pub fn turn(number: u128, prefix: InputPrefix, input: u64) -> SettleGeneration {
    SettleGeneration {
        policy: BillingPolicy::Delta,
        prefix: Some(prefix),
        usage: Usage { input, output: 5, ..Usage::default() },
        ..settle_generation(number)
    }
}

fn take(stream: &mut TokenUsage, command: SettleGeneration, share: WalletShare) -> Vec<UsageEvent> {
    let rated = stream.rate(&command);
    let events = stream.settle(command, rated, share).unwrap();
    events.iter().cloned().for_each(|event| stream.apply(event));
    events
}

/// Settles a turn that the wallet pays in full.
pub fn pay(stream: &mut TokenUsage, command: SettleGeneration) -> RatedGeneration {
    let rated = stream.rate(&command);
    take(stream, command, paid(rated.cost_micro.0));
    rated
}

#[test]
fn a_resent_context_is_charged_once_and_output_always() {
    let mut stream = TokenUsage::default();
    assert_eq!(pay(&mut stream, turn(1, conversation("a", 2, 50), 100)).cost_micro, micro(105));
    let second = pay(&mut stream, turn(2, conversation("a", 4, 50), 130));
    assert_eq!((second.already_billed_tokens, second.cost_micro), (100, micro(35)));
    assert_eq!(pay(&mut stream, turn(3, conversation("a", 4, 50), 130)).cost_micro, micro(5));
}

#[test]
fn under_the_full_policy_every_bucket_of_every_generation_is_charged() {
    let mut stream = TokenUsage::default();
    pay(&mut stream, turn(1, conversation("a", 2, 50), 100));
    let again = SettleGeneration { policy: BillingPolicy::Full, ..turn(2, conversation("a", 2, 50), 100) };
    assert_eq!(pay(&mut stream, again).cost_micro, micro(105));
}

#[test]
fn a_compacted_conversation_is_new() {
    let mut stream = TokenUsage::default();
    pay(&mut stream, turn(1, conversation("a", 4, 50), 100));
    assert_eq!(pay(&mut stream, turn(2, conversation("a", 3, 50), 90)).cost_micro, micro(95));
    assert_eq!(pay(&mut stream, turn(3, conversation("b", 5, 50), 120)).cost_micro, micro(125));
}

#[test]
fn what_instructions_and_tools_have_shrunk_is_not_taken_for_billed() {
    let mut stream = TokenUsage::default();
    pay(&mut stream, turn(1, conversation("a", 2, 50), 100));
    let shrunk = stream.rate(&turn(2, conversation("a", 3, 20), 100));
    assert_eq!(shrunk.already_billed_tokens, 70);
    let grown = stream.rate(&turn(2, conversation("a", 3, 90), 140));
    assert_eq!(grown.already_billed_tokens, 100);
    let vanished = stream.rate(&turn(2, conversation("a", 3, 0), 1_000));
    assert_eq!(vanished.already_billed_tokens, 50);
}

#[test]
fn a_mark_counts_for_its_billed_model_alone() {
    let mut stream = TokenUsage::default();
    pay(&mut stream, turn(1, conversation("a", 2, 50), 100));
    let mut other = turn(2, conversation("a", 2, 50), 100);
    other.quote.model = "another".into();
    assert_eq!(stream.rate(&other).cost_micro, micro(105));
}

#[test]
fn only_a_charged_and_reported_generation_sets_a_mark() {
    let free = WalletShare { balance_micro: Some(micro(0)), ..WalletShare::default() };
    let insured = WalletShare { insured_micro: micro(105), ..free.clone() };
    let short = WalletShare { cost_micro: micro(105), shortfall_micro: micro(105), ..free.clone() };
    let first = turn(1, conversation("a", 2, 50), 100);
    let estimated = SettleGeneration { usage_source: UsageSource::Estimated, ..first.clone() };
    let rejected = SettleGeneration { usage_source: UsageSource::Rejected, ..first.clone() };
    let nameless = SettleGeneration { prefix: None, ..first.clone() };
    let empty = SettleGeneration { prefix: Some(InputPrefix::default()), ..first.clone() };
    let unmarked = [
        (first.clone(), insured),
        (first.clone(), short),
        (estimated, paid(105)),
        (rejected, paid(105)),
        (nameless, paid(105)),
        (empty, paid(105)),
    ];
    for (command, share) in unmarked {
        let mut stream = TokenUsage::default();
        let events = take(&mut stream, command, share);
        assert!(matches!(&events[0], UsageEvent::GenerationSettled(settled) if settled.mark.is_none()));
        assert_eq!(stream.rate(&turn(2, conversation("a", 2, 50), 100)).already_billed_tokens, 0);
    }
    let covered = WalletShare { cost_micro: micro(105), covered_by_plan_micro: micro(105), ..free };
    let mut stream = TokenUsage::default();
    take(&mut stream, first, covered);
    assert_eq!(stream.rate(&turn(2, conversation("a", 2, 50), 100)).already_billed_tokens, 100);
}

#[test]
fn the_last_eight_marks_of_a_model_are_kept() {
    let mut stream = TokenUsage::default();
    for number in 1..=9_u32 {
        pay(&mut stream, turn(u128::from(number), conversation(&format!("topic{number}"), 1, 0), 100));
    }
    let billed = |topic| stream.rate(&turn(99, conversation(topic, 1, 0), 100)).already_billed_tokens;
    assert_eq!((billed("topic1"), billed("topic2"), billed("topic9")), (0, 100, 100));
}

#[test]
fn the_marks_of_eight_models_are_kept() {
    let mut stream = TokenUsage::default();
    let with_model = |number: u32| {
        let mut command = turn(u128::from(number), conversation("a", 1, 0), 100);
        command.quote.model = format!("model-{number}");
        command.now = crate::examples::second(i64::from(number));
        command
    };
    for number in 1..=9 {
        pay(&mut stream, with_model(number));
    }
    assert_eq!(stream.rate(&with_model(1)).already_billed_tokens, 0);
    assert_eq!(stream.rate(&with_model(2)).already_billed_tokens, 100);
}

/// A request as the client wrote it: what each item says, and how large instructions and tools are.
#[derive(Clone, Debug)]
struct Turn {
    /// From how many of the conversation's items it starts; fewer than there are is a branch.
    keep_share: u8,
    new_items: Vec<u64>,
    compacts: bool,
    fixed: u64,
    cached_share: u64,
    paid: bool,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let keep_share = prop_oneof![6 => Just(100_u8), 2 => 0..100_u8];
    let new_items = prop::collection::vec(1..500_u64, 1..4);
    let compacts = prop::bool::weighted(0.1);
    let turn = (keep_share, new_items, compacts, 0..300_u64, 0..=100_u64, prop::bool::weighted(0.9))
        .prop_map(|(keep_share, new_items, compacts, fixed, cached_share, paid)| Turn {
            keep_share,
            new_items,
            compacts,
            fixed,
            cached_share,
            paid,
        });
    prop::collection::vec(turn, 1..30)
}

/// What was billed for, as whole lists of items; the oracle compares contents, not digests.
struct Billed {
    items: Vec<u64>,
    input_tokens: u64,
    fixed: u64,
}

/// Written from money.md § 5: the longest billed list the new one begins with, among the last 8.
fn oracle_already_billed(billed: &[Billed], items: &[u64], fixed: u64) -> u64 {
    let mut longest: Option<&Billed> = None;
    for mark in &billed[billed.len().saturating_sub(8)..] {
        let begins_with = items.len() >= mark.items.len() && items[..mark.items.len()] == mark.items[..];
        if begins_with && longest.is_none_or(|other| mark.items.len() >= other.items.len()) {
            longest = Some(mark);
        }
    }
    let Some(mark) = longest else { return 0 };
    mark.input_tokens.saturating_sub(mark.fixed.saturating_sub(fixed))
}

fn digests(items: &[u64], fixed_tokens: u64) -> InputPrefix {
    let mut text = String::new();
    let digests = items.iter().map(|item| {
        text.push_str(&format!("{item},"));
        text.clone()
    });
    InputPrefix { digests: std::sync::Arc::new(digests.collect()), fixed_tokens }
}

proptest! {
    #[test]
    fn delta_charges_agree_with_an_oracle_and_never_exceed_full(turns in turns()) {
        let mut stream = TokenUsage::default();
        let mut billed: Vec<Billed> = Vec::new();
        let mut items: Vec<u64> = Vec::new();
        for (number, next) in (1_u128..).zip(turns) {
            let kept = items.len() * usize::from(next.keep_share) / 100;
            items.truncate(kept);
            if next.compacts {
                items = vec![7];
            }
            items.extend(&next.new_items);
            let total = items.iter().sum::<u64>() + next.fixed;
            let cached_input = total * next.cached_share / 100;
            let mut command = turn(number, digests(&items, next.fixed), total - cached_input);
            command.usage.cached_input = cached_input;
            let full = stream.rate(&SettleGeneration { policy: BillingPolicy::Full, ..command.clone() });
            let rated = stream.rate(&command);
            let expected = oracle_already_billed(&billed, &items, next.fixed).min(total);
            prop_assert_eq!(rated.already_billed_tokens, expected);
            prop_assert_eq!(rated.cost_micro.0, i64::try_from(total - expected + 5).unwrap());
            prop_assert!(rated.cost_micro <= full.cost_micro && rated.cost_micro.0 >= 5);
            let share = if next.paid { paid(rated.cost_micro.0) } else { WalletShare::default() };
            take(&mut stream, command, share);
            if next.paid {
                billed.retain(|mark| mark.items != items);
                billed.push(Billed { items: items.clone(), input_tokens: total, fixed: next.fixed });
            }
        }
    }
}
