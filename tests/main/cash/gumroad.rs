//! Gumroad buyers: credit once per licence, never by the public call alone.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use codexapi::http::router;
use futures::future::join_all;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::fake_gumroad::{FakeGumroad, PRODUCT};
use super::{Shop, refusal};
use crate::http::{bearer, json_body};

const REGISTER: &str = "/api/v1/gumroad/register";

struct Buying {
    shop: Shop,
    gumroad: FakeGumroad,
}

impl Buying {
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    async fn open_with(settings: &[(&str, &str)]) -> Self {
        let gumroad = FakeGumroad::start().await;
        let ours = [
            ("CODEXAPI_GUMROAD_PRODUCT_ID", PRODUCT),
            ("CODEXAPI_GUMROAD_API_BASE", gumroad.url.as_str()),
            ("CODEXAPI_GUMROAD_TIMEOUT_SECONDS", "1"),
            ("CODEXAPI_SIGN_UPS_PER_HOUR", "100"),
        ];
        let named = |name: &str| settings.iter().any(|(given, _)| *given == name);
        let ours = ours.into_iter().filter(|(name, _)| !named(name));
        let settings: Vec<(&str, &str)> = ours.chain(settings.iter().copied()).collect();
        let shop = Shop::open_with(&settings).await;
        Self { shop, gumroad }
    }

    async fn sign_up(&self, body: &Value) -> (StatusCode, Value) {
        self.shop.service.post(REGISTER, &[], body.to_string()).await
    }

    /// Signs up from an address.
    async fn sign_up_from(&self, address: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::post(REGISTER).header("content-type", "application/json");
        let mut request = request.body(Body::from(body.to_string())).expect("a request");
        let peer: SocketAddr = address.parse().expect("an address");
        request.extensions_mut().insert(ConnectInfo(peer));
        let app = Arc::clone(&self.shop.service.app);
        let response = router(app).oneshot(request).await.expect("an answer");
        (response.status(), json_body(response).await)
    }

    /// Signs up, from a device of its own.
    async fn buyer(&self, number: u32, key: Option<&str>) -> (StatusCode, Value) {
        self.sign_up(&buyer(number, key)).await
    }

    async fn balance(&self, token: &Value) -> Value {
        let token = bearer(token.as_str().expect("a token"));
        self.shop.settle_down().await;
        let (status, body) =
            self.shop.service.get("/api/v1/wallet/status", &[("authorization", &token)]).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["balanceMicro"].clone()
    }
}

