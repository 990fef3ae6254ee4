//! Plans: granted, extended, ended; which generations they cover, and what else is refused.

use std::sync::Arc;

use super::builders::{Story, grant, hold, place, release, request, settle, settle_after, sweep, take_back};
use crate::catalog::FairUseInForce;
use crate::examples::{a_micro_per_token, generation, grant_id, key, micro, quote, second};
use crate::ids::PlanId;
use crate::money::Rate;
use crate::pricing::FamilyPolicies;
use crate::usage::{BillingPolicy, ClientFamily};
use crate::wallet::entitlements::{
    AssumedRates, EntitlementEnd, EntitlementSource, EntitlementTerms, FairUse, FairUseWindow,
    MAX_AHEAD_SECS, MAX_GRANTS, MAX_PLANS, PlanCover, PlanUse, Scope, WindowStatus,
};
use crate::wallet::{
    GrantSource, HoldLimits, PlaceHold, ProviderFailure, ReversalReason, SettleHold, WalletAction,
    WalletEvent, WalletRefusal,
};

const DAY: u32 = 86_400;

pub fn plan(name: &str) -> PlanId {
    name.parse().expect("a plan's id")
}

/// A token counts for two micro-USD; 1 000 in 100 s and 3 000 in 1 000 s.
pub fn fair_use() -> FairUse {
    FairUse {
        rates: AssumedRates { input: Rate(2_000_000), output: Rate(2_000_000) },
        windows: vec![
            FairUseWindow { length_secs: 100, limit_micro: micro(1_000) },
            FairUseWindow { length_secs: 1_000, limit_micro: micro(3_000) },
        ],
    }
}

pub fn terms(name: &str, block_secs: u32, blocks: u32) -> EntitlementTerms {
    EntitlementTerms {
        plan_id: plan(name),
        scope: Scope { families: vec![ClientFamily::CodexCli], models: vec!["gpt-5.5".into()] },
        fair_use: fair_use(),
        block_secs,
        blocks,
    }
}

pub fn grant_plan(number: u128, terms: EntitlementTerms) -> WalletAction {
    let source = EntitlementSource::Payment;
    WalletAction::GrantEntitlement { entitlement_id: grant_id(number), source, terms, period: None }
}

pub fn end(number: u128) -> WalletAction {
    WalletAction::EndEntitlement { entitlement_id: grant_id(number), reason: EntitlementEnd::PaymentReversed }
}

fn reinstate(number: u128) -> WalletAction {
    WalletAction::ReinstateEntitlement { entitlement_id: grant_id(number) }
}

pub fn switch(outside_scope: Option<bool>, past_fair_use: Option<bool>) -> WalletAction {
    WalletAction::SetWalletFallback { outside_scope, past_fair_use }
}

fn with_plan() -> Story {
    Story::begin().with(grant_plan(1, terms("unlimited", 10 * DAY, 1)))
}

fn by(family: ClientFamily, number: u128, tokens: u64) -> WalletAction {
    place(PlaceHold { family, ..request(number, tokens, 0) })
}

fn settle_used(number: u128, cost: i64, new_input_tokens: u64, output_tokens: u64) -> WalletAction {
    WalletAction::SettleHold(SettleHold {
        generation_id: generation(number),
        cost_micro: micro(cost),
        new_input_tokens,
        output_tokens,
        model: crate::examples::MODEL.into(),
        provider_failure: ProviderFailure::None,
    })
}

fn ends(story: &Story) -> Vec<i64> {
    let plans = story.wallet.plan_status(story.now, &FairUseInForce::default());
    plans.iter().map(|plan| (plan.ends_at.0 - second(0).0) / 1_000_000).collect()
}

fn windows(story: &Story) -> Vec<WindowStatus> {
    story
        .wallet
        .plan_status(story.now, &FairUseInForce::default())
        .first()
        .map(|plan| plan.windows.clone())
        .unwrap_or_default()
}

fn refusal(story: &mut Story, action: WalletAction) -> WalletRefusal {
    story.act(action).expect_err("refused")
}

