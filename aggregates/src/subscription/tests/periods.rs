//! Invoices: which are ours, as what they are paid, and what the stream makes of them in any order.

use super::{
    account, after, and, cancelled, ended, expect, invoice, past_due, payment, renewed, requested, running,
    started, terms,
};
use crate::examples::second;
use crate::payment::{Channel, MAX_PROVIDER_ID, Purpose};
use crate::subscription::{
    ObservedInvoice, SubscriptionAction as Action, SubscriptionEnd, SubscriptionRefusal as Refusal,
};
use crate::wallet::entitlements::PaidPeriod;

fn of_another() -> ObservedInvoice {
    ObservedInvoice { subscription: payment(9), ..invoice(1) }
}

fn under_another_id() -> ObservedInvoice {
    ObservedInvoice { provider_id: "sub_2".into(), ..invoice(1) }
}

fn without_length() -> ObservedInvoice {
    ObservedInvoice { period: PaidPeriod { starts_at: second(1_000), ends_at: second(1_000) }, ..invoice(1) }
}

fn unknown() -> Refusal {
    Refusal::UnknownSubscription { payment_id: payment(9) }
}

fn other() -> Refusal {
    Refusal::OtherSubscription { known: "sub_1".into(), got: "sub_2".into() }
}

#[tokio::test]
async fn the_first_paid_month_starts_it_and_each_further_one_renews_it() {
    expect(vec![requested(1)], Action::NotePaid(invoice(0)), Ok(vec![started()])).await;
    expect(running(), Action::NotePaid(invoice(1)), Ok(vec![renewed(1)])).await;
    expect(and(running(), vec![renewed(1)]), Action::NotePaid(invoice(2)), Ok(vec![renewed(2)])).await;
}

#[tokio::test]
async fn what_is_known_or_older_changes_nothing() {
    expect(running(), Action::NotePaid(invoice(0)), Ok(vec![])).await;
    let renewed_twice = and(running(), vec![renewed(1), renewed(2)]);
    for month in 0..=2 {
        expect(renewed_twice.clone(), Action::NotePaid(invoice(month)), Ok(vec![])).await;
        expect(renewed_twice.clone(), Action::NoteUnpaid(invoice(month)), Ok(vec![])).await;
    }
}

#[tokio::test]
async fn a_month_that_is_not_paid_is_past_due_once_and_paid_late_it_is_renewed() {
    expect(running(), Action::NoteUnpaid(invoice(1)), Ok(vec![past_due(1)])).await;
    let late = and(running(), vec![past_due(1)]);
    expect(late.clone(), Action::NoteUnpaid(invoice(1)), Ok(vec![])).await;
    expect(late.clone(), Action::NotePaid(invoice(1)), Ok(vec![renewed(1)])).await;
    let paid = and(late, vec![renewed(1)]);
    assert_eq!(after(paid.clone()).current().and_then(|current| current.past_due), None);
    expect(paid, Action::NoteUnpaid(invoice(1)), Ok(vec![])).await;
}

#[tokio::test]
async fn an_earlier_month_heard_of_later_leaves_a_later_one_past_due() {
    let late = and(running(), vec![past_due(2)]);
    expect(late.clone(), Action::NotePaid(invoice(1)), Ok(vec![renewed(1)])).await;
    expect(late.clone(), Action::NoteUnpaid(invoice(1)), Ok(vec![])).await;
    expect(late.clone(), Action::NoteUnpaid(invoice(3)), Ok(vec![past_due(3)])).await;
    let renewed_before = after(and(late, vec![renewed(1)]));
    let due = renewed_before.current().and_then(|current| current.past_due);
    assert_eq!(due.map(|due| due.payment_id), Some(invoice(2).payment_id));
}

#[tokio::test]
async fn a_first_month_that_is_not_paid_is_the_checkouts_affair() {
    expect(vec![requested(1)], Action::NoteUnpaid(invoice(0)), Ok(vec![])).await;
}

