use super::builders::{Story, hold, place, request, settle, strict_terms};
use crate::examples::{MODEL, attempt, generation, key, micro, node, quote, second};
use crate::money::{MicroUsd, Rate};
use crate::pricing::FamilyPolicies;
use crate::pricing::tariff::{Fees, Rates, Tariff, Tier};
use crate::usage::{BillingPolicy, ClientFamily};
use crate::wallet::{
    MAX_OPEN_HOLDS, PlaceHold, ProviderFailure, SettleHold, WalletAction, WalletEvent, WalletRefusal,
};

fn amounts_of(request: PlaceHold) -> (MicroUsd, MicroUsd) {
    let mut story = Story::begin().granted(1, 1_000_000_000);
    match story.act(place(request)).unwrap().remove(0) {
        WalletEvent::HoldPlaced { amount_micro, worst_micro, .. } => (amount_micro, worst_micro),
        other => panic!("a hold places a hold, not {other:?}"),
    }
}

#[test]
fn a_hold_sets_the_estimate_aside_and_records_its_first_attempt() {
    let mut story = Story::begin().granted(1, 1_000).at(3);
    let events = story.act(place(request(1, 100, 50))).unwrap();
    let expected = WalletEvent::HoldPlaced {
        generation_id: generation(1),
        key_id: key(1),
        family: ClientFamily::CodexCli,
        amount_micro: micro(150),
        worst_micro: micro(150),
        input_tokens: 100,
        quote: Box::new(request(1, 100, 50).quote),
        attempt: attempt(),
        node: node(1),
        plan: None,
        balance_micro: micro(1_000),
        held_micro: micro(150),
        at: second(3),
    };
    assert_eq!(events, vec![expected]);
    assert_eq!((story.wallet.held(), story.wallet.available()), (micro(150), micro(850)));
}

#[test]
fn a_balance_below_what_is_needed_is_refused_with_both_numbers() {
    let mut story = Story::begin().granted(1, 355);
    let refusal = story.act(place(request(1, 100, 64_000))).unwrap_err();
    assert_eq!(refusal, WalletRefusal::InsufficientCredit { available: micro(355), requested: micro(356) });
    let mut story = Story::begin().granted(1, 356);
    assert!(story.act(place(request(1, 100, 64_000))).is_ok(), "256 output tokens are enough to begin with");
}

#[test]
fn what_running_requests_have_set_aside_makes_the_next_one_wait() {
    let mut story = Story::begin().granted(1, 100).held(1, 60);
    story.terms.leak_floor_micro = micro(1_000_000);
    assert_eq!(story.act(hold(2, 41)), Err(WalletRefusal::MustWait { open_holds: 1 }));
    assert!(story.act(hold(2, 40)).is_ok());
}

#[test]
fn worst_cases_beyond_balance_and_leak_limit_make_the_next_one_wait() {
    // 8 outputs of 10 tokens are expected to be 20 at most; the worst case is 500.
    let mut story = Story::begin().granted(1, 1_080);
    for number in 0..8 {
        story = story.held(number, 10).settled(number, 10);
    }
    let mut story = story.with(place(request(10, 0, 500)));
    assert_eq!(story.wallet.held(), micro(20));
    story = story.with(place(request(11, 0, 500)));
    assert_eq!(story.act(place(request(12, 0, 500))), Err(WalletRefusal::MustWait { open_holds: 2 }));
    story.terms.leak_floor_micro = micro(500);
    assert!(story.act(place(request(12, 0, 500))).is_ok());
    assert_eq!(story.act(place(request(13, 0, 500))), Err(WalletRefusal::MustWait { open_holds: 3 }));
}

#[test]
fn a_request_alone_runs_whatever_its_worst_case() {
    let mut story = Story::begin().granted(1, 300);
    assert!(story.act(place(request(1, 0, 4_000_000_000))).is_ok());
    assert_eq!(story.act(hold(2, 1)), Err(WalletRefusal::MustWait { open_holds: 1 }));
}