#[test]
fn three_blocks_of_ten_days_are_thirty_days() {
    let mut story = Story::begin();
    let events = story.act(grant_plan(1, terms("promo", 10 * DAY, 3))).unwrap();
    let expected = WalletEvent::EntitlementGranted {
        entitlement_id: grant_id(1),
        source: EntitlementSource::Payment,
        terms: Box::new(terms("promo", 10 * DAY, 3)),
        period: None,
        starts_at: second(0),
        ends_at: second(30 * i64::from(DAY)),
        balance_micro: micro(0),
        held_micro: micro(0),
        at: second(0),
    };
    assert_eq!(events, vec![expected]);
}

#[test]
fn buying_again_extends_the_end_and_after_it_begins_anew() {
    let story = Story::begin().with(grant_plan(1, terms("promo", 100, 1))).at(50);
    let story = story.with(grant_plan(2, terms("promo", 100, 1)));
    assert_eq!(ends(&story), [200]);
    let story = story.at(250).with(grant_plan(3, terms("promo", 100, 1)));
    assert_eq!(ends(&story), [350]);
}

#[test]
fn the_end_of_a_plan_is_an_event_due_at_its_time() {
    let mut story = Story::begin().with(grant_plan(1, terms("promo", 100, 1)));
    assert_eq!(story.wallet.next_due(1_000), Some(second(100)));
    let mut just_before = story.clone().at(99);
    assert_eq!(just_before.act(sweep()).unwrap(), vec![]);
    assert!(just_before.act(hold(1, 10)).is_ok());
    story = story.at(100);
    let expired = |event: &WalletEvent| matches!(event, WalletEvent::EntitlementExpired { .. });
    let events = story.act(sweep()).unwrap();
    assert!(events.len() == 1 && expired(&events[0]));
    assert_eq!(story.wallet.next_due(1_000), None);
    assert_eq!(story.act(sweep()).unwrap(), vec![]);
    // From then on the wallet pays, as for anyone.
    let refused = refusal(&mut story, hold(2, 10));
    assert_eq!(refused, WalletRefusal::InsufficientCredit { available: micro(0), requested: micro(10) });
}

fn set_grace(name: &str, grace_secs: u32) -> WalletAction {
    WalletAction::SetEntitlementGrace { plan_id: plan(name), grace_secs }
}

#[test]
fn grace_covers_beyond_the_end_and_is_over_to_the_second() {
    let mut story = Story::begin().with(grant_plan(1, terms("promo", 100, 1)));
    let expected = WalletEvent::EntitlementGraceSet {
        plan_id: plan("promo"),
        grace_secs: 30,
        ends_at: second(100),
        balance_micro: micro(0),
        held_micro: micro(0),
        at: second(0),
    };
    assert_eq!(story.act(set_grace("promo", 30)).unwrap(), vec![expected]);
    assert_eq!(story.act(set_grace("promo", 30)).unwrap(), vec![], "once");
    assert_eq!(ends(&story), [100]);
    assert_eq!(story.wallet.next_due(1_000), Some(second(130)));
    let story = story.at(129);
    assert_eq!(ends(&story), [130], "the end of the grace it is in");
    assert!(story.clone().act(hold(1, 10)).is_ok());
    let mut story = story.at(130);
    assert!(
        refusal(&mut story, hold(2, 10))
            == WalletRefusal::InsufficientCredit { available: micro(0), requested: micro(10) }
    );
    let events = story.act(sweep()).unwrap();
    assert!(matches!(events.as_slice(), [WalletEvent::EntitlementExpired { .. }]), "{events:?}");
    // What begins anew has no grace of what was before.
    story = story.with(grant_plan(2, terms("promo", 100, 1)));
    assert_eq!(story.wallet.next_due(1_000), Some(second(230)));
}

#[test]
fn there_is_no_grace_of_what_does_not_run_or_was_taken_back() {
    let mut story = Story::begin();
    assert_eq!(story.act(set_grace("promo", 30)).unwrap(), vec![]);
    story = story.with(grant_plan(1, terms("promo", 100, 1))).with(set_grace("promo", 30)).with(end(1));
    assert_eq!(ends(&story), [] as [i64; 0], "the whole payment was taken back");
    assert_eq!(story.act(set_grace("promo", 30)).unwrap(), vec![]);
    story = story.with(reinstate(1));
    assert_eq!(story.wallet.next_due(1_000), Some(second(100)));
}