fn buyer(number: u32, key: Option<&str>) -> Value {
    json!({
        "email": format!("buyer{number}@example.com"), "name": "Grace", "country": "de", "mobile": "+49 1",
        "licenseKey": key, "deviceFingerprint": format!("device-{number}"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_licence_brings_its_credit_at_once_and_the_token_works() {
    let buying = Buying::open().await;
    let (status, made) = buying.buyer(1, Some("GOOD-1")).await;
    assert_eq!((status, made["source"].clone()), (StatusCode::CREATED, json!("gumroad.com")), "{made}");
    assert_eq!(made["credit"]["standing"], "granted");
    assert_eq!(made["credit"]["waitsFor"], json!([]));
    assert_eq!(made["credit"]["amountMicro"], 200_000_000);
    assert_eq!(buying.balance(&made["systemToken"]).await, 200_000_000);
    let (_, won) = buying.buyer(2, Some("WON-2")).await;
    assert_eq!(won["credit"]["standing"], "granted", "a dispute that was won");
    let person: (String, String, String) =
        sqlx::query_as("select name, country, mobile from persons where email = 'buyer1@example.com'")
            .fetch_one(&buying.shop.service.app.pool)
            .await
            .expect("the person");
    assert_eq!(person, ("Grace".into(), "DE".into(), "+49 1".into()));
    assert_eq!(buying.shop.verify().await.difference, None);

    let logged: Vec<String> = sqlx::query_scalar("select payload::text || metadata::text from events")
        .fetch_all(&buying.shop.service.app.pool)
        .await
        .expect("the log");
    for private in ["GOOD-1", "buyer1@example.com", "device-1", "Grace", "+49 1"] {
        assert!(logged.iter().all(|event| !event.contains(private)), "{private} stands in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_bring_one_licence_at_once_one_gets_its_credit() {
    let buying = Buying::open().await;
    let answers = join_all((0..12).map(|number| buying.buyer(number, Some("GOOD-1")))).await;
    let granted = answers.iter().filter(|(_, made)| made["credit"]["standing"] == "granted").count();
    assert_eq!(granted, 1, "{answers:?}");
    for (status, made) in answers.iter().filter(|(_, made)| made["credit"]["standing"] != "granted") {
        // Those who were a moment late have an account and wait; those who were later are told.
        match *status {
            StatusCode::CREATED => {
                assert_eq!(made["credit"]["standing"], "waiting");
                assert_eq!(made["credit"]["waitsFor"], json!(["licence_taken"]));
            }
            StatusCode::CONFLICT => assert_eq!(made["error"]["code"], "license_taken"),
            other => panic!("{other}: {made}"),
        }
    }
    assert_eq!(buying.shop.count("gumroad.credit_granted").await, 1);
    assert_eq!(refusal(buying.buyer(99, Some("good-1 ")).await), (409, "license_taken".into()));
    assert_eq!(buying.shop.verify().await.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licence_that_is_not_good_makes_no_account() {
    let buying = Buying::open().await;
    for (number, key) in ["INVENTED-1", "REFUNDED-1", "CHARGEBACKED-1", "DISPUTED-1", "TEST-1", "OTHER-1"]
        .into_iter()
        .enumerate()
    {
        let refused = refusal(buying.buyer(u32::try_from(number).expect("few"), Some(key)).await);
        assert_eq!(refused, (409, "license_not_good".into()), "{key}");
    }
    assert_eq!(buying.shop.count("account.customer_registered").await, 1, "the shop's own customer");
    assert_eq!(buying.gumroad.asked(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_licence_or_with_gumroad_away_the_credit_waits_for_an_operator() {
    let buying = Buying::open().await;
    let cases = [
        (None, "no_licence"),
        (Some("  "), "no_licence"),
        (Some("DOWN-1"), "not_verified"),
        (Some("ODD-1"), "not_verified"),
        (Some("SLOW-1"), "not_verified"),
    ];
    let mut accounts = Vec::new();
    for (number, (key, waits_for)) in cases.into_iter().enumerate() {
        let (status, made) = buying.buyer(u32::try_from(number).expect("few"), key).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        assert_eq!(made["credit"]["standing"], "waiting");
        assert_eq!(made["credit"]["waitsFor"], json!([waits_for]), "{key:?}");
        assert_eq!(buying.balance(&made["systemToken"]).await, 0);
        accounts.push(made);
    }
    let listed = buying.shop.inspect("/gumroad/pending?limit=3").await;
    assert_eq!(listed["signups"].as_array().map(Vec::len), Some(3));
    assert_eq!(listed["signups"][0]["userId"], accounts[4]["accountId"], "newest first");
    let rest = format!("/gumroad/pending?cursor={}", listed["nextCursor"].as_str().expect("more"));
    assert_eq!(buying.shop.inspect(&rest).await["signups"].as_array().map(Vec::len), Some(2));

    let path = |made: &Value| format!("/gumroad/{}/review", made["accountId"].as_str().expect("an id"));
    let approvals =
        (0..8).map(|_| async { buying.shop.operate(&path(&accounts[0]), &json!({ "approve": true })).await });
    let approvals = join_all(approvals).await;
    assert_eq!(approvals.iter().filter(|(status, _)| *status == StatusCode::OK).count(), 1, "{approvals:?}");
    assert_eq!(buying.balance(&accounts[0]["systemToken"]).await, 200_000_000);
    let denial = json!({ "approve": false, "reason": "no_purchase" });
    let (status, denied) = buying.shop.operate(&path(&accounts[2]), &denial).await;
    assert_eq!((status, denied["standing"].clone()), (StatusCode::OK, json!("denied")));
    assert_eq!(buying.balance(&accounts[2]["systemToken"]).await, 0);
    buying.shop.settle_down().await;
    let left = buying.shop.inspect("/gumroad/pending").await;
    assert_eq!(left["signups"].as_array().map(Vec::len), Some(3));

    let cases = [
        (path(&accounts[2]), json!({ "approve": true }), (409, "already_reviewed")),
        (path(&accounts[1]), json!({ "approve": false }), (400, "reason_of_denial")),
        (path(&accounts[1]), json!({ "approve": true, "reason": "abuse" }), (400, "reason_of_denial")),
        (
            format!("/gumroad/{}/review", buying.shop.account_id),
            json!({ "approve": true }),
            (404, "unknown_signup"),
        ),
        ("/gumroad/x/review".into(), json!({ "approve": true }), (400, "invalid_user_id")),
    ];
    for (path, body, (status, code)) in cases {
        assert_eq!(refusal(buying.shop.operate(&path, &body).await), (status, code.to_owned()), "{path}");
    }
    assert_eq!(buying.shop.verify().await.difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_device_address_or_network_waits_for_an_operator() {
    let buying = Buying::open().await;
    let (_, first) = buying.buyer(1, Some("GOOD-1")).await;
    assert_eq!(first["credit"]["standing"], "granted");
    let mut same_device = buyer(2, Some("GOOD-2"));
    same_device["deviceFingerprint"] = json!(" device-1 ");
    let (status, made) = buying.sign_up(&same_device).await;
    assert_eq!(
        (status, made["credit"]["waitsFor"].clone()),
        (StatusCode::CREATED, json!(["repeated_device"]))
    );
    let mut same_address = buyer(3, Some("GOOD-3"));
    same_address["email"] = json!("Buyer1@Example.com");
    let (_, made) = buying.sign_up(&same_address).await;
    assert_eq!(made["credit"]["waitsFor"], json!(["repeated_email"]));
    assert_eq!(buying.shop.count("gumroad.credit_granted").await, 1);

    let (_, made) = buying.sign_up_from("192.0.2.7:1000", &buyer(4, Some("GOOD-4"))).await;
    assert_eq!(made["credit"]["standing"], "granted");
    let (_, made) = buying.sign_up_from("192.0.2.7:2000", &buyer(5, Some("GOOD-5"))).await;
    assert_eq!(made["credit"]["waitsFor"], json!(["repeated_network"]));

    // Two who come at once from one device: neither is taken for the first.
    let twin = |key: &str| {
        let mut twin = buyer(if key == "GOOD-8" { 8 } else { 9 }, Some(key));
        twin["deviceFingerprint"] = json!("twins");
        twin
    };
    let (one, other) = (twin("GOOD-8"), twin("GOOD-9"));
    let both = tokio::join!(buying.sign_up(&one), buying.sign_up(&other));
    let granted = [both.0, both.1].iter().filter(|(_, made)| made["credit"]["standing"] == "granted").count();
    assert!(granted <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_turned_away_when_it_tries_too_often_and_bad_fields_are_named() {
    let buying = Buying::open_with(&[("CODEXAPI_SIGN_UPS_PER_HOUR", "2")]).await;
    let cases = [
        (json!({ "email": "nobody" }), "invalid_email"),
        (json!({ "email": "a@b.c", "country": "D1" }), "invalid_country"),
        (json!({ "email": "a@b.c", "licenseKey": "x".repeat(129) }), "invalid_field"),
        (json!({ "email": "a@b.c", "name": "a\u{7}" }), "invalid_field"),
        (json!({ "email": "a@b.c", "name": "a\u{200b}" }), "invalid_field"),
        (json!({ "email": "a@b.c", "credit": 200 }), "invalid_body"),
    ];
    for (body, code) in cases {
        assert_eq!(refusal(buying.sign_up(&body).await), (400, code.to_owned()), "{body}");
    }
    assert_eq!(buying.buyer(1, None).await.0, StatusCode::CREATED);
    assert_eq!(buying.buyer(2, None).await.0, StatusCode::CREATED);
    assert_eq!(refusal(buying.buyer(3, Some("GOOD-3")).await), (429, "too_many_sign_ups".into()));
    assert_eq!(buying.gumroad.asked(), 0, "nobody was asked");
    assert_eq!(buying.shop.count("account.customer_registered").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_product_every_sign_up_waits() {
    let buying = Buying { shop: Shop::open().await, gumroad: FakeGumroad::start().await };
    let (status, made) = buying.buyer(1, Some("GOOD-1")).await;
    assert_eq!((status, made["credit"]["waitsFor"].clone()), (StatusCode::CREATED, json!(["not_verified"])));
    assert_eq!(buying.gumroad.asked(), 0);
}
