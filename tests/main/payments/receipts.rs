//! Every credited payment has one receipt: numbered without gaps, the same whenever it is asked for, its owner's
//! alone, and honest about what went back.

use codexapi::event_log::read::{SHARD, head};
use codexapi::payments::checkout::Checkout;
use codexapi::rebuild::{self, Progress};
use codexapi_aggregates::payment::Purpose;
use codexapi_projections::receipts::READ_MODEL;
use futures::future::join_all;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{CREDIT, KEY, PRICE, SECRET, Stripe, Till, open};
use crate::faults::service::World;
use crate::harness::TestDatabase;
use crate::http::ADMIN_TOKEN;

const COMPANY: [(&str, &str); 6] = [
    ("CODEXAPI_COMPANY_NAME", "Beispiel & Söhne GmbH"),
    ("CODEXAPI_COMPANY_ADDRESS", "Hauptstraße 1|10115 Berlin"),
    ("CODEXAPI_COMPANY_COUNTRY", "DE"),
    ("CODEXAPI_COMPANY_EMAIL", "billing@example.com"),
    ("CODEXAPI_COMPANY_VAT_ID", "DE123456789"),
    ("CODEXAPI_COMPANY_VAT_BASIS_POINTS", "1900"),
];

/// A customer's token, and a page where `CREDIT` for `PRICE` is paid.
async fn order(till: &Till) -> (String, Checkout) {
    let customer = till.service.customer().await;
    let purpose = Purpose::TokenCredit { credit_micro: CREDIT };
    let checkout = open(till.payments(), customer.account_id, purpose).await;
    (customer.system_token.token.reveal().to_owned(), checkout)
}

/// Tells of all that was not told yet, all of it at once, and waits for the receipts.
async fn told(till: &Till, known: usize) {
    told_just_now(till, known).await;
    projected(till).await;
}

async fn told_just_now(till: &Till, known: usize) {
    let events = till.stripe.held().await.split_off(known);
    let answers = join_all(events.iter().map(|event| till.stripe.deliver(event))).await;
    assert!(answers.iter().all(|answer| *answer == Some(200)), "{answers:?}");
}

async fn projected(till: &Till) {
    let head = head(&till.service.app.pool, SHARD).await.expect("readable");
    till.service.projected(READ_MODEL.name, head).await;
}

async fn list(till: &Till, token: &str, path: &str) -> Value {
    let (status, answer) = till.service.get(path, &[("x-api-key", token)]).await;
    assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    answer
}

/// The answer's status, and the PDF or the refusal's code.
async fn download(till: &Till, token: &str, path: &str) -> Result<Vec<u8>, (u16, String)> {
    let answer = till.service.send("GET", path, &[("x-api-key", token)]).await;
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes().to_vec();
    if parts.status != StatusCode::OK {
        let refusal: Value = serde_json::from_slice(&bytes).expect("JSON");
        return Err((parts.status.as_u16(), refusal["error"]["code"].as_str().expect("a code").to_owned()));
    }
    assert_eq!(parts.headers["content-type"], "application/pdf");
    assert_eq!(parts.headers["cache-control"], "private, no-store");
    Ok(bytes)
}

