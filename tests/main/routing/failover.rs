//! Another provider is tried where the one before cannot have begun to bill, and only there; every attempt is on
//! record before it is made, and the customer is charged once (money.md § 3; § 10, row 6).

use codexapi_aggregates::routing::ModelRule;
use codexapi_aggregates::usage::{AttemptEnd, Protocol, UsageEvent};
use codexapi_aggregates::wallet::{ReleaseReason, WalletEvent};
use futures::{StreamExt, stream};
use serde_json::json;

use super::front::{Manner, refuse, refuse_for};
use super::heard::heard;
use super::{BALANCE, Scene, World, attempts, further_attempts};
use crate::money::asking::{Ask, Told, read};
use crate::money::ledger::Ledger;
use crate::money::{Customer, INPUT_RATE, OPERATOR_TOKEN, OUTPUT_RATE};

pub const COST: i64 = 10 * INPUT_RATE + 5 * OUTPUT_RATE;
const AT_A_TIME: usize = 6;

pub fn hello(scene: &Scene, protocol: Protocol, stream: bool) -> Ask {
    let told = json!({"input_tokens": 10, "output_tokens": 5, "delta_count": 5, "tag": scene.model});
    Ask::new(protocol, stream, 64, &told).of(&scene.model)
}

/// Asks once; what was told, and what came of it.
pub async fn asked(world: &World, ask: &Ask) -> (Told, Ledger) {
    let customer = world.deployment.customer(BALANCE).await;
    let told = ask.run(&world.deployment, &customer).await;
    (told, world.deployment.ledger(customer.account_id).await)
}

