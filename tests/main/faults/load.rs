//! Clients that ask for generations over every protocol, streaming and not, and remember what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::service::World;
use crate::harness::wait_for;

/// Before a client that was not answered asks again.
const PAUSE: Duration = Duration::from_millis(50);

/// What one client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The whole answer, with the provider's id of it.
    Complete { response_id: String },
    /// The answer had begun, and was then said to have failed.
    Failed { response_id: Option<String> },
    /// A status instead of an answer.
    Refused { status: StatusCode, retry_after: Option<String>, body: String },
    /// The connection ended before the answer did, or was not made.
    Cut,
}

/// Clients at work.
pub struct Load {
    stop: CancellationToken,
    clients: JoinSet<Vec<Told>>,
    counts: Arc<Counts>,
}

/// So far.
#[derive(Default)]
struct Counts {
    completed: AtomicUsize,
    refused: AtomicUsize,
}

impl Load {
    /// `clients` at once, spread over the customers behind `tokens`.
    pub fn start(world: &World, tokens: &[String], clients: usize) -> Self {
        Self::spread(world, &[&world.base_url], tokens, clients)
    }

    /// The same, of several nodes.
    pub fn spread(world: &World, nodes: &[&str], tokens: &[String], clients: usize) -> Self {
        let (stop, counts) = (CancellationToken::new(), Arc::<Counts>::default());
        let mut running = JoinSet::new();
        for number in 0..clients {
            let client = Client {
                http: world.http.clone(),
                base_url: nodes[number % nodes.len()].to_owned(),
                // Over every node at each customer.
                token: tokens[number / nodes.len() % tokens.len()].clone(),
                number,
            };
            running.spawn(client.run(stop.clone(), Arc::clone(&counts)));
        }
        Self { stop, clients: running, counts }
    }

    /// Generations told complete so far.
    pub fn completed(&self) -> usize {
        self.counts.completed.load(Ordering::Relaxed)
    }

    /// Requests refused so far.
    pub fn refused(&self) -> usize {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Waits until `more` further generations are told complete.
    pub async fn completes(&self, more: usize) {
        let until = self.completed() + more;
        wait_for("generations complete", async || (self.completed() >= until).then_some(())).await;
    }

    /// Lets every client end what it has begun; everything they were told.
    pub async fn stop(self) -> Vec<Told> {
        self.stop.cancel();
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

struct Client {
    http: reqwest::Client,
    base_url: String,
    token: String,
    number: usize,
}

impl Client {
    async fn run(self, stop: CancellationToken, counts: Arc<Counts>) -> Vec<Told> {
        let mut heard = Vec::new();
        while !stop.is_cancelled() {
            let told = self.ask(self.number + heard.len()).await;
            match told {
                Told::Complete { .. } => {
                    counts.completed.fetch_add(1, Ordering::Relaxed);
                }
                Told::Refused { .. } => {
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
                Told::Failed { .. } | Told::Cut => tokio::time::sleep(PAUSE).await,
            }
            heard.push(told);
        }
        heard
    }

    async fn ask(&self, turn: usize) -> Told {
        let (path, body) = request(turn);
        let streaming = body["stream"] == true;
        let request = self.http.post(format!("{}{path}", self.base_url)).bearer_auth(&self.token);
        let Ok(response) = request.json(&body).send().await else { return Told::Cut };
        let status = response.status();
        let retry_after =
            response.headers().get(RETRY_AFTER).map(|value| value.to_str().expect("text").to_owned());
        let Ok(body) = response.text().await else { return Told::Cut };
        match status {
            StatusCode::OK if streaming => told_by_stream(&body),
            StatusCode::OK => {
                let body: Value = serde_json::from_str(&body).expect("an answer is JSON");
                Told::Complete { response_id: body["id"].as_str().expect("an id").to_owned() }
            }
            status => Told::Refused { status, retry_after, body },
        }
    }
}

/// A request of its own size and duration: the `turn` decides protocol, streaming, tokens and delays.
fn request(turn: usize) -> (&'static str, Value) {
    let deltas = 6 + turn % 5;
    let delay_ms = 60 + 40 * (turn % 7);
    let directive = json!({
        "input_tokens": 100 + turn % 900,
        "output_tokens": 10 + turn % 90,
        "delta_count": deltas,
        "first_byte_delay_ms": if turn.is_multiple_of(2) { 20 } else { deltas * delay_ms },
        "chunk_delay_ms": delay_ms,
    });
    let stream = turn.is_multiple_of(2);
    let text = format!("Say hello [[sim:{directive}]]");
    let messages = json!([{ "role": "user", "content": text }]);
    match turn / 2 % 3 {
        0 => (
            "/v1/responses",
            json!({ "model": "gpt-5.5", "stream": stream, "max_output_tokens": 200, "input": text }),
        ),
        1 => (
            "/v1/chat/completions",
            json!({ "model": "gpt-5.5", "stream": stream, "max_completion_tokens": 200, "messages": messages }),
        ),
        _ => (
            "/v1/messages",
            json!({ "model": "claude-opus-4-8", "stream": stream, "max_tokens": 200, "messages": messages }),
        ),
    }
}

/// Complete only where the dialect's own last word has come.
fn told_by_stream(body: &str) -> Told {
    let data: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let events: Vec<Value> = data.iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    let response_id = events.iter().find_map(|event| {
        let id = [&event["response"]["id"], &event["message"]["id"], &event["id"]];
        id.into_iter().find_map(Value::as_str).map(str::to_owned)
    });
    let is = |event: &Value, kind: &str| event["type"] == kind;
    let failed =
        |event: &Value| is(event, "response.failed") || is(event, "error") || event["error"].is_object();
    let complete = |event: &Value| is(event, "response.completed") || is(event, "message_stop");
    if events.iter().any(failed) {
        Told::Failed { response_id }
    } else if events.iter().any(complete) || data.last() == Some(&"[DONE]") {
        Told::Complete { response_id: response_id.expect("a complete answer has an id") }
    } else {
        Told::Cut
    }
}
