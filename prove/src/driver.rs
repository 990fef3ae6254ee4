//! Does what a plan says, and writes down what came of it.
//!
//! A client asks once and remembers what it was told. An operator and a payer go on until they are answered, with the
//! same idempotency key, as those do who must know.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use codexapi::{accounts, clock};
use codexapi_aggregates::account::RevocationReason;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::plan::{Abort, Act, Dialect, Generate, Model, Provider, Rates, Step};
use crate::told::{Head, Told};
use crate::world::{ADMIN_TOKEN, STRIPE_KEY, World};

/// The longest a client waits for its answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(20);

/// One try of an operator's, or of a payer's.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(300);

/// After which an operator gives up: longer than any plan's faults last.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(150);

/// What a request may make the model say at most.
const MAX_OUTPUT: u64 = 400;

/// The plan that is bought.
pub const PLAN_ID: &str = "starter";

/// What came of one step.
#[derive(Clone, Debug)]
pub struct Record {
    pub step: u32,
    pub came: Came,
}

#[derive(Clone, Debug)]
pub enum Came {
    Told {
        told: Told,
        request_id: Option<String>,
    },
    /// An operator's or a payer's wish was carried out.
    Done,
    Revoked {
        at: Timestamp,
    },
    /// Stripe's page was opened and paid.
    Paid {
        session_id: String,
    },
    /// Nobody answered although everything was mended.
    Unanswered {
        why: String,
    },
    Fault,
}

/// Keeps apart what must not overtake each other.
#[derive(Default)]
pub struct Order {
    /// Two prices of one model at once would leave open which is in force.
    prices: Mutex<()>,
    /// Steps that have ended.
    pub done: AtomicUsize,
}

pub async fn carry_out(world: &World<'_>, order: &Order, step: &Step) -> Record {
    let came = match &step.act {
        Act::Generate(generate) => ask(world, step.id, generate).await,
        Act::Credit { customer, node, amount_micro } => {
            let account = world.customers[*customer].account_id;
            let path = format!("/admin/api/users/{account}/wallet/credit");
            let key = format!("credit-{}", step.id);
            operate(world, *node, &path, &json!({ "grantMicro": amount_micro, "idempotencyKey": key })).await
        }
        Act::SetPrice { node, model, rates } => {
            let _turn = order.prices.lock().await;
            operate(world, *node, "/admin/api/token-rates", &price(*model, *rates)).await
        }
        Act::TopUp { customer, node, refund_cents } => {
            top_up(world, step.id, *customer, *node, *refund_cents).await
        }
        Act::Webhooks { copies, jitter_ms, lost } => {
            let mode = if *lost { "lose" } else { "send" };
            let plan = json!({ "mode": mode, "copies": copies, "jitter_ms": jitter_ms });
            match until_done(async || stripe_control(world, Method::PUT, "/deliveries/plan", &plan).await)
                .await
            {
                Ok(_) => Came::Done,
                Err(why) => Came::Unanswered { why },
            }
        }
        Act::RevokeKey { customer } => revoke(world, *customer).await,
        Act::Tamper { customer } => tamper(world, *customer).await,
        Act::Fault(fault) => match world.strike(*fault).await {
            Ok(()) => Came::Fault,
            Err(error) => Came::Unanswered { why: format!("the fault could not be mended: {error:#}") },
        },
    };
    order.done.fetch_add(1, Ordering::Relaxed);
    Record { step: step.id, came }
}

/// One request of a client, who leaves when the plan says so.
async fn ask(world: &World<'_>, step: u32, generate: &Generate) -> Came {
    let customer = &world.customers[generate.customer];
    let token = if generate.with_key { &customer.api_key } else { &customer.system_token };
    let (path, body) = request(step, generate);
    let url = format!("{}{path}", world.nodes[generate.node].base_url);
    let mut heard = Heard::default();
    let patience = match generate.abort {
        Some(Abort::AfterMs(ms)) => Duration::from_millis(ms),
        Some(Abort::AtByte(_)) | None => CLIENT_PATIENCE,
    };
    let enough = match generate.abort {
        Some(Abort::AtByte(byte)) => usize::try_from(byte).unwrap_or(usize::MAX),
        Some(Abort::AfterMs(_)) | None => usize::MAX,
    };
    let asking = world.http.post(url).bearer_auth(token).json(&body);
    // However it ended, what was heard until then counts.
    let whole = matches!(timeout(patience, heard.listen(asking, enough)).await, Ok(Ok(true)));
    let text = String::from_utf8_lossy(&heard.body);
    let told = match (&heard.head, whole) {
        (None, _) => Told::Cut,
        (Some(head), true) => Told::by(head, generate.stream, &text),
        (Some(head), false) if head.status == StatusCode::OK && generate.stream => Told::by_stream(&text),
        (Some(head), false) if head.status != StatusCode::OK => Told::by(head, generate.stream, &text),
        (Some(_), false) => Told::Cut,
    };
    Came::Told { told, request_id: heard.request_id }
}

