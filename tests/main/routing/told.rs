//! What the headers, trailers and last chunk of an answer tell its client, and what they never tell.

use codexapi_aggregates::account::KeyLimits;
use codexapi_aggregates::usage::Protocol;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::heard::events;
use super::{BALANCE, Scene, World, name_of};
use crate::money::asking::{Ask, PROTOCOLS, Told};
use crate::money::{Customer, INPUT_RATE, OUTPUT_RATE};

const COST: i64 = 10 * INPUT_RATE + 5 * OUTPUT_RATE;

/// What providers say of themselves and of the operator's account with them.
const THEIRS: [&str; 8] = [
    "openai-model",
    "openai-organization",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-limit-requests",
    "anthropic-ratelimit-requests-limit",
    "anthropic-organization-id",
    "x-codex-primary-used-percent",
    "x-codex-credits-balance",
];

fn hello(scene: &Scene, protocol: Protocol, stream: bool) -> Ask {
    let theirs: Value = THEIRS.iter().map(|name| ((*name).to_owned(), Value::from("theirs"))).collect();
    let told = json!({"input_tokens": 10, "output_tokens": 5, "delta_count": 5, "headers": theirs});
    let mut ask = Ask::new(protocol, stream, 64, &told).of(&scene.model);
    if protocol == Protocol::Chat && stream {
        ask.body["stream_options"] = json!({"include_usage": true});
    }
    ask
}

fn header<'a>(told: &'a Told, name: &str) -> Option<&'a str> {
    told.headers.get(name).map(|value| value.to_str().expect("text"))
}

