use super::builders::{Story, hold, place, request, sweep};
use crate::examples::{attempt, generation, micro, node, second};
use crate::wallet::{ExpiryReason, PlaceHold, WalletAction, WalletEvent};

fn expired(number: u128, reason: ExpiryReason, amount: i64, held: i64, at: i64) -> WalletEvent {
    WalletEvent::HoldExpired {
        generation_id: generation(number),
        reason,
        attempt: Some(attempt()),
        amount_micro: micro(amount),
        balance_micro: micro(100),
        held_micro: micro(held),
        at: second(at),
    }
}

#[test]
fn a_hold_expires_at_its_hard_age() {
    let mut story = Story::begin().granted(1, 100).held(1, 60).at(5).held(2, 10);
    assert_eq!(story.wallet.next_due(1_000), Some(second(1_000)));
    story = story.at(999);
    assert_eq!(story.act(sweep()).unwrap(), vec![]);
    story = story.at(1_000);
    assert_eq!(story.act(sweep()).unwrap(), vec![expired(1, ExpiryReason::Age, 60, 10, 1_000)]);
    assert_eq!(story.wallet.next_due(1_000), Some(second(1_005)));
}

#[test]
fn any_command_expires_the_holds_that_are_due_first() {
    let mut story = Story::begin().granted(1, 100).held(1, 60).at(1_000);
    let events = story.act(hold(2, 100)).unwrap();
    assert_eq!(events[0], expired(1, ExpiryReason::Age, 60, 0, 1_000));
    assert!(matches!(events[1], WalletEvent::HoldPlaced { .. }));
    assert_eq!(events.len(), 2);
}

#[test]
fn the_holds_of_a_dead_node_expire_and_no_others() {
    let on = |number, of| place(PlaceHold { node: node(of), ..request(number, 10, 0) });
    let mut story = Story::begin().granted(1, 100).with(on(1, 1)).with(on(2, 2)).with(on(3, 3)).at(9);
    let dead = WalletAction::ExpireHolds { dead_nodes: vec![node(1), node(3), node(4)] };
    let events = story.act(dead.clone()).unwrap();
    let expected =
        vec![expired(1, ExpiryReason::NodeDead, 10, 20, 9), expired(3, ExpiryReason::NodeDead, 10, 10, 9)];
    assert_eq!(events, expected);
    assert_eq!(story.act(dead).unwrap(), vec![], "again changes nothing");
    assert_eq!(story.wallet.open_holds().count(), 1);
}
