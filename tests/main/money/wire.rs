//! What crosses the gateway and what does not: headers, bytes, sizes, signs of life.

use codexapi_aggregates::usage::Protocol;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::asking::{Ask, PROTOCOLS, read};
use super::{ALIAS, Deployment};

const BALANCE: i64 = 1_000_000;

fn hello(protocol: Protocol, stream: bool, tag: &str) -> Ask {
    let told = json!({"input_tokens": 10, "output_tokens": 5, "delta_count": 5, "tag": tag});
    Ask::new(protocol, stream, 64, &told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_is_paid_by_the_token_in_either_header() {
    let deployment = Deployment::start(&[]).await;
    let (one, other) = (deployment.customer(BALANCE).await, deployment.customer(BALANCE).await);
    let url = |ask: &Ask| format!("{}{}", deployment.url, ask.path());
    for protocol in PROTOCOLS {
        let ask = hello(protocol, false, "token");
        let request = deployment.client.post(url(&ask)).header("x-api-key", &one.token);
        let told = read(request.json(&ask.body).send().await.expect("an answer")).await;
        assert_eq!(told.status, 200, "{}", told.text);
        assert_eq!(ask.run(&deployment, &one).await.status, 200);
        let both = ask.clone().header("x-api-key", one.token.clone());
        assert_eq!(both.run(&deployment, &one).await.status, 200);
        let differing = ask.clone().header("x-api-key", other.token.clone());
        let refused = differing.run(&deployment, &one).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
    }
    assert_eq!(deployment.ledger(one.account_id).await.charges(), 9);
    assert_eq!(deployment.ledger(other.account_id).await.holds(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_account_and_the_customers_token_stay_on_their_sides() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(BALANCE).await;
    for (protocol, stream) in PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, true), (protocol, false)])
    {
        let tag = format!("{protocol:?}{stream}");
        let told = json!({"tag": tag, "headers": {
            "openai-model": "another", "openai-organization": "org", "x-codex-turn-state": "kept",
        }});
        let answer = Ask::new(protocol, stream, 64, &told).send(&deployment, &customer.token).await;
        let headers = answer.headers().clone();
        assert_eq!(read(answer).await.status, 200);
        assert!(!headers.contains_key("openai-model") && !headers.contains_key("openai-organization"));
        assert_eq!(headers["x-codex-turn-state"], "kept");
        let id = headers["x-request-id"].to_str().expect("text");
        assert!(id.starts_with("req_"), "{id}");
        let bills = deployment.bills(&tag).await;
        assert!(!bills[0].to_string().contains(&customer.token));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_declined_so_that_codex_goes_on_over_http() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(0).await;
    let answer = deployment
        .client
        .get(format!("{}/v1/responses", deployment.url))
        .bearer_auth(&customer.token)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 426);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_reaches_the_provider_byte_for_byte() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(BALANCE).await;
    for protocol in [Protocol::Responses, Protocol::Messages] {
        let ask = hello(protocol, true, "bytes");
        // Odd spacing and a number no parser writes back as it was.
        let body = ask.body.to_string().replacen('{', "{ \"metadata\" :\t{\"user_id\":\"\\u00e9\"} ,\n", 1);
        let answer = deployment
            .client
            .post(format!("{}{}", deployment.url, ask.path()))
            .header("content-type", "application/json")
            .bearer_auth(&customer.token)
            .body(body.clone());
        let told = read(answer.send().await.expect("an answer")).await;
        assert_eq!(told.status, 200, "{}", told.text);
        let bills = deployment.bills("bytes").await;
        let sent = hex::encode(Sha256::digest(body.as_bytes()));
        assert_eq!(bills.last().expect("a bill")["request_sha256"], sent.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_keeps_the_name_its_client_gave_it() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(BALANCE).await;
    for (protocol, stream) in PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, true), (protocol, false)])
    {
        let mut ask = hello(protocol, stream, "alias");
        ask.body["model"] = ALIAS.into();
        let told = ask.run(&deployment, &customer).await;
        assert!(told.is_success(protocol, stream), "{}", told.text);
        assert!(told.text.contains(ALIAS) && !told.text.contains(super::MODEL), "{}", told.text);
    }
    assert!(deployment.bills("alias").await.iter().all(|bill| bill["model"] == super::MODEL));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_chunk_of_a_chat_stream_is_seen_only_by_who_asked_for_it() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(BALANCE).await;
    let mut ask = hello(Protocol::Chat, true, "chunk");
    let hidden = ask.run(&deployment, &customer).await;
    assert!(hidden.text.contains("[DONE]") && !hidden.text.contains("prompt_tokens"), "{}", hidden.text);
    ask.body["stream_options"] = json!({"include_usage": true});
    let shown = ask.run(&deployment, &customer).await;
    assert!(shown.text.contains("prompt_tokens"), "{}", shown.text);
    let ledger = deployment.ledger(customer.account_id).await;
    assert_eq!(ledger.charges(), 2);
    assert_eq!(ledger.settled[0].charged_micro, ledger.settled[1].charged_micro);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_32_mib_is_served() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(BALANCE).await;
    let mut ask = hello(Protocol::Responses, false, "large");
    let rest = ask.body.to_string().len() + "\"user\":\"\",".len();
    // A field that is no input fills the body up to exactly the limit.
    ask.body["user"] = "x".repeat((32 << 20) - rest).into();
    assert_eq!(ask.body.to_string().len(), 32 << 20);
    let told = ask.run(&deployment, &customer).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(deployment.ledger(customer.account_id).await.charges(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_in_its_dialect() {
    let deployment = Deployment::start(&[("CODEXAPI_BODY_LIMIT_BYTES", "65536")]).await;
    let customer = deployment.customer(BALANCE).await;
    for protocol in PROTOCOLS {
        let mut ask = hello(protocol, false, "large");
        ask.body["one_more"] = "x".repeat(65_536).into();
        let refused = ask.run(&deployment, &customer).await;
        assert_eq!(refused.status, 413, "{}", refused.text);
        let error = refused.json();
        match protocol {
            Protocol::Messages => assert_eq!(error["type"], "error"),
            Protocol::Responses | Protocol::Chat | Protocol::Completions => {
                assert!(error["error"]["message"].is_string())
            }
        }
    }
    assert_eq!(deployment.ledger(customer.account_id).await.holds(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_provider_does_not_look_dead_to_its_client() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(BALANCE).await;
    // One pause that is a little longer than the gateway lets a client wait.
    let told = json!({"input_tokens": 10, "output_tokens": 2, "delta_count": 2, "chunk_delay_ms": 16_000});
    let ask = |protocol| Ask::new(protocol, true, 64, &told);
    let cases = [
        (ask(Protocol::Responses).header("originator", "codex_exec"), "event: keepalive\n"),
        (ask(Protocol::Responses), ": keepalive\n\n"),
        (ask(Protocol::Chat), ": keepalive\n\n"),
        (ask(Protocol::Messages), "event: ping\ndata: {\"type\":\"ping\"}\n\n"),
    ];
    let answers = cases.iter().map(|(ask, _)| ask.run(&deployment, &customer));
    let told = futures::future::join_all(answers).await;
    for (told, (ask, sign)) in told.iter().zip(&cases) {
        assert!(told.is_success(ask.protocol, true), "{}", told.text);
        let first = told.text.find("tok ").expect("a token");
        assert!(told.text[first..].contains(sign), "{}", told.text);
    }
}