#[tokio::test]
async fn a_month_paid_after_the_end_is_put_on_record_and_revives_nothing() {
    let over = and(running(), vec![past_due(1), ended(SubscriptionEnd::Unpaid)]);
    expect(over.clone(), Action::NotePaid(invoice(1)), Ok(vec![renewed(1)])).await;
    expect(over.clone(), Action::NoteUnpaid(invoice(1)), Ok(vec![])).await;
    let paid = after(and(over, vec![renewed(1)]));
    assert_eq!(paid.current().and_then(|current| current.ended), Some(SubscriptionEnd::Unpaid));
}

#[tokio::test]
async fn an_invoice_of_another_subscription_is_refused_with_its_name() {
    for when in [Action::NotePaid(of_another()), Action::NoteUnpaid(of_another())] {
        expect(vec![], when.clone(), Err(unknown())).await;
        expect(running(), when, Err(unknown())).await;
    }
    for when in [Action::NotePaid(under_another_id()), Action::NoteUnpaid(under_another_id())] {
        expect(running(), when, Err(other())).await;
    }
}

#[tokio::test]
async fn a_period_has_a_length_and_an_id_has_letters() {
    expect(running(), Action::NotePaid(without_length()), Err(Refusal::PeriodOutOfRange)).await;
    expect(running(), Action::NoteUnpaid(without_length()), Err(Refusal::PeriodOutOfRange)).await;
    for provider_id in [String::new(), "sub 1".into(), "s".repeat(MAX_PROVIDER_ID + 1)] {
        let nameless = ObservedInvoice { provider_id, ..invoice(0) };
        let refused = Refusal::BadProviderId { most: MAX_PROVIDER_ID };
        expect(vec![requested(1)], Action::NotePaid(nameless), Err(refused)).await;
    }
}

#[tokio::test]
async fn a_second_one_that_is_paid_beside_a_running_one_is_the_operators_to_judge() {
    let second_one = ObservedInvoice { subscription: payment(2), provider_id: "sub_2".into(), ..invoice(0) };
    let both = and(running(), vec![requested(2)]);
    let refused = Refusal::AlreadySubscribed { plan_id: terms(1).entitlement.plan_id };
    expect(both, Action::NotePaid(second_one), Err(refused)).await;
}

#[test]
fn a_further_month_is_billed_as_agreed_whatever_its_invoice_says() {
    let start = after(running()).bill(&invoice(1), account()).expect("it is ours");
    assert_eq!(
        (start.payment_id, start.account_id, start.channel),
        (payment(2), account(), Channel::Invoice)
    );
    assert_eq!((start.price_micro, start.livemode, start.quantity), (terms(1).price_micro, false, 1));
    assert_eq!(start.purpose, Purpose::Entitlement { terms: Box::new(terms(1).entitlement) });
    assert!(after(vec![requested(1)]).bill(&invoice(1), account()).is_ok(), "the first was not heard of yet");

    let running = after(running());
    assert_eq!(running.bill(&of_another(), account()), Err(unknown()));
    assert_eq!(running.bill(&under_another_id(), account()), Err(other()));
    assert_eq!(running.bill(&without_length(), account()), Err(Refusal::PeriodOutOfRange));
}

#[test]
fn an_invoice_is_known_exactly_where_noting_it_changes_nothing() {
    let lives = [
        vec![],
        vec![requested(1)],
        running(),
        and(running(), vec![past_due(1)]),
        and(running(), vec![past_due(1), renewed(1)]),
        and(running(), vec![cancelled()]),
        and(running(), vec![past_due(1), ended(SubscriptionEnd::Unpaid)]),
    ];
    for events in lives {
        let subscription = after(events.clone());
        for (month, is_paid) in [(0, true), (1, false), (1, true), (2, false), (2, true)] {
            let action = match is_paid {
                true => Action::NotePaid(invoice(month)),
                false => Action::NoteUnpaid(invoice(month)),
            };
            let command = super::SubscriptionCommand { action, settings: super::SETTINGS, now: second(10) };
            let changes = subscription.decide(command).is_ok_and(|events| !events.is_empty());
            let knows = subscription.knows(&invoice(month), is_paid);
            // A first month that is not paid yet is looked at again, in vain.
            if events.len() != 1 || is_paid {
                assert_eq!(knows, !changes, "{events:?}: {month} {is_paid}");
            }
        }
    }
}
