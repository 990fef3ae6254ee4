//! Where requests with a provider's key go, and where they cannot be led.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use codexapi::config::providers::{ProviderAccount, ProviderKey, Providers};
use codexapi::egress::{Reach, Resolver};
use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use crate::money::asking::{Ask, PROTOCOLS};
use crate::money::{Deployment, MODEL};

const KEY: &str = "sk-the-providers-key-that-goes-nowhere-else";

type Seen = Arc<Mutex<Vec<HeaderMap>>>;

/// A server that notes what it gets, and sends everybody elsewhere where it is told where, each time in the next way.
async fn server(elsewhere: Option<String>) -> (String, Seen) {
    const WAYS: [u16; 5] = [301, 302, 303, 307, 308];
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = async move |State(seen): State<Seen>, headers: HeaderMap| -> Response {
        let mut seen = seen.lock().expect("unpoisoned");
        seen.push(headers);
        let way = StatusCode::from_u16(WAYS[seen.len() % WAYS.len()]).expect("a status");
        match elsewhere {
            Some(elsewhere) => (way, [(LOCATION, elsewhere)]).into_response(),
            None => StatusCode::OK.into_response(),
        }
    };
    let router = Router::new().fallback(answer).with_state(Arc::clone(&seen));
    tokio::spawn(async move { axum::serve(listener, router).await.expect("serving") });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_cannot_send_a_request_with_its_key_elsewhere() {
    let (elsewhere, reached) = server(None).await;
    let (provider, seen) = server(Some(format!("{elsewhere}/v1/responses"))).await;
    let deployment = Deployment::start_with(&[], |config, _| {
        let mut only: Vec<_> = config.catalog.providers.iter().cloned().collect();
        only[0].base_url = provider.parse().expect("an address");
        only[0].account = ProviderAccount::Api(Some(ProviderKey::new(KEY.into())));
        config.catalog.providers = Providers::new(only);
    })
    .await;
    let customer = deployment.customer(1_000_000).await;
    for protocol in [PROTOCOLS; 5].concat() {
        let told = Ask::new(protocol, false, 16, &json!({})).of(MODEL).run(&deployment, &customer).await;
        assert!(told.status >= 400, "{told:?}");
        assert!(!told.text.contains(KEY) && !told.text.contains(&elsewhere), "{told:?}");
    }
    let seen = seen.lock().expect("unpoisoned").clone();
    let carried =
        |headers: &HeaderMap| headers.values().any(|value| value.as_bytes().ends_with(KEY.as_bytes()));
    assert!(seen.len() >= 5 * PROTOCOLS.len() && seen.iter().all(carried), "{seen:?}");
    assert!(reached.lock().expect("unpoisoned").is_empty(), "a redirect was followed");
    assert_eq!(deployment.balance(customer.account_id).await, 1_000_000);
    assert_eq!(deployment.ledger(customer.account_id).await.charges(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_a_private_address_is_not_connected_to() {
    let (url, seen) = server(None).await;
    let named = url.replace("127.0.0.1", "localhost");
    let ask = async |reach| {
        let client = codexapi::tls::http_client_builder().no_proxy().dns_resolver(Resolver(reach));
        client.build().expect("a client").get(&named).send().await
    };
    let refused = ask(Reach::Internet).await.expect_err("this machine is not the internet");
    assert!(refused.is_connect(), "so that the next provider is tried: {refused:?}");
    assert!(format!("{refused:?}").contains("OutOfReach"), "{refused:?}");
    assert!(seen.lock().expect("unpoisoned").is_empty());
    for reach in [Reach::OwnNetwork, Reach::ThisMachine] {
        assert_eq!(ask(reach).await.expect("an answer").status(), 200);
    }
}
