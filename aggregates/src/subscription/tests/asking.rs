//! Asking for a subscription: one at a time, at one checkout at a time.

use super::{account, after, and, ask, cancelled, ended, expect, payment, requested, running, terms};
use crate::examples::second;
use crate::money::MicroUsd;
use crate::payment::{Channel, CreditingRefusal, Payment, PaymentEvent, PaymentRefusal, Purpose};
use crate::subscription::{Subscription, SubscriptionEnd, SubscriptionRefusal, SubscriptionTerms, request};

fn open(number: u128) -> SubscriptionRefusal {
    SubscriptionRefusal::CheckoutOpen { plan_id: terms(1).entitlement.plan_id, payment_id: payment(number) }
}

fn subscribed() -> SubscriptionRefusal {
    SubscriptionRefusal::AlreadySubscribed { plan_id: terms(1).entitlement.plan_id }
}

#[tokio::test]
async fn who_has_none_may_ask_for_one() {
    expect(vec![], ask(1, None), Ok(vec![requested(1)])).await;
}

#[tokio::test]
async fn while_a_checkout_is_open_there_is_no_other() {
    expect(vec![requested(1)], ask(2, None), Err(open(1))).await;
    expect(vec![requested(1)], ask(2, Some(3)), Err(open(1))).await;
    expect(vec![requested(1)], ask(2, Some(1)), Ok(vec![requested(2)])).await;
    let asked_twice = vec![requested(1), requested(2)];
    expect(asked_twice, ask(3, Some(1)), Err(open(2))).await;
}

#[tokio::test]
async fn who_has_one_gets_no_other_until_it_is_over() {
    expect(running(), ask(2, None), Err(subscribed())).await;
    expect(running(), ask(2, Some(1)), Err(subscribed())).await;
    expect(and(running(), vec![cancelled()]), ask(2, None), Err(subscribed())).await;
    let over = and(running(), vec![ended(SubscriptionEnd::Cancelled)]);
    expect(over, ask(2, None), Ok(vec![requested(2)])).await;
}

#[test]
fn the_request_and_its_first_payment_are_one_append() {
    let (asked, started) =
        request(&Subscription::default(), &Payment::default(), &terms(1), account(), None, second(10))
            .expect("nothing stands against it");
    assert_eq!(asked, vec![requested(1)]);
    let [PaymentEvent::PaymentStarted { payment_id, account_id, channel, purpose, price_micro, .. }] =
        started.as_slice()
    else {
        panic!("one payment, not {started:?}")
    };
    assert_eq!((*payment_id, *account_id, *channel), (payment(1), account(), Channel::Checkout));
    assert_eq!(*price_micro, MicroUsd::dollars(149));
    assert_eq!(*purpose, Purpose::Entitlement { terms: Box::new(terms(1).entitlement) });
}

#[test]
fn neither_is_appended_where_either_is_refused() {
    let asked = after(running());
    let refused = request(&asked, &Payment::default(), &terms(2), account(), None, second(10));
    assert_eq!(refused, Err(CreditingRefusal::Subscription(subscribed())));
    let free = SubscriptionTerms { price_micro: MicroUsd::ZERO, ..terms(1) };
    let refused = request(&Subscription::default(), &Payment::default(), &free, account(), None, second(10));
    assert!(matches!(
        refused,
        Err(CreditingRefusal::Payment(PaymentRefusal::PriceOutOfRange { price: MicroUsd::ZERO, .. }))
    ));
}
