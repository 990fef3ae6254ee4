//! Webhooks: who is told, how networks spoil it, and a record of every attempt.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::objects::events::matches;
use crate::server::{State, locked};
use crate::signature;
use crate::world::{new_id, shown, text};

const TIMEOUT: Duration = Duration::from_secs(10);
const MOST_ANSWER_BYTES: usize = 64 * 1024;
const MOST_ENDPOINTS: usize = 16;
const MOST_COPIES: usize = 20;
const MOST_RETRIES: usize = 50;
const MOST_ATTEMPTS_KEPT: usize = 100_000;

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Where events are sent.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    pub id: String,
    pub url: String,
    #[serde(skip)]
    pub secret: String,
    pub enabled_events: Vec<String>,
}

/// What becomes of events from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    mode: Mode,
    /// How often each event is delivered.
    copies: usize,
    /// Each delivery waits this long, and up to `jitter_ms` longer: that reorders them.
    delay_ms: u64,
    jitter_ms: u64,
    /// What is not answered with a 2xx is sent again after each of these, which stand for Stripe's three days.
    retry_delays_ms: Vec<u64>,
    /// Events of these types are lost.
    lost_types: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Send,
    /// Kept until they are released.
    Hold,
    Lose,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            mode: Mode::Send,
            copies: 1,
            delay_ms: 0,
            jitter_ms: 0,
            retry_delays_ms: vec![200, 500, 1_000, 2_000, 5_000, 10_000],
            lost_types: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    pub event: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub endpoint: String,
    pub attempt: usize,
    pub at: i64,
    pub signature: String,
    /// The answer's; `None` where none came.
    pub status: Option<u16>,
    pub answer: String,
}

pub struct Outbox {
    pub endpoints: Vec<Endpoint>,
    pub plan: Plan,
    pub held: Vec<String>,
    pub attempts: Vec<Attempt>,
    /// Deliveries and retries that are still to come.
    pub pending: usize,
    client: HttpClient,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox {
            endpoints: Vec::new(),
            plan: Plan::default(),
            held: Vec::new(),
            attempts: Vec::new(),
            pending: 0,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }
}

impl Outbox {
    pub fn add_endpoint(
        &mut self,
        url: &str,
        secret: &str,
        enabled_events: Vec<String>,
    ) -> Result<Value, String> {
        if self.endpoints.len() >= MOST_ENDPOINTS {
            return Err(format!("there are {MOST_ENDPOINTS} endpoints already"));
        }
        if !url.starts_with("http://") {
            return Err("the url must begin with http://".to_owned());
        }
        let endpoint =
            Endpoint { id: new_id("we_1"), url: url.to_owned(), secret: secret.to_owned(), enabled_events };
        let shown = json!(endpoint);
        self.endpoints.push(endpoint);
        Ok(shown)
    }

    pub fn set_plan(&mut self, plan: Plan) -> Result<(), String> {
        if plan.copies > MOST_COPIES || plan.retry_delays_ms.len() > MOST_RETRIES {
            return Err(format!("at most {MOST_COPIES} copies and {MOST_RETRIES} retries"));
        }
        self.plan = plan;
        Ok(())
    }
}

/// Fresh events, to be told as the plan says.
pub fn send(state: &Arc<State>, events: Vec<String>) {
    for event in events {
        let kind = kind_of(state, &event);
        let mut outbox = locked(&state.outbox);
        let plan = outbox.plan.clone();
        if plan.mode == Mode::Lose || plan.lost_types.iter().any(|lost| matches(lost, &kind)) {
            continue;
        }
        if plan.mode == Mode::Hold {
            outbox.held.push(event);
            continue;
        }
        for endpoint in endpoints_for(&outbox, &kind) {
            for _ in 0..plan.copies {
                outbox.pending += 1;
                tokio::spawn(deliver(Arc::clone(state), event.clone(), endpoint.clone(), plan.clone()));
            }
        }
    }
}

