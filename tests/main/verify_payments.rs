//! `verify` over payments of each kind, what they bought and what went back: true as it is, and each forgery named.

use codexapi::clock;
use codexapi::verify::Difference;
use codexapi_aggregates::cash::CashWallet;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::PaymentId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{
    Channel, Currency, ObservedPayment, ObservedReversal, Payment, PaymentAction, PaymentCommand, Purpose,
    RefundStatus, Reversal, StartPayment, confirm, confirm_cash, reverse,
};
use codexapi_aggregates::wallet::entitlements::{EntitlementTerms, FairUse, Scope};
use codexapi_aggregates::wallet::{Wallet, WalletTerms};
use codexapi_projections::versions;

use crate::business::Business;
use crate::harness::TestDatabase;
use crate::verify::{chain_anew, difference, project, tamper, verify};

const PRICE: MicroUsd = MicroUsd::dollars(10);

/// A customer who bought credit, of which $4 were refunded, time of a plan, and loaded cash.
struct Paid {
    database: TestDatabase,
    business: Business,
    credit: PaymentId,
}

async fn paid() -> Paid {
    let database = TestDatabase::new().await;
    versions::install(&database.pool).await.expect("read tables");
    let business = Business::open(&database.pool).await;
    let credit = pay(&business, Purpose::TokenCredit { credit_micro: MicroUsd::dollars(25) }).await;
    let terms = EntitlementTerms {
        plan_id: "unlimited".parse().expect("an id"),
        scope: Scope::default(),
        fair_use: FairUse::default(),
        block_secs: 86_400,
        blocks: 1,
    };
    pay(&business, Purpose::Entitlement { terms: Box::new(terms) }).await;
    pay(&business, Purpose::CashTopUp).await;
    refund(&business, credit).await;
    project(&database.pool).await;
    Paid { database, business, credit }
}

async fn pay(business: &Business, purpose: Purpose) -> PaymentId {
    let payment_id = PaymentId(clock::new_id());
    let (stream, wallet, metadata) = (payment_id.to_string(), business.wallet(), Metadata::process("test"));
    let start = StartPayment {
        payment_id,
        account_id: business.account,
        channel: Channel::Checkout,
        purpose: purpose.clone(),
        plan_id: None,
        quantity: 1,
        price_micro: PRICE,
        currency: Currency::Usd,
        livemode: true,
    };
    let starting = |payment: &Payment, now| {
        let action = PaymentAction::StartPayment(Box::new(start.clone()));
        payment.decide(PaymentCommand { payment_id, action, now })
    };
    business.log.execute(&stream, &metadata, starting).await.expect("started");
    let observed = ObservedPayment {
        payment_id,
        account_id: business.account,
        session_id: None,
        payment_intent_id: None,
        paid: true,
        amount_micro: PRICE,
        currency: Some(Currency::Usd),
        livemode: true,
        period: None,
    };
    if purpose == Purpose::CashTopUp {
        let crediting =
            |payment: &Payment, cash: &CashWallet, now| confirm_cash(payment, cash, &observed, now);
        business.log.execute_pair(&stream, &wallet, &metadata, crediting).await.expect("credited");
    } else {
        let terms = WalletTerms::default();
        let crediting =
            |payment: &Payment, wallet: &Wallet, now| confirm(payment, wallet, &observed, &terms, now);
        business.log.execute_pair(&stream, &wallet, &metadata, crediting).await.expect("credited");
    }
    payment_id
}

async fn refund(business: &Business, payment_id: PaymentId) {
    let observed = ObservedReversal {
        payment_id,
        reversal: Reversal::Refund { refund_id: "re_1".into(), status: RefundStatus::Made },
        amount_micro: MicroUsd::dollars(4),
        currency: Some(Currency::Usd),
        livemode: true,
    };
    let (stream, terms) = (payment_id.to_string(), WalletTerms::default());
    let reversing =
        |payment: &Payment, wallet: &Wallet, now| reverse(payment, wallet, &observed, &terms, now);
    let (wallet, metadata) = (business.wallet(), Metadata::process("test"));
    business.log.execute_pair(&stream, &wallet, &metadata, reversing).await.expect("reversed");
}

#[tokio::test]
async fn payments_and_what_they_bought_verify() {
    let Paid { database, .. } = paid().await;
    let report = verify(&database.pool).await;
    assert_eq!(report.difference, None);
    assert_eq!((report.payments, report.cash_wallets), (3, 1));
}

