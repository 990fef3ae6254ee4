//! Usage × tariff against sums in plain i128.

use proptest::prelude::*;

use crate::examples::micro;
use crate::money::Rate;
use crate::pricing::rating::{LineKind, rate};
use crate::pricing::tariff::{Fees, Rates, Tariff, Tier};
use crate::usage::Usage;
use crate::usage::buckets::{MAX_CALLS, MAX_TOKENS};

fn some_usage() -> Usage {
    Usage {
        input: 1_000,
        cached_input: 200,
        cache_write_5m: 30,
        cache_write_1h: 4,
        output: 50,
        reasoning: 20,
        web_search_calls: 2,
    }
}

#[test]
fn each_bucket_is_a_line_at_its_own_rate_and_reasoning_is_not_priced_again() {
    let rates = Rates {
        input: Rate(5_000_000),
        cached_input: Some(Rate(500_000)),
        cache_write_5m: Some(Rate(6_250_000)),
        cache_write_1h: Some(Rate(10_000_000)),
        output: Rate(25_000_000),
    };
    let fees = Fees { web_search_micro: micro(10_000), per_call_micro: micro(3) };
    let rated = rate(&some_usage(), 1_234, &Tariff { rates, tiers: vec![], fees });
    let lines: Vec<_> =
        rated.lines.iter().map(|line| (line.kind, line.units, line.price, line.amount_pico.0)).collect();
    let expected = vec![
        (LineKind::Input, 1_000, 5_000_000, 5_000_000_000),
        (LineKind::CachedInput, 200, 500_000, 100_000_000),
        (LineKind::CacheWrite5m, 30, 6_250_000, 187_500_000),
        (LineKind::CacheWrite1h, 4, 10_000_000, 40_000_000),
        (LineKind::Output, 50, 25_000_000, 1_250_000_000),
        (LineKind::WebSearch, 2, 10_000, 20_000_000_000),
        (LineKind::Call, 1, 3, 3_000_000),
    ];
    assert_eq!(lines, expected);
    assert_eq!((rated.total_micro, rated.remainder_pico.0), (micro(26_580), 500_000), "half to even");
}

#[test]
fn a_kind_of_input_without_a_rate_is_priced_as_input() {
    let rates = Rates { input: Rate(5_000_000), output: Rate(0), ..Rates::default() };
    let rated = rate(&some_usage(), 1_234, &Tariff { rates, ..Tariff::default() });
    let input =
        rated.lines.iter().filter(|line| !matches!(line.kind, LineKind::Output | LineKind::WebSearch));
    assert!(input.clone().all(|line| line.price == 5_000_000));
    assert_eq!(rated.total_micro, micro(1_234 * 5));
}

#[test]
fn nothing_used_is_no_line() {
    let rated = rate(&Usage::default(), 0, &crate::examples::flat(1, 1));
    assert!(rated.lines.is_empty());
    assert_eq!(rated.total_micro, micro(0));
}

#[test]
fn a_long_context_reprices_the_whole_request_from_its_very_threshold() {
    let tier = |threshold_tokens, inclusive, input| Tier {
        threshold_tokens,
        inclusive,
        rates: Rates { input: Rate(input), ..Rates::default() },
    };
    let tariff = Tariff {
        rates: Rates { input: Rate(1_000_000), ..Rates::default() },
        tiers: vec![tier(100, false, 2_000_000), tier(200, true, 3_000_000)],
        fees: Fees::default(),
    };
    let cost =
        |billable, total| rate(&Usage { input: billable, ..Usage::default() }, total, &tariff).total_micro.0;
    assert_eq!([cost(100, 100), cost(101, 101), cost(199, 199), cost(200, 200)], [100, 202, 398, 600]);
    assert_eq!(cost(10, 200), 30, "what was billed before still counts towards the tier");
}

/// Money's one rounding, from its definition: the nearest whole number, and of two the even one.
fn nearest(pico: i128) -> i128 {
    let below = pico / 1_000_000;
    let over = pico % 1_000_000;
    if over > 500_000 || (over == 500_000 && below % 2 == 1) { below + 1 } else { below }
}

fn some_rate() -> impl Strategy<Value = i64> {
    prop_oneof![0..50_000_000_i64, 0..=100_000_000_000_i64]
}

fn tokens() -> impl Strategy<Value = u64> {
    prop_oneof![0..2_000_u64, 0..=MAX_TOKENS]
}

