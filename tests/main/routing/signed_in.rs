//! The account somebody has signed in to with Codex, as a provider like any other: what it is sent, and what of it
//! shows nowhere.

use std::path::Path;
use std::time::{Duration, SystemTime};

use codexapi_aggregates::usage::Protocol;
use serde_json::json;

use super::heard::heard;
use super::{BALANCE, Scene, World, attempts};
use crate::money::asking::Ask;
use crate::money::{INPUT_RATE, OUTPUT_RATE};

const ACCESS_TOKEN: &str = "eyJ-the-access-token";
const REFRESH_TOKEN: &str = "rt-the-refresh-token";
const ACCOUNT: &str = "account-4711";

fn signs_in(codex_home: &Path, access_token: &str, second: u64) {
    let auth = json!({
        "OPENAI_API_KEY": null,
        "tokens": {
            "id_token": "i", "access_token": access_token, "refresh_token": REFRESH_TOKEN, "account_id": ACCOUNT,
        },
        "last_refresh": "2026-01-01T00:00:00Z",
    });
    let path = codex_home.join("auth.json");
    std::fs::write(&path, auth.to_string()).expect("written");
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    std::fs::File::options().write(true).open(path).expect("opened").set_modified(changed).expect("dated");
}

fn hello(scene: &Scene, protocol: Protocol, stream: bool) -> Ask {
    let told = json!({"input_tokens": 10, "output_tokens": 5, "delta_count": 5, "tag": scene.model});
    Ask::new(protocol, stream, 64, &told).of(&scene.model)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signed_in_account_is_sent_its_own_credentials_and_nobody_sees_them() {
    let home = tempfile::tempdir().expect("a folder");
    signs_in(home.path(), ACCESS_TOKEN, 1);
    let world = World::start_with(&[], Some(home.path().to_owned())).await;
    let scene = world.scene(&[("signed-in", &[])]).await;
    for client in [Protocol::Responses, Protocol::Messages] {
        let customer = world.deployment.customer(BALANCE).await;
        let told = hello(&scene, client, true).run(&world.deployment, &customer).await;
        assert_eq!(heard(client, true, &told).text, "tok ".repeat(5));
        let seen = world.front.seen(&scene.upstream).pop().expect("a request");
        assert_eq!(seen.path, "responses");
        assert_eq!(seen.headers["authorization"], format!("Bearer {ACCESS_TOKEN}"));
        assert_eq!(seen.headers["chatgpt-account-id"], ACCOUNT);
        assert!(!format!("{:?}", seen.headers).contains(&customer.token));
        let ledger = world.deployment.ledger(customer.account_id).await;
        assert_eq!(attempts(&ledger), [("signed-in".to_owned(), Some(200))]);
        assert_eq!(ledger.only_settlement().charged_micro.0, 10 * INPUT_RATE + 5 * OUTPUT_RATE);
    }
    // Codex has renewed it meanwhile.
    signs_in(home.path(), "eyJ-renewed", 2);
    let customer = world.deployment.customer(BALANCE).await;
    assert_eq!(hello(&scene, Protocol::Responses, true).run(&world.deployment, &customer).await.status, 200);
    let seen = world.front.seen(&scene.upstream).pop().expect("a request");
    assert_eq!(seen.headers["authorization"], "Bearer eyJ-renewed");

    for secret in [ACCESS_TOKEN, REFRESH_TOKEN, ACCOUNT, "eyJ-renewed", super::PROVIDER_KEY] {
        let written: i64 =
            sqlx::query_scalar("select count(*) from events where payload::text || metadata::text like $1")
                .bind(format!("%{secret}%"))
                .fetch_one(&world.deployment.app.pool)
                .await
                .expect("counted");
        assert_eq!(written, 0, "{secret} stands in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_streamed_goes_to_another_provider_or_is_told_to_stream() {
    let home = tempfile::tempdir().expect("a folder");
    signs_in(home.path(), ACCESS_TOKEN, 1);
    let world = World::start_with(&[], Some(home.path().to_owned())).await;
    let customer = world.deployment.customer(BALANCE).await;
    let scene = world.scene(&[("signed-in", &[]), ("two", &[])]).await;
    let told = hello(&scene, Protocol::Responses, false).run(&world.deployment, &customer).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(world.front.served(&scene.upstream), ["two"]);

    let alone = world.scene(&[("signed-in", &[])]).await;
    let told = hello(&alone, Protocol::Chat, false).run(&world.deployment, &customer).await;
    assert_eq!((told.status, &told.json()["error"]["param"]), (400, &"stream".into()), "{}", told.text);
    assert_eq!(world.front.seen(&alone.upstream).len(), 0);
    assert_eq!(world.deployment.ledger(customer.account_id).await.holds(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_is_signed_in_the_next_provider_serves() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::start_with(&[], Some(home.path().to_owned())).await;
    let customer = world.deployment.customer(BALANCE).await;
    let scene = world.scene(&[("signed-in", &[]), ("two", &[])]).await;
    let told = hello(&scene, Protocol::Responses, true).run(&world.deployment, &customer).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let ledger = world.deployment.ledger(customer.account_id).await;
    assert_eq!(attempts(&ledger), [("signed-in".to_owned(), None), ("two".to_owned(), Some(200))]);

    let alone = world.scene(&[("signed-in", &[])]).await;
    let told = hello(&alone, Protocol::Responses, true).run(&world.deployment, &customer).await;
    assert_eq!(told.status, 503, "{}", told.text);
    assert!(!told.text.contains("auth.json"), "{}", told.text);
}
