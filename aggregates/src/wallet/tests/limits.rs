//! What a key may use: refused with the numbers, and free again when its window ends.

use super::builders::{Story, place, release, request, reverse_for, settle};
use crate::examples::{key, micro, second};
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::{HoldLimits, PlaceHold, WalletAction, WalletRefusal};

const DAY: i64 = 86_400;

/// `tokens` of input under key `of`, and no output.
fn asked(number: u128, of: u128, tokens: u64, limits: HoldLimits) -> WalletAction {
    place(PlaceHold { key_id: key(of), limits, ..request(number, tokens, 0) })
}

fn per_minute(requests: u32) -> HoldLimits {
    HoldLimits { requests_per_minute: Some(requests), ..HoldLimits::default() }
}

fn tokens_per_minute(tokens: u64) -> HoldLimits {
    HoldLimits { tokens_per_minute: Some(tokens), ..HoldLimits::default() }
}

fn parallel(requests: u32) -> HoldLimits {
    HoldLimits { parallel_requests: Some(requests), ..HoldLimits::default() }
}

fn daily(budget: i64) -> HoldLimits {
    HoldLimits { daily_budget_micro: Some(micro(budget)), ..HoldLimits::default() }
}

fn monthly(budget: i64) -> HoldLimits {
    HoldLimits { monthly_budget_micro: Some(micro(budget)), ..HoldLimits::default() }
}

fn story() -> Story {
    let mut story = Story::begin().granted(1, 1_000_000);
    story.terms.hold_max_age_secs = 400 * DAY;
    story
}

#[test]
fn requests_per_minute_are_counted_by_the_clocks_minute() {
    let mut story = story().at(10);
    story = story.with(asked(1, 1, 1, per_minute(2))).with(asked(2, 1, 1, per_minute(2))).with(release(1));
    let refusal = WalletRefusal::RequestsPerMinute { limit: 2, retry_secs: 50 };
    assert_eq!(story.act(asked(3, 1, 1, per_minute(2))), Err(refusal), "a released one was a request too");
    assert!(story.clone().act(asked(3, 2, 1, per_minute(2))).is_ok(), "another key has its own");
    assert!(story.clone().act(asked(3, 1, 1, HoldLimits::default())).is_ok());
    assert!(story.at(60).act(asked(3, 1, 1, per_minute(2))).is_ok());
}

#[test]
fn tokens_per_minute_are_input_when_asked_and_output_when_settled() {
    let mut story = story().at(70).with(asked(1, 1, 80, tokens_per_minute(100))).with(settle(1, 80));
    // The example settles 10 output tokens.
    assert_eq!(story.wallet.key_use(key(1), second(70)).tokens_this_minute, 90);
    let refusal = WalletRefusal::TokensPerMinute { limit: 100, used: 90, requested: 11, retry_secs: 50 };
    assert_eq!(story.act(asked(2, 1, 11, tokens_per_minute(100))), Err(refusal));
    assert!(story.clone().act(asked(2, 1, 10, tokens_per_minute(100))).is_ok());
    assert!(story.at(120).act(asked(2, 1, 100, tokens_per_minute(100))).is_ok());
}

#[test]
fn a_request_larger_than_the_whole_limit_is_told_that_waiting_does_not_help() {
    let limits = HoldLimits { requests_per_minute: Some(1), ..tokens_per_minute(100) };
    let mut story = story().with(asked(1, 1, 1, limits));
    let refusal = WalletRefusal::LargerThanTokensPerMinute { limit: 100, requested: 101 };
    assert_eq!(story.act(asked(2, 1, 101, limits)), Err(refusal));
}

#[test]
fn parallel_requests_are_the_keys_open_holds() {
    let mut story = story().with(asked(1, 1, 1, parallel(2))).with(asked(2, 2, 1, parallel(2)));
    story = story.with(asked(3, 1, 1, parallel(2)));
    let refusal = Err(WalletRefusal::ParallelRequests { limit: 2 });
    assert_eq!(story.act(asked(4, 1, 1, parallel(2))), refusal);
    assert!(story.settled(1, 1).act(asked(4, 1, 1, parallel(2))).is_ok());
}

