//! A conversation stays with the provider that knows its beginning, until that one is unwell or the operator says
//! otherwise.

use std::collections::BTreeMap;

use codexapi_aggregates::usage::Protocol;
use futures::future::join_all;
use serde_json::json;

use super::front::{Manner, refuse};
use super::{BALANCE, Scene, World};
use crate::money::Customer;
use crate::money::asking::Ask;

fn turn(scene: &Scene, conversation: &str) -> Ask {
    let mut ask = Ask::new(Protocol::Responses, false, 64, &json!({"output_tokens": 2})).of(&scene.model);
    ask.body["prompt_cache_key"] = conversation.into();
    ask
}

async fn asks(world: &World, customer: &Customer, ask: &Ask) {
    let told = ask.run(&world.deployment, customer).await;
    assert_eq!(told.status, 200, "{}", told.text);
}

/// Which providers got the turns of each conversation, in order.
fn by_conversation(world: &World, scene: &Scene) -> BTreeMap<String, Vec<String>> {
    let mut served: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for seen in world.front.seen(&scene.upstream) {
        let key = seen.body["prompt_cache_key"].as_str().expect("a key").to_owned();
        served.entry(key).or_default().push(seen.provider);
    }
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn new_conversations_are_spread_by_weight_and_each_keeps_its_provider() {
    const CONVERSATIONS: usize = 120;
    let world = World::start(&[]).await;
    let scene = world.weighted(&[("one", 3), ("two", 1), ("three", 0)]).await;
    let customer = world.deployment.customer(BALANCE).await;
    for _ in 0..2 {
        let turns: Vec<Ask> =
            (0..CONVERSATIONS).map(|number| turn(&scene, &format!("conversation {number}"))).collect();
        for some in turns.chunks(12) {
            join_all(some.iter().map(|ask| asks(&world, &customer, ask))).await;
        }
    }
    let served = by_conversation(&world, &scene);
    assert_eq!(served.len(), CONVERSATIONS);
    assert!(served.values().all(|turns| turns.len() == 2 && turns[0] == turns[1]), "{served:?}");
    let of = |provider: &str| served.values().filter(|turns| turns[0] == provider).count();
    // 90 are expected and 4.7 the standard deviation; which ones depends on the account's random id.
    assert!((62..=118).contains(&of("one")), "{} of {CONVERSATIONS}", of("one"));
    assert_eq!((of("one") + of("two"), of("three")), (CONVERSATIONS, 0));
}

/// A conversation that the second provider serves although the first would be chosen for it.
async fn moved(world: &World, customer: &Customer, ask: &Ask, scene: &Scene) {
    world.front.is_told("one", &scene.upstream, &[refuse(429), Manner::Serve]);
    asks(world, customer, ask).await;
    asks(world, customer, ask).await;
    assert_eq!(world.front.served(&scene.upstream), ["one", "two", "two"], "it stays where it was served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_stays_where_it_had_to_go_and_others_do_not_follow() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[]), ("two", &[])]).await;
    let customer = world.deployment.customer(BALANCE).await;
    moved(&world, &customer, &turn(&scene, "a"), &scene).await;
    asks(&world, &customer, &turn(&scene, "b")).await;
    // The same key of another customer is another conversation.
    let other = world.deployment.customer(BALANCE).await;
    asks(&world, &other, &turn(&scene, "a")).await;
    assert_eq!(world.front.served(&scene.upstream)[3..], ["one", "one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn codexs_thread_is_its_conversation() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[]), ("two", &[])]).await;
    let customer = world.deployment.customer(BALANCE).await;
    let thread = |id: &str| turn(&scene, "shared").header("originator", "codex_exec").header("thread-id", id);
    moved(&world, &customer, &thread("t-1"), &scene).await;
    asks(&world, &customer, &thread("t-2")).await;
    asks(&world, &customer, &thread("t-1")).await;
    assert_eq!(world.front.served(&scene.upstream)[3..], ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_leaves_a_provider_that_is_unwell() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[]), ("two", &[])]).await;
    let customer = world.deployment.customer(BALANCE).await;
    let ask = turn(&scene, "a");
    moved(&world, &customer, &ask, &scene).await;
    world.deployment.app.gateway.circuits().always_open_after(1);
    world.front.is_told("two", &scene.upstream, &[refuse(503)]);
    asks(&world, &customer, &ask).await;
    // Its circuit is open now: it is not even asked.
    asks(&world, &customer, &ask).await;
    assert_eq!(world.front.served(&scene.upstream)[3..], ["two", "one", "one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_follows_the_operator_at_its_next_turn() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[]), ("two", &[])]).await;
    let customer = world.deployment.customer(BALANCE).await;
    let ask = turn(&scene, "a");
    moved(&world, &customer, &ask, &scene).await;
    world.targets(&scene, &[("three", 1), ("two", 0)]).await;
    asks(&world, &customer, &ask).await;
    assert_eq!(world.front.served(&scene.upstream)[3..], ["three"]);
    // Also where the provider it was with is still in the plan, and any other rule has changed.
    world.targets(&scene, &[("two", 1), ("three", 0)]).await;
    asks(&world, &customer, &ask).await;
    assert_eq!(world.front.served(&scene.upstream)[4..], ["two"]);
}
