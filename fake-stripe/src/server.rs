//! From a request to its answer: key, version, form, idempotency key, the call itself.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::deliveries::{self, Outbox};
use crate::expand::expand;
use crate::faults::{Fault, Faults};
use crate::idempotency::Found;
use crate::kept::Kept;
use crate::objects::Call;
use crate::params::Params;
use crate::refusal::Refusal;
use crate::world::{API_VERSION, Objects, World, new_id};
use crate::{control, due, form, page, routes};

const MOST_BODY_BYTES: usize = 1024 * 1024;
const MOST_REMEMBERED: usize = 10_000;

pub type Handler = fn(&mut World, &mut Call) -> Result<Value, Refusal>;

pub struct State {
    world: Mutex<World>,
    pub outbox: Mutex<Outbox>,
    pub faults: Mutex<Faults>,
    /// The last calls, oldest first.
    pub calls: Mutex<VecDeque<CallRecord>>,
    api_key: String,
    kept: Option<Kept>,
}

/// One call to the API, as tests count them.
#[derive(Clone, Debug, Serialize)]
pub struct CallRecord {
    method: String,
    path: String,
    idempotency_key: Option<String>,
    status: u16,
    replayed: bool,
    parameters: String,
}

impl State {
    pub fn new(base_url: &str, api_key: String, keep: Option<PathBuf>) -> anyhow::Result<Arc<Self>> {
        let kept = keep.map(Kept::in_file);
        let objects = kept.as_ref().map_or_else(|| Ok(Objects::default()), Kept::read)?;
        let livemode = api_key.starts_with("sk_live_");
        Ok(Arc::new(State {
            world: Mutex::new(World::new(base_url, livemode, objects)),
            outbox: Mutex::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
            api_key,
            kept,
        }))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.world)
    }

    /// Lets something happen, and tells of it.
    pub fn change<T>(self: &Arc<Self>, act: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world();
        due::run(&mut world);
        let done = act(&mut world);
        // It may have moved the clock.
        due::run(&mut world);
        if let Some(kept) = &self.kept
            && let Err(error) = kept.write(&world.objects)
        {
            eprintln!("{error:#}");
        }
        let fresh = world.take_fresh_events();
        drop(world);
        deliveries::send(self, fresh);
        done
    }
}

/// A panic elsewhere has been told already; what it left is whole enough to look at.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Serves until the listener fails.
pub async fn serve(listener: TcpListener, state: Arc<State>) -> std::io::Result<()> {
    axum::serve(listener, router(state)).await
}

fn router(state: Arc<State>) -> Router {
    Router::new()
        .merge(routes::router())
        .merge(control::router())
        .merge(page::router())
        .fallback(no_such_url)
        .method_not_allowed_fallback(no_such_url)
        .layer(DefaultBodyLimit::disable())
        .with_state(state)
}

async fn no_such_url(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    let refusal = match authenticate(request.headers(), &state.api_key) {
        Ok(()) => Refusal::UnknownUrl {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
        },
        Err(refusal) => refusal,
    };
    let answer = Answer::refused(&refusal);
    remember(&state, &request, String::new(), &answer);
    answer.respond(&new_id("req_"), &HeaderMap::new())
}

/// What a call is answered with.
struct Answer {
    status: StatusCode,
    body: Bytes,
    replayed: bool,
    lost: bool,
}

impl Answer {
    fn new(status: StatusCode, body: &Value) -> Self {
        let body = Bytes::from(format!("{body:#}"));
        Answer { status, body, replayed: false, lost: false }
    }

    fn refused(refusal: &Refusal) -> Self {
        Answer::new(refusal.status(), &refusal.body())
    }

    fn respond(self, request_id: &str, asked: &HeaderMap) -> Response {
        let length = self.body.len();
        let body = match self.lost {
            false => Body::from(self.body),
            true => Body::from_stream(futures::stream::once(async {
                Err::<Bytes, _>(std::io::Error::other("the answer is lost"))
            })),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("content-type", "application/json");
        set("content-length", &length.to_string());
        set("request-id", request_id);
        set("stripe-version", text(asked, "stripe-version").unwrap_or(API_VERSION));
        if let Some(key) = text(asked, "idempotency-key") {
            set("idempotency-key", key);
        }
        if self.replayed {
            set("idempotent-replayed", "true");
        }
        if self.status == StatusCode::CONFLICT {
            set("stripe-should-retry", "true");
        }
        response
    }
}

pub async fn serve_call(state: &Arc<State>, handler: Handler, id: String, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let request_id = new_id("req_");
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let read = axum::body::to_bytes(body, MOST_BODY_BYTES).await;
    let (parameters, answer) = match read {
        Err(_) => (query, Answer::refused(&Refusal::BodyTooLarge)),
        Ok(body) => {
            let encoded = if parts.method == Method::POST { body } else { Bytes::from(query) };
            let asked = Asked {
                method: &parts.method,
                path: parts.uri.path(),
                headers: &parts.headers,
                id,
                request_id: &request_id,
            };
            let answer = answer(state, handler, asked, &encoded).await;
            (String::from_utf8_lossy(&encoded).into_owned(), answer)
        }
    };
    remember(state, &Request::from_parts(parts.clone(), Body::empty()), parameters, &answer);
    answer.respond(&request_id, &parts.headers)
}

struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    headers: &'a HeaderMap,
    id: String,
    request_id: &'a str,
}

