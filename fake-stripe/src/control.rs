//! What tests ask of the fake itself: payments, disputes, time, faults, and what becomes of webhooks.
//!
//! Bodies are JSON; every field but those named in the README's table has a default. Refusals are Stripe's envelope.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State as Shared};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cards::Card;
use crate::deliveries::{self, Attempt, Plan, Spoiled, merge};
use crate::faults::Fault;
use crate::objects::{checkout, disputes, invoices, payment_methods, refunds, subscriptions};
use crate::refusal::Refusal;
use crate::server::{State, locked};
use crate::world::{World, shown, text};

const MOST_BODY_BYTES: usize = 1024 * 1024;
const MOST_ADVANCE_SECONDS: i64 = 10 * 365 * 24 * 60 * 60;

type Shares = Shared<Arc<State>>;

pub fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/_control/clock", get(read_clock).post(advance_clock))
        .route("/_control/checkout/sessions/{id}/pay", post(pay))
        .route("/_control/payment_intents/{id}/settle", post(settle))
        .route("/_control/payment_methods/{id}", post(set_card))
        .route("/_control/disputes", post(open_dispute))
        .route("/_control/disputes/{id}/win", post(win_dispute))
        .route("/_control/disputes/{id}/lose", post(lose_dispute))
        .route("/_control/refunds/{id}/fail", post(fail_refund))
        .route("/_control/subscriptions/{id}/renew", post(renew))
        .route("/_control/invoices/{id}/retry", post(retry_invoice))
        .route("/_control/objects/{id}", patch(edit_object))
        .route("/_control/objects/{id}/emit", post(emit))
        .route("/_control/webhooks", get(list_endpoints).post(add_endpoint).delete(clear_endpoints))
        .route("/_control/deliveries", get(list_attempts).post(deliver_now))
        .route("/_control/deliveries/plan", get(read_plan).put(set_plan))
        .route("/_control/deliveries/release", post(release))
        .route("/_control/faults", post(add_fault).delete(clear_faults))
        .route("/_control/calls", get(list_calls).delete(clear_calls))
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Refusal::invalid("(body)".to_owned(), &error.to_string()))
}

fn told(outcome: Result<Value, Refusal>) -> Response {
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => (refusal.status(), refusal.body()),
    };
    (status, [("content-type", "application/json")], format!("{body:#}")).into_response()
}

/// Lets something happen to an object, and shows it.
fn act(state: &Arc<State>, id: &str, act: impl FnOnce(&mut World) -> Result<(), Refusal>) -> Response {
    told(state.change(|world| {
        act(world)?;
        Ok(shown(world.objects.expect(id)))
    }))
}