/// What stands on it.
fn text(pdf: &[u8]) -> String {
    lopdf::Document::load_mem(pdf).expect("a PDF").extract_text(&[1]).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_credited_at_once_are_numbered_without_gaps_and_a_rebuild_numbers_them_alike() {
    let till = Till::start_with(&COMPANY).await;
    let mut paid = 0;
    for number in 0..12 {
        let (_, checkout) = order(&till).await;
        if number % 4 != 3 {
            till.stripe.pay(&checkout).await;
            paid += 1;
        }
    }
    told(&till, 0).await;
    let path = "/admin/api/receipts?limit=200";
    let all = list(&till, ADMIN_TOKEN, path).await;
    let receipts = all["receipts"].as_array().expect("a list");
    let year = &receipts[0]["issuedAt"].as_str().expect("a moment")[..4];
    let numbers: Vec<_> = receipts.iter().rev().map(|receipt| receipt["number"].clone()).collect();
    let gapless: Vec<_> = (1..=paid).map(|number| json!(format!("TEST-R-{year}-{number:06}"))).collect();
    assert_eq!(numbers, gapless);
    for receipt in receipts {
        let vat = &receipt["vat"];
        let sum = vat["netMicro"].as_i64().expect("net") + vat["vatMicro"].as_i64().expect("VAT");
        assert_eq!((sum, &vat["vatUsd"]), (PRICE.0, &json!("1.600000")));
    }

    let progress = Progress::silent();
    rebuild::rebuild(&till.service.app.pool, &[&READ_MODEL], &progress).await.expect("rebuilt");
    assert_eq!(list(&till, ADMIN_TOKEN, path).await, all);
    till.verifies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_its_owners_and_the_operators_and_no_one_elses() {
    let till = Till::start_with(&COMPANY).await;
    let (token, checkout) = order(&till).await;
    let (other, unpaid) = order(&till).await;
    till.stripe.pay(&checkout).await;
    told_just_now(&till, 0).await;
    let at_once = download(&till, &token, &format!("/api/v1/receipts/{}", checkout.payment_id)).await;
    let mine = list(&till, &token, "/api/v1/receipts").await;
    let receipt = &mine["receipts"][0];
    let number = receipt["number"].as_str().expect("a number");
    assert_eq!(receipt["paymentId"], json!(checkout.payment_id));
    assert_eq!(list(&till, &other, "/api/v1/receipts").await["receipts"], json!([]));

    let own = download(&till, &token, &format!("/api/v1/receipts/{number}")).await.expect("a receipt");
    assert_eq!(at_once, Ok(own.clone()), "read right after it was credited");
    let said = text(&own);
    for line in ["Beispiel & Söhne GmbH", "VAT id DE123456789", number, "Ada", "Net", "8.40", "1.60", "10.00"]
    {
        assert!(said.contains(line), "{line} in {said}");
    }
    let payment = checkout.payment_id;
    for name in [format!("{number}.pdf"), payment.to_string(), format!("{payment}.pdf")] {
        assert_eq!(
            download(&till, &token, &format!("/api/v1/receipts/{name}")).await,
            Ok(own.clone()),
            "{name}"
        );
    }
    for prefix in ["/admin/api", "/admin-api/v1"] {
        let path = format!("{prefix}/receipts/{number}");
        assert_eq!(download(&till, ADMIN_TOKEN, &path).await, Ok(own.clone()));
        let path = format!("{prefix}/receipts?user_id={}", receipt["accountId"].as_str().expect("an id"));
        assert_eq!(list(&till, ADMIN_TOKEN, &path).await["receipts"], mine["receipts"]);
        assert_eq!(
            download(&till, &token, &format!("{prefix}/receipts/{number}")).await.expect_err("closed").0,
            403
        );
    }
    let not_found = Err((404, "receipt_not_found".to_owned()));
    for name in [number.to_owned(), payment.to_string(), unpaid.payment_id.to_string(), "R-1".into()] {
        assert_eq!(download(&till, &other, &format!("/api/v1/receipts/{name}")).await, not_found, "{name}");
    }
    let elsewhere = format!("/admin/api/receipts?user_id={}", codexapi::clock::new_id());
    assert_eq!(list(&till, ADMIN_TOKEN, &elsewhere).await["receipts"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_listed_in_pages() {
    let till = Till::start_with(&COMPANY).await;
    let customer = till.service.customer().await;
    for _ in 0..3 {
        let checkout = open(till.payments(), customer.account_id, Purpose::CashTopUp).await;
        till.stripe.pay(&checkout).await;
    }
    told(&till, 0).await;
    let token = customer.system_token.token.reveal();
    let (mut path, mut numbers) = ("/api/v1/receipts?limit=2".to_owned(), Vec::new());
    loop {
        let page = list(&till, token, &path).await;
        let receipts = page["receipts"].as_array().expect("a list").iter();
        numbers.extend(receipts.map(|receipt| receipt["number"].as_str().expect("a number").to_owned()));
        let Some(next) = page["nextBefore"].as_str() else { break };
        path = format!("/api/v1/receipts?limit=2&before={next}");
    }
    let endings: Vec<_> = numbers.iter().map(|number| &number[number.len() - 6..]).collect();
    assert_eq!(endings, ["000003", "000002", "000001"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_says_what_went_back_and_each_refund_has_a_credit_note() {
    let till = Till::start_with(&COMPANY).await;
    let (token, checkout) = order(&till).await;
    let intent = till.stripe.pay(&checkout).await;
    told(&till, 0).await;
    let path = format!("/api/v1/receipts/{}", checkout.payment_id);
    assert!(!text(&download(&till, &token, &path).await.expect("a receipt")).contains("REFUNDED"));

    let known = till.stripe.held().await.len();
    till.stripe.refund(&intent, 400).await;
    let failing = till.stripe.refund(&intent, 300).await;
    till.stripe.control("POST", &format!("/refunds/{failing}/fail"), json!({})).await;
    told_in_order(&till, known).await;
    let said = text(&download(&till, &token, &path).await.expect("a receipt"));
    assert!(said.contains("PARTLY REFUNDED: USD 4.00 of 10.00"), "{said}");
    let listed = list(&till, &token, "/api/v1/receipts").await;
    let receipt = &listed["receipts"][0];
    assert_eq!(receipt["creditedBackUsd"], "4.000000");
    let notes = receipt["creditNotes"].as_array().expect("a list");
    let note = &notes[0];
    assert_eq!((&note["amountUsd"], &note["voidAt"]), (&json!("4.000000"), &Value::Null));
    assert_eq!(note["vat"]["vatUsd"], "0.640000");
    for other in &notes[1..] {
        assert!(other["voidAt"].is_string(), "the money came back: {other}");
    }
    let number = note["number"].as_str().expect("a number");
    let said = text(&download(&till, &token, &format!("/api/v1/receipts/{number}")).await.expect("a note"));
    assert!(said.contains(&format!("Credit note {number}")) && said.contains("0.64"), "{said}");

    let known = till.stripe.held().await.len();
    let dispute = till.stripe.dispute(&intent).await;
    told_in_order(&till, known).await;
    assert!(text(&download(&till, &token, &path).await.expect("a receipt")).contains("DISPUTED"));
    till.stripe.decide_dispute(&dispute, "lose").await;
    told_in_order(&till, known).await;
    let said = text(&download(&till, &token, &path).await.expect("a receipt"));
    assert!(said.contains("REFUNDED") && !said.contains("DISPUTED"), "{said}");
    till.verifies().await;
}

async fn told_in_order(till: &Till, known: usize) {
    for event in till.stripe.held().await.split_off(known) {
        assert_eq!(till.stripe.deliver(&event).await, Some(200));
    }
    projected(till).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_company_receipts_are_numbered_and_not_printed() {
    let till = Till::start().await;
    let (token, checkout) = order(&till).await;
    till.stripe.pay(&checkout).await;
    told(&till, 0).await;
    let listed = list(&till, &token, "/api/v1/receipts").await;
    let number = listed["receipts"][0]["number"].as_str().expect("a number");
    assert_eq!(listed["receipts"][0]["vat"], Value::Null);
    let refused = download(&till, &token, &format!("/api/v1/receipts/{number}")).await;
    assert_eq!(refused, Err((503, "receipts_not_configured".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_was_killed_and_rebuilt_prints_the_same_receipt_to_the_byte() {
    let stripe = Stripe::start().await;
    let database = TestDatabase::new().await;
    let stripes = [
        ("CODEXAPI_STRIPE_SECRET_KEY", KEY),
        ("CODEXAPI_STRIPE_WEBHOOK_SECRET", SECRET),
        ("CODEXAPI_STRIPE_API_BASE", stripe.fake.base_url()),
    ];
    let settings = [stripes.as_slice(), &COMPANY].concat();
    let mut world = World::start_with(database.pool.clone(), &settings).await;
    stripe.tell(&world.base_url).await;
    let token = world.customers(1).await.remove(0);
    let order = json!({ "amountMicro": PRICE.0, "idempotencyKey": "load-1" }).to_string();
    let url = format!("{}/api/v1/cash-wallet/stripe/checkout", world.base_url);
    let page: Value =
        sent(world.http.post(url).bearer_auth(&token).body(order)).await.json().await.expect("JSON");
    let session = page["sessionId"].as_str().expect("an id");
    stripe.control("POST", &format!("/checkout/sessions/{session}/pay"), json!({})).await;
    for event in stripe.held().await {
        assert_eq!(stripe.deliver(&event).await, Some(200));
    }
    world.projected().await;
    let printed = async |world: &World| {
        let payment = page["paymentId"].as_str().expect("an id");
        let url = format!("{}/api/v1/receipts/{payment}.pdf", world.base_url);
        sent(world.http.get(url).bearer_auth(&token)).await.bytes().await.expect("a body")
    };
    let before = printed(&world).await;
    assert!(text(&before).contains("Cash Wallet top-up"));
    world.kill_service().await;
    assert!(world.run(&["rebuild", "receipts"]).await.status.success());
    world.start_service(&[]).await;
    assert_eq!(printed(&world).await, before);
    world.verifies().await;
}

async fn sent(request: reqwest::RequestBuilder) -> reqwest::Response {
    let answer = request.header("content-type", "application/json").send().await.expect("sent");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer
}