#[test]
fn other_time_given_in_the_grace_begins_when_it_is_given() {
    let story = Story::begin().with(grant_plan(1, terms("promo", 100, 1))).with(set_grace("promo", 30));
    let story = story.at(110).with(grant_plan(2, terms("promo", 100, 1)));
    assert_eq!(ends(&story), [210]);
}

#[test]
fn ending_a_block_takes_what_lies_ahead_of_it_and_later_ones_move_up() {
    let story = Story::begin()
        .with(grant_plan(1, terms("promo", 100, 1)))
        .with(grant_plan(2, terms("promo", 100, 1)))
        .at(30);
    let running = story.clone().with(end(1));
    assert_eq!(ends(&running), [130], "70 s of the first are gone, the second begins now");
    let ahead = story.clone().with(end(2));
    assert_eq!(ends(&ahead), [100]);
    let mut both = running.with(end(2));
    assert_eq!(ends(&both), Vec::<i64>::new());
    assert_eq!(both.act(end(2)).unwrap(), vec![], "ending it again changes nothing");
    assert_eq!(ends(&story.with(end(2)).with(end(1))), Vec::<i64>::new());
}

#[test]
fn what_ending_took_is_given_back_once() {
    let story = Story::begin().with(grant_plan(1, terms("promo", 100, 1))).at(30).with(end(1));
    let mut won = story.at(500).with(reinstate(1));
    assert_eq!(ends(&won), [570]);
    assert_eq!(won.act(reinstate(1)).unwrap(), vec![]);
    let mut never_ended = Story::begin().with(grant_plan(1, terms("promo", 100, 1)));
    assert_eq!(never_ended.act(reinstate(1)).unwrap(), vec![]);
}

#[test]
fn every_grant_that_cannot_be_is_refused() {
    let mut story = with_plan();
    let most_days = MAX_AHEAD_SECS / 86_400;
    let cases = [
        (
            grant_plan(1, terms("unlimited", 10, 1)),
            WalletRefusal::EntitlementExists { entitlement_id: grant_id(1) },
        ),
        (grant_plan(2, terms("unlimited", 10, 0)), WalletRefusal::BlocksOutOfRange { got: 0, most: 100 }),
        (grant_plan(2, terms("unlimited", 10, 101)), WalletRefusal::BlocksOutOfRange { got: 101, most: 100 }),
        (grant_plan(2, terms("unlimited", 0, 1)), WalletRefusal::EndOutOfRange { most_days }),
        (grant_plan(2, terms("unlimited", 400 * DAY, 10)), WalletRefusal::EndOutOfRange { most_days }),
    ];
    for (action, expected) in cases {
        assert_eq!(refusal(&mut story, action), expected);
    }
    let mut ended = with_plan().with(end(1));
    let exists = WalletRefusal::EntitlementExists { entitlement_id: grant_id(1) };
    assert_eq!(refusal(&mut ended, grant_plan(1, terms("unlimited", 10, 1))), exists);
    let mut many = Story::begin();
    for number in 0..MAX_PLANS {
        many = many.with(grant_plan(number as u128, terms(&format!("plan-{number}"), 100, 1)));
    }
    let full = WalletRefusal::TooManyPlans { most: MAX_PLANS };
    assert_eq!(refusal(&mut many, grant_plan(99, terms("one-more", 10, 1))), full);
    assert!(many.clone().act(grant_plan(99, terms("plan-1", 10, 1))).is_ok());
    assert!(many.at(100).act(grant_plan(99, terms("one-more", 10, 1))).is_ok(), "those are over");
    let mut long = Story::begin();
    for number in 0..MAX_GRANTS {
        long = long.with(grant_plan(number as u128, terms("promo", 1, 1)));
    }
    let too_many = WalletRefusal::TooManyEntitlements { most: MAX_GRANTS };
    assert_eq!(refusal(&mut long, grant_plan(999, terms("promo", 1, 1))), too_many);
}

