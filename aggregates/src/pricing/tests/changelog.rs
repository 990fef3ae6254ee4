//! Every amount that the service's changelog names, as it was promised.

use super::builders::{Book, HOUR, MINUTE, internal, prices, publish, schedule, three_modes};
use crate::examples::{MODEL, conversation, flat, generation, key, micro, second, settle_generation};
use crate::pricing::tariff::Mode;
use crate::pricing::{PriceBook, PublishRateCard};
use crate::usage::{
    BillingPolicy, ClientFamily, SettleGeneration, TokenUsage, Usage, UsageEvent, WalletShare,
};
use cqrs_es::Aggregate;

const CLAUDE: &str = "claude-opus-4-8";
const DEEPSEEK: &str = "deepseek-v4-pro";

fn of(book: &PriceBook, model: &str, at: i64) -> (i64, i64) {
    let quote = book.quote(model, second(at)).expect("sold");
    (quote.billed.rates.input.0, quote.billed.rates.output.0)
}

/// What a completed generation costs, in micro-USD.
fn cost(book: &PriceBook, model: &str, at: i64, input: u64, output: u64) -> i64 {
    let usage = Usage { input, output, ..Usage::default() };
    let quote = book.quote(model, second(at)).expect("sold");
    let command = SettleGeneration { usage, quote, ..settle_generation(1) };
    TokenUsage::default().rate(&command).cost_micro.0
}

#[test]
fn v1_0_9_and_17_two_and_fifteen_dollars_with_cumulative_deltas() {
    let two = PublishRateCard { display: flat(2_000_000, 15_000_000), ..publish(MODEL, 0) };
    let book = Book::default().with(two).0;
    assert_eq!(book.billing_policy(ClientFamily::CodexCli, None), BillingPolicy::Delta);
    let quote = book.quote(MODEL, second(1)).unwrap();
    let mut usage = TokenUsage::default();
    let mut seen = Vec::new();
    // The whole conversation comes back each turn; only what is new of its input is charged, and all output.
    for (turn, (items, input, output)) in
        [(1, 1_000, 100), (3, 1_500, 200), (5, 1_600, 50)].into_iter().enumerate()
    {
        let command = SettleGeneration {
            usage: Usage { input, output, ..Usage::default() },
            quote: quote.clone(),
            policy: BillingPolicy::Delta,
            prefix: Some(conversation("a", items, 0)),
            ..settle_generation(u128::try_from(turn).unwrap() + 1)
        };
        let rated = usage.rate(&command);
        seen.push((command.usage.total_input(), rated.already_billed_tokens, rated.cost_micro.0));
        let (cost_micro, charged_micro) = (rated.cost_micro, rated.cost_micro);
        let share = WalletShare { cost_micro, charged_micro, ..WalletShare::default() };
        for event in usage.settle(command, rated, share).unwrap() {
            usage.apply(event);
        }
    }
    assert_eq!(
        seen,
        [
            (1_000, 0, 1_000 * 2 + 100 * 15),
            (1_500, 1_000, 500 * 2 + 200 * 15),
            (1_600, 1_500, 100 * 2 + 50 * 15),
        ]
    );
}

#[test]
fn v1_0_25_five_and_twenty_five_dollars_for_both_providers() {
    let book = Book::default().with(publish(MODEL, 0)).with(publish(CLAUDE, 0)).0;
    for (billed, served) in [(MODEL, MODEL), (MODEL, CLAUDE), (CLAUDE, CLAUDE), (CLAUDE, MODEL)] {
        let quote = book.quote_served(billed, served, second(1)).unwrap();
        assert_eq!((quote.billed.rates.input.0, quote.billed.rates.output.0), (5_000_000, 25_000_000));
    }
}

#[test]
fn v1_0_38_a_surge_of_six_and_thirty_two_dollars_falls_back_by_itself_after_sixty_minutes() {
    let mut book = Book::default().with(three_modes(MODEL, 0));
    book.act(schedule(Mode::Surge, 0, 60 * MINUTE, 0)).unwrap();
    assert_eq!(cost(&book.0, MODEL, 60 * MINUTE - 1, 1_000_000, 1_000_000), 38_000_000);
    assert_eq!(of(&book.0, MODEL, 60 * MINUTE - 1), (6_000_000, 32_000_000));
    assert_eq!(of(&book.0, MODEL, 60 * MINUTE), (5_000_000, 30_000_000));
    assert_eq!(cost(&book.0, MODEL, 60 * MINUTE, 1_000_000, 1_000_000), 35_000_000);
}