#[test]
fn payments_of_ninety_days_raise_the_leak_limit() {
    let mut story = Story::begin().granted(1, 10_000);
    story.terms.leak_basis_points = 1_000;
    for number in 10..18 {
        story = story.held(number, 1).settled(number, 1);
    }
    // 100 left and 10 % of 10 000: worst cases of 1 100 may be open together.
    story = story.held(20, 9_892).settled(20, 9_892).with(place(request(2, 1, 549)));
    let one_too_many = story.act(place(request(3, 1, 550)));
    assert_eq!(one_too_many, Err(WalletRefusal::MustWait { open_holds: 1 }));
    story = story.with(place(request(3, 1, 549)));
    story.terms.hold_max_age_secs = i64::MAX;
    story = story.at(92 * 86_400);
    let refusal = story.act(place(request(4, 1, 0)));
    assert_eq!(refusal, Err(WalletRefusal::MustWait { open_holds: 2 }), "the payment is too old to count");
}

#[test]
fn a_generation_has_one_hold() {
    let mut story = Story::begin().granted(1, 100).held(1, 10);
    let refusal = WalletRefusal::HoldExists { generation_id: generation(1) };
    assert_eq!(story.act(hold(1, 10)), Err(refusal.clone()));
    let mut expired = story.at(2_000).with(super::builders::sweep());
    assert_eq!(expired.act(hold(1, 10)), Err(refusal), "it may still be settled late");
}

#[test]
fn the_number_of_open_holds_is_limited() {
    let mut story = Story::begin().granted(1, 1_000_000);
    for number in 0..MAX_OPEN_HOLDS {
        story = story.held(number as u128, 1);
    }
    assert_eq!(story.act(hold(9_999, 1)), Err(WalletRefusal::MustWait { open_holds: MAX_OPEN_HOLDS }));
    story = story.settled(0, 1);
    assert!(story.act(hold(9_999, 1)).is_ok());
}

#[test]
fn cached_and_already_billed_input_make_the_estimate_cheaper_but_not_the_worst_case() {
    let rates = Rates {
        input: Rate(10_000_000),
        cached_input: Some(Rate(1_000_000)),
        output: Rate(0),
        ..Rates::default()
    };
    let tariff = Tariff { rates, tiers: vec![], fees: Fees::default() };
    let asked = |already_billed_tokens, cached_tokens| {
        amounts_of(PlaceHold {
            already_billed_tokens,
            cached_tokens,
            quote: quote(tariff.clone()),
            ..request(1, 100, 0)
        })
    };
    assert_eq!(asked(0, 0), (micro(1_000), micro(1_000)));
    assert_eq!(asked(0, 60), (micro(400 + 60), micro(1_000)));
    assert_eq!(asked(50, 60), (micro(400 + 10), micro(1_000)), "what was billed comes off the cached first");
    assert_eq!(asked(100, 60), (micro(0), micro(1_000)));
    assert_eq!(asked(500, 500), (micro(0), micro(1_000)), "never below nothing");
    let policies = FamilyPolicies { by_wallet: BillingPolicy::Full, by_plan: vec![] };
    let all_of_it = PlaceHold {
        already_billed_tokens: 50,
        cached_tokens: 60,
        policies,
        quote: quote(tariff.clone()),
        ..request(1, 100, 0)
    };
    assert_eq!(amounts_of(all_of_it), (micro(400 + 60), micro(1_000)), "where all is charged again");
}

#[test]
fn the_worst_case_is_the_dearest_bucket_of_the_dearest_tier_with_all_the_output() {
    let base = Rates {
        input: Rate(1_000_000),
        cache_write_1h: Some(Rate(2_000_000)),
        output: Rate(3_000_000),
        ..Rates::default()
    };
    let long = Rates { input: Rate(4_000_000), output: Rate(5_000_000), ..Rates::default() };
    let tiers = vec![Tier { threshold_tokens: 1_000, inclusive: false, rates: long }];
    let fees = Fees { per_call_micro: micro(7), web_search_micro: micro(3) };
    let (estimate, worst) =
        amounts_of(PlaceHold { quote: quote(Tariff { rates: base, tiers, fees }), ..request(1, 100, 10) });
    assert_eq!(estimate, micro(100 + 30 + 7));
    assert_eq!(worst, micro(400 + 50 + 7 + 30), "ten searches may come, though none is expected");
}

