//! Cancelled, not cancelled any more, over: as the payment provider says.

use super::{after, and, cancelled, ended, expect, observed, past_due, payment, requested, running};
use crate::examples::second;
use crate::subscription::{
    ObservedSubscription, SubscriptionAction as Action, SubscriptionEnd, SubscriptionEvent,
    SubscriptionRefusal as Refusal,
};

fn lifted() -> SubscriptionEvent {
    SubscriptionEvent::CancellationLifted { at: second(10) }
}

#[tokio::test]
async fn a_cancellation_is_put_on_record_once_and_so_is_its_end() {
    expect(running(), Action::Follow(observed(false, true)), Ok(vec![cancelled()])).await;
    let cancelling = and(running(), vec![cancelled()]);
    expect(cancelling.clone(), Action::Follow(observed(false, true)), Ok(vec![])).await;
    expect(cancelling, Action::Follow(observed(false, false)), Ok(vec![lifted()])).await;
    expect(running(), Action::Follow(observed(false, false)), Ok(vec![])).await;
}

#[tokio::test]
async fn it_is_over_once_and_by_what() {
    let over = Action::Follow(observed(true, false));
    expect(running(), over.clone(), Ok(vec![ended(SubscriptionEnd::Cancelled)])).await;
    let late = and(running(), vec![past_due(1)]);
    expect(late.clone(), over.clone(), Ok(vec![ended(SubscriptionEnd::Unpaid)])).await;
    let given_up = and(late, vec![cancelled()]);
    expect(given_up, over.clone(), Ok(vec![ended(SubscriptionEnd::Cancelled)])).await;
    let gone = and(running(), vec![ended(SubscriptionEnd::Cancelled)]);
    expect(gone.clone(), over, Ok(vec![])).await;
    expect(gone, Action::Follow(observed(false, false)), Ok(vec![])).await;
}

#[tokio::test]
async fn of_one_that_is_not_paid_yet_or_not_ours_nothing_is_put_on_record() {
    expect(vec![requested(1)], Action::Follow(observed(true, true)), Ok(vec![])).await;
    let another = ObservedSubscription { subscription: payment(9), ..observed(true, false) };
    let unknown = Refusal::UnknownSubscription { payment_id: payment(9) };
    expect(running(), Action::Follow(another), Err(unknown)).await;
    let under_another_id = ObservedSubscription { provider_id: "sub_2".into(), ..observed(true, false) };
    let other = Refusal::OtherSubscription { known: "sub_1".into(), got: "sub_2".into() };
    expect(running(), Action::Follow(under_another_id), Err(other)).await;
}

#[test]
fn what_the_provider_is_told_has_a_number_of_its_own_for_each_change() {
    assert_eq!(after(vec![]).cancel_change(true), Err(Refusal::NotSubscribed));
    assert_eq!(after(vec![requested(1)]).cancel_change(true), Err(Refusal::NotSubscribed));
    let over = and(running(), vec![ended(SubscriptionEnd::Cancelled)]);
    assert_eq!(after(over).cancel_change(false), Err(Refusal::Over));

    let change = |events, cancels| {
        let change = after(events).cancel_change(cancels).expect("it runs");
        (change.number, change.is_done)
    };
    assert_eq!(change(running(), true), (1, false));
    assert_eq!(change(running(), false), (1, true));
    let cancelling = and(running(), vec![cancelled()]);
    assert_eq!(change(cancelling.clone(), true), (2, true));
    assert_eq!(change(cancelling.clone(), false), (2, false));
    assert_eq!(change(and(cancelling, vec![lifted()]), true), (3, false));
}
