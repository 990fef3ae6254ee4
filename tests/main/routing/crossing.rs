//! Every client's dialect over every provider's: one hold, one settlement, the provider's bill, and a complete
//! answer in the client's own words (money.md § 10, row 16).

use codexapi_aggregates::usage::{Outcome, Protocol, UsageSource};
use futures::{StreamExt, stream};
use serde_json::json;

use super::heard::{Heard, heard};
use super::{BALANCE, World, attempts, name_of};
use crate::money::asking::{Ask, PROTOCOLS};
use crate::money::{INPUT_RATE, OUTPUT_RATE};

pub const CLIENTS: [Protocol; 4] =
    [Protocol::Responses, Protocol::Chat, Protocol::Completions, Protocol::Messages];

const AT_A_TIME: usize = 4;

/// Every client's dialect with every provider's.
pub fn pairs() -> impl Iterator<Item = (Protocol, Protocol)> {
    CLIENTS.into_iter().flat_map(|client| PROTOCOLS.map(|upstream| (client, upstream)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_over_every_provider_pays_the_providers_bill_once() {
    let world = World::start(&[]).await;
    let cases = pairs().flat_map(|(client, upstream)| [(client, upstream, true), (client, upstream, false)]);
    stream::iter(cases).for_each_concurrent(AT_A_TIME, |case| serves(&world, case)).await;
    world.deployment.verify().await;
}

async fn serves(world: &World, (client, upstream, stream): (Protocol, Protocol, bool)) {
    let deployment = &world.deployment;
    let provider = name_of(upstream);
    let scene = world.scene(&[(provider, &[])]).await;
    let customer = deployment.customer(BALANCE).await;
    let directive = json!({
        "input_tokens": 321, "cached_tokens": 21, "output_tokens": 40, "delta_count": 12, "tag": scene.model,
    });
    let mut ask = Ask::new(client, stream, 64, &directive).of(&scene.model);
    if stream && matches!(client, Protocol::Chat | Protocol::Completions) {
        ask.body["stream_options"] = json!({"include_usage": true});
    }
    let told = ask.run(deployment, &customer).await;
    println!("{client:?} over {upstream:?}, stream: {stream}");
    // Anthropic's input does not count what was cached.
    let input = if client == Protocol::Messages { 300 } else { 321 };
    let expected = Heard { text: "tok ".repeat(12), model: scene.model.clone(), input, output: 40 };
    assert_eq!(heard(client, stream, &told), expected);
    assert!(!told.text.contains(&scene.upstream), "the provider's name of the model shows: {}", told.text);

    let bills = deployment.bills(&scene.model).await;
    assert_eq!(bills.len(), 1, "{bills:?}");
    let of = |field: &str| bills[0][field].as_i64().expect("a count");
    let billed = of("input_tokens") * INPUT_RATE + of("output_tokens") * OUTPUT_RATE;
    let ledger = deployment.ledger(customer.account_id).await;
    let settled = ledger.only_settlement();
    assert_eq!((settled.outcome, settled.usage_source), (Outcome::Completed, UsageSource::Reported));
    assert_eq!((settled.charged_micro.0, settled.usage.cached_input), (billed, 21));
    assert_eq!(settled.protocol, client);
    assert_eq!((settled.model.as_str(), settled.provider.as_str()), (scene.model.as_str(), provider));
    assert_eq!(settled.served_model, scene.upstream);
    assert_eq!(settled.provider_response_id.as_deref(), bills[0]["id"].as_str());
    assert_eq!(attempts(&ledger), [(provider.to_owned(), Some(200))]);
    assert_eq!(deployment.balance(customer.account_id).await, BALANCE - billed);
}
