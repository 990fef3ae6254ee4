//! Cash becomes token credit at the catalogue's price: in both wallets or in neither, once per key.

use codexapi_aggregates::cash::CashAction;
use codexapi_aggregates::catalog::{
    CATALOG_STREAM, Catalog, CatalogCommand, Plan, PlanBuys, Sold, Visibility,
};
use codexapi_aggregates::money::MicroUsd;
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Shop, customer};
use crate::http::admin::Fleet;
use crate::http::operator;

const BUY: &str = "/api/v1/cash-wallet/token-purchase";

fn order(plan: &str, quantity: u32, key: &str) -> Value {
    json!({ "planId": plan, "quantity": quantity, "idempotencyKey": key })
}

/// A package of $10 that gives $25 of credit, up to three at a time.
async fn sell(shop: &Shop, dollars: i64) {
    let plan = Plan {
        id: "test-pack".parse().expect("a plan's id"),
        name: "Test pack".into(),
        price_micro: MicroUsd::dollars(dollars),
        buys: PlanBuys::Credit { credit_micro: MicroUsd::dollars(25) },
        visibility: Visibility::Public,
        sold: Sold::Once,
        max_quantity: 3,
    };
    let decide = |catalog: &Catalog, now| {
        catalog.decide(CatalogCommand::Publish { plan: Box::new(plan.clone()), now })
    };
    shop.service.app.log.execute(CATALOG_STREAM, &operator(), decide).await.expect("published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_bought_once_per_key_however_often_it_is_asked_for() {
    let shop = Shop::open().await;
    sell(&shop, 10).await;
    shop.pay_in(100).await;
    let wanted = order("test-pack", 2, "mine-1");
    let answers = join_all((0..16).map(|_| shop.post(BUY, &wanted))).await;
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{answers:?}");
    let first = answers.iter().filter(|(_, bought)| bought["replayed"] == false).count();
    assert_eq!(first, 1);
    for (_, bought) in &answers {
        assert_eq!(bought["purchaseId"], answers[0].1["purchaseId"]);
        assert_eq!(
            (bought["priceMicro"].clone(), bought["creditMicro"].clone()),
            (json!(20_000_000), json!(50_000_000))
        );
        assert_eq!(
            (bought["cashBalanceUsd"].clone(), bought["balanceUsd"].clone()),
            (json!("80.000000"), json!("50.000000"))
        );
    }
    assert_eq!(shop.get("/api/v1/cash-wallet").await["balanceMicro"], 80_000_000);
    assert_eq!(shop.get("/api/v1/wallet/status").await["balanceMicro"], 50_000_000);

    let other = shop.refused(BUY, &order("test-pack", 1, "mine-1")).await;
    assert_eq!(other, (409, "idempotency_mismatch".into()));
    sell(&shop, 90).await;
    let (_, replayed) = shop.post(BUY, &wanted).await;
    assert_eq!(
        (replayed["replayed"].clone(), replayed["priceMicro"].clone()),
        (json!(true), json!(20_000_000))
    );
    assert_eq!(shop.verify().await.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_purchases_never_spend_more_than_there_is() {
    let shop = Shop::open().await;
    sell(&shop, 10).await;
    shop.pay_in(35).await;
    let orders: Vec<Value> = (0..12).map(|number| order("test-pack", 1, &format!("mine-{number}"))).collect();
    let answers = join_all(orders.iter().map(|order| shop.post(BUY, order))).await;
    let (bought, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(status, _)| *status == StatusCode::OK);
    assert_eq!(bought.len(), 3);
    for (status, body) in refused {
        assert_eq!(
            (status, body["error"]["code"].clone()),
            (StatusCode::PAYMENT_REQUIRED, json!("insufficient_cash"))
        );
    }
    assert_eq!(shop.get("/api/v1/cash-wallet").await["balanceUsd"], "5.000000");
    assert_eq!(shop.get("/api/v1/wallet/status").await["balanceUsd"], "75.000000");
    assert_eq!(shop.verify().await.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_purchase_is_refused_by_name() {
    let shop = Shop::open().await;
    sell(&shop, 10).await;
    let payment_id = shop.pay_in(100).await;
    shop.cash(CashAction::TakeBack { payment_id, amount_micro: MicroUsd::dollars(101) }).await;
    let cases = [
        (order("test-pack", 1, "k"), (402, "cash_wallet_in_debt")),
        (order("test-pack", 0, "k"), (400, "quantity_out_of_range")),
        (order("test-pack", 4, "k"), (400, "quantity_out_of_range")),
        (order("nothing", 1, "k"), (404, "unknown_plan")),
        (order("No Plan", 1, "k"), (400, "invalid_plan_id")),
        (order("test-pack", 1, ""), (400, "invalid_idempotency_key")),
        (json!({ "planId": "test-pack" }), (400, "invalid_body")),
    ];
    for (body, (status, code)) in cases {
        assert_eq!(shop.refused(BUY, &body).await, (status, code.to_owned()), "{body}");
    }
    let monthly = shop.refused(BUY, &order("unlimited", 1, "k")).await;
    assert_eq!(monthly, (409, "no_token_package".into()));
    assert_eq!(shop.count("cash_wallet.tokens_bought").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_bought_with_cash_that_was_taken_back_runs_nothing_until_the_cash_is_there_again() {
    let fleet = Fleet::start().await;
    let (account_id, token) = customer(&fleet.service).await;
    let shop = Shop { service: fleet.service, account_id, token };
    sell(&shop, 10).await;
    let payment_id = shop.pay_in(10).await;
    assert_eq!(shop.post(BUY, &order("test-pack", 1, "mine")).await.0, StatusCode::OK);
    let ask = json!({ "model": "gpt-5.5", "input": "hello", "max_output_tokens": 16 });
    assert_eq!(shop.post("/v1/responses", &ask).await.0, StatusCode::OK);
    shop.cash(CashAction::TakeBack { payment_id, amount_micro: MicroUsd::dollars(10) }).await;
    let (status, told) = shop.post("/v1/responses", &ask).await;
    assert_eq!(
        (status, &told["error"]["code"]),
        (StatusCode::PAYMENT_REQUIRED, &json!("cash_wallet_in_debt"))
    );
    assert!(told["error"]["message"].as_str().is_some_and(|said| said.contains("$10.000000")), "{told}");
    shop.cash(CashAction::Reinstate { payment_id, amount_micro: MicroUsd::dollars(10) }).await;
    assert_eq!(shop.post("/v1/responses", &ask).await.0, StatusCode::OK);
    assert_eq!(shop.verify().await.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_says_what_it_adds_to_a_package() {
    let shop = Shop::open().await;
    sell(&shop, 10).await;
    let path = format!("/users/{}/topup-codes", shop.account_id);
    let codes = [
        json!({ "code": "SPRING-25", "bonusBasisPoints": 2_500, "expiresAt": "2099-01-01T00:00:00Z" }),
        json!({ "code": "TITANS", "bonusBasisPoints": 1, "planId": "titan", "expiresAt": "2099-01-01T00:00:00Z" }),
    ];
    for code in codes {
        assert_eq!(shop.operate(&path, &code).await.0, StatusCode::OK);
    }
    let asked =
        |code: &str, plan: &str, quantity: u32| json!({ "code": code, "planId": plan, "quantity": quantity });
    let discount = "/api/v1/wallet/topup-discount";
    let (status, offer) = shop.post(discount, &asked(" spring-25", "test-pack", 2)).await;
    assert_eq!(status, StatusCode::OK, "{offer}");
    let told =
        ["priceMicro", "creditMicro", "bonusMicro", "totalCreditMicro"].map(|name| offer[name].clone());
    assert_eq!(told, [json!(20_000_000), json!(50_000_000), json!(12_500_000), json!(62_500_000)]);
    let cases = [
        (asked("TITANS", "test-pack", 1), (409, "other_plan")),
        (asked("OTHERS", "test-pack", 1), (404, "unknown_code")),
        (asked("SPRING-25", "nothing", 1), (404, "unknown_plan")),
        (asked("SPRING-25", "test-pack", 4), (400, "quantity_out_of_range")),
    ];
    for (body, (status, code)) in cases {
        assert_eq!(shop.refused(discount, &body).await, (status, code.to_owned()), "{body}");
    }
}
