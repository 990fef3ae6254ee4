use super::builders::{Story, hold, release, settle, settle_after, sweep};
use crate::examples::{MODEL, attempt, generation, grant_id, micro, second};
use crate::usage::{AttemptEnd, AttemptResult};
use crate::wallet::{GrantPart, ProviderFailure, ReleaseReason, WalletAction, WalletEvent, WalletRefusal};

/// Charged, shortfall and insured amounts of the charge among `events`.
fn charge_of(events: &[WalletEvent]) -> (i64, i64, i64) {
    let amounts = events.iter().find_map(|event| match event {
        WalletEvent::UsageCharged { charged_micro, shortfall_micro, insured_micro, .. } => {
            Some((charged_micro.0, shortfall_micro.0, insured_micro.0))
        }
        _ => None,
    });
    amounts.expect("settling charges")
}

#[test]
fn settling_closes_the_hold_and_charges_the_cost() {
    let mut story = Story::begin().granted(1, 100).held(1, 60).held(2, 10).at(4);
    let events = story.act(settle(1, 25)).unwrap();
    let expected = WalletEvent::UsageCharged {
        generation_id: generation(1),
        model: MODEL.into(),
        output_tokens: 10,
        cost_micro: micro(25),
        charged_micro: micro(25),
        covered_by_plan_micro: micro(0),
        shortfall_micro: micro(0),
        insured_micro: micro(0),
        from: vec![GrantPart { grant_id: grant_id(1), amount_micro: micro(25) }],
        plan: None,
        late: false,
        balance_micro: micro(75),
        held_micro: micro(10),
        at: second(4),
    };
    assert_eq!(events, vec![expected]);
    assert_eq!((story.wallet.balance(), story.wallet.held()), (micro(75), micro(10)));
}

#[test]
fn a_charge_above_the_hold_is_charged_in_full() {
    let mut story = Story::begin().granted(1, 100).held(1, 10);
    assert_eq!(charge_of(&story.act(settle(1, 90)).unwrap()), (90, 0, 0));
}

#[test]
fn what_the_balance_cannot_cover_is_shortfall_and_the_balance_stops_at_nothing() {
    let mut story = Story::begin().granted(1, 100).held(1, 10);
    assert_eq!(charge_of(&story.act(settle(1, 130)).unwrap()), (100, 30, 0));
    assert_eq!(story.wallet.balance(), micro(0));
}

#[test]
fn a_generation_that_costs_nothing_takes_nothing() {
    let mut story = Story::begin().granted(1, 100).held(1, 10);
    let events = story.act(settle(1, 0)).unwrap();
    assert_eq!(charge_of(&events), (0, 0, 0));
    assert!(matches!(&events[0], WalletEvent::UsageCharged { from, .. } if from.is_empty()));
}

#[test]
fn only_a_hold_can_be_settled_or_released_and_only_once() {
    let mut story = Story::begin().granted(1, 100);
    let unknown = |number| WalletRefusal::UnknownHold { generation_id: generation(number) };
    assert_eq!(story.act(settle(1, 5)), Err(unknown(1)));
    assert_eq!(story.act(release(1)), Err(unknown(1)));
    story = story.held(1, 10).settled(1, 5).held(2, 10).with(release(2));
    for action in [settle(1, 5), settle(1, 6), release(1)] {
        assert_eq!(story.act(action), Err(unknown(1)));
    }
    for action in [settle(2, 5), release(2)] {
        assert_eq!(story.act(action), Err(unknown(2)));
    }
    assert_eq!(story.wallet.balance(), micro(95));
}

#[test]
fn releasing_frees_the_hold_and_charges_nothing() {
    let mut story = Story::begin().granted(1, 100).held(1, 60).held(2, 10).at(4);
    let failed = AttemptResult {
        attempt: attempt(),
        status: None,
        ended: Some(AttemptEnd::NotReached),
        provider_cost_micro: micro(0),
    };
    let reason = ReleaseReason::NothingDelivered;
    let attempts = vec![failed];
    let action =
        WalletAction::ReleaseHold { generation_id: generation(1), reason, attempts: attempts.clone() };
    let events = story.act(action).unwrap();
    let expected = WalletEvent::HoldReleased {
        generation_id: generation(1),
        reason,
        attempts,
        balance_micro: micro(100),
        held_micro: micro(10),
        at: second(4),
    };
    assert_eq!(events, vec![expected]);
    assert!(story.act(hold(3, 90)).is_ok());
}

