//! Sessions whose provider is exchanged half-way for one of another dialect: each provider is given back what it
//! sealed itself, and nothing that another did.

use codexapi_aggregates::usage::Protocol;
use serde_json::{Value, json};

use super::{BALANCE, Scene, World};
use crate::money::Customer;
use crate::money::asking::Ask;

/// How our envelopes around another provider's seal begin.
const ENVELOPE: &str = "cxapi1.";

fn directive() -> String {
    let told = json!({"input_tokens": 100, "output_tokens": 12, "reasoning_tokens": 6});
    format!("go on [[sim:{told}]]")
}

/// Asks with all that was said so far; the answer's content, to be said next time.
async fn turn(world: &World, customer: &Customer, ask: &Ask) -> Value {
    let told = ask.run(&world.deployment, customer).await;
    assert_eq!(told.status, 200, "{}", told.text);
    told.json()
}

async fn responses_turn(world: &World, customer: &Customer, scene: &Scene, said: &mut Vec<Value>) {
    said.push(json!({"type": "message", "role": "user", "content": directive()}));
    let body = json!({
        "model": scene.model, "input": said, "store": false, "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "medium"}, "max_output_tokens": 4_096,
    });
    let answer = turn(world, customer, &Ask { protocol: Protocol::Responses, body, headers: vec![] }).await;
    said.extend(answer["output"].as_array().expect("output").iter().cloned());
}

async fn messages_turn(world: &World, customer: &Customer, scene: &Scene, said: &mut Vec<Value>) {
    said.push(json!({"role": "user", "content": directive()}));
    let body = json!({
        "model": scene.model, "messages": said, "max_tokens": 4_096,
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
    });
    let answer = turn(world, customer, &Ask { protocol: Protocol::Messages, body, headers: vec![] }).await;
    said.push(json!({"role": "assistant", "content": answer["content"]}));
}

fn last_sent(world: &World, scene: &Scene) -> String {
    world.front.seen(&scene.upstream).pop().expect("a request").body.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responses_session_moves_to_messages_and_back() {
    let world = World::start(&[]).await;
    let customer = world.deployment.customer(BALANCE).await;
    let scene = world.scene(&[("messages", &[])]).await;
    let mut said = vec![];
    responses_turn(&world, &customer, &scene, &mut said).await;
    let sealed = Value::from(said.clone()).to_string();
    assert!(sealed.contains(ENVELOPE), "the signature travels with the client: {sealed}");

    world.targets(&scene, &[("responses", 1)]).await;
    responses_turn(&world, &customer, &scene, &mut said).await;
    let sent = last_sent(&world, &scene);
    assert!(!sent.contains(ENVELOPE) && !sent.contains("sim-signature"), "a foreign seal: {sent}");
    let own = |content: &&str| !content.starts_with(ENVELOPE);
    let own = said.iter().filter_map(|item| item["encrypted_content"].as_str()).rfind(own);
    let own = own.expect("OpenAI's own").to_owned();

    world.targets(&scene, &[("messages", 1)]).await;
    responses_turn(&world, &customer, &scene, &mut said).await;
    let sent = last_sent(&world, &scene);
    assert!(!sent.contains(ENVELOPE) && !sent.contains(&own), "a foreign seal: {sent}");
    assert!(sent.contains("sim-signature"), "Anthropic gets its own back: {sent}");

    world.targets(&scene, &[("responses", 1)]).await;
    responses_turn(&world, &customer, &scene, &mut said).await;
    let sent = last_sent(&world, &scene);
    assert!(!sent.contains(ENVELOPE) && !sent.contains("sim-signature"), "a foreign seal: {sent}");
    assert!(sent.contains(&own), "OpenAI gets its own back: {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_messages_session_moves_to_responses_and_back() {
    let world = World::start(&[]).await;
    let customer = world.deployment.customer(BALANCE).await;
    let scene = world.scene(&[("responses", &[])]).await;
    let mut said = vec![];
    messages_turn(&world, &customer, &scene, &mut said).await;
    let sealed = Value::from(said.clone()).to_string();
    assert!(sealed.contains(ENVELOPE), "the encrypted reasoning travels with the client: {sealed}");

    world.targets(&scene, &[("messages", 1)]).await;
    messages_turn(&world, &customer, &scene, &mut said).await;
    let sent = last_sent(&world, &scene);
    assert!(!sent.contains(ENVELOPE), "a foreign seal: {sent}");
    let sealed = Value::from(said.clone()).to_string();
    assert!(sealed.contains("sim-signature"), "Anthropic's own: {sealed}");

    world.targets(&scene, &[("responses", 1)]).await;
    messages_turn(&world, &customer, &scene, &mut said).await;
    let sent = last_sent(&world, &scene);
    assert!(!sent.contains(ENVELOPE) && !sent.contains("sim-signature"), "a foreign seal: {sent}");
    assert!(sent.contains("encrypted_content"), "OpenAI gets its own back: {sent}");

    world.targets(&scene, &[("messages", 1)]).await;
    messages_turn(&world, &customer, &scene, &mut said).await;
    let sent = last_sent(&world, &scene);
    assert!(!sent.contains(ENVELOPE) && sent.contains("sim-signature"), "{sent}");
}