#[test]
fn a_daily_budget_counts_what_is_charged_what_may_be_and_what_is_asked() {
    let mut story = story().with(asked(1, 1, 40, daily(100))).settled(1, 40);
    let refusal = WalletRefusal::DailyBudget {
        limit_micro: micro(100),
        spent_micro: micro(40),
        resets_at: second(DAY),
    };
    assert_eq!(story.act(asked(2, 1, 61, daily(100))), Err(refusal));
    story = story.with(asked(2, 1, 30, daily(100))).with(asked(3, 2, 500, HoldLimits::default()));
    let refusal =
        WalletRefusal::BudgetMayBeSpent { running: 1, worst_micro: micro(61), left_micro: micro(60) };
    assert_eq!(story.act(asked(4, 1, 31, daily(100))), Err(refusal));
    assert!(story.clone().act(asked(4, 1, 30, daily(100))).is_ok());
    // The next day what was charged is forgotten, but what runs may still be charged that day.
    story = story.at(DAY);
    assert!(story.clone().act(asked(4, 1, 70, daily(100))).is_ok());
    assert!(story.act(asked(4, 1, 71, daily(100))).is_err());
}

#[test]
fn a_budget_needs_room_for_what_the_balance_must_cover_and_no_more() {
    let asked = place(PlaceHold { limits: daily(300), ..request(1, 44, 64_000) });
    assert!(story().act(asked).is_ok(), "256 output tokens are needed, 4 096 are held");
    let asked = place(PlaceHold { limits: daily(299), ..request(1, 44, 64_000) });
    assert!(matches!(story().act(asked), Err(WalletRefusal::DailyBudget { .. })));
}

/// 10 tokens of input, and more output allowed than is needed: 266 are needed, 510 the worst.
fn long(number: u128, of: u128, limits: HoldLimits) -> WalletAction {
    place(PlaceHold { key_id: key(of), limits, ..request(number, 10, 500) })
}

#[test]
fn beside_others_of_its_key_a_request_needs_room_in_a_budget_for_the_worst_of_all() {
    for limits in [daily(1_019), monthly(1_019)] {
        let mut story = story().with(long(1, 1, limits)).with(long(2, 2, HoldLimits::default()));
        let refusal = WalletRefusal::BudgetMayBeSpent {
            running: 1,
            worst_micro: micro(1_020),
            left_micro: micro(1_019),
        };
        assert_eq!(story.act(long(3, 1, limits)), Err(refusal));
        assert!(story.clone().act(long(3, 1, daily(1_020))).is_ok());
        let mut ended = story.settled(1, 510);
        assert!(ended.clone().act(long(3, 1, limits)).is_ok(), "alone it needs its estimate only");
        assert!(ended.act(long(3, 1, daily(775))).is_err());
    }
}

#[test]
fn of_two_budgets_the_one_with_less_left_decides() {
    let limits = HoldLimits { monthly_budget_micro: Some(micro(1_500)), ..daily(1_100) };
    let mut story = story().with(long(1, 1, limits)).settled(1, 500).at(DAY).with(long(2, 1, limits));
    let refusal =
        WalletRefusal::BudgetMayBeSpent { running: 1, worst_micro: micro(1_020), left_micro: micro(1_000) };
    assert_eq!(story.act(long(3, 1, limits)), Err(refusal));
}

#[test]
fn a_monthly_budget_lasts_to_the_end_of_the_calendar_month() {
    // The examples begin on 2024-10-04.
    let november = Timestamp::from_secs(20_028 * DAY);
    let mut story = story().with(asked(1, 1, 90, monthly(100))).settled(1, 90).at(27 * DAY);
    let refusal =
        WalletRefusal::MonthlyBudget { limit_micro: micro(100), spent_micro: micro(90), resets_at: november };
    assert_eq!(story.act(asked(2, 1, 11, monthly(100))), Err(refusal));
    assert_eq!(second(28 * DAY), november);
    assert!(story.at(28 * DAY).act(asked(2, 1, 100, monthly(100))).is_ok());
}