async fn generation_id(world: &World, customer: &Customer) -> String {
    world.deployment.ledger(customer.account_id).await.only_settlement().generation_id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_providers_account_is_told_in_one_dialect_or_across_two() {
    let world = World::start(&[]).await;
    for upstream in PROTOCOLS {
        let scene = world.scene(&[(name_of(upstream), &[])]).await;
        for (client, stream) in PROTOCOLS.into_iter().flat_map(|client| [(client, true), (client, false)]) {
            let customer = world.deployment.customer(BALANCE).await;
            let told = hello(&scene, client, stream).run(&world.deployment, &customer).await;
            assert_eq!(told.status, 200, "{}", told.text);
            assert!(THEIRS.iter().all(|name| header(&told, name).is_none()), "{:?}", told.headers);
            let values: Vec<_> = told.headers.values().collect();
            assert!(!format!("{values:?}").contains("theirs"), "{values:?}");
            let id = generation_id(&world, &customer).await;
            assert_eq!(header(&told, "x-codexapi-generation-id"), Some(id.as_str()));
            let cost = (!stream).then(|| COST.to_string());
            assert_eq!(header(&told, "x-codexapi-cost-micro"), cost.as_deref());
            let balance = (!stream).then(|| (BALANCE - COST).to_string());
            assert_eq!(header(&told, "x-codexapi-balance-micro"), balance.as_deref());
            assert!(header(&told, "x-codex-credits-has-credits").is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_is_told_its_credits() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("messages", &[])]).await;
    let customer = world.deployment.customer(BALANCE).await;
    for (stream, balance) in [(true, "10.00"), (false, "9.99")] {
        let ask = hello(&scene, Protocol::Responses, stream).header("originator", "codex_exec");
        let told = ask.run(&world.deployment, &customer).await;
        assert_eq!(header(&told, "x-codex-credits-balance"), Some(balance), "{}", told.text);
        assert_eq!(header(&told, "x-codex-credits-has-credits"), Some("true"));
        assert_eq!(header(&told, "x-codex-credits-unlimited"), Some("false"));
        world.deployment.settled(customer.account_id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_key_are_told_in_the_names_of_the_dialect() {
    let world = World::start(&[]).await;
    let scene = world.scene(&[("one", &[])]).await;
    let limits = KeyLimits {
        requests_per_minute: Some(60),
        tokens_per_minute: Some(1_000_000),
        ..KeyLimits::default()
    };
    for stream in [true, false] {
        let openai = world.deployment.customer(BALANCE).await;
        world.limit(&openai, limits.clone()).await;
        let told = hello(&scene, Protocol::Chat, stream).run(&world.deployment, &openai).await;
        assert_eq!(header(&told, "x-ratelimit-limit-requests"), Some("60"), "{:?}", told.headers);
        assert_eq!(header(&told, "x-ratelimit-remaining-requests"), Some("59"));
        assert_eq!(header(&told, "x-ratelimit-limit-tokens"), Some("1000000"));
        let left: u64 =
            header(&told, "x-ratelimit-remaining-tokens").expect("told").parse().expect("a number");
        assert!((900_000..1_000_000).contains(&left), "{left}");
        let reset =
            header(&told, "x-ratelimit-reset-requests").expect("told").strip_suffix('s').expect("seconds");
        assert!((0..=60).contains(&reset.parse::<u32>().expect("a number")));

        let anthropic = world.deployment.customer(BALANCE).await;
        world.limit(&anthropic, limits.clone()).await;
        let told = hello(&scene, Protocol::Messages, stream).run(&world.deployment, &anthropic).await;
        assert_eq!(header(&told, "anthropic-ratelimit-requests-limit"), Some("60"), "{:?}", told.headers);
        assert_eq!(header(&told, "anthropic-ratelimit-requests-remaining"), Some("59"));
        assert!(header(&told, "anthropic-ratelimit-tokens-reset").expect("told").ends_with('Z'));
        assert!(!told.headers.keys().any(|name| name.as_str().starts_with("x-ratelimit")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_stands_in_the_last_usage_for_those_who_ask_and_in_nobody_elses() {
    let world = World::start(&[]).await;
    for (client, upstream) in [
        (Protocol::Responses, Protocol::Responses),
        (Protocol::Chat, Protocol::Messages),
        (Protocol::Messages, Protocol::Responses),
        (Protocol::Responses, Protocol::Chat),
    ] {
        for stream in [true, false] {
            let scene = world.scene(&[(name_of(upstream), &[])]).await;
            let customer = world.deployment.customer(BALANCE).await;
            let ask = hello(&scene, client, stream);
            let told =
                ask.clone().header("x-codexapi-include-cost", "true").run(&world.deployment, &customer).await;
            let id = generation_id(&world, &customer).await;
            let expected = json!({
                "generationId": id,
                "costMicro": COST, "costUsd": "0.000080",
                "balanceMicro": BALANCE - COST, "balanceUsd": "9.999920",
            });
            assert_eq!(note(&told, stream), Some(expected), "{client:?} over {upstream:?}: {}", told.text);
            let unasked = ask.run(&world.deployment, &customer).await;
            assert_eq!(note(&unasked, stream), None, "{}", unasked.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_hides_its_usage_shows_it_with_its_cost_to_those_who_ask() {
    let world = World::start(&[]).await;
    for (client, upstream) in [
        (Protocol::Chat, Protocol::Chat),
        (Protocol::Chat, Protocol::Messages),
        (Protocol::Completions, Protocol::Chat),
    ] {
        let scene = world.scene(&[(name_of(upstream), &[])]).await;
        let customer = world.deployment.customer(BALANCE).await;
        let mut ask = hello(&scene, client, true);
        ask.body.as_object_mut().expect("an object").remove("stream_options");
        let unasked = ask.run(&world.deployment, &customer).await;
        assert!(!unasked.text.contains("\"usage\":{"), "{}", unasked.text);
        let told = ask.header("x-codexapi-include-cost", "true").run(&world.deployment, &customer).await;
        let cost = note(&told, true).map(|note| note["costMicro"].clone());
        assert_eq!(cost, Some(json!(COST)), "{client:?} over {upstream:?}: {}", told.text);
    }
}

/// What the usage of the answer says of its cost.
fn note(told: &Told, stream: bool) -> Option<Value> {
    let of = |data: &Value| {
        let usage = data.get("usage").or_else(|| data.get("response")?.get("usage"))?;
        usage.get("codexapi").cloned()
    };
    if stream { events(&told.text).iter().find_map(|event| of(&event.data)) } else { of(&told.json()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streams_cost_follows_in_trailers() {
    let world = World::start(&[]).await;
    for (client, upstream) in [(Protocol::Messages, Protocol::Messages), (Protocol::Messages, Protocol::Chat)]
    {
        let scene = world.scene(&[(name_of(upstream), &[])]).await;
        let customer = world.deployment.customer(BALANCE).await;
        let answer = raw(&world, &customer, &hello(&scene, client, true)).await;
        let (head, rest) = answer.split_once("\r\n\r\n").expect("a head");
        let head = head.to_lowercase();
        assert!(head.contains("trailer: x-codexapi-cost-micro, x-codexapi-balance-micro"), "{head}");
        let trailers = rest.rsplit_once("\r\n0\r\n").expect("a last chunk").1;
        assert!(trailers.contains(&format!("x-codexapi-cost-micro: {COST}\r\n")), "{trailers}");
        assert!(
            trailers.contains(&format!("x-codexapi-balance-micro: {}\r\n", BALANCE - COST)),
            "{trailers}"
        );
    }
}

/// The bytes of an answer to a client that takes trailers.
async fn raw(world: &World, customer: &Customer, ask: &Ask) -> String {
    let address = world.deployment.url.trim_start_matches("http://");
    let body = ask.body.to_string();
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         te: trailers\r\nconnection: close, te\r\ncontent-length: {}\r\n\r\n{body}",
        ask.path(),
        customer.token,
        body.len(),
    );
    let mut socket = TcpStream::connect(address).await.expect("connected");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("read");
    answer
}
