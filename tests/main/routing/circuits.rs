//! A provider that fails is left alone for a while, and found again when it is well.

use std::time::Duration;

use codexapi::upstream::circuits::Standing;
use codexapi_aggregates::usage::Protocol;
use serde_json::json;

use super::front::{Manner, refuse, refuse_for};
use super::{BALANCE, Scene, World};
use crate::harness::wait_for;
use crate::money::Customer;
use crate::money::asking::{Ask, Told};

const FAILURES: u32 = 3;

async fn world() -> (World, Customer) {
    let world = World::start(&[]).await;
    world.deployment.app.gateway.circuits().always_open_after(FAILURES);
    let customer = world.deployment.customer(BALANCE).await;
    (world, customer)
}

fn hello(scene: &Scene, directive: &serde_json::Value) -> Ask {
    Ask::new(Protocol::Chat, true, 64, directive).of(&scene.model)
}

async fn ask(world: &World, customer: &Customer, scene: &Scene) -> Told {
    hello(scene, &json!({"output_tokens": 5})).run(&world.deployment, customer).await
}

fn standing(world: &World, provider: &str, scene: &Scene) -> Option<Standing> {
    let reports = world.deployment.app.gateway.circuits().report();
    let of = |key: &codexapi::upstream::circuits::CircuitKey| {
        key.provider == provider && key.upstream_model == scene.upstream
    };
    reports.into_iter().find(|report| of(&report.key)).map(|report| report.standing)
}

fn is_open(world: &World, provider: &str, scene: &Scene) -> bool {
    matches!(standing(world, provider, scene), Some(Standing::Open { .. }))
}

/// Waits until the next request is the probe.
async fn pause_is_over(world: &World, provider: &str, scene: &Scene) {
    wait_for("the end of the pause", async || {
        (standing(world, provider, scene) == Some(Standing::Open { left: Duration::ZERO })).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_in_a_row_is_passed_over_until_a_probe_finds_it_well() {
    let (world, customer) = world().await;
    let scene = world.scene(&[("one", &[refuse(503)]), ("two", &[])]).await;
    for _ in 0..FAILURES {
        assert_eq!(ask(&world, &customer, &scene).await.status, 200);
    }
    assert!(is_open(&world, "one", &scene));
    for _ in 0..3 {
        assert_eq!(ask(&world, &customer, &scene).await.status, 200);
    }
    let expected: Vec<&str> = ["one", "two"].repeat(3).into_iter().chain(["two"; 3]).collect();
    assert_eq!(world.front.served(&scene.upstream), expected);

    // While one request probes, the others go by.
    world.front.is_told("one", &scene.upstream, &[Manner::Late(Duration::from_millis(700)), Manner::Serve]);
    pause_is_over(&world, "one", &scene).await;
    let before = world.front.served(&scene.upstream).len();
    let (probe, ()) = tokio::join!(ask(&world, &customer, &scene), async {
        world.front.sees(&scene.upstream, before + 1).await;
        assert_eq!(standing(&world, "one", &scene), Some(Standing::Probing));
        assert_eq!(ask(&world, &customer, &scene).await.status, 200);
    });
    assert_eq!(probe.status, 200);
    assert_eq!(world.front.served(&scene.upstream)[before..], ["one", "two"]);
    assert_eq!(standing(&world, "one", &scene), Some(Standing::Closed));
    assert_eq!(ask(&world, &customer, &scene).await.status, 200);
    assert_eq!(world.front.served(&scene.upstream).last().map(String::as_str), Some("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_circuit_is_open_clients_are_told_how_long() {
    let (world, customer) = world().await;
    let scene =
        world.scene(&[("one", &[refuse_for(503, Some(60))]), ("two", &[refuse_for(429, Some(30))])]).await;
    for _ in 0..FAILURES {
        assert_eq!(ask(&world, &customer, &scene).await.status, 503);
    }
    let (holds, sent) =
        (world.deployment.ledger(customer.account_id).await.holds(), world.front.seen(&scene.upstream).len());
    let refused = ask(&world, &customer, &scene).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    let wait: u32 = refused.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((20..=30).contains(&wait), "the shorter of the two: {wait}");
    assert!(refused.text.contains(&format!("try again in {wait}s")), "{}", refused.text);
    let codex = Ask::new(Protocol::Responses, true, 64, &json!({})).of(&scene.model);
    let codex = codex.header("originator", "codex_exec").run(&world.deployment, &customer).await;
    assert_eq!(codex.status, 200);
    assert!(codex.text.contains("\"code\":\"rate_limit_exceeded\""), "{}", codex.text);
    // Nothing was held for them and nothing sent.
    assert_eq!(world.deployment.ledger(customer.account_id).await.holds(), holds);
    assert_eq!(world.front.seen(&scene.upstream).len(), sent);

    world.deployment.app.gateway.circuits().wake(Some("one"));
    world.front.is_told("one", &scene.upstream, &[]);
    assert_eq!(ask(&world, &customer, &scene).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_is_of_one_provider_and_one_model() {
    let (world, customer) = world().await;
    let failing = world.scene(&[("one", &[refuse(500)])]).await;
    let well = world.scene(&[("one", &[])]).await;
    for _ in 0..FAILURES {
        assert_eq!(ask(&world, &customer, &failing).await.status, 503);
    }
    assert!(is_open(&world, "one", &failing));
    assert_eq!(ask(&world, &customer, &well).await.status, 200);
    assert_eq!(standing(&world, "one", &well), Some(Standing::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_always_breaks_off_is_found_out_and_a_refused_request_is_no_fault_of_its_own() {
    let (world, customer) = world().await;
    let scene = world.scene(&[("one", &[]), ("two", &[])]).await;
    // Slow, so that every answer has begun long before it fails.
    let broken =
        json!({"output_tokens": 5, "delta_count": 5, "chunk_delay_ms": 20, "mid_stream_error": {"after": 3}});
    for _ in 0..FAILURES {
        let told = hello(&scene, &broken).run(&world.deployment, &customer).await;
        assert!(!told.is_success(Protocol::Chat, true), "{}", told.text);
    }
    assert!(is_open(&world, "one", &scene));
    assert!(ask(&world, &customer, &scene).await.is_success(Protocol::Chat, true));
    assert_eq!(world.front.served(&scene.upstream), ["one", "one", "one", "two"]);

    let blamed = world.scene(&[("one", &[refuse(400)])]).await;
    for _ in 0..2 * FAILURES {
        assert_eq!(ask(&world, &customer, &blamed).await.status, 400);
    }
    assert!(!is_open(&world, "one", &blamed));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_say_nothing_of_a_provider() {
    let (world, customer) = world().await;
    let scene = world.scene(&[("one", &[])]).await;
    let told = json!({"output_tokens": 5, "delta_count": 5, "chunk_delay_ms": 30});
    for _ in 0..2 * FAILURES {
        drop(hello(&scene, &told).send(&world.deployment, &customer.token).await);
    }
    world.deployment.settled(customer.account_id).await;
    assert_eq!(standing(&world, "one", &scene), Some(Standing::Closed));
}