#[test]
fn a_reversed_charge_goes_back_to_the_budgets_that_still_count_it() {
    let spent = |story: &Story| {
        let used = story.wallet.key_use(key(1), story.now);
        (used.spent_today_micro, used.spent_week_micro, used.spent_month_micro)
    };
    let begun = story().with(asked(1, 1, 90, HoldLimits::default())).settled(1, 90);
    assert_eq!(spent(&begun), (micro(90), micro(90), micro(90)));
    let same_day = begun.clone().with(reverse_for(1, 90, 1, second(0)));
    assert_eq!(spent(&same_day), (micro(0), micro(0), micro(0)));
    // Friday's charge, reversed on Monday: another day, another week, the same month.
    let on_monday = begun.at(3 * DAY).with(asked(2, 1, 5, HoldLimits::default())).settled(2, 5);
    assert_eq!(spent(&on_monday), (micro(5), micro(5), micro(95)));
    let reversed = on_monday.clone().with(reverse_for(1, 90, 1, second(0)));
    assert_eq!(spent(&reversed), (micro(5), micro(5), micro(5)));
    let unknown = on_monday.clone().with(reverse_for(1, 90, 9, second(0)));
    assert_eq!(spent(&unknown), spent(&on_monday), "another key's charge");
}

#[test]
fn limits_are_looked_at_after_the_holds_existence_and_before_the_balance() {
    let mut story = Story::begin().granted(1, 10).with(asked(1, 1, 1, parallel(1)));
    assert!(matches!(story.act(asked(1, 1, 1, parallel(1))), Err(WalletRefusal::HoldExists { .. })));
    let refusal = Err(WalletRefusal::ParallelRequests { limit: 1 });
    assert_eq!(story.act(asked(2, 1, 1_000, parallel(1))), refusal);
}

#[test]
fn what_a_wallet_counts_of_a_keys_limits_is_taken_over() {
    let limits = HoldLimits {
        requests_per_minute: Some(1),
        tokens_per_minute: Some(2),
        parallel_requests: Some(3),
        daily_budget_micro: Some(micro(4)),
        monthly_budget_micro: Some(micro(5)),
    };
    let set = crate::account::KeyLimits {
        requests_per_minute: Some(1),
        tokens_per_minute: Some(2),
        parallel_requests: Some(3),
        daily_budget_micro: Some(micro(4)),
        monthly_budget_micro: Some(micro(5)),
        ..Default::default()
    };
    assert_eq!(HoldLimits::from(&set), limits);
    assert_eq!(HoldLimits::from(&crate::account::KeyLimits::default()), HoldLimits::default());
}

#[test]
fn a_limit_of_all_there_is_refuses_nothing() {
    let limits = HoldLimits {
        requests_per_minute: Some(u32::MAX),
        tokens_per_minute: Some(u64::MAX),
        parallel_requests: Some(u32::MAX),
        daily_budget_micro: Some(MicroUsd(i64::MAX)),
        monthly_budget_micro: Some(MicroUsd(i64::MAX)),
    };
    assert!(story().act(asked(1, 1, 10, limits)).is_ok());
}

#[test]
fn a_hold_recorded_before_tokens_were_counted_still_reads() {
    let mut story = story();
    let placed = story.act(asked(1, 1, 10, HoldLimits::default())).unwrap().remove(0);
    let mut json = serde_json::to_value(&placed).unwrap();
    json["HoldPlaced"].as_object_mut().unwrap().remove("input_tokens").unwrap();
    let old: crate::wallet::WalletEvent = serde_json::from_value(json).unwrap();
    let mut wallet = crate::wallet::Wallet::default();
    wallet.evolve(&old);
    let used = wallet.key_use(key(1), story.now);
    assert_eq!((used.requests_this_minute, used.tokens_this_minute, used.open), (1, 0, 1));
}