#[test]
fn a_release_of_before_attempts_were_on_record_is_read() {
    let mut story = Story::begin().granted(1, 100).held(1, 60);
    let released = story.act(release(1)).unwrap().remove(0);
    let older = serde_json::to_string(&released).unwrap();
    assert!(!older.contains("attempts"), "what has none is written as it was before: {older}");
    assert_eq!(serde_json::from_str::<WalletEvent>(&older).unwrap(), released);
}

#[test]
fn a_hold_that_expired_is_settled_late_once() {
    let mut story = Story::begin().granted(1, 100).held(1, 60).at(1_000).with(sweep());
    assert_eq!(story.wallet.held(), micro(0));
    let events = story.act(settle(1, 25)).unwrap();
    assert!(matches!(events[0], WalletEvent::UsageCharged { late: true, .. }));
    assert_eq!((events[0].balance(), events[0].held()), (micro(75), micro(0)));
    assert_eq!(story.act(settle(1, 25)), Err(WalletRefusal::UnknownHold { generation_id: generation(1) }));
}

#[test]
fn settling_a_hold_at_its_very_age_expires_it_and_charges_it_late() {
    let mut story = Story::begin().granted(1, 100).held(1, 60).at(1_000);
    let events = story.act(settle(1, 25)).unwrap();
    assert!(matches!(events[0], WalletEvent::HoldExpired { .. }));
    assert!(matches!(events[1], WalletEvent::UsageCharged { late: true, .. }));
    assert_eq!(events.len(), 2);
}

#[test]
fn an_expired_hold_is_released_without_freeing_anything_twice() {
    let mut story = Story::begin().granted(1, 100).held(1, 60).at(1_000).held(2, 7);
    let events = story.act(release(1)).unwrap();
    assert_eq!(events[0].held(), micro(7));
    assert_eq!(story.wallet.held(), micro(7));
    assert!(story.act(settle(1, 5)).is_err());
}

#[test]
fn an_expired_hold_is_forgotten_after_thirty_days_even_in_an_idle_wallet() {
    let story = Story::begin().granted(1, 100).held(1, 60).at(1_000).with(sweep());
    assert!(story.clone().at(1_000 + 30 * 86_400).act(settle(1, 5)).is_ok());
    let refusal = WalletRefusal::UnknownHold { generation_id: generation(1) };
    let mut later = story.at(1_001 + 30 * 86_400);
    assert_eq!(later.act(settle(1, 5)), Err(refusal.clone()));
    assert_eq!(later.act(release(1)), Err(refusal));
}

#[test]
fn a_provider_that_fails_mid_stream_costs_the_customer_nothing_within_the_insurance() {
    let mut story = Story::begin().granted(1, 10_000);
    story.terms.insured_generations_per_day = 2;
    let reported = |number| settle_after(number, 50, ProviderFailure::Reported);
    for (number, expected) in [(1, (0, 0, 50)), (2, (0, 0, 50)), (3, (50, 0, 0))] {
        story = story.held(number, 60);
        assert_eq!(charge_of(&story.act(reported(number)).unwrap()), expected);
    }
    story = story.at(86_400).held(4, 60);
    assert_eq!(charge_of(&story.act(reported(4)).unwrap()), (0, 0, 50), "each UTC day anew");
}

#[test]
fn the_insurance_is_also_capped_by_its_amount() {
    let mut story = Story::begin().granted(1, 10_000);
    story.terms.insured_micro_per_day = micro(100);
    for (number, cost, expected) in
        [(1, 60, (0, 0, 60)), (2, 41, (41, 0, 0)), (3, 40, (0, 0, 40)), (4, 1, (1, 0, 0))]
    {
        story = story.held(number, 60);
        let events = story.act(settle_after(number, cost, ProviderFailure::Reported)).unwrap();
        assert_eq!(charge_of(&events), expected);
    }
}

#[test]
fn a_provider_that_fails_and_reports_nothing_is_never_charged() {
    let mut story = Story::begin().granted(1, 10_000);
    story.terms.insured_generations_per_day = 0;
    story = story.held(1, 60);
    let events = story.act(settle_after(1, 50, ProviderFailure::Unreported)).unwrap();
    assert_eq!(charge_of(&events), (0, 0, 50));
    assert!(matches!(events[0], WalletEvent::UsageCharged { cost_micro, .. } if cost_micro == micro(0)));
}
