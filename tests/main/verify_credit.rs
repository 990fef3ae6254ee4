//! `verify` over credit that was bought, taken back, owed, won and adjusted: true as it is, and each forgery of it named.

use codexapi::accounts::recall_grant;
use codexapi::clock;
use codexapi::verify::Difference;
use codexapi_aggregates::ids::{AdjustmentId, GrantId, PurchaseId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::{AdjustmentReason, GrantSource, PurchaseItem, Wallet, WalletAction};
use codexapi_projections::{balances, versions};
use sqlx::PgPool;

use crate::business::Business;
use crate::harness::TestDatabase;
use crate::verify::{chain_anew, difference, project, tamper, verify};

/// Each movement that a wallet knows, with $3 owed at the end and $0.75 of what nobody bought left.
async fn life() -> (TestDatabase, Business) {
    let database = TestDatabase::new().await;
    versions::install(&database.pool).await.expect("read tables");
    let business = Business::open(&database.pool).await;
    let pay = async |dollars: i64| {
        let payment_id = GrantId(clock::new_id());
        let amount_micro = MicroUsd::dollars(dollars);
        let source = GrantSource::TopUp;
        let grant_id = payment_id;
        business
            .command(WalletAction::GrantCredit { grant_id, source, amount_micro, expires_at: None })
            .await;
        payment_id
    };
    let take_back = async |payment_id, dollars: i64| {
        let amount_micro = MicroUsd::dollars(dollars);
        business.command(WalletAction::TakeBackPayment { payment_id, amount_micro }).await;
    };
    let (first, second) = (pay(20).await, pay(5).await);
    business.generate("conversation-a").await;
    let (item, amount_micro) = (PurchaseItem::ProjectSlot, MicroUsd(9_000_000));
    business
        .command(WalletAction::Purchase { purchase_id: PurchaseId(clock::new_id()), item, amount_micro })
        .await;
    take_back(first, 24).await;
    take_back(second, 5).await;
    let recalled = None;
    let amount_micro = MicroUsd::dollars(2);
    business.command(WalletAction::ReinstatePayment { payment_id: first, amount_micro, recalled }).await;
    let third = pay(3).await;
    take_back(third, 4).await;
    let reason = AdjustmentReason::GrantedInError;
    let adjustment_id = AdjustmentId(clock::new_id());
    let left = business.log.read(&business.wallet(), Wallet::balance).await.expect("read");
    let amount_micro = left - MicroUsd(750_000);
    business.command(WalletAction::AdjustDown { adjustment_id, reason, amount_micro }).await;
    project(&database.pool).await;
    (database, business)
}

/// Changes one number in the last event of a type, with hashes that fit it.
async fn forge(pool: &PgPool, business: &Business, variant: &str, field: &str, to: i64) {
    tamper(
        pool,
        &format!(
            "UPDATE events SET payload = jsonb_set(payload::jsonb, '{{{variant},{field}}}', '{to}')
             WHERE position = (SELECT max(position) FROM events WHERE payload::jsonb ? '{variant}')"
        ),
    )
    .await;
    chain_anew(pool, "wallet", &business.wallet()).await;
}

#[tokio::test]
async fn every_movement_verifies_and_the_read_model_says_what_is_owed() {
    let (database, business) = life().await;
    assert_eq!(verify(&database.pool).await.difference, None);
    let wallet = balances::get(&database.pool, business.account.0).await.expect("read").expect("a wallet");
    assert_eq!((wallet.balance_micro, wallet.debt_micro), (MicroUsd(750_000), MicroUsd::dollars(3)));
    let stream = business.wallet();
    let state = business.log.read(&stream, |wallet: &Wallet| (wallet.balance(), wallet.debt()));
    assert_eq!(state.await.expect("read"), (wallet.balance_micro, wallet.debt_micro));
}

#[tokio::test]
async fn forged_movements_are_named() {
    let cases = [
        ("PurchaseMade", "amount_micro", 1, "its parts sum to $9.000000, not to $0.000001"),
        ("CreditAdjusted", "amount_micro", 1, "not to $0.000001"),
        ("PaymentReversed", "debt_added_micro", 0, "the debt after it should be $"),
        ("PaymentReversed", "debt_micro", 0, "the debt after it should be $3.000000 and is $0.000000"),
        ("PaymentReinstated", "debt_paid_micro", 1_000_000, "the debt after it should be $3.000000"),
        ("PaymentReinstated", "amount_micro", 40_000_000, "gets back more than was taken for it"),
        ("CreditGranted", "debt_paid_micro", 90_000_000, "it pays more debt than there is"),
    ];
    for (variant, field, to, said) in cases {
        let (database, business) = life().await;
        forge(&database.pool, &business, variant, field, to).await;
        let found = difference(&database.pool).await;
        let Difference::Rule { what, .. } = &found else { panic!("{variant}.{field}: {found}") };
        assert!(what.contains(said), "{variant}.{field}: {what}");
    }
}

#[tokio::test]
async fn a_forged_balance_after_a_reversal_is_named() {
    let (database, business) = life().await;
    forge(&database.pool, &business, "PaymentReversed", "balance_micro", 99_000_000).await;
    let found = difference(&database.pool).await;
    assert!(matches!(found, Difference::Amount { found, .. } if found == MicroUsd::dollars(99)), "{found}");
}

#[tokio::test]
async fn a_corrupted_debt_or_statement_line_is_named_with_its_row() {
    let corruptions = [
        ("wallet_balances", "UPDATE wallet_balances_1 SET debt_micro = 0", "debt_micro is "),
        (
            "wallet_movements",
            "UPDATE wallet_movements_1 SET amount_micro = amount_micro + 1 WHERE kind = 'purchase_made'",
            "amount_micro is ",
        ),
    ];
    for (named, statement, said) in corruptions {
        let (database, _business) = life().await;
        tamper(&database.pool, statement).await;
        let found = difference(&database.pool).await;
        let Difference::Projection { table, detail, .. } = &found else { panic!("{found}") };
        assert_eq!(table, named);
        assert!(detail.starts_with(said), "{detail}");
    }
}

#[tokio::test]
async fn a_grant_that_a_wallet_may_have_forgotten_is_recalled_from_the_log() {
    let (database, business) = life().await;
    let stream = business.wallet();
    let grants = business.log.read(&stream, |wallet: &Wallet| wallet.grants().to_vec());
    for grant in grants.await.expect("read") {
        let recalled = recall_grant(&business.log, business.account, grant.grant_id).await.expect("read");
        let terms = recalled.expect("it was granted");
        assert_eq!((terms.source, terms.amount_micro), (grant.source, grant.amount_micro));
        assert_eq!((terms.expires_at, terms.granted_at), (grant.expires_at, grant.granted_at));
    }
    let stranger = GrantId(clock::new_id());
    assert_eq!(recall_grant(&business.log, business.account, stranger).await.expect("read"), None);
    drop(database);
}