fn kind_of(state: &State, event: &str) -> String {
    text(state.world().objects.expect(event), "type").to_owned()
}

pub fn endpoints_for(outbox: &Outbox, kind: &str) -> Vec<Endpoint> {
    let wants = |endpoint: &&Endpoint| endpoint.enabled_events.iter().any(|pattern| matches(pattern, kind));
    outbox.endpoints.iter().filter(wants).cloned().collect()
}

async fn deliver(state: Arc<State>, event: String, endpoint: Endpoint, plan: Plan) {
    let jitter = if plan.jitter_ms == 0 { 0 } else { rand::random::<u64>() % (plan.jitter_ms + 1) };
    wait(plan.delay_ms + jitter).await;
    let mut retries = plan.retry_delays_ms.iter();
    for number in 1.. {
        let made = attempt(&state, &event, &endpoint, number, &Spoiled::default()).await;
        if made.status.is_some_and(|status| (200..300).contains(&status)) {
            break;
        }
        let Some(delay) = retries.next() else { break };
        wait(*delay).await;
    }
    locked(&state.outbox).pending -= 1;
}

async fn wait(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// How one attempt differs from what Stripe would send.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spoiled {
    /// Signed with another secret.
    secret: Option<String>,
    /// Signed as of so many seconds ago.
    age_seconds: i64,
    /// Not signed at all.
    unsigned: bool,
    /// Merged into the event before it is signed.
    edit: Value,
    /// Merged into the event after it is signed.
    edit_signed: Value,
}

/// Sends an event once, now.
pub async fn attempt(
    state: &Arc<State>,
    event: &str,
    endpoint: &Endpoint,
    number: usize,
    spoiled: &Spoiled,
) -> Attempt {
    let (mut told, now) = {
        let world = state.world();
        (shown(world.objects.expect(event)), world.now())
    };
    merge(&mut told, &spoiled.edit);
    let at = now - spoiled.age_seconds;
    let secret = spoiled.secret.as_deref().unwrap_or(&endpoint.secret);
    let signature = signature::header(secret, at, format!("{told:#}").as_bytes());
    merge(&mut told, &spoiled.edit_signed);
    let body = Bytes::from(format!("{told:#}"));
    let signature = if spoiled.unsigned { String::new() } else { signature };
    let client = locked(&state.outbox).client.clone();
    let answered = tokio::time::timeout(TIMEOUT, post(&client, &endpoint.url, &signature, body)).await;
    let (status, answer) = match answered {
        Ok(Ok((status, answer))) => (Some(status), answer),
        Ok(Err(error)) => (None, format!("{error:#}")),
        Err(_) => (None, format!("no answer within {} s", TIMEOUT.as_secs())),
    };
    let made = Attempt {
        event: event.to_owned(),
        kind: text(&told, "type").to_owned(),
        endpoint: endpoint.id.clone(),
        attempt: number,
        at,
        signature,
        status,
        answer,
    };
    let mut outbox = locked(&state.outbox);
    if outbox.attempts.len() < MOST_ATTEMPTS_KEPT {
        outbox.attempts.push(made.clone());
    }
    made
}

async fn post(client: &HttpClient, url: &str, signature: &str, body: Bytes) -> anyhow::Result<(u16, String)> {
    let mut request = Request::post(url)
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .header("accept", "*/*; q=0.5, application/xml");
    if !signature.is_empty() {
        request = request.header("stripe-signature", HeaderValue::from_str(signature)?);
    }
    let response = client.request(request.body(Full::new(body))?).await?;
    let status = response.status().as_u16();
    let answer = Limited::new(response.into_body(), MOST_ANSWER_BYTES).collect().await;
    let answer = answer.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&answer).into_owned()))
}

/// Maps are merged, all else replaces; no patch at all is a null at the top.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return };
    for (name, value) in patch {
        match value.is_object() && target[name].is_object() {
            true => merge(&mut target[name], value),
            false => target[name] = value.clone(),
        }
    }
}