fn rates() -> impl Strategy<Value = Rates> {
    let maybe = || prop::option::of(some_rate().prop_map(Rate));
    (some_rate(), maybe(), maybe(), maybe(), some_rate()).prop_map(
        |(input, cached_input, cache_write_5m, cache_write_1h, output)| Rates {
            input: Rate(input),
            cached_input,
            cache_write_5m,
            cache_write_1h,
            output: Rate(output),
        },
    )
}

prop_compose! {
    fn tariffs()(
        rates in rates(),
        tiers in prop::collection::btree_map(tokens(), (any::<bool>(), rates()), 0..3),
        web_search in some_rate(),
        per_call in some_rate(),
    ) -> Tariff {
        let tier = |(threshold_tokens, (inclusive, rates))| Tier { threshold_tokens, inclusive, rates };
        let fees = Fees { web_search_micro: micro(web_search), per_call_micro: micro(per_call) };
        Tariff { rates, tiers: tiers.into_iter().map(tier).collect(), fees }
    }
}

prop_compose! {
    fn usages()(
        input in tokens(),
        cached_input in tokens(),
        cache_write_5m in tokens(),
        cache_write_1h in tokens(),
        output in tokens(),
        web_search_calls in 0..=MAX_CALLS,
    ) -> Usage {
        Usage { input, cached_input, cache_write_5m, cache_write_1h, output, reasoning: 0, web_search_calls }
    }
}

/// The exact price in pico-USD.
fn exact(usage: &Usage, total: u64, tariff: &Tariff) -> i128 {
    let mut rates = tariff.rates;
    for tier in &tariff.tiers {
        if total > tier.threshold_tokens || (tier.inclusive && total == tier.threshold_tokens) {
            rates = tier.rates;
        }
    }
    let or_input = |rate: Option<Rate>| match rate {
        Some(rate) => rate.0,
        None => rates.input.0,
    };
    let mut sum: i128 = 0;
    for (units, price) in [
        (usage.input, rates.input.0),
        (usage.cached_input, or_input(rates.cached_input)),
        (usage.cache_write_5m, or_input(rates.cache_write_5m)),
        (usage.cache_write_1h, or_input(rates.cache_write_1h)),
        (usage.output, rates.output.0),
    ] {
        sum += i128::from(units) * i128::from(price);
    }
    sum += i128::from(usage.web_search_calls) * i128::from(tariff.fees.web_search_micro.0) * 1_000_000;
    sum + i128::from(tariff.fees.per_call_micro.0) * 1_000_000
}

proptest! {
    #[test]
    fn lines_add_up_exactly_and_are_rounded_once(usage in usages(), tariff in tariffs()) {
        let total = usage.total_input();
        let rated = rate(&usage, total, &tariff);
        let sum: i128 = rated.lines.iter().map(|line| line.amount_pico.0).sum();
        prop_assert_eq!(sum, exact(&usage, total, &tariff));
        prop_assert_eq!(i128::from(rated.total_micro.0), nearest(sum));
        prop_assert_eq!(rated.remainder_pico.0, sum - i128::from(rated.total_micro.0) * 1_000_000);
        prop_assert!(rated.remainder_pico.0.abs() <= 500_000);
        prop_assert!(rated.total_micro.0 >= 0);
    }

    #[test]
    fn split_and_joined_usage_differ_by_at_most_the_rounding(
        parts in prop::collection::vec(usages(), 1..12),
        flat_rates in rates(),
    ) {
        let tariff = Tariff { rates: flat_rates, ..Tariff::default() };
        let mut joined = Usage::default();
        let mut split = 0;
        for part in &parts {
            joined.input += part.input;
            joined.cached_input += part.cached_input;
            joined.cache_write_5m += part.cache_write_5m;
            joined.cache_write_1h += part.cache_write_1h;
            joined.output += part.output;
            split += rate(part, part.total_input(), &tariff).total_micro.0;
        }
        let whole = rate(&joined, joined.total_input(), &tariff).total_micro.0;
        // Half a micro-USD for each part, and half for the whole.
        let most = i64::try_from(parts.len().div_ceil(2)).unwrap();
        prop_assert!((split - whole).abs() <= most, "{} apart", split - whole);
    }

    #[test]
    fn no_usage_within_the_worst_case_costs_more_than_it(usage in usages(), tariff in tariffs()) {
        let total = usage.total_input();
        let tokens_only = Usage { web_search_calls: 0, ..usage };
        let tariff = Tariff { fees: Fees::default(), ..tariff };
        let worst = tariff.dearest_input().of(total) + tariff.dearest_output().of(usage.output);
        prop_assert!(rate(&tokens_only, total, &tariff).total_micro <= worst.ceil());
    }
}
