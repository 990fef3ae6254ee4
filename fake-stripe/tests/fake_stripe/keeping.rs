//! What is kept outlives the program, however it ends.

use crate::harness::{Fake, PACK, sent};

#[tokio::test]
async fn objects_outlive_a_killed_fake_where_they_are_kept_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("stripe.json");
    let fake = Fake::keeping(&file);
    let (status, session) = sent(fake.post("/v1/checkout/sessions", PACK)).await;
    assert_eq!(status, 200, "{session}");
    let path = format!("/v1/checkout/sessions/{}", session["id"].as_str().expect("an id"));
    fake.kill();

    let (status, found) = sent(Fake::keeping(&file).get(&path)).await;
    assert_eq!((status, &found["amount_total"]), (200, &session["amount_total"]), "{found}");
    let (status, found) = sent(Fake::start().get(&path)).await;
    assert_eq!((status, &found["error"]["code"]), (404, &"resource_missing".into()), "{found}");
}