/// The last of the targets has served: attempts at providers, on record and on the settlement are the same.
async fn assert_served(world: &World, scene: &Scene, ledger: &Ledger, expected: &[(&str, Option<u16>)]) {
    let tried: Vec<_> = expected.iter().map(|(provider, status)| ((*provider).to_owned(), *status)).collect();
    assert_eq!(attempts(ledger), tried);
    assert_eq!(ledger.only_settlement().charged_micro.0, COST);
    let further: Vec<(u32, String)> =
        tried.iter().zip(1..).skip(1).map(|((provider, _), number)| (number, provider.clone())).collect();
    assert_eq!(further_attempts(ledger), further);
    let reached = tried.iter().map(|(provider, _)| provider.clone()).filter(|provider| provider != "closed");
    assert_eq!(world.front.served(&scene.upstream), reached.collect::<Vec<_>>());
    assert_eq!(world.deployment.bills(&scene.model).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_have_begun_is_served_by_the_next_provider_and_charged_once() {
    let world = World::start(&[]).await;
    let statuses = [401, 402, 403, 404, 429, 503, 529, 301];
    let cases = statuses.into_iter().enumerate().flat_map(|(number, status)| {
        let protocol = [Protocol::Responses, Protocol::Chat, Protocol::Messages][number % 3];
        [(status, protocol, true), (status, protocol, false)]
    });
    stream::iter(cases)
        .for_each_concurrent(AT_A_TIME, async |(status, protocol, stream)| {
            let scene = world.scene(&[("one", &[refuse(status)]), ("two", &[])]).await;
            let (told, ledger) = asked(&world, &hello(&scene, protocol, stream)).await;
            assert!(told.is_success(protocol, stream), "{status}: {}", told.text);
            assert_served(&world, &scene, &ledger, &[("one", Some(status)), ("two", Some(200))]).await;
        })
        .await;
    let scene = world.scene(&[("closed", &[]), ("two", &[refuse(429)]), ("three", &[])]).await;
    let (told, ledger) = asked(&world, &hello(&scene, Protocol::Responses, true)).await;
    assert!(told.is_success(Protocol::Responses, true), "{}", told.text);
    let tried = [("closed", None), ("two", Some(429)), ("three", Some(200))];
    assert_served(&world, &scene, &ledger, &tried).await;
    world.deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_provider_may_speak_another_dialect() {
    let world = World::start(&[]).await;
    let overloaded = [refuse(529)];
    for (client, targets) in [
        (Protocol::Responses, ["responses", "messages", "chat"]),
        (Protocol::Messages, ["messages", "chat", "responses"]),
        (Protocol::Completions, ["chat", "responses", "messages"]),
    ] {
        for stream in [true, false] {
            let told = [(targets[0], &overloaded[..]), (targets[1], &overloaded[..]), (targets[2], &[][..])];
            let scene = world.scene(&told).await;
            let mut ask = hello(&scene, client, stream);
            if stream && client == Protocol::Completions {
                ask.body["stream_options"] = json!({"include_usage": true});
            }
            let (told, ledger) = asked(&world, &ask).await;
            assert_eq!(heard(client, stream, &told).text, "tok ".repeat(5));
            let tried = [(targets[0], Some(529)), (targets[1], Some(529)), (targets[2], Some(200))];
            assert_served(&world, &scene, &ledger, &tried).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_begun_is_tried_nowhere_else_and_costs_nothing() {
    let world = World::start(&[]).await;
    let manners =
        [refuse(500), refuse(502), refuse(504), refuse(408), refuse(409), Manner::HangUp, Manner::Silent];
    let cases = manners.into_iter().flat_map(|manner| [(manner.clone(), true), (manner, false)]);
    stream::iter(cases)
        .for_each_concurrent(AT_A_TIME, async |(manner, stream)| {
            let scene = world.scene(&[("one", std::slice::from_ref(&manner)), ("two", &[])]).await;
            if matches!(manner, Manner::Silent) {
                world.rule(&scene, ModelRule { deadline_secs: Some(1), ..ModelRule::default() }).await;
            }
            let (told, ledger) = asked(&world, &hello(&scene, Protocol::Chat, stream)).await;
            assert_eq!(told.status, 503, "{manner:?}: {}", told.text);
            assert!(told.headers.contains_key("retry-after"), "{manner:?}");
            ledger.assert_only_released();
            assert_eq!(further_attempts(&ledger), []);
            assert_eq!(world.front.served(&scene.upstream), ["one"], "{manner:?}");
        })
        .await;
    world.deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_errors_are_free_may_be_followed_by_another() {
    let world = World::start(&[]).await;
    for status in [500, 502, 504] {
        let scene = world.scene(&[("free", &[refuse(status)]), ("two", &[])]).await;
        let (told, ledger) = asked(&world, &hello(&scene, Protocol::Messages, false)).await;
        assert_eq!(told.status, 200, "{}", told.text);
        assert_served(&world, &scene, &ledger, &[("free", Some(status)), ("two", Some(200))]).await;
    }
    // Without a status nobody knows what it has begun.
    let scene = world.scene(&[("free", &[Manner::HangUp]), ("two", &[])]).await;
    let (told, ledger) = asked(&world, &hello(&scene, Protocol::Messages, false)).await;
    assert_eq!(told.status, 503, "{}", told.text);
    ledger.assert_only_released();
    assert_eq!(world.front.served(&scene.upstream), ["free"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_at_fault_is_told_so_in_the_clients_dialect_and_tried_nowhere_else() {
    let world = World::start(&[]).await;
    let words = "the provider's own words";
    for status in [400, 422] {
        for (client, target) in [
            (Protocol::Responses, "responses"),
            (Protocol::Responses, "messages"),
            (Protocol::Chat, "responses"),
            (Protocol::Messages, "chat"),
            (Protocol::Completions, "chat"),
        ] {
            let manner = match target {
                "messages" => Manner::Refuse {
                    status,
                    retry_after: None,
                    body:
                        json!({"type": "error", "error": {"type": "invalid_request_error", "message": words}})
                            .to_string(),
                },
                _ => refuse(status),
            };
            let scene = world.scene(&[(target, &[manner]), ("two", &[])]).await;
            let (told, ledger) = asked(&world, &hello(&scene, client, true)).await;
            assert_eq!(told.status, status, "{}", told.text);
            let body = told.json();
            assert_eq!(body["error"]["message"], words, "{body}");
            assert_eq!(body["type"] == "error", client == Protocol::Messages, "{body}");
            ledger.assert_only_released();
            assert_eq!(world.front.served(&scene.upstream), [target]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_has_on_record_how_each_attempt_failed() {
    let world = World::start(&[]).await;
    for client in [Protocol::Chat, Protocol::Messages] {
        let (forbidden, busy) = ([refuse(403)], [refuse_for(503, Some(30))]);
        let scene =
            world.scene(&[("one", &forbidden), ("closed", &[]), ("two", &busy), ("three", &busy)]).await;
        let (told, ledger) = asked(&world, &hello(&scene, client, true)).await;
        assert_eq!(told.status, 503, "{}", told.text);
        let failed = [
            ("one", Some(403), AttemptEnd::Refused),
            ("closed", None, AttemptEnd::NotReached),
            ("two", Some(503), AttemptEnd::Overloaded),
            ("three", Some(503), AttemptEnd::Overloaded),
        ];
        assert_eq!(
            released(&ledger),
            failed.map(|(provider, status, end)| (provider.into(), status, Some(end)))
        );
    }
    let scene = world.scene(&[("one", &[refuse(400)])]).await;
    let (_, ledger) = asked(&world, &hello(&scene, Protocol::Chat, false)).await;
    assert_eq!(released(&ledger), [("one".into(), Some(400), Some(AttemptEnd::BadRequest))]);
    let broken = Manner::Refuse { status: 200, retry_after: None, body: "{}".into() };
    let scene = world.scene(&[("one", &[broken])]).await;
    let (_, ledger) = asked(&world, &hello(&scene, Protocol::Chat, false)).await;
    assert_eq!(released(&ledger), [("one".into(), Some(200), Some(AttemptEnd::Failed))]);
    let scene = world.scene(&[("one", &[refuse(429), Manner::Serve]), ("two", &[])]).await;
    let (_, ledger) = asked(&world, &hello(&scene, Protocol::Chat, false)).await;
    let ends = ledger.only_settlement().attempts.iter().map(|attempt| attempt.ended);
    assert_eq!(ends.collect::<Vec<_>>(), [Some(AttemptEnd::Overloaded), Some(AttemptEnd::Answered)]);
}

/// Provider, status and end of every attempt on the release.
fn released(ledger: &Ledger) -> Vec<(String, Option<u16>, Option<AttemptEnd>)> {
    ledger.assert_only_released();
    let attempts = ledger.wallet.iter().find_map(|event| match event {
        WalletEvent::HoldReleased { attempts, .. } => Some(attempts),
        _ => None,
    });
    let attempts = attempts.expect("a release").iter();
    attempts.map(|result| (result.attempt.provider.clone(), result.status, result.ended)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_proxy_before_the_provider_is_not_taken_for_its_words() {
    let world = World::start(&[]).await;
    let page = Manner::Refuse { status: 413, retry_after: None, body: "<html>too large</html>".into() };
    for protocol in [Protocol::Responses, Protocol::Messages] {
        let scene = world.scene(&[("one", std::slice::from_ref(&page))]).await;
        let (told, ledger) = asked(&world, &hello(&scene, protocol, false)).await;
        assert_eq!(told.status, 413);
        assert!(told.json()["error"]["message"].is_string(), "{}", told.text);
        ledger.assert_only_released();
    }
    let away = Manner::Refuse { status: 302, retry_after: None, body: "elsewhere".into() };
    let scene = world.scene(&[("one", &[away])]).await;
    let (told, _) = asked(&world, &hello(&scene, Protocol::Chat, false)).await;
    assert_eq!(told.status, 502, "{}", told.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_provider_that_is_the_only_one_gets_one_more_turn_if_it_asks_for_a_short_pause() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[refuse_for(429, Some(1)), Manner::Serve])]).await;
    let (told, ledger) = asked(&world, &hello(&scene, Protocol::Responses, false)).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_served(&world, &scene, &ledger, &[("one", Some(429)), ("one", Some(200))]).await;

    // Once, and no more.
    let scene = world.scene(&[("one", &[refuse_for(503, Some(1))])]).await;
    let (told, ledger) = asked(&world, &hello(&scene, Protocol::Responses, false)).await;
    assert_eq!((told.status, &told.headers["retry-after"]), (503, &"1".parse().expect("a value")));
    ledger_released(&ledger);
    assert_eq!(world.front.served(&scene.upstream), ["one", "one"]);

    // A long pause is the client's to make.
    let scene = world.scene(&[("one", &[refuse_for(429, Some(40)), Manner::Serve])]).await;
    let (told, ledger) = asked(&world, &hello(&scene, Protocol::Responses, false)).await;
    assert_eq!((told.status, &told.headers["retry-after"]), (503, &"40".parse().expect("a value")));
    ledger_released(&ledger);
    assert_eq!(world.front.served(&scene.upstream), ["one"]);
    let codex = hello(&scene, Protocol::Responses, true).header("originator", "codex_exec");
    world.front.is_told("one", &scene.upstream, &[refuse_for(429, Some(40))]);
    let (told, _) = asked(&world, &codex).await;
    assert_eq!(told.status, 200);
    assert!(told.text.contains("\"code\":\"rate_limit_exceeded\""), "{}", told.text);
    assert!(told.text.contains("try again in 40s"), "{}", told.text);
    world.deployment.verify().await;
}

/// Whatever was on record, the hold is free again and nothing is charged.
fn ledger_released(ledger: &Ledger) {
    assert_eq!((ledger.holds(), ledger.releases(), ledger.charges()), (1, 1, 0), "{ledger:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_turn_once_more_is_of_the_target_that_was_tried() {
    let world = World::start(&[]).await;
    let again = [refuse_for(503, Some(1)), Manner::Serve];
    // What nobody but a provider of Responses understands; the second target is passed over for it.
    let scene = world.scene(&[("responses", &again), ("messages", &[])]).await;
    let mut ask = hello(&scene, Protocol::Responses, false);
    ask.body["background"] = false.into();
    ask.body["tools"] = json!([{"type": "file_search", "vector_store_ids": ["v"]}]);
    let (told, ledger) = asked(&world, &ask).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(world.front.served(&scene.upstream), ["responses", "responses"]);
    assert_eq!(ledger.charges(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_is_attempted_four_times_at_most() {
    let world = World::start(&[]).await;
    let busy = [refuse(529)];
    let targets = ["one", "two", "three", "four", "five"].map(|provider| (provider, &busy[..]));
    let scene = world.scene(&targets).await;
    let (told, ledger) = asked(&world, &hello(&scene, Protocol::Messages, true)).await;
    assert_eq!(told.status, 503, "{}", told.text);
    ledger_released(&ledger);
    assert_eq!(world.front.served(&scene.upstream), ["one", "two", "three", "four"]);
    assert_eq!(further_attempts(&ledger).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_provider_cannot_be_told_another_can() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("messages", &[]), ("responses", &[])]).await;
    let mut ask = hello(&scene, Protocol::Responses, true);
    ask.body["tools"] = json!([{"type": "file_search", "vector_store_ids": ["v"]}]);
    let (told, ledger) = asked(&world, &ask).await;
    assert!(told.is_success(Protocol::Responses, true), "{}", told.text);
    // The one it could not be said to was not tried.
    assert_served(&world, &scene, &ledger, &[("responses", Some(200))]).await;

    let scene = world.scene(&[("messages", &[])]).await;
    let mut ask = hello(&scene, Protocol::Responses, true);
    ask.body["tools"] = json!([{"type": "file_search", "vector_store_ids": ["v"]}]);
    let (told, ledger) = asked(&world, &ask).await;
    assert_eq!(told.status, 400, "{}", told.text);
    assert_eq!(told.json()["error"]["param"], "tools[0]", "{}", told.text);
    assert_eq!((ledger.holds(), world.front.seen(&scene.upstream).len()), (0, 0));
}

/// Hangs up while the first provider is about to refuse; the customer, once all is at rest.
async fn leaves(world: &World, scene: &Scene, stream: bool) -> Customer {
    let customer = world.deployment.customer(BALANCE).await;
    let ask = hello(scene, Protocol::Messages, stream);
    tokio::select! {
        _ = ask.send(&world.deployment, &customer.token) => panic!("it was answered too soon"),
        () = world.front.sees(&scene.upstream, 1) => {}
    }
    world.deployment.settled(customer.account_id).await;
    customer
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_dispatched_for_a_client_that_left_between_attempts() {
    let world = World::start(&[]).await;
    for stream in [true, false] {
        // The pause before the other turn is when the client is gone.
        let scene = world.scene(&[("one", &[refuse_for(429, Some(2)), Manner::Serve])]).await;
        let customer = leaves(&world, &scene, stream).await;
        let ledger = world.deployment.ledger(customer.account_id).await;
        ledger_released(&ledger);
        let not_dispatched = |event: &WalletEvent| {
            matches!(event, WalletEvent::HoldReleased { reason: ReleaseReason::NotDispatched, .. })
        };
        assert!(ledger.wallet.iter().any(not_dispatched), "{ledger:#?}");
        assert_eq!(world.front.served(&scene.upstream), ["one"]);
        assert_eq!(world.deployment.balance(customer.account_id).await, BALANCE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_generations_fail_over_alike() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[refuse(429)]), ("two", &[])]).await;
    let told =
        read(hello(&scene, Protocol::Messages, true).send(&world.deployment, OPERATOR_TOKEN).await).await;
    assert!(told.is_success(Protocol::Messages, true), "{}", told.text);
    let events: Vec<(String, String)> = sqlx::query_as(
        "select event_type, payload::text from events where aggregate_type = 'usage' and aggregate_id like 'operator:%' \
         order by position",
    )
    .fetch_all(&world.deployment.app.pool)
    .await
    .expect("events");
    let types: Vec<&str> = events.iter().map(|(event_type, _)| event_type.as_str()).collect();
    assert_eq!(types, ["usage.generation_opened", "usage.attempt_started", "usage.generation_settled"]);
    let UsageEvent::GenerationSettled(settled) = serde_json::from_str(&events[2].1).expect("an event") else {
        panic!("{events:?}")
    };
    let tried: Vec<_> =
        settled.attempts.iter().map(|result| (result.attempt.number, result.status)).collect();
    assert_eq!(tried, [(1, Some(429)), (2, Some(200))]);
}