#[test]
fn a_covered_generation_takes_nothing_from_the_balance_and_costs_what_it_costs() {
    let mut story = with_plan().granted(7, 40).at(5);
    let events = story.act(place(request(1, 100, 20))).unwrap();
    let [WalletEvent::HoldPlaced { amount_micro, worst_micro, plan: Some(cover), held_micro, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*amount_micro, *worst_micro, *held_micro), (micro(0), micro(120), micro(0)));
    assert_eq!((cover.plan_id.as_str(), cover.counted_micro), ("unlimited", micro(240)));
    let opened: Vec<_> = cover.windows.iter().map(|window| (window.opened_at, window.ends_at)).collect();
    assert_eq!(opened, [(second(5), second(105)), (second(5), second(1_005))]);
    assert_eq!(story.wallet.available(), micro(40));

    let events = story.act(settle_used(1, 900, 60, 30)).unwrap();
    let [
        WalletEvent::UsageCharged {
            cost_micro,
            charged_micro,
            covered_by_plan_micro,
            shortfall_micro,
            plan,
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*cost_micro, *covered_by_plan_micro), (micro(900), micro(900)));
    assert_eq!((*charged_micro, *shortfall_micro), (micro(0), micro(0)));
    let used = PlanUse {
        plan_id: self::plan("unlimited"),
        used_micro: micro(180),
        input_tokens: 60,
        output_tokens: 30,
        windows: vec![second(105), second(1_005)],
    };
    assert_eq!(plan.as_deref(), Some(&used));
    assert_eq!((story.wallet.balance(), story.wallet.held()), (micro(40), micro(0)));
}

#[test]
fn a_covered_hold_presses_on_no_other() {
    // The balance covers one request; a plan's generation beside it changes nothing of that.
    let mut story = with_plan().granted(7, 100).held(1, 100);
    assert!(story.act(by(ClientFamily::ClaudeCode, 2, 100)).is_ok());
    let refused = refusal(&mut story, by(ClientFamily::ClaudeCode, 3, 1));
    assert_eq!(refused, WalletRefusal::MustWait { open_holds: 1 }, "the covered one is not among them");
}

#[test]
fn a_window_is_full_when_what_is_used_and_held_reaches_its_limit() {
    let full = |resets_at| WalletRefusal::FairUseReached {
        plan_id: plan("unlimited"),
        resets_at: second(resets_at),
    };
    // 499 tokens count for 998, so that one more request is admitted, however large it is.
    let mut story = with_plan().granted(7, 10_000).held(1, 499);
    assert!(story.act(hold(2, 400)).is_ok());
    assert_eq!(refusal(&mut story, hold(3, 1)), full(100));
    // A release makes room again, and use counts in place of the estimate.
    let mut freed = story.clone().with(release(2));
    assert!(freed.act(hold(4, 1)).is_ok());
    let mut used = story.clone().with(release(2)).with(settle_used(1, 5, 500, 0));
    assert_eq!(refusal(&mut used, hold(5, 1)), full(100));
    // The short window closes; the long one goes on counting.
    let mut later = story.at(100);
    assert!(later.act(hold(6, 700)).is_ok(), "998 + 800 of 3 000 in the long window");
    assert_eq!(refusal(&mut later, hold(7, 1)), full(1_000), "both are full, and the long one closes last");
}

#[test]
fn a_window_is_opened_by_the_first_hold_after_the_last_one_closed() {
    let mut story = with_plan().at(40).held(1, 10).at(139).held(2, 10);
    assert_eq!(windows(&story)[0].resets_at, Some(second(140)));
    story = story.at(500);
    assert_eq!(windows(&story)[0].resets_at, None, "none is open before the next request");
    story = story.held(3, 10);
    assert_eq!(windows(&story)[0].resets_at, Some(second(600)));
    assert_eq!(windows(&story)[1].resets_at, Some(second(1_040)));
}

#[test]
fn use_counts_in_the_window_of_its_hold() {
    let story = with_plan().held(1, 100).at(150).held(2, 100);
    let story = story.with(settle_used(1, 1, 450, 0));
    assert_eq!(windows(&story)[0].input_tokens, 0, "the window of that hold has closed");
    assert_eq!(windows(&story)[1].input_tokens, 450);
    let story = story.with(settle_used(2, 1, 30, 0));
    assert_eq!((windows(&story)[0].input_tokens, windows(&story)[1].input_tokens), (30, 480));
}

