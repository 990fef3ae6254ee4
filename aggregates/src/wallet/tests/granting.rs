use super::builders::{Story, grant, sweep};
use crate::examples::{grant_id, micro, second};
use crate::wallet::grants::{MAX_GRANT, MAX_LIVE_GRANTS};
use crate::wallet::{GrantSource, WalletEvent, WalletRefusal};

#[test]
fn credit_raises_the_balance_and_the_event_says_to_what() {
    let mut story = Story::begin().granted(1, 100).at(5);
    let events = story.act(grant(2, 50, Some(60))).unwrap();
    let expected = WalletEvent::CreditGranted {
        grant_id: grant_id(2),
        source: GrantSource::TopUp,
        amount_micro: micro(50),
        expires_at: Some(second(60)),
        debt_paid_micro: micro(0),
        balance_micro: micro(150),
        held_micro: micro(0),
        at: second(5),
    };
    assert_eq!(events, vec![expected]);
    assert_eq!(story.wallet.balance(), micro(150));
}

#[test]
fn a_grant_of_nothing_or_less_or_too_much_is_refused() {
    for amount in [0, -1, i64::MIN, MAX_GRANT.0 + 1, i64::MAX] {
        let refusal = Story::begin().act(grant(1, amount, None)).unwrap_err();
        assert_eq!(refusal, WalletRefusal::AmountOutOfRange { amount: micro(amount), most: MAX_GRANT });
    }
    assert_eq!(Story::begin().granted(1, MAX_GRANT.0).wallet.balance(), MAX_GRANT);
}

#[test]
fn credit_that_would_expire_at_once_is_refused() {
    let mut story = Story::begin().at(10);
    assert_eq!(story.act(grant(1, 1, Some(10))), Err(WalletRefusal::ExpiresInThePast));
    assert_eq!(story.act(grant(1, 1, Some(9))), Err(WalletRefusal::ExpiresInThePast));
    assert!(story.act(grant(1, 1, Some(11))).is_ok());
}

#[test]
fn the_same_grant_is_not_given_twice() {
    let mut story = Story::begin().granted(1, 100);
    assert_eq!(story.act(grant(1, 100, None)), Err(WalletRefusal::GrantExists { grant_id: grant_id(1) }));
    assert_eq!(story.wallet.balance(), micro(100));
}

#[test]
fn a_wallet_has_a_limited_number_of_live_grants() {
    let mut story = Story::begin();
    for number in 0..MAX_LIVE_GRANTS {
        story = story.granted_until(number as u128, 1, 100);
    }
    let refusal = story.act(grant(9_999, 1, None)).unwrap_err();
    assert_eq!(refusal, WalletRefusal::TooManyGrants { most: MAX_LIVE_GRANTS });
    // What has expired makes room in the very command that finds it expired.
    story = story.at(100);
    assert!(story.act(grant(9_999, 1, None)).is_ok());
    assert_eq!(story.wallet.balance(), micro(1));
}

#[test]
fn credit_is_spent_soonest_expiry_first_then_oldest_then_by_id() {
    let story = Story::begin()
        .granted(3, 10)
        .granted(2, 10)
        .at(1)
        .granted(1, 10)
        .granted_until(5, 10, 900)
        .granted_until(4, 10, 800);
    let order: Vec<u128> = story.wallet.grants().iter().map(|grant| grant.grant_id.0.as_u128()).collect();
    assert_eq!(order, [4, 5, 2, 3, 1]);
    let story = story.held(1, 35).settled(1, 35);
    let left: Vec<_> = [4, 5, 2, 3, 1].map(|number| story.remaining(number).unwrap().0).into();
    assert_eq!(left, [0, 0, 0, 5, 10]);
}

#[test]
fn credit_that_expires_unused_is_an_event_in_the_next_append() {
    let mut story = Story::begin().granted_until(1, 100, 50).granted(2, 7).at(50);
    let events = story.act(grant(3, 5, None)).unwrap();
    assert_eq!(
        events[0],
        WalletEvent::GrantExpired {
            grant_id: grant_id(1),
            expired_micro: micro(100),
            kept_micro: micro(0),
            balance_micro: micro(7),
            held_micro: micro(0),
            at: second(50),
        }
    );
    assert_eq!(events[1].balance(), micro(12));
    assert_eq!(events.len(), 2);
}

#[test]
fn credit_expires_at_its_very_second_and_once() {
    let mut story = Story::begin().granted_until(1, 100, 50).at(49);
    assert_eq!(story.wallet.next_due(1_000), Some(second(50)));
    assert_eq!(story.act(sweep()).unwrap(), vec![]);
    story = story.at(50);
    assert_eq!(story.act(sweep()).unwrap().len(), 1);
    assert_eq!(story.act(sweep()).unwrap(), vec![]);
    assert_eq!(story.wallet.next_due(1_000), None);
}

#[test]
fn a_refused_command_leaves_no_trace_even_of_what_was_due() {
    let mut story = Story::begin().granted_until(1, 100, 50).at(60);
    let before = story.wallet.clone();
    assert!(story.act(grant(2, 0, None)).is_err());
    assert_eq!(story.wallet, before);
}