#[derive(Default)]
struct Heard {
    head: Option<Head>,
    request_id: Option<String>,
    body: Vec<u8>,
}

impl Heard {
    /// Whether it has heard the answer to its end, and not to the byte where it had enough.
    async fn listen(&mut self, request: reqwest::RequestBuilder, enough: usize) -> reqwest::Result<bool> {
        let mut response = request.send().await?;
        self.head = Some(Head::of(&response));
        let request_id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        self.request_id = request_id.map(str::to_owned);
        while self.body.len() < enough {
            let Some(chunk) = response.chunk().await? else { return Ok(true) };
            self.body.extend_from_slice(&chunk);
        }
        self.body.truncate(enough);
        Ok(false)
    }
}

/// Its bill will carry the step as its tag.
fn request(step: u32, generate: &Generate) -> (&'static str, Value) {
    let Generate { model, stream, deltas, .. } = generate;
    let mut directive = json!({
        "tag": step.to_string(),
        "input_tokens": generate.input_tokens,
        "cached_tokens": generate.cached_tokens,
        "output_tokens": generate.output_tokens,
        "delta_count": deltas,
        "first_byte_delay_ms": generate.first_byte_ms,
        "chunk_delay_ms": generate.chunk_ms,
    });
    let (field, told) = match generate.provider {
        Provider::Answers => ("", Value::Null),
        Provider::CutAtByte(byte) => ("cut_at_byte", json!(byte)),
        Provider::EndsAtByte(byte) => ("clean_end_at_byte", json!(byte)),
        Provider::Refuses(status) => ("error", json!({ "status": status })),
        Provider::ErrorInSuccess => ("error_in_200", json!({ "status": 500 })),
        Provider::FailsAfter(after) => ("mid_stream_error", json!({ "after": after })),
        Provider::StallsAfter(after) => ("stall_after", json!(after)),
        Provider::ReportsNothing => ("usage", json!("absent")),
        Provider::ReportsGarbage => ("usage", json!("garbage")),
    };
    if !field.is_empty() {
        directive[field] = told;
    }
    let text = format!("Say hello [[sim:{directive}]]");
    let messages = json!([{ "role": "user", "content": text }]);
    let model = model.name();
    match generate.dialect {
        Dialect::Responses => (
            "/v1/responses",
            json!({ "model": model, "stream": stream, "max_output_tokens": MAX_OUTPUT, "input": text }),
        ),
        Dialect::Chat => (
            "/v1/chat/completions",
            json!({ "model": model, "stream": stream, "max_completion_tokens": MAX_OUTPUT, "messages": messages }),
        ),
        Dialect::Messages => (
            "/v1/messages",
            json!({ "model": model, "stream": stream, "max_tokens": MAX_OUTPUT, "messages": messages }),
        ),
    }
}

fn price(model: Model, rates: Rates) -> Value {
    json!({ "model": model.name(), "display": {
        "inputUsd": dollars(rates.input),
        "cachedInputUsd": dollars(rates.cached_input),
        "outputUsd": dollars(rates.output),
    } })
}

