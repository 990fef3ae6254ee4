//! Referring: from the code that a friend names to the commission in the Cash Wallet, and back.

use codexapi::accounts::marks::{self, Mark};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::payment::RefundStatus;
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Shop, customer, post_as, refusal};
use crate::http::bearer;

const REFERRAL: &str = "/api/v1/referral";

/// A shop whose customer has a code, and a friend.
struct Club {
    shop: Shop,
    code: Value,
    friend: AccountId,
    friends_token: String,
}

impl Club {
    async fn open() -> Self {
        let shop = Shop::open().await;
        let code = shop.get(REFERRAL).await["code"].clone();
        let (friend, friends_token) = customer(&shop.service).await;
        Self { shop, code, friend, friends_token }
    }

    async fn name(&self, token: &str, code: &Value) -> (StatusCode, Value) {
        post_as(&self.shop.service, token, REFERRAL, &json!({ "code": code })).await
    }

    async fn refer(&self) {
        let (status, named) = self.name(&self.friends_token, &self.code).await;
        assert_eq!(status, StatusCode::OK, "{named}");
    }

    async fn commissions(&self) -> Vec<Value> {
        self.shop.get(REFERRAL).await["commissions"].as_array().expect("a list").clone()
    }

    async fn cash(&self) -> i64 {
        let cash = self.shop.get("/api/v1/cash-wallet").await;
        let amount = |name: &str| cash[name].as_i64().expect("an amount");
        amount("balanceMicro") - amount("debtMicro")
    }

