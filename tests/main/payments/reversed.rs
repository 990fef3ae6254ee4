//! Row 12: refunds and disputes in any order, with the credit spent before.

use codexapi::clock;
use codexapi_aggregates::ids::{AccountId, PurchaseId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::{PurchaseItem, Wallet, WalletAction, WalletCommand};

use super::{CREDIT, Dice, Till};
use crate::http::operator;

/// Spends all there is.
async fn spend(till: &Till, account_id: AccountId) {
    let purchase_id = PurchaseId(clock::new_id());
    let terms = till.service.app.config.wallet.terms();
    let buy = |wallet: &Wallet, now| {
        let amount_micro = wallet.balance();
        let action = WalletAction::Purchase { purchase_id, item: PurchaseItem::ProjectSlot, amount_micro };
        wallet.decide(WalletCommand { action, terms: terms.clone(), now })
    };
    till.service.app.log.execute(&account_id.to_string(), &operator(), buy).await.expect("bought");
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_refunds_and_a_dispute_in_any_order_take_back_once_though_all_was_spent() {
    let till = Till::start().await;
    for seed in 0..6 {
        let mut dice = Dice::new(seed);
        let (account_id, checkout) = till.checkout().await;
        let known = till.stripe.held().await.len();
        let intent = till.stripe.pay(&checkout).await;
        for event in till.stripe.held().await.split_off(known) {
            assert_eq!(till.stripe.deliver(&event).await, Some(200));
        }
        assert_eq!(till.net(account_id).await, CREDIT);
        spend(&till, account_id).await;
        let known = till.stripe.held().await.len();
        till.stripe.refund(&intent, 200).await;
        let failing = till.stripe.refund(&intent, 300).await;
        let dispute = till.stripe.dispute(&intent).await;
        let verdict = ["win", "lose"][dice.throw(2)];
        till.stripe.decide_dispute(&dispute, verdict).await;
        till.stripe.control("POST", &format!("/refunds/{failing}/fail"), serde_json::json!({})).await;
        let events = till.stripe.held().await.split_off(known);
        for event in dice.deal(&events) {
            assert_eq!(till.stripe.deliver(&event).await, Some(200));
        }
        till.reconcile().await;
        // $2 of $10 went back; a lost dispute took what its amount was.
        let disputed = disputed_micro(&till, &intent).await;
        let lost = if verdict == "lose" { disputed } else { 0 };
        let expected = MicroUsd::ZERO - MicroUsd((2_000_000 + lost) * 25 / 10);
        assert_eq!(till.net(account_id).await, expected, "seed {seed}: {verdict}");
    }
    till.verifies().await;
}

async fn disputed_micro(till: &Till, intent: &str) -> i64 {
    let page = till
        .payments()
        .stripe
        .of_intent::<codexapi::payments::stripe::Dispute>(intent, None)
        .await
        .expect("a list");
    page.data.iter().map(|dispute| dispute.amount * 10_000).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn granted_spent_disputed_and_won_leaves_nothing_and_mints_nothing() {
    let till = Till::start().await;
    let (account_id, checkout) = till.checkout().await;
    let intent = till.stripe.pay(&checkout).await;
    till.reconcile().await;
    spend(&till, account_id).await;
    let dispute = till.stripe.dispute(&intent).await;
    till.reconcile().await;
    let amounts = |wallet: &Wallet| (wallet.balance(), wallet.debt());
    let stream = account_id.to_string();
    let owed = till.service.app.log.read(&stream, amounts).await.expect("read");
    assert_eq!(owed, (MicroUsd::ZERO, CREDIT));
    till.stripe.decide_dispute(&dispute, "win").await;
    till.reconcile().await;
    let settled = till.service.app.log.read(&stream, amounts).await.expect("read");
    assert_eq!(settled, (MicroUsd::ZERO, MicroUsd::ZERO));
    till.verifies().await;
}
