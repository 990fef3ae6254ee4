//! The share credit: once per wallet, ever.

use futures::future::join_all;
use http::StatusCode;
use serde_json::json;

use super::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn of_many_parallel_claims_one_is_granted() {
    let shop = Shop::open().await;
    let offer = shop.get("/api/v1/share-credit").await;
    assert_eq!((offer["available"].clone(), offer["amountUsd"].clone()), (json!(true), json!("10.000000")));

    let nothing = json!({});
    let claims = (0..24).map(|_| shop.post("/api/v1/share-credit/claim", &nothing));
    let answers = join_all(claims).await;
    let (granted, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(status, _)| *status == StatusCode::OK);
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].1["balanceMicro"], 10_000_000);
    for (status, body) in refused {
        assert_eq!((status, body["error"]["code"].clone()), (StatusCode::CONFLICT, json!("already_claimed")));
    }
    assert_eq!(shop.get("/api/v1/wallet/status").await["balanceMicro"], 10_000_000);

    let offer = shop.get("/api/v1/share-credit").await;
    assert_eq!(offer["available"], false);
    assert!(offer["claimedAt"].is_string());
    assert_eq!(shop.verify().await.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_ended_is_not_claimed() {
    let shop = Shop::open_with(&[("CODEXAPI_SHARE_CREDIT_USD", "0")]).await;
    assert_eq!(shop.get("/api/v1/share-credit").await["available"], false);
    let refused = shop.refused("/api/v1/share-credit/claim", &json!({})).await;
    assert_eq!(refused, (409, "not_offered".into()));
    assert_eq!(shop.count("bonus.share_credit_claimed").await, 0);
}