#[test]
fn expected_output_is_twice_the_moving_p95_once_enough_is_known() {
    let estimate = |story: &Story, max_output| {
        let mut story = story.clone();
        let events = story.act(place(request(9_000, 0, max_output))).unwrap();
        events[0].held()
    };
    let mut story = Story::begin().granted(1, 1_000_000);
    assert_eq!(estimate(&story, 64_000), micro(4_096));
    for number in 0..100 {
        assert_eq!(estimate(&story, 64_000), micro(if number < 8 { 4_096 } else { 20 }));
        story = story.held(number, 1).settled(number, 1);
    }
    assert_eq!(estimate(&story, 15), micro(15), "never more than the request allows");
    for number in 200..204 {
        let mut long = story.clone().with(place(request(number, 0, 500)));
        long.act(WalletAction::SettleHold(SettleHold {
            generation_id: generation(number),
            cost_micro: micro(500),
            new_input_tokens: 0,
            output_tokens: 500,
            model: MODEL.into(),
            provider_failure: ProviderFailure::None,
        }))
        .unwrap();
        story = long;
    }
    assert_eq!(estimate(&story, 64_000), micro(1_000), "4 of 64 are above the 95th percentile's rank");
}

#[test]
fn a_wallet_that_keeps_running_short_must_cover_its_largest_output() {
    let mut story = Story::begin().granted(1, 400);
    story = story.with(place(request(1, 0, 64_000)));
    story = story.with(WalletAction::SettleHold(SettleHold {
        generation_id: generation(1),
        cost_micro: micro(5_000),
        new_input_tokens: 0,
        output_tokens: 5_000,
        model: MODEL.into(),
        provider_failure: ProviderFailure::None,
    }));
    story = story.granted(2, 4_999);
    let refusal = story.act(place(request(2, 0, 64_000))).unwrap_err();
    assert_eq!(
        refusal,
        WalletRefusal::InsufficientCredit { available: micro(4_999), requested: micro(5_000) }
    );
    assert!(story.clone().act(place(request(2, 0, 300))).is_ok(), "a smaller limit of its own is covered");
    assert!(
        story.clone().at(32 * 86_400).act(place(request(2, 0, 64_000))).is_ok(),
        "30 days later it is forgotten"
    );
    story.terms.leak_floor_micro = micro(4_600);
    assert!(story.act(place(request(2, 0, 64_000))).is_ok(), "4 600 short in all is within the leak limit");
}

#[test]
fn an_absurd_output_limit_cannot_overflow_an_amount() {
    let dearest = Rate(100_000_000_000);
    let rates = Rates { input: dearest, output: dearest, ..Rates::default() };
    let fees = Fees { per_call_micro: micro(dearest.0), web_search_micro: micro(dearest.0) };
    let dearest = quote(Tariff { rates, tiers: vec![], fees });
    let mut story = Story::begin().granted(1, 1_000_000_000_000);
    let absurd = PlaceHold { quote: dearest.clone(), ..request(1, 1, u64::MAX) };
    assert!(story.act(place(absurd)).is_ok());
    let absurd = PlaceHold { quote: dearest, ..request(2, u64::MAX, u64::MAX) };
    assert!(matches!(story.act(place(absurd)), Err(WalletRefusal::InsufficientCredit { .. })));
}

#[test]
fn deciding_a_hold_does_not_copy_the_wallet() {
    let story = Story::begin().granted(1, 1_000).held(1, 10);
    let mut decision = crate::wallet::Decision {
        wallet: std::borrow::Cow::Borrowed(&story.wallet),
        events: vec![],
        terms: strict_terms(),
        now: story.now,
    };
    decision.expire_what_is_due();
    decision.place_hold(request(2, 10, 0)).unwrap();
    assert!(matches!(decision.wallet, std::borrow::Cow::Borrowed(_)));
    assert_eq!(decision.events.len(), 1);
}

#[test]
fn a_hold_waits_for_what_a_settled_one_leaves() {
    let mut story = Story::begin().granted(1, 100).held(1, 80);
    assert!(story.act(hold(2, 30)).is_err());
    story.act(settle(1, 10)).unwrap();
    assert!(story.act(hold(2, 90)).is_ok());
}
