//! Row 9: each webhook 0 to 3 times, in any order, one after the other or at once.

use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::Purpose;
use futures::future::join_all;

use super::{CREDIT, Dice, PRICE, Till, open};

#[tokio::test(flavor = "multi_thread")]
async fn each_webhook_0_to_3_times_in_any_order_credits_exactly_once() {
    let till = Till::start().await;
    let left = MicroUsd::dollars(15);
    for seed in 0..10 {
        let mut dice = Dice::new(seed);
        let (account_id, checkout) = till.checkout().await;
        let known = till.stripe.held().await.len();
        let intent = till.stripe.pay(&checkout).await;
        let paid: Vec<String> = till.stripe.held().await.split_off(known);
        assert!(paid.len() >= 2, "an intent and a session");
        for event in dice.deal(&paid) {
            assert_eq!(till.stripe.deliver(&event).await, Some(200));
        }
        till.stripe.refund(&intent, 400).await;
        let all: Vec<String> = till.stripe.held().await.split_off(known);
        let dealt = dice.deal(&all);
        if seed % 2 == 0 {
            for event in &dealt {
                assert_eq!(till.stripe.deliver(event).await, Some(200));
            }
        } else {
            let answers = join_all(dealt.iter().map(|event| till.stripe.deliver(event))).await;
            assert!(answers.iter().all(|answer| *answer == Some(200)), "{answers:?}");
        }
        let net = till.net(account_id).await;
        assert!([MicroUsd::ZERO, CREDIT, left].contains(&net), "seed {seed}: {net}");
        till.reconcile().await;
        assert_eq!(till.net(account_id).await, left, "seed {seed}");
        assert_eq!(till.count("wallet.credit_granted", account_id).await, 1);
        assert_eq!(till.count("wallet.payment_reversed", account_id).await, 1);
    }
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kind_of_payment_changes_a_customers_tokens() {
    let till = Till::start().await;
    for purpose in [Purpose::TokenCredit { credit_micro: CREDIT }, Purpose::CashTopUp] {
        let customer = till.service.customer().await;
        let account_id = customer.account_id;
        let checkout = open(till.payments(), account_id, purpose.clone()).await;
        let known = till.stripe.held().await.len();
        let intent = till.stripe.pay(&checkout).await;
        let dispute = till.stripe.dispute(&intent).await;
        till.stripe.decide_dispute(&dispute, "win").await;
        for event in till.stripe.held().await.split_off(known) {
            assert_eq!(till.stripe.deliver(&event).await, Some(200));
        }
        let paid = match purpose {
            Purpose::CashTopUp => (till.cash(account_id).await, PRICE),
            _ => (till.net(account_id).await, CREDIT),
        };
        assert_eq!(paid.0, paid.1);
        assert_eq!(till.count("account.key_issued", account_id).await, 1, "the first token and no other");
        assert_eq!(till.count("account.key_revoked", account_id).await, 0);
        let token = customer.system_token.token.reveal();
        let (status, _) = till.service.get("/api/v1/me", &[("x-api-key", token)]).await;
        assert_eq!(status, 200, "the token works as before");
    }
    till.verifies().await;
}
