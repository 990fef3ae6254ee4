//! Starting a payment, noting where it is paid, and giving it up.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{account, payment_id, start};
use crate::examples::{micro, second};
use crate::ids::PaymentId;
use crate::money::MicroUsd;
use crate::payment::{
    Channel, Currency, FailureReason, LEAST_PRICE, MAX_PROVIDER_ID, MAX_QUANTITY, MOST_PRICE, Payment,
    PaymentAction, PaymentCommand, PaymentEvent, PaymentRefusal, Purpose, StartPayment,
};
use crate::wallet::MAX_GRANT;

fn started() -> PaymentEvent {
    PaymentEvent::PaymentStarted {
        payment_id: payment_id(),
        account_id: account(),
        channel: Channel::Checkout,
        purpose: Purpose::TokenCredit { credit_micro: MicroUsd::dollars(25) },
        plan_id: Some("starter".into()),
        quantity: 1,
        price_micro: MicroUsd::dollars(10),
        currency: Currency::Usd,
        livemode: false,
        at: second(0),
    }
}

fn opened(session_id: &str) -> PaymentEvent {
    PaymentEvent::CheckoutOpened { payment_id: payment_id(), session_id: session_id.into(), at: second(0) }
}

fn credited() -> PaymentEvent {
    PaymentEvent::PaymentCredited {
        payment_id: payment_id(),
        payment_intent_id: None,
        paid_micro: MicroUsd::dollars(10),
        granted_micro: MicroUsd::dollars(25),
        remaining_micro: MicroUsd::dollars(25),
        at: second(0),
    }
}

fn failed() -> PaymentEvent {
    let reason = FailureReason::Declined;
    PaymentEvent::PaymentFailed { payment_id: payment_id(), reason, at: second(0) }
}

fn expired() -> PaymentEvent {
    PaymentEvent::PaymentExpired { payment_id: payment_id(), at: second(0) }
}

fn begin(start: StartPayment) -> PaymentAction {
    PaymentAction::StartPayment(Box::new(start))
}

fn note(session_id: &str) -> PaymentAction {
    PaymentAction::NoteCheckout { session_id: session_id.into() }
}

const FAIL: PaymentAction = PaymentAction::FailPayment { reason: FailureReason::Declined };

async fn expect(
    given: Vec<PaymentEvent>,
    when: PaymentAction,
    then: Result<Vec<PaymentEvent>, PaymentRefusal>,
) {
    let command = PaymentCommand { payment_id: payment_id(), action: when, now: second(0) };
    let outcome = TestFramework::<Payment>::with(()).given(given).when_async(command).await;
    assert_eq!(outcome.inspect_result(), then);
}

#[tokio::test]
async fn given_nothing_a_payment_is_started_once() {
    expect(vec![], begin(start()), Ok(vec![started()])).await;
    let again = Err(PaymentRefusal::AlreadyStarted { payment_id: payment_id() });
    expect(vec![started()], begin(start()), again).await;
}

#[tokio::test]
async fn a_price_is_whole_cents_within_bounds() {
    let (least, most) = (LEAST_PRICE, MOST_PRICE);
    for price in [micro(0), micro(-10_000), micro(490_000), most + micro(10_000)] {
        let refusal = Err(PaymentRefusal::PriceOutOfRange { price, least, most });
        expect(vec![], begin(StartPayment { price_micro: price, ..start() }), refusal).await;
    }
    let price = micro(1_005_000);
    let odd = Err(PaymentRefusal::NotWholeCents { price });
    expect(vec![], begin(StartPayment { price_micro: price, ..start() }), odd).await;
}

#[tokio::test]
async fn credit_and_quantity_are_within_bounds() {
    for credit in [micro(0), micro(-1), MAX_GRANT + micro(1)] {
        let purpose = Purpose::TokenCredit { credit_micro: credit };
        let refusal = Err(PaymentRefusal::CreditOutOfRange { credit, most: MAX_GRANT });
        expect(vec![], begin(StartPayment { purpose, ..start() }), refusal).await;
    }
    for quantity in [0, MAX_QUANTITY + 1] {
        let refusal = Err(PaymentRefusal::QuantityOutOfRange { quantity, most: MAX_QUANTITY });
        expect(vec![], begin(StartPayment { quantity, ..start() }), refusal).await;
    }
}

#[tokio::test]
async fn a_payment_is_paid_at_one_checkout() {
    expect(vec![started()], note("cs_1"), Ok(vec![opened("cs_1")])).await;
    expect(vec![started(), opened("cs_1")], note("cs_1"), Ok(vec![])).await;
    let other = Err(PaymentRefusal::OtherSession { known: "cs_1".into(), got: "cs_2".into() });
    expect(vec![started(), opened("cs_1")], note("cs_2"), other).await;
}

#[tokio::test]
async fn an_id_of_the_payment_providers_is_short_and_visible() {
    for bad in ["", "cs 1", "cs_1\n", "çs_1", &"c".repeat(MAX_PROVIDER_ID + 1)] {
        let refusal = Err(PaymentRefusal::BadProviderId { most: MAX_PROVIDER_ID });
        expect(vec![started()], note(bad), refusal).await;
    }
}

#[tokio::test]
async fn failing_and_expiring_are_told_once_and_never_after_the_money_came() {
    expect(vec![started()], FAIL, Ok(vec![failed()])).await;
    expect(vec![started()], PaymentAction::ExpirePayment, Ok(vec![expired()])).await;
    expect(vec![started(), failed()], FAIL, Ok(vec![])).await;
    expect(vec![started(), failed()], PaymentAction::ExpirePayment, Ok(vec![])).await;
    expect(vec![started(), expired()], FAIL, Ok(vec![failed()])).await;
    expect(vec![started(), credited()], FAIL, Ok(vec![])).await;
    expect(vec![started(), credited()], PaymentAction::ExpirePayment, Ok(vec![])).await;
}

#[tokio::test]
async fn nothing_happens_to_a_payment_that_was_never_started() {
    for action in [note("cs_1"), FAIL, PaymentAction::ExpirePayment] {
        expect(vec![], action, Err(PaymentRefusal::NotStarted { payment_id: payment_id() })).await;
    }
}

#[test]
fn the_grant_has_the_payments_id() {
    let id = Uuid::from_u128(9);
    assert_eq!(PaymentId(id).grant().0, id);
}
