//! Providers that do as they are told, each at a path of its own; those told nothing pass what they get on to the
//! simulator, which bills it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::wait_for;

/// How a provider meets one request.
#[derive(Clone, Debug)]
pub enum Manner {
    /// It serves it.
    Serve,
    /// It serves it after so long.
    Late(Duration),
    Refuse {
        status: u16,
        retry_after: Option<u32>,
        body: String,
    },
    /// It takes the request and never says anything.
    Silent,
    /// It sends this much of an answer, and never goes on.
    Stalls {
        content_type: &'static str,
        body: String,
    },
    /// It takes the request and hangs up.
    HangUp,
}

/// One request a provider got.
#[derive(Clone, Debug)]
pub struct Seen {
    pub provider: String,
    pub model: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// All providers.
pub struct Front {
    pub url: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    simulator: OnceLock<String>,
    client: reqwest::Client,
    told: Mutex<HashMap<(String, String), Vec<Manner>>>,
    seen: Mutex<Vec<Seen>>,
}

/// A refusal as OpenAI writes it.
pub fn refuse(status: u16) -> Manner {
    refuse_for(status, None)
}

pub fn refuse_for(status: u16, retry_after: Option<u32>) -> Manner {
    let body = format!(
        r#"{{"error":{{"message":"the provider's own words","type":"t","code":"c{status}","param":null}}}}"#
    );
    Manner::Refuse { status, retry_after, body }
}

impl Front {
    pub async fn start() -> Self {
        let client = codexapi::tls::http_client_builder().no_proxy().build().expect("a client");
        let shared = Arc::new(Shared {
            simulator: OnceLock::new(),
            client,
            told: Mutex::default(),
            seen: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/{provider}/{*path}", post(meet)).with_state(Arc::clone(&shared));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router.layer(axum::extract::DefaultBodyLimit::disable())) => served.expect("serving"),
                () = stopped => {}
            }
        });
        Self { url, shared, _stop: stop.drop_guard() }
    }

    /// What stands behind it.
    pub fn serves(&self, simulator: &str) {
        self.shared.simulator.set(simulator.to_owned()).expect("set once");
    }

    /// How a provider is to meet requests for a model, one after the other; the last manner stays.
    pub fn is_told(&self, provider: &str, model: &str, manners: &[Manner]) {
        lock(&self.shared.told).insert((provider.into(), model.into()), manners.to_vec());
    }

    /// Requests for a model, in the order in which they came.
    pub fn seen(&self, model: &str) -> Vec<Seen> {
        lock(&self.shared.seen).iter().filter(|seen| seen.model == model).cloned().collect()
    }

    /// Who got requests for a model, in order.
    pub fn served(&self, model: &str) -> Vec<String> {
        self.seen(model).into_iter().map(|seen| seen.provider).collect()
    }

    /// Waits until so many requests for a model have come.
    pub async fn sees(&self, model: &str, count: usize) {
        wait_for("requests at the providers", async || (self.seen(model).len() >= count).then_some(())).await;
    }

    /// What the simulator answers to a request exactly like one that was seen.
    pub async fn replay(&self, seen: &Seen) -> String {
        let url = format!("{}/{}", self.shared.simulator.get().expect("a simulator"), seen.path);
        let sent = self.shared.client.post(url).headers(forwarded(&seen.headers)).json(&seen.body).send();
        sent.await.expect("an answer").text().await.expect("text")
    }
}

async fn meet(
    State(shared): State<Arc<Shared>>,
    Path((provider, path)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let json: Value = serde_json::from_slice(&body).expect("JSON");
    let model = json["model"].as_str().expect("a model").to_owned();
    let seen = Seen { provider, model, path, headers, body: json };
    let manner = shared.manner(&seen);
    lock(&shared.seen).push(seen.clone());
    match manner {
        Manner::Serve => shared.pass_on(&seen, body).await,
        Manner::Late(pause) => {
            tokio::time::sleep(pause).await;
            shared.pass_on(&seen, body).await
        }
        Manner::Refuse { status, retry_after, body } => {
            let mut response = Response::builder().status(status).header("content-type", "application/json");
            if let Some(seconds) = retry_after {
                response = response.header("retry-after", seconds);
            }
            response.body(Body::from(body)).expect("a response")
        }
        Manner::Silent => std::future::pending().await,
        Manner::Stalls { content_type, body } => {
            let begun = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from(body)) });
            let body = Body::from_stream(futures::StreamExt::chain(begun, futures::stream::pending()));
            Response::builder().header("content-type", content_type).body(body).expect("a response")
        }
        Manner::HangUp => panic!("told to hang up"),
    }
}

impl Shared {
    fn manner(&self, seen: &Seen) -> Manner {
        let mut told = lock(&self.told);
        match told.get_mut(&(seen.provider.clone(), seen.model.clone())) {
            None => Manner::Serve,
            Some(manners) if manners.len() > 1 => manners.remove(0),
            Some(manners) => manners.first().cloned().unwrap_or(Manner::Serve),
        }
    }

    async fn pass_on(&self, seen: &Seen, body: Bytes) -> Response {
        // Where Codex's own service is reached, its paths have no version.
        let path = if seen.path == "responses" { "v1/responses" } else { &seen.path };
        let url = format!("{}/{path}", self.simulator.get().expect("a simulator"));
        let answer = self.client.post(url).headers(forwarded(&seen.headers)).body(body).send().await;
        let answer = answer.expect("the simulator answers");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(answer.status().as_u16()).expect("a status");
        *response.headers_mut() = answer.headers().clone();
        response.headers_mut().remove(TRANSFER_ENCODING);
        *response.body_mut() = Body::from_stream(answer.bytes_stream());
        response
    }
}

fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING].iter().for_each(|name| drop(headers.remove(name)));
    headers
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while it is held")
}