#[test]
fn v1_0_38_deepseek_is_billed_at_its_own_two_and_five_dollars_during_the_surge() {
    let deepseek = PublishRateCard { display: flat(2_000_000, 5_000_000), ..publish(DEEPSEEK, 0) };
    let mut book = Book::default().with(three_modes(MODEL, 0)).with(deepseek);
    book.act(schedule(Mode::Surge, 0, HOUR, 0)).unwrap();
    assert_eq!(of(&book.0, DEEPSEEK, 1), (2_000_000, 5_000_000));
    assert!(book.0.is_surging(MODEL, second(1)) && !book.0.is_surging(DEEPSEEK, second(1)));
    assert!(!book.0.is_surging(MODEL, second(HOUR)));
}

#[test]
fn v1_0_39_reduced_pricing_of_four_fifty_and_twenty_seven_dollars() {
    let mut book = Book::default().with(three_modes(MODEL, 0));
    book.act(schedule(Mode::Reduced, 0, 60 * MINUTE, 0)).unwrap();
    assert_eq!(of(&book.0, MODEL, 1), (4_500_000, 27_000_000));
    assert_eq!(cost(&book.0, MODEL, 1, 3, 0), 14, "13.5 micro-USD, half to even");
    assert_eq!(of(&book.0, MODEL, 60 * MINUTE), (5_000_000, 30_000_000));
}

#[test]
fn v1_0_45_internal_surge_of_nine_and_forty_eight_lands_on_eight_and_forty_five_while_display_stays() {
    let mut book = Book::default().with(three_modes(MODEL, 0));
    let (nine, eight) = (flat(9_000_000, 48_000_000), flat(8_000_000, 45_000_000));
    book.act(internal(nine, eight, 0, 12 * HOUR, 0)).unwrap();
    let shown = (5_000_000, 30_000_000);
    assert_eq!(prices(&book.0, second(12 * HOUR - 1)), ((9_000_000, 48_000_000), shown));
    assert_eq!(book.0.quote(MODEL, second(1)).unwrap().internal_window, Some(1));
    assert_eq!(prices(&book.0, second(12 * HOUR)), ((8_000_000, 45_000_000), shown));
    assert_eq!(book.0.quote(MODEL, second(12 * HOUR)).unwrap().internal_window, None);
    book.act(schedule(Mode::Surge, 13 * HOUR, 14 * HOUR, 13 * HOUR)).unwrap();
    let surge = (6_000_000, 32_000_000);
    assert_eq!(
        prices(&book.0, second(13 * HOUR)),
        ((8_000_000, 45_000_000), surge),
        "modes are for display then"
    );
}

#[test]
fn a_generation_quoted_before_a_change_is_settled_at_what_it_was_quoted() {
    let mut book = Book::default().with(three_modes(MODEL, 0));
    book.act(schedule(Mode::Surge, 0, 60, 0)).unwrap();
    let quote = book.0.quote(MODEL, second(59)).unwrap();
    book.publish(PublishRateCard { display: flat(1, 1), surge: None, ..three_modes(MODEL, 100) }).unwrap();
    let command = SettleGeneration {
        generation_id: generation(1),
        key_id: key(1),
        quote,
        usage: Usage { input: 1_000_000, ..Usage::default() },
        now: second(200),
        ..settle_generation(1)
    };
    let rated = TokenUsage::default().rate(&command);
    assert_eq!(rated.cost_micro, micro(6_000_000));
    let share = WalletShare {
        cost_micro: rated.cost_micro,
        charged_micro: rated.cost_micro,
        ..WalletShare::default()
    };
    let events = TokenUsage::default().settle(command, rated, share).unwrap();
    let [UsageEvent::GenerationSettled(settled)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(settled.mode, Mode::Surge, "and is on record as of the surge");
}