async fn answer(state: &Arc<State>, handler: Handler, asked: Asked<'_>, encoded: &[u8]) -> Answer {
    match prepare(state, &asked, encoded) {
        Err(refusal) => Answer::refused(&refusal),
        Ok(Prepared::Saved { status, body, lost }) => Answer { status, body, replayed: true, lost },
        Ok(Prepared::Call { call, expanded, key, fault }) => {
            if let Some(fault) = &fault {
                tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
            }
            let mut answer = execute(state, handler, call, &expanded, key.as_deref(), asked.request_id);
            answer.lost = fault.is_some_and(|fault| fault.lose_answer);
            answer
        }
    }
}

enum Prepared {
    Saved { status: StatusCode, body: Bytes, lost: bool },
    Call { call: Call, expanded: Vec<String>, key: Option<String>, fault: Option<Fault> },
}

fn prepare(state: &Arc<State>, asked: &Asked<'_>, encoded: &[u8]) -> Result<Prepared, Refusal> {
    authenticate(asked.headers, &state.api_key)?;
    check_version(asked.headers)?;
    if *asked.method == Method::POST && !encoded.is_empty() {
        check_form(asked.headers)?;
    }
    let fault = locked(&state.faults).take(asked.method.as_str(), asked.path);
    if let Some(Fault { status: Some(status), .. }) = fault {
        return Err(Refusal::Told { status });
    }
    let tree = form::decode(encoded)?;
    let canonical = format!("{tree:?}");
    let mut params = Params::new(tree);
    let expanded = params.texts("expand")?;
    let key = text(asked.headers, "idempotency-key").filter(|_| *asked.method == Method::POST);
    if let Some(key) = key {
        let mut world = state.world();
        let now = world.now();
        if let Found::Saved(status, body) = world.keys.begin(key, asked.path, canonical.as_bytes(), now)? {
            let lost = fault.is_some_and(|fault| fault.lose_answer);
            return Ok(Prepared::Saved { status, body, lost });
        }
    }
    let call = Call { id: asked.id.clone(), params };
    Ok(Prepared::Call { call, expanded, key: key.map(str::to_owned), fault })
}

fn execute(
    state: &Arc<State>,
    handler: Handler,
    mut call: Call,
    expanded: &[String],
    key: Option<&str>,
    request_id: &str,
) -> Answer {
    state.change(|world| {
        world.request = json!({ "id": request_id, "idempotency_key": key });
        let done = handler(world, &mut call).and_then(|mut found| {
            for path in expanded {
                expand(world, &mut found, path)?;
            }
            Ok(found)
        });
        world.request = Value::Null;
        let answer = match &done {
            Ok(found) => Answer::new(StatusCode::OK, found),
            // Named in the parameters, and not by the URL.
            Err(refusal @ Refusal::NotFound { id, .. }) if *id != call.id => {
                Answer::new(StatusCode::BAD_REQUEST, &refusal.body())
            }
            Err(refusal) => Answer::refused(refusal),
        };
        if let Some(key) = key {
            match done.is_ok() || done.is_err_and(|refusal| refusal.was_executed()) {
                true => world.keys.save(key, answer.status, answer.body.clone()),
                false => world.keys.forget(key),
            }
        }
        answer
    })
}

fn authenticate(headers: &HeaderMap, wanted: &str) -> Result<(), Refusal> {
    match text(headers, "authorization").and_then(|value| value.strip_prefix("Bearer ")) {
        None => Err(Refusal::NoKey),
        Some(given) if given != wanted => Err(Refusal::WrongKey { given: given.to_owned() }),
        Some(_) => Ok(()),
    }
}

/// `2026-10-28.endive`, or an older one: a date.
fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(given) = text(headers, "stripe-version") else {
        return Ok(());
    };
    let date = given.split('.').next().unwrap_or_default();
    let is_date = date.len() == 10
        && date.bytes().enumerate().all(|(at, letter)| match at {
            4 | 7 => letter == b'-',
            _ => letter.is_ascii_digit(),
        });
    match is_date {
        true => Ok(()),
        false => Err(Refusal::BadVersion { given: given.to_owned() }),
    }
}

fn check_form(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = text(headers, "content-type").unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    match kind == "application/x-www-form-urlencoded" {
        true => Ok(()),
        false => Err(Refusal::NotAForm { given: given.to_owned() }),
    }
}

fn remember(state: &State, request: &Request, parameters: String, answer: &Answer) {
    let mut calls = locked(&state.calls);
    if calls.len() >= MOST_REMEMBERED {
        calls.pop_front();
    }
    calls.push_back(CallRecord {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        idempotency_key: text(request.headers(), "idempotency-key").map(str::to_owned),
        status: answer.status.as_u16(),
        replayed: answer.replayed,
        parameters,
    });
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