#[tokio::test]
async fn a_corrupted_row_of_what_was_paid_and_bought_is_named() {
    let corruptions = [
        (
            "payments",
            "UPDATE payments_1 SET granted_micro = 1 WHERE granted_micro = 25000000",
            "granted_micro is 1,",
        ),
        (
            "cash_balances",
            "UPDATE cash_balances_1 SET balance_micro = 99000000",
            "balance_micro is 99000000,",
        ),
        ("cash_movements", "UPDATE cash_movements_1 SET amount_micro = 1", "amount_micro is 1,"),
        ("entitlements", "UPDATE entitlements_1 SET ends_at = ends_at + interval '1 day'", "ends_at is "),
        ("receipts", "UPDATE receipts_1 SET number = 4 WHERE number = 3", "number is 4, the log leads to 3"),
        ("receipts", "DELETE FROM receipts_1 WHERE number = 2", "it is missing"),
        (
            "credit_notes",
            "UPDATE credit_notes_1 SET amount_micro = 1",
            "amount_micro is 1, the log leads to 4000000",
        ),
    ];
    for (named, statement, said) in corruptions {
        let Paid { database, .. } = paid().await;
        tamper(&database.pool, statement).await;
        let found = difference(&database.pool).await;
        let Difference::Projection { table, detail, .. } = &found else { panic!("{named}: {found}") };
        assert_eq!(table, named);
        assert!(detail.starts_with(said), "{named}: {detail}");
    }
}

/// The statement that changes a field of the last event of a kind.
fn forgery(variant: &str, field: &str, to: &str) -> String {
    format!(
        "UPDATE events SET payload = jsonb_set(payload::jsonb, '{{{variant},{field}}}', '{to}')
         WHERE position = (SELECT max(position) FROM events WHERE payload::jsonb ? '{variant}')"
    )
}

#[tokio::test]
async fn an_edited_payment_plan_or_cash_event_is_named() {
    let cases = [
        ("payment ", "PaymentCredited", "granted_micro"),
        ("payment ", "RefundRecorded", "amount_micro"),
        ("wallet ", "EntitlementGranted", "ends_at"),
        ("cash_wallet ", "ToppedUp", "amount_micro"),
    ];
    for (aggregate, variant, field) in cases {
        let Paid { database, .. } = paid().await;
        tamper(&database.pool, &forgery(variant, field, "1")).await;
        let found = difference(&database.pool).await;
        let Difference::PayloadEdited { event } = &found else { panic!("{variant}: {found}") };
        assert!(event.stream.starts_with(aggregate), "{variant}: {found}");
    }
}

#[tokio::test]
async fn a_forged_payment_plan_or_cash_event_with_fitting_hashes_is_named_by_what_does_not_follow() {
    let cases = [
        (
            "RefundRecorded",
            "amount_micro",
            "3000000",
            "what was reversed should be $3.000000 and is $4.000000",
        ),
        ("RefundRecorded", "remaining_micro", "0", "what should remain of the credit should be $15.000000"),
        ("EntitlementGranted", "ends_at", "1", "does not follow on what there is"),
        ("ToppedUp", "amount_micro", "1", "the cash balance after it should be $0.000001 and is $10.000000"),
        ("ToppedUp", "balance_micro", "99000000", "should be $10.000000 and is $99.000000"),
    ];
    for (variant, field, to, said) in cases {
        let Paid { database, business, credit } = paid().await;
        tamper(&database.pool, &forgery(variant, field, to)).await;
        for aggregate in ["wallet", "cash_wallet"] {
            chain_anew(&database.pool, aggregate, &business.wallet()).await;
        }
        chain_anew(&database.pool, "payment", &credit.to_string()).await;
        let found = difference(&database.pool).await.to_string();
        assert!(found.contains(said), "{variant}.{field}: {found}");
    }
}

#[tokio::test]
async fn a_payment_whose_credit_was_made_to_disappear_is_named() {
    let Paid { database, .. } = paid().await;
    tamper(&database.pool, "DELETE FROM events WHERE aggregate_type = 'cash_wallet'").await;
    let found = difference(&database.pool).await;
    let Difference::Payment { what, .. } = &found else { panic!("{found}") };
    assert_eq!(what, "it was credited and never topped up");
}
