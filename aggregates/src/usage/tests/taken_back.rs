//! A reversed generation's input is not free on the next turn; what others paid for stays billed.

use cqrs_es::Aggregate;
use proptest::prelude::*;

use super::delta::{pay, turn};
use crate::examples::{conversation, generation, second};
use crate::usage::TokenUsage;
use crate::wallet::events::ReversalReason;

fn reverse(stream: &mut TokenUsage, number: u128) {
    let events = stream.reverse(generation(number), ReversalReason::BadGeneration, second(20)).unwrap();
    events.into_iter().for_each(|event| stream.apply(event));
}

/// What a request of `items` items and plenty of input would find billed already.
fn billed(stream: &TokenUsage, items: u32) -> u64 {
    stream.rate(&turn(99, conversation("a", items, 50), 1_000_000)).already_billed_tokens
}

/// Three turns of 100, 30 and 20 new tokens.
fn three_turns() -> TokenUsage {
    let mut stream = TokenUsage::default();
    pay(&mut stream, turn(1, conversation("a", 2, 50), 100));
    pay(&mut stream, turn(2, conversation("a", 4, 50), 130));
    pay(&mut stream, turn(3, conversation("a", 6, 50), 150));
    stream
}

#[test]
fn a_reversed_turn_is_billed_again() {
    let mut stream = TokenUsage::default();
    pay(&mut stream, turn(1, conversation("a", 2, 50), 100));
    reverse(&mut stream, 1);
    let next = pay(&mut stream, turn(2, conversation("a", 4, 50), 130));
    assert_eq!((next.already_billed_tokens, next.continues), (0, None));
    assert_eq!(billed(&stream, 4), 130);
}

#[test]
fn later_turns_keep_what_they_paid_themselves() {
    let mut stream = three_turns();
    assert_eq!((billed(&stream, 2), billed(&stream, 4), billed(&stream, 6)), (100, 130, 150));
    reverse(&mut stream, 1);
    assert_eq!((billed(&stream, 2), billed(&stream, 4), billed(&stream, 6)), (0, 30, 50));
    let mut stream = three_turns();
    reverse(&mut stream, 2);
    assert_eq!((billed(&stream, 2), billed(&stream, 4), billed(&stream, 6)), (100, 100, 120));
    reverse(&mut stream, 3);
    assert_eq!((billed(&stream, 2), billed(&stream, 4), billed(&stream, 6)), (100, 100, 100));
    reverse(&mut stream, 3);
    assert_eq!(billed(&stream, 6), 100, "a second reversal takes nothing more");
}

#[test]
fn a_repeated_turn_that_is_reversed_leaves_what_the_first_one_paid() {
    let mut stream = TokenUsage::default();
    pay(&mut stream, turn(1, conversation("a", 2, 50), 100));
    pay(&mut stream, turn(2, conversation("a", 2, 50), 100));
    reverse(&mut stream, 2);
    assert_eq!(billed(&stream, 2), 100);
}

#[test]
fn another_branch_of_the_conversation_keeps_its_own() {
    let mut stream = three_turns();
    pay(&mut stream, turn(4, conversation("b", 2, 50), 70));
    reverse(&mut stream, 1);
    let other = turn(99, conversation("b", 3, 50), 1_000);
    assert_eq!(stream.rate(&other).already_billed_tokens, 70);
}

proptest! {
    /// Turns of one growing conversation, some reversed on the way: the last mark always counts
    /// exactly what the turns that still stand were billed for.
    #[test]
    fn a_mark_is_what_the_turns_that_stand_were_billed_for(
        turns in prop::collection::vec((1..50_u64, any::<bool>(), any::<prop::sample::Index>()), 1..30),
    ) {
        let mut stream = TokenUsage::default();
        let (mut total, mut paid): (u64, Vec<(u128, u64)>) = (0, vec![]);
        for (number, (new, reverses, which)) in (1..).zip(turns) {
            total += new;
            let items = u32::try_from(number).unwrap();
            let rated = pay(&mut stream, turn(number, conversation("a", items, 0), total));
            paid.push((number, total - rated.already_billed_tokens));
            if reverses {
                let chosen = which.index(paid.len());
                let reversed = &mut paid[chosen];
                reverse(&mut stream, reversed.0);
                reversed.1 = 0;
            }
            let standing: u64 = paid.iter().map(|(_, tokens)| tokens).sum();
            let next = turn(999, conversation("a", items, 0), 1_000_000);
            prop_assert_eq!(stream.rate(&next).already_billed_tokens, standing);
        }
    }
}