/// Micro-USD as decimal text.
fn dollars(micro: i64) -> String {
    format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

/// Goes on until an operator is answered; at another node each time, where there is one.
async fn operate(world: &World<'_>, node: usize, path: &str, body: &Value) -> Came {
    let tries = AtomicUsize::new(node);
    let done = until_done(async || {
        let node = &world.nodes[tries.fetch_add(1, Ordering::Relaxed) % world.nodes.len()];
        send(world, Method::POST, &format!("{}{path}", node.base_url), ADMIN_TOKEN, body).await
    });
    match done.await {
        Ok(_) => Came::Done,
        Err(why) => Came::Unanswered { why },
    }
}

async fn top_up(world: &World<'_>, step: u32, customer: usize, node: usize, refund_cents: i64) -> Came {
    match buy(world, step, customer, node, refund_cents).await {
        Ok(session_id) => Came::Paid { session_id },
        Err(why) => Came::Unanswered { why },
    }
}

/// Stripe's session, paid.
async fn buy(
    world: &World<'_>,
    step: u32,
    customer: usize,
    node: usize,
    refund_cents: i64,
) -> Result<String, String> {
    let token = &world.customers[customer].system_token;
    let order = json!({ "planId": PLAN_ID, "idempotencyKey": format!("top-up-{step}") });
    let tries = AtomicUsize::new(node);
    let page = until_done(async || {
        let node = &world.nodes[tries.fetch_add(1, Ordering::Relaxed) % world.nodes.len()];
        let url = format!("{}/api/v1/wallet/stripe/checkout", node.base_url);
        send(world, Method::POST, &url, token, &order).await
    })
    .await?;
    let session_id = page["sessionId"].as_str().ok_or_else(|| format!("no session: {page}"))?.to_owned();
    let pay = format!("/checkout/sessions/{session_id}/pay");
    let paid = until_done(async || match session_now(world, &session_id).await {
        Ok(session) if session["payment_status"] == "paid" => Ok(session),
        Ok(_) => stripe_control(world, Method::POST, &pay, &json!({})).await,
        Err(why) => Err(why),
    })
    .await?;
    if refund_cents > 0 {
        let intent = paid["payment_intent"].as_str().ok_or_else(|| format!("nothing paid: {paid}"))?;
        let form = format!("payment_intent={intent}&amount={refund_cents}");
        until_done(async || {
            let url = format!("{}/v1/refunds", world.stripe.base_url());
            let request = world.http.post(url).bearer_auth(STRIPE_KEY).body(form.clone());
            let request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .header("idempotency-key", format!("refund-{step}"));
            answer(request).await
        })
        .await?;
    }
    Ok(session_id)
}

/// A session as Stripe has it.
pub async fn session(world: &World<'_>, session_id: &str) -> Result<Value, String> {
    until_done(async || session_now(world, session_id).await).await
}

async fn session_now(world: &World<'_>, session_id: &str) -> Result<Value, String> {
    let path = format!("/v1/checkout/sessions/{session_id}");
    answer(world.http.get(format!("{}{path}", world.stripe.base_url())).bearer_auth(STRIPE_KEY)).await
}

/// What of a payment was given back, in cents, as Stripe has it.
pub async fn refunded(world: &World<'_>, intent: &str) -> Result<i64, String> {
    let url = format!("{}/v1/payment_intents/{intent}?expand[]=latest_charge", world.stripe.base_url());
    let intent = until_done(async || answer(world.http.get(&url).bearer_auth(STRIPE_KEY)).await).await?;
    let refunded = intent["latest_charge"]["amount_refunded"].as_i64();
    refunded.ok_or_else(|| format!("a paid intent has a charge: {intent}"))
}

async fn revoke(world: &World<'_>, customer: usize) -> Came {
    let metadata = Metadata { actor: "operator:prove".into(), ..Metadata::default() };
    let customer = &world.customers[customer];
    let revoked = until_done(async || {
        let account = Some(customer.account_id);
        let reason = RevocationReason::Requested;
        accounts::revoke_key(&world.log, &metadata, account, customer.key_id, reason)
            .await
            .map_err(|error| error.to_string())
    });
    match revoked.await {
        Ok(_) => Came::Revoked { at: clock::now() },
        Err(why) => Came::Unanswered { why },
    }
}

async fn tamper(world: &World<'_>, customer: usize) -> Came {
    let account = world.customers[customer].account_id.0;
    let tampered = until_done(async || {
        let update = "UPDATE wallet_balances SET balance_micro = balance_micro + 1 WHERE account_id = $1";
        let done = sqlx::query(update).bind(account).execute(world.pool()).await;
        done.map_err(|error| error.to_string())
    });
    match tampered.await {
        Ok(_) => Came::Done,
        Err(why) => Came::Unanswered { why },
    }
}

async fn stripe_control(
    world: &World<'_>,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<Value, String> {
    let url = format!("{}/_control{path}", world.stripe.base_url());
    answer(world.http.request(method, url).body(body.to_string())).await
}

async fn send(
    world: &World<'_>,
    method: Method,
    url: &str,
    token: &str,
    body: &Value,
) -> Result<Value, String> {
    answer(world.http.request(method, url).bearer_auth(token).json(body)).await
}

/// A JSON answer of success; otherwise what was said instead.
pub async fn answer(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let said = |error: reqwest::Error| format!("{:#}", anyhow::Error::from(error));
    let response = request.timeout(TRY_TIMEOUT).send().await.map_err(said)?;
    let (status, text) = (response.status(), response.text().await.map_err(said)?);
    if !status.is_success() {
        return Err(format!("{status}: {text}"));
    }
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

/// Tries until it succeeds; the last failure where that takes too long.
pub async fn until_done<T>(mut attempt: impl AsyncFnMut() -> Result<T, String>) -> Result<T, String> {
    let started = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(why) if started.elapsed() > OPERATOR_PATIENCE => return Err(why),
            Err(_) => sleep(BETWEEN_TRIES).await,
        }
    }
}