async fn read_clock(Shared(state): Shares) -> Response {
    told(Ok(json!({ "now": state.world().now() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_seconds: i64,
}

async fn advance_clock(Shared(state): Shares, body: Bytes) -> Response {
    let advanced = read(&body).and_then(|Advance { advance_seconds }| {
        if !(0..=MOST_ADVANCE_SECONDS).contains(&advance_seconds) {
            let message = "time goes forward, and at most ten years at once";
            return Err(Refusal::invalid("advance_seconds".to_owned(), message));
        }
        state.change(|world| world.advance(advance_seconds));
        Ok(json!({ "now": state.world().now() }))
    });
    told(advanced)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithCard {
    #[serde(default = "approving")]
    card: Card,
}

fn approving() -> Card {
    Card::Approves
}

async fn pay(Shared(state): Shares, Path(id): Path<String>, body: Bytes) -> Response {
    match read::<WithCard>(&body) {
        Err(refusal) => told(Err(refusal)),
        Ok(with) => act(&state, &id, |world| checkout::pay(world, &id, with.card)),
    }
}

async fn settle(Shared(state): Shares, Path(id): Path<String>, body: Bytes) -> Response {
    match read::<WithCard>(&body) {
        Err(refusal) => told(Err(refusal)),
        Ok(with) => act(&state, &id, |world| checkout::settle(world, &id, with.card)),
    }
}

async fn set_card(Shared(state): Shares, Path(id): Path<String>, body: Bytes) -> Response {
    match read::<WithCard>(&body) {
        Err(refusal) => told(Err(refusal)),
        Ok(with) => act(&state, &id, |world| {
            world.objects.named(payment_methods::KIND, &id, "id")?;
            payment_methods::set_card(world, &id, with.card);
            Ok(())
        }),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contested {
    charge: Option<String>,
    payment_intent: Option<String>,
    amount: Option<i64>,
    #[serde(default = "fraudulent")]
    reason: String,
    #[serde(default)]
    inquiry: bool,
}

fn fraudulent() -> String {
    "fraudulent".to_owned()
}

async fn open_dispute(Shared(state): Shares, body: Bytes) -> Response {
    let opened = read::<Contested>(&body).and_then(|contested| {
        state.change(|world| {
            let charge = match (&contested.charge, &contested.payment_intent) {
                (Some(charge), _) => charge.clone(),
                (None, Some(intent)) => {
                    let intent = world.objects.named("payment_intent", intent, "payment_intent")?;
                    text(intent, "latest_charge").to_owned()
                }
                (None, None) => return Err(Refusal::MissingParameter { param: "charge".to_owned() }),
            };
            let id = disputes::open(world, &charge, contested.amount, &contested.reason, contested.inquiry)?;
            Ok(shown(world.objects.expect(&id)))
        })
    });
    told(opened)
}

async fn win_dispute(Shared(state): Shares, Path(id): Path<String>) -> Response {
    act(&state, &id, |world| disputes::win(world, &id))
}

async fn lose_dispute(Shared(state): Shares, Path(id): Path<String>) -> Response {
    act(&state, &id, |world| disputes::lose(world, &id))
}

async fn fail_refund(Shared(state): Shares, Path(id): Path<String>) -> Response {
    act(&state, &id, |world| refunds::fail(world, &id))
}

async fn renew(Shared(state): Shares, Path(id): Path<String>) -> Response {
    act(&state, &id, |world| subscriptions::renew(world, &id))
}

async fn retry_invoice(Shared(state): Shares, Path(id): Path<String>) -> Response {
    act(&state, &id, |world| {
        let invoice = world.objects.named("invoice", &id, "invoice")?;
        if invoice["status"] != "open" {
            return Err(Refusal::not_now("invoice_not_open", "Invoice is not open"));
        }
        invoices::try_to_pay(world, &id)
    })
}

/// Makes an object what it never was: another's, of another amount, of live mode.
async fn edit_object(Shared(state): Shares, Path(id): Path<String>, body: Bytes) -> Response {
    let edited = read::<Value>(&body).and_then(|patch| {
        state.change(|world| match world.objects.get(&id) {
            None => Err(Refusal::NotFound { what: "object", id: id.clone(), param: "id" }),
            Some(_) => {
                let object = world.objects.expect_mut(&id);
                merge(object, &patch);
                Ok(shown(object))
            }
        })
    });
    told(edited)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Emitted {
    #[serde(rename = "type")]
    kind: String,
}

/// Tells of an object by any type of event.
async fn emit(Shared(state): Shares, Path(id): Path<String>, body: Bytes) -> Response {
    let emitted = read::<Emitted>(&body).and_then(|Emitted { kind }| {
        state.change(|world| match world.objects.get(&id) {
            None => Err(Refusal::NotFound { what: "object", id: id.clone(), param: "id" }),
            Some(_) => {
                world.emit(&kind, &id);
                let last = world.objects.of_kind("event").next_back();
                Ok(shown(last.expect("one was just emitted")))
            }
        })
    });
    told(emitted)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewEndpoint {
    url: String,
    secret: String,
    #[serde(default = "everything")]
    enabled_events: Vec<String>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

async fn list_endpoints(Shared(state): Shares) -> Response {
    told(Ok(json!({ "endpoints": locked(&state.outbox).endpoints })))
}

async fn add_endpoint(Shared(state): Shares, body: Bytes) -> Response {
    told(read::<NewEndpoint>(&body).and_then(|new| {
        locked(&state.outbox)
            .add_endpoint(&new.url, &new.secret, new.enabled_events)
            .map_err(|message| Refusal::invalid("url".to_owned(), &message))
    }))
}

async fn clear_endpoints(Shared(state): Shares) -> Response {
    locked(&state.outbox).endpoints.clear();
    told(Ok(json!({ "cleared": true })))
}

async fn list_attempts(Shared(state): Shares) -> Response {
    let outbox = locked(&state.outbox);
    told(Ok(json!({ "attempts": outbox.attempts, "pending": outbox.pending, "held": outbox.held })))
}

async fn read_plan(Shared(state): Shares) -> Response {
    told(Ok(json!(locked(&state.outbox).plan)))
}

async fn set_plan(Shared(state): Shares, body: Bytes) -> Response {
    told(read::<Plan>(&body).and_then(|plan| {
        let mut outbox = locked(&state.outbox);
        outbox.set_plan(plan).map_err(|message| Refusal::invalid("plan".to_owned(), &message))?;
        Ok(json!(outbox.plan))
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delivered {
    event: String,
    #[serde(default)]
    spoiled: Spoiled,
}

/// Sends one event to whoever wants its type, and says what was answered.
async fn deliver_now(Shared(state): Shares, body: Bytes) -> Response {
    match read::<Delivered>(&body) {
        Err(refusal) => told(Err(refusal)),
        Ok(wanted) => {
            let kind = match state.world().objects.named("event", &wanted.event, "event") {
                Err(refusal) => return told(Err(refusal)),
                Ok(event) => text(event, "type").to_owned(),
            };
            let attempts = deliver(&state, &wanted.event, &kind, &wanted.spoiled).await;
            told(Ok(json!({ "attempts": attempts })))
        }
    }
}

async fn deliver(state: &Arc<State>, event: &str, kind: &str, spoiled: &Spoiled) -> Vec<Attempt> {
    let endpoints = deliveries::endpoints_for(&locked(&state.outbox), kind);
    let mut attempts = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        attempts.push(deliveries::attempt(state, event, &endpoint, 1, spoiled).await);
    }
    attempts
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    #[serde(default)]
    reversed: bool,
    #[serde(default = "one")]
    copies: usize,
}

fn one() -> usize {
    1
}

/// Sends what is held, one after the other.
async fn release(Shared(state): Shares, body: Bytes) -> Response {
    let release: Release = match read(&body) {
        Ok(release) => release,
        Err(refusal) => return told(Err(refusal)),
    };
    let mut held = std::mem::take(&mut locked(&state.outbox).held);
    if release.reversed {
        held.reverse();
    }
    let mut attempts = Vec::new();
    for event in held {
        let kind = text(state.world().objects.expect(&event), "type").to_owned();
        for _ in 0..release.copies {
            attempts.extend(deliver(&state, &event, &kind, &Spoiled::default()).await);
        }
    }
    told(Ok(json!({ "attempts": attempts })))
}

async fn add_fault(Shared(state): Shares, body: Bytes) -> Response {
    told(read::<Fault>(&body).and_then(|fault| {
        let waiting = locked(&state.faults).add(fault);
        let waiting = waiting.map_err(|message| Refusal::invalid("(body)".to_owned(), message))?;
        Ok(json!({ "waiting": waiting }))
    }))
}

async fn clear_faults(Shared(state): Shares) -> Response {
    locked(&state.faults).clear();
    told(Ok(json!({ "cleared": true })))
}

async fn list_calls(Shared(state): Shares) -> Response {
    let keys_in_use = state.world().keys.in_use();
    told(Ok(json!({ "calls": *locked(&state.calls), "keysInUse": keys_in_use })))
}

async fn clear_calls(Shared(state): Shares) -> Response {
    locked(&state.calls).clear();
    told(Ok(json!({ "cleared": true })))
}