#[test]
fn a_new_end_opens_no_new_window() {
    let story = Story::begin().with(grant_plan(1, terms("promo", 50, 1))).held(1, 499);
    let mut story = story.with(settle_used(1, 1, 500, 0)).at(60).with(sweep());
    story = story.with(grant_plan(2, terms("promo", 50, 1)));
    let full = WalletRefusal::FairUseReached { plan_id: plan("promo"), resets_at: second(100) };
    assert_eq!(refusal(&mut story, hold(2, 1)), full);
}

#[test]
fn the_operators_limits_and_rates_count_from_the_next_hold_on() {
    let changed = FairUse {
        rates: AssumedRates { input: Rate(1_000_000), output: Rate(1_000_000) },
        windows: vec![FairUseWindow { length_secs: 100, limit_micro: micro(200) }],
    };
    let now: FairUseInForce = [(plan("unlimited"), changed)].into();
    let now = Arc::new(now);
    let under =
        |number, tokens| place(PlaceHold { fair_use: Arc::clone(&now), ..request(number, tokens, 0) });
    let mut story = with_plan().held(1, 50);
    let events = story.act(under(2, 80)).unwrap();
    let [WalletEvent::HoldPlaced { plan: Some(cover), .. }] = &events[..] else { panic!("{events:?}") };
    let PlanCover { counted_micro, windows, .. } = cover.as_ref();
    assert_eq!((*counted_micro, windows.len(), windows[0].limit_micro), (micro(80), 1, micro(200)));
    // 100 at the old rates and 80 at the new ones are less than 200.
    assert!(story.act(under(3, 30)).is_ok());
    let full = WalletRefusal::FairUseReached { plan_id: plan("unlimited"), resets_at: second(100) };
    assert_eq!(refusal(&mut story, under(4, 1)), full);
    // The rates of a hold are frozen.
    let events = story.act(settle_used(1, 1, 50, 0)).unwrap();
    let [WalletEvent::UsageCharged { plan: Some(used), .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(used.used_micro, micro(100));
}

#[test]
fn a_plans_own_billing_policy_counts_under_it_and_no_other_payers() {
    use BillingPolicy::{Delta, Full};
    let counted = |by_wallet, by_plan: &[(&str, BillingPolicy)]| {
        let policies = FamilyPolicies {
            by_wallet,
            by_plan: by_plan.iter().map(|(id, policy)| ((*id).to_owned(), *policy)).collect(),
        };
        let turn = PlaceHold { already_billed_tokens: 60, policies, ..request(1, 100, 0) };
        let covered = with_plan().act(place(turn.clone())).unwrap();
        let [WalletEvent::HoldPlaced { plan: Some(cover), .. }] = &covered[..] else { panic!("{covered:?}") };
        let paid = Story::begin().granted(7, 1_000).act(place(turn)).unwrap();
        let [WalletEvent::HoldPlaced { amount_micro, plan: None, .. }] = &paid[..] else {
            panic!("{paid:?}")
        };
        (cover.counted_micro.0, amount_micro.0)
    };
    assert_eq!(counted(Delta, &[]), (80, 40), "a token counts for two under the plan");
    assert_eq!(counted(Full, &[]), (200, 100));
    assert_eq!(counted(Delta, &[("unlimited", Full)]), (200, 40));
    assert_eq!(counted(Full, &[("promo", Full), ("unlimited", Delta)]), (80, 100));
}

#[test]
fn outside_the_scope_the_wallet_pays_if_it_holds_paid_credit_and_is_not_switched_off() {
    let scope = Box::new(terms("unlimited", 1, 1).scope);
    let plan_id = plan("unlimited");
    let claude = |number| by(ClientFamily::ClaudeCode, number, 10);
    let other_model = |number| {
        let quote = crate::pricing::tariff::Quote { model: "opus".into(), ..quote(a_micro_per_token()) };
        place(PlaceHold { quote, ..request(number, 10, 0) })
    };
    let without = WalletRefusal::OutsidePlanWithoutCredit { plan_id: plan_id.clone(), scope: scope.clone() };
    for action in [claude(1), other_model(1), by(ClientFamily::Codexclaude, 1, 10)] {
        assert_eq!(refusal(&mut with_plan(), action), without);
    }
    let mut gift = with_plan().with(WalletAction::GrantCredit {
        grant_id: grant_id(7),
        source: GrantSource::Promo,
        amount_micro: micro(100),
        expires_at: None,
    });
    assert_eq!(refusal(&mut gift, claude(1)), without, "a gift is not paid credit");

    let mut story = with_plan().granted(7, 100);
    let events = story.act(claude(1)).unwrap();
    assert!(
        matches!(&events[0], WalletEvent::HoldPlaced { plan: None, amount_micro, .. } if *amount_micro == micro(10))
    );
    let mut off = with_plan().granted(7, 100).with(switch(Some(false), None));
    let switched_off = WalletRefusal::OutsidePlanSwitchedOff { plan_id, scope };
    assert_eq!(refusal(&mut off, claude(1)), switched_off);
    assert!(off.act(hold(2, 10)).is_ok(), "what the plan covers is covered");
    assert!(off.with(switch(Some(true), None)).act(claude(1)).is_ok());
}

#[test]
fn past_fair_use_the_wallet_pays_only_if_that_is_switched_on() {
    let mut story = with_plan().granted(7, 100).held(1, 500);
    let full = WalletRefusal::FairUseReached { plan_id: plan("unlimited"), resets_at: second(100) };
    assert_eq!(refusal(&mut story, hold(2, 10)), full);
    let events = story.act(switch(None, Some(true))).unwrap();
    assert!(matches!(events[..], [WalletEvent::WalletFallbackSet { .. }]));
    assert_eq!(story.act(switch(None, Some(true))).unwrap(), vec![], "saying it twice changes nothing");
    let events = story.act(hold(2, 10)).unwrap();
    assert!(matches!(&events[0], WalletEvent::HoldPlaced { plan: None, .. }));
    // It is then held to the wallet's own rules.
    let short = WalletRefusal::InsufficientCredit { available: micro(100), requested: micro(101) };
    assert_eq!(refusal(&mut story, hold(3, 101)), short);
}

#[test]
fn the_payer_is_decided_at_the_hold_whatever_comes_between() {
    // Held under the plan, settled after its end, late, and with credit that could have paid.
    let story = Story::begin().with(grant_plan(1, terms("promo", 50, 1))).granted(7, 1_000).held(1, 10);
    let mut story = story.at(60).with(sweep()).at(1_500).with(sweep());
    assert_eq!(story.wallet.open_holds().count(), 0, "it has expired");
    let events = story.act(settle_used(1, 300, 20, 5)).unwrap();
    assert!(matches!(
        &events[0],
        WalletEvent::UsageCharged { late: true, charged_micro, covered_by_plan_micro, plan: Some(_), .. }
            if *charged_micro == micro(0) && *covered_by_plan_micro == micro(300)
    ));
    assert_eq!(story.wallet.balance(), micro(1_000));
    // Held by the wallet, settled when a plan would cover it.
    let story = Story::begin().granted(7, 1_000).held(2, 10).with(grant_plan(1, terms("promo", 50, 1)));
    let mut story = story;
    let events = story.act(settle(2, 15)).unwrap();
    assert!(
        matches!(&events[0], WalletEvent::UsageCharged { charged_micro, plan: None, .. } if *charged_micro == micro(15))
    );
}

#[test]
fn what_the_customer_is_insured_against_is_no_use_of_the_plan() {
    let mut story = with_plan().held(1, 100);
    let events = story.act(settle_after(1, 70, ProviderFailure::Unreported)).unwrap();
    let [WalletEvent::UsageCharged { cost_micro, covered_by_plan_micro, insured_micro, plan, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*cost_micro, *covered_by_plan_micro, *insured_micro), (micro(0), micro(0), micro(70)));
    assert_eq!(plan.as_ref().map(|used| used.used_micro), Some(micro(0)));
    assert_eq!(windows(&story)[0].used_percent, 0);
}

#[test]
fn a_reversal_gives_the_use_back_to_the_windows_that_still_count_it() {
    let mut story = with_plan().held(1, 100);
    let events = story.act(settle_used(1, 70, 300, 0)).unwrap();
    let [WalletEvent::UsageCharged { plan: Some(used), .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(windows(&story)[0].used_percent, 60);
    let reverse = WalletAction::ReverseCharge {
        generation_id: generation(1),
        reason: ReversalReason::ToldFailed,
        parts: vec![],
        charged: None,
        plan: Some(used.clone()),
    };
    let at_once = story.clone().with(reverse.clone());
    assert_eq!((windows(&at_once)[0].used_percent, windows(&at_once)[0].input_tokens), (0, 0));
    let later = story.at(150).held(2, 50).with(reverse);
    assert_eq!(windows(&later)[0].used_percent, 10, "another window is open by now");
    assert_eq!(windows(&later)[1].input_tokens, 0);
}

#[test]
fn a_key_is_held_to_its_limits_under_a_plan_too_but_spends_no_budget() {
    let limits = HoldLimits {
        requests_per_minute: Some(1),
        daily_budget_micro: Some(micro(1)),
        ..HoldLimits::default()
    };
    let limited = |number| place(PlaceHold { limits, key_id: key(1), ..request(number, 10, 0) });
    let mut story = with_plan();
    assert!(story.act(limited(1)).is_ok());
    let refused = refusal(&mut story, limited(2));
    assert!(matches!(refused, WalletRefusal::RequestsPerMinute { limit: 1, .. }), "{refused:?}");
}

#[test]
fn of_two_plans_the_one_that_ends_first_pays_and_the_other_when_that_is_full() {
    let story = Story::begin()
        .with(grant_plan(1, terms("unlimited", 10 * DAY, 1)))
        .with(grant_plan(2, terms("promo", DAY, 1)));
    let payer = |story: &mut Story, number, tokens| {
        let events = story.act(hold(number, tokens)).unwrap();
        match &events[..] {
            [WalletEvent::HoldPlaced { plan: Some(cover), .. }] => cover.plan_id.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let mut story = story;
    assert_eq!(payer(&mut story, 1, 500), "promo");
    assert_eq!(payer(&mut story, 2, 500), "unlimited");
    let full = WalletRefusal::FairUseReached { plan_id: plan("promo"), resets_at: second(100) };
    assert_eq!(refusal(&mut story, hold(3, 1)), full);
}

#[test]
fn customers_see_tokens_a_coarse_share_and_when_it_begins_anew() {
    let story = with_plan().held(1, 10).with(settle_used(1, 1, 120, 29));
    let [short, long] = windows(&story)[..] else { panic!("two windows") };
    let expected = WindowStatus {
        length_secs: 100,
        used_percent: 20,
        input_tokens: 120,
        output_tokens: 29,
        resets_at: Some(second(100)),
    };
    assert_eq!(short, expected, "298 of 1 000 is shown as 20 %");
    assert_eq!(long.used_percent, 0, "298 of 3 000");
    let full = story.held(2, 4_000);
    assert_eq!(windows(&full)[0].used_percent, 100);
}

#[test]
fn credit_that_expires_is_not_kept_for_a_covered_hold() {
    let mut story = with_plan().with(grant(7, 100, Some(50))).held(1, 10).at(50);
    let events = story.act(sweep()).unwrap();
    assert!(matches!(&events[..], [WalletEvent::GrantExpired { expired_micro, kept_micro, .. }]
        if (*expired_micro, *kept_micro) == (micro(100), micro(0))));
}

#[test]
fn debt_does_not_stop_what_a_plan_covers() {
    let story = with_plan().granted(7, 100).with(by(ClientFamily::ClaudeCode, 1, 80)).with(settle(1, 80));
    let mut owing = story.with(take_back(7, 100)).with(switch(None, Some(true)));
    assert_eq!(owing.wallet.debt(), micro(80));
    assert!(owing.act(hold(2, 500)).is_ok(), "the plan pays");
    let refused = refusal(&mut owing, hold(3, 10));
    assert_eq!(refused, WalletRefusal::InDebt { debt: micro(80) }, "past its fair use the wallet would");
}