    async fn review(&self, commission: &Value, body: &Value) -> (StatusCode, Value) {
        let path = format!("/referrals/{}/review", commission["commissionId"].as_str().expect("an id"));
        self.shop.operate(&path, body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_purchase_earns_a_commission_that_an_operator_pays_once() {
    let club = Club::open().await;
    club.refer().await;
    club.shop.pay(club.friend, 120).await;
    club.shop.reward().await;
    club.shop.reward().await;
    let earned = club.commissions().await;
    assert_eq!(earned.len(), 1);
    assert_eq!(
        (earned[0]["standing"].clone(), earned[0]["amountMicro"].clone()),
        (json!("pending"), json!(12_000_000))
    );
    assert_eq!(club.cash().await, 0, "it waits");

    let pending = club.shop.inspect("/referrals/pending").await;
    assert_eq!(pending["commissions"].as_array().map(Vec::len), Some(1));
    assert_eq!(pending["commissions"][0]["referredId"], json!(club.friend.0));
    let approve = json!({ "approve": true });
    let answers = join_all((0..12).map(|_| club.review(&earned[0], &approve))).await;
    let paid: Vec<_> = answers.iter().filter(|(status, _)| *status == StatusCode::OK).collect();
    assert_eq!(paid.len(), 1, "{answers:?}");
    assert_eq!(paid[0].1, json!({ "standing": "paid", "paidMicro": 12_000_000, "paidUsd": "12.000000" }));
    assert_eq!(club.cash().await, 12_000_000);
    club.shop.settle_down().await;
    assert_eq!(club.shop.inspect("/referrals/pending").await["commissions"], json!([]));
    assert_eq!(club.shop.verify().await.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_take_the_commission_along_in_proportion_before_and_after_it_is_paid() {
    let club = Club::open().await;
    club.refer().await;
    let first = club.shop.pay(club.friend, 100).await;
    club.shop.refund(club.friend, first, 25, RefundStatus::Made).await;
    club.shop.reward().await;
    let earned = club.commissions().await;
    assert_eq!(earned[0]["remainingMicro"], 7_500_000);
    club.review(&earned[0], &json!({ "approve": true })).await;
    assert_eq!(club.cash().await, 7_500_000);

    club.shop.refund(club.friend, first, 75, RefundStatus::Made).await;
    club.shop.reward().await;
    assert_eq!(club.cash().await, 0);
    club.shop.refund(club.friend, first, 75, RefundStatus::Failed).await;
    club.shop.refund(club.friend, first, 25, RefundStatus::Failed).await;
    club.shop.reward().await;
    assert_eq!(club.cash().await, 10_000_000, "what came back is earned again");
    assert_eq!(club.commissions().await[0]["remainingMicro"], 10_000_000);

    let second = club.shop.pay(club.friend, 50).await;
    club.shop.refund(club.friend, second, 50, RefundStatus::Made).await;
    club.shop.reward().await;
    let earned = club.commissions().await;
    let gone = refusal(club.review(&earned[0], &json!({ "approve": true })).await);
    assert_eq!(gone, (409, "nothing_left".into()));
    let rejection = json!({ "approve": false, "reason": "purchase_reversed" });
    let (status, rejected) = club.review(&earned[0], &rejection).await;
    assert_eq!((status, rejected["paidMicro"].clone()), (StatusCode::OK, json!(0)));
    assert_eq!(club.shop.verify().await.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_back_before_it_was_known_as_paid_earns_nothing() {
    let club = Club::open().await;
    club.refer().await;
    let payment_id = club.shop.start(club.friend, 100).await;
    club.shop.refund(club.friend, payment_id, 40, RefundStatus::Made).await;
    club.shop.reward().await;
    assert_eq!(club.commissions().await, Vec::<Value>::new());
    club.shop.confirm(club.friend, payment_id).await;
    club.shop.reward().await;
    let earned = club.commissions().await;
    assert_eq!((earned.len(), &earned[0]["remainingMicro"]), (1, &json!(6_000_000)));
    assert_eq!(club.shop.verify().await.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_named_once_before_the_first_purchase_and_never_by_oneself() {
    let club = Club::open().await;
    assert_eq!(refusal(club.name(&club.shop.token, &club.code).await), (409, "self_referral".into()));
    assert_eq!(
        refusal(club.name(&club.friends_token, &json!("NOBODYS")).await),
        (404, "unknown_code".into())
    );
    club.refer().await;
    club.refer().await;
    let friends_code =
        club.shop.service.get(REFERRAL, &[("authorization", &bearer(&club.friends_token))]).await.1;
    assert_eq!(friends_code["referred"], true);
    let circle = club.name(&club.shop.token, &friends_code["code"]).await;
    assert_eq!(refusal(circle), (409, "circular_referral".into()));

    let (buyer, buyers_token) = customer(&club.shop.service).await;
    club.shop.pay(buyer, 10).await;
    club.shop.reward().await;
    let late = club.name(&buyers_token, &club.code).await;
    assert_eq!(refusal(late), (409, "already_purchased".into()));

    let (household, household_token) = customer(&club.shop.service).await;
    let app = &club.shop.service.app;
    let device = Mark::device(&app.config.credentials.token_digest_key, "the family's laptop");
    for account_id in [club.shop.account_id, household] {
        marks::add(&app.pool, account_id, std::slice::from_ref(&device)).await.expect("marked");
    }
    assert_eq!(refusal(club.name(&household_token, &club.code).await), (409, "self_referral".into()));

    // Who buys and names a code before the purchase is heard of, named it too late all the same.
    let (quick, quick_token) = customer(&club.shop.service).await;
    club.shop.pay(quick, 10).await;
    assert_eq!(club.name(&quick_token, &club.code).await.0, StatusCode::OK);
    club.shop.pay(quick, 10).await;
    club.shop.reward().await;
    assert_eq!(club.commissions().await, Vec::<Value>::new());
    assert_eq!(club.shop.count("referral.attribution_voided").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_are_refused_by_name() {
    let club = Club::open().await;
    let unknown = json!({ "commissionId": uuid::Uuid::nil() });
    let cases = [
        (json!({ "approve": true }), (404, "unknown_commission")),
        (json!({ "approve": false }), (400, "reason_of_rejection")),
        (json!({ "approve": true, "reason": "abuse" }), (400, "reason_of_rejection")),
        (json!({ "approve": "yes" }), (400, "invalid_body")),
    ];
    for (body, (status, code)) in cases {
        assert_eq!(refusal(club.review(&unknown, &body).await), (status, code.to_owned()), "{body}");
    }
    let bad = club.shop.operate("/referrals/7/review", &json!({ "approve": true })).await;
    assert_eq!(refusal(bad), (400, "invalid_commission_id".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_answer_the_same_payments_pay_nothing_twice() {
    let club = Club::open().await;
    club.refer().await;
    for _ in 0..5 {
        club.shop.pay(club.friend, 10).await;
    }
    let (one, other) = (club.shop.rewards(), club.shop.rewards());
    let both = tokio::join!(one.step(), other.step());
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    club.shop.reward().await;
    assert_eq!(club.commissions().await.len(), 5);
    assert_eq!(club.shop.count("referral.commission_earned").await, 5);
    assert_eq!(club.shop.count("referral.first_purchase_noted").await, 1);
}
