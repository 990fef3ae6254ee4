//! Codes that make a top-up bring more: from the operator, and from a link in a mail.

use codexapi_aggregates::bonus::{BonusAction, BonusCommand, Bonuses};
use codexapi_aggregates::ids::GrantId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::PaymentAction;
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Shop, customer, post_as, refusal};
use crate::http::operator;

const EMAIL: &str = "/api/v1/wallet/topupemail-session-discount";

fn code(code: &str, basis_points: u32, expires_at: &str) -> Value {
    json!({ "code": code, "bonusBasisPoints": basis_points, "expiresAt": expires_at })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_issues_codes_to_one_customer() {
    let shop = Shop::open().await;
    let path = format!("/users/{}/topup-codes", shop.account_id);
    let (status, issued) = shop.operate(&path, &code("spring-25", 2_500, "2099-01-01T00:00:00Z")).await;
    assert_eq!(status, StatusCode::OK, "{issued}");
    assert_eq!((issued["code"].clone(), issued["standing"].clone()), (json!("SPRING-25"), json!("open")));
    let (status, drawn) =
        shop.operate(&path, &json!({ "bonusBasisPoints": 1, "expiresAt": "2099-01-01T00:00:00Z" })).await;
    assert_eq!((status, drawn["code"].as_str().map(str::len)), (StatusCode::OK, Some(10)));
    let listed = shop.inspect(&path).await;
    assert_eq!(listed["codes"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["codes"][1], issued);

    let cases = [
        (code("SPRING-25", 1, "2099-01-01T00:00:00Z"), (409, "code_exists")),
        (code("no", 1, "2099-01-01T00:00:00Z"), (400, "bad_code")),
        (code("PLENTY", 10_001, "2099-01-01T00:00:00Z"), (400, "basis_points_out_of_range")),
        (code("PAST", 1, "2001-01-01T00:00:00Z"), (400, "expires_in_the_past")),
    ];
    for (body, (status, code)) in cases {
        assert_eq!(refusal(shop.operate(&path, &body).await), (status, code.to_owned()), "{body}");
    }
    let nobody = format!("/users/{}/topup-codes", Uuid::nil());
    let refused = refusal(shop.operate(&nobody, &code("CODE", 1, "2099-01-01T00:00:00Z")).await);
    assert_eq!(refused, (404, "account_not_found".into()));
    assert_eq!(shop.count("bonus.code_issued").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_a_mail_begins_one_discount_for_its_customer() {
    let shop = Shop::open().await;
    let path = format!("/users/{}/topup-email-link", shop.account_id);
    let (status, made) = shop.operate(&path, &json!({})).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let link = json!({ "linkToken": made["linkToken"] });

    let (status, first) = shop.post(EMAIL, &link).await;
    assert_eq!((status, first["bonusBasisPoints"].clone()), (StatusCode::OK, json!(1_000)), "{first}");
    assert!(first["secondsLeft"].as_u64().is_some_and(|seconds| (1..=3_600).contains(&seconds)), "{first}");
    let (_, again) = shop.post(EMAIL, &link).await;
    assert_eq!(
        (again["code"].clone(), again["expiresAt"].clone()),
        (first["code"].clone(), first["expiresAt"].clone())
    );
    assert_eq!(shop.count("bonus.code_issued").await, 1);

    let (_, others_token) = customer(&shop.service).await;
    let others = refusal(post_as(&shop.service, &others_token, EMAIL, &link).await);
    assert_eq!(others, (403, "link_not_yours".into()));
    let invented = json!({ "linkToken": "mail_0123" });
    assert_eq!(shop.refused(EMAIL, &invented).await, (403, "link_not_yours".into()));

    let used = GrantId(Uuid::from_u128(5));
    let actions = [
        BonusAction::ApplyCode {
            code: first["code"].as_str().expect("a code").into(),
            payment_id: used,
            plan_id: "titan".into(),
            credit_micro: MicroUsd::dollars(100),
        },
        BonusAction::UseCode { payment_id: used },
    ];
    for action in actions {
        let decide = |bonuses: &Bonuses, now| bonuses.decide(BonusCommand { action: action.clone(), now });
        let stream = shop.account_id.to_string();
        shop.service.app.log.execute(&stream, &operator(), decide).await.expect("allowed");
    }
    assert_eq!(shop.refused(EMAIL, &link).await, (409, "code_spent".into()));
    assert_eq!(shop.verify().await.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_by_mail_that_ended_begins_nothing() {
    let shop = Shop::open_with(&[("CODEXAPI_EMAIL_DISCOUNT_BASIS_POINTS", "0")]).await;
    let (_, made) = shop.operate(&format!("/users/{}/topup-email-link", shop.account_id), &json!({})).await;
    let link = json!({ "linkToken": made["linkToken"] });
    assert_eq!(shop.refused(EMAIL, &link).await, (409, "not_offered".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_used_by_the_payment_it_was_applied_to_and_comes_back_when_that_expires() {
    let shop = Shop::open().await;
    let path = format!("/users/{}/topup-codes", shop.account_id);
    shop.operate(&path, &code("SPRING-25", 2_500, "2099-01-01T00:00:00Z")).await;
    let standing = async || shop.inspect(&path).await["codes"][0]["standing"].clone();

    let starts = join_all((0..8).map(|_| shop.start_with_code(10, "spring-25"))).await;
    let mut started: Vec<_> = starts.into_iter().filter_map(Result::ok).collect();
    assert_eq!((started.len(), standing().await), (1, json!("held")), "one payment holds it");
    let left = started.remove(0);
    shop.tell(left, PaymentAction::ExpirePayment).await;
    shop.reward().await;
    assert_eq!(standing().await, "open");

    let paid = shop.start_with_code(10, "SPRING-25").await.expect("it is free again");
    shop.confirm(shop.account_id, paid).await;
    shop.reward().await;
    assert_eq!(standing().await, "used");
    assert_eq!(shop.get("/api/v1/wallet/status").await["balanceUsd"], "25.000000", "20 and a quarter more");
    let again = shop.start_with_code(10, "SPRING-25").await;
    assert_eq!(again, Err("this code was used".into()));
    assert_eq!(shop.verify().await.difference, None);
}
