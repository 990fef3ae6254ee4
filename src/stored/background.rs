//! Responses that are generated while nobody waits: reserved, answered at once, generated as any other
//! request, fetched when they are finished.
//!
//! The task is a client like others, inside the server: it hands the request to the gateway, which may
//! refuse it at once, and reads a stream. Giving up is leaving, so what a cancelled response has cost is
//! drained and charged as for any client that leaves its stream. The stored row decides who was first: it
//! is ended once, by the answer, by a cancel on any node, by a service that stops, or by whoever finds that
//! its node is dead.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::request::ParsedRequest;
use codexapi_protocols::restate::{member, restate};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::heard::{Heard, is_event_stream};
use super::keeping::restated;
use super::responses::{Reserved, failed, in_state, stopped};
use super::{Owner, Status, Stored, StoredError, now};
use crate::clock;
use crate::config::StoredSettings;
use crate::gateway::{Gateway, Incoming};

/// How soon a cancel on another node is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a refusal is waited for before the response is told to be queued. What the gateway has not
/// refused by then waits for credit that other requests hold.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

/// The largest answer that is read whole; the gateway relays none that is larger.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Tries to write down an answer, and the pause before the second; each further one is twice as long.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What a response repeats of its request.
const ECHOED: [&str; 14] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "service_tier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
];

/// A response being generated on this node.
type Key = (Owner, String);

/// Generates responses nobody waits for.
pub struct Background {
    stored: Arc<Stored>,
    gateway: Arc<Gateway>,
    tasks: TaskTracker,
    node: NodeIncarnation,
    per_node: usize,
    per_owner: usize,
    running: Mutex<HashMap<Key, CancellationToken>>,
    /// The service stops: what fails from here on fails for that reason.
    stopping: AtomicBool,
}

/// The gateway's answer, under way.
type Serving = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A place among those that run; given back when dropped.
struct Slot {
    background: Arc<Background>,
    key: Key,
    given_up: CancellationToken,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.background.running().remove(&self.key);
    }
}

/// A reserved response.
struct Reservation {
    slot: Slot,
    /// The object while it is queued.
    body: String,
    /// What the finished object says of itself.
    members: Vec<(&'static str, String)>,
    serving: Serving,
    /// Told when it is held, where that is still waited for.
    waiting: Option<Arc<Notify>>,
}

impl Background {
    pub fn new(
        stored: Arc<Stored>,
        gateway: Arc<Gateway>,
        tasks: TaskTracker,
        node: NodeIncarnation,
        settings: &StoredSettings,
    ) -> Self {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            stored,
            gateway,
            tasks,
            node,
            per_node: count(settings.background_per_node),
            per_owner: count(settings.background_per_owner),
            running: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    pub fn node(&self) -> NodeIncarnation {
        self.node
    }

    /// Reserves a response, begins to generate it, and answers with its object as it is now, or with the
    /// gateway's refusal. `request` is the expanded one; `incoming` carries everything else.
    ///
    /// # Errors
    /// It cannot be run in the background, or too many are.
    pub async fn start(
        self: &Arc<Self>,
        request: &ParsedRequest,
        previous_response_id: Option<String>,
        incoming: Incoming,
    ) -> Result<Response, StoredError> {
        if request.store == Some(false) {
            return Err(StoredError::BackgroundUnstored);
        }
        if request.stream {
            return Err(StoredError::BackgroundStream);
        }
        let expires_at = self.stored.expires_at(now()).ok_or(StoredError::StoringIsOff)?;
        let (bytes, limit) = (request.body().len(), self.stored.limit_bytes());
        if bytes > limit {
            return Err(StoredError::TooLarge { bytes, limit });
        }
        let owner = Owner::from(incoming.payee);
        let response_id = format!("resp_{}", clock::new_id().simple());
        let slot = self.slot(owner, &response_id)?;
        let created_at = clock::now().0 / 1_000_000;
        let mut members = vec![("id", Value::from(response_id.as_str()).to_string())];
        members.push(("created_at", created_at.to_string()));
        members.extend(restated(Protocol::Responses, previous_response_id.as_deref(), true));
        let body = queued(request, &members);
        self.stored
            .reserve(&Reserved {
                owner,
                response_id: &response_id,
                model: &request.model,
                input: &request.input_json(),
                body: &body,
                previous_response_id: previous_response_id.as_deref(),
                node: self.node,
                expires_at,
            })
            .await?;
        let (gateway, admitted) = (Arc::clone(&self.gateway), Arc::new(Notify::new()));
        let incoming =
            Incoming { body: request.in_foreground(), admitted: Some(Arc::clone(&admitted)), ..incoming };
        let mut serving: Serving = Box::pin(async move { gateway.serve(incoming).await });
        let (refused, waiting) = tokio::select! {
            biased;
            () = admitted.notified() => (None, None),
            refused = &mut serving => (Some(refused), None),
            () = tokio::time::sleep(REFUSED_WITHIN) => (None, Some(Arc::clone(&admitted))),
        };
        if let Some(refused) = refused {
            // Its id was never told, so that a row that cannot be deleted now is found by nobody.
            if let Err(error) = self.stored.delete_response(owner, &response_id).await {
                tracing::warn!(%error, "a background response that was refused is still stored");
            }
            return Ok(refused);
        }
        let answer = json(body.clone());
        self.tasks.spawn(Reservation { slot, body, members, serving, waiting }.run());
        Ok(answer)
    }

    /// Ends a background response wherever it runs; returns its object. A finished one stays as it is.
    ///
    /// # Errors
    /// `ResponseNotFound`, `NotBackground`, `Unavailable`.
    pub async fn cancel(&self, owner: Owner, id: &str) -> Result<String, StoredError> {
        let response = self.stored.response(owner, id).await?;
        if !response.background {
            return Err(StoredError::NotBackground);
        }
        if !response.status.is_running() {
            return Ok(response.body);
        }
        let cancelled = in_state(&response.body, Status::Cancelled);
        if self.stored.end(owner, id, Status::Cancelled, &cancelled).await? {
            self.give_up(owner, id);
            return Ok(cancelled);
        }
        // It was finished, or ended by another, in between.
        Ok(self.stored.response(owner, id).await?.body)
    }

    /// Deletes a response; one that is being generated is given up.
    ///
    /// # Errors
    /// `ResponseNotFound`, `Unavailable`.
    pub async fn delete(&self, owner: Owner, id: &str) -> Result<(), StoredError> {
        self.stored.delete_response(owner, id).await?;
        self.give_up(owner, id);
        Ok(())
    }

    /// From here on a response that fails is told to have been stopped with the service.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Fails what is still generated on this node, which ends before that does; returns how many.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn fail_stopped(&self) -> Result<u64, StoredError> {
        let running: Vec<Key> = self.running().keys().cloned().collect();
        let mut failed = 0;
        for (owner, id) in running {
            let body = match self.stored.response(owner, &id).await {
                Ok(response) => response.body,
                Err(StoredError::ResponseNotFound { .. }) => continue,
                Err(other) => return Err(other),
            };
            failed += u64::from(self.stored.end(owner, &id, Status::Failed, &stopped(&body)).await?);
        }
        Ok(failed)
    }

    /// Whether it is being generated on this node.
    pub fn is_running(&self, owner: Owner, id: &str) -> bool {
        self.running().contains_key(&(owner, id.to_owned()))
    }

    /// At once on this node; others notice by looking.
    fn give_up(&self, owner: Owner, id: &str) {
        if let Some(given_up) = self.running().get(&(owner, id.to_owned())) {
            given_up.cancel();
        }
    }

    fn slot(self: &Arc<Self>, owner: Owner, id: &str) -> Result<Slot, StoredError> {
        let mut running = self.running();
        let own = running.keys().filter(|(other, _)| *other == owner).count();
        if running.len() >= self.per_node || own >= self.per_owner {
            return Err(StoredError::TooManyRunning { running: own });
        }
        let (key, given_up) = ((owner, id.to_owned()), CancellationToken::new());
        match running.entry(key.clone()) {
            Entry::Vacant(place) => place.insert(given_up.clone()),
            Entry::Occupied(_) => return Err(StoredError::TooManyRunning { running: own }),
        };
        Ok(Slot { background: Arc::clone(self), key, given_up })
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Key, CancellationToken>> {
        self.running.lock().expect("nothing panics while it holds the map")
    }

    /// Resolves when nobody wants the response any more.
    async fn unwanted(&self, owner: Owner, id: &str) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            match self.stored.is_wanted(owner, id).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "whether a background response was cancelled is unknown")
                }
            }
        }
    }
}

impl Reservation {
    async fn run(self) {
        let Self { slot, body, members, mut serving, waiting } = self;
        let background = &slot.background;
        let (owner, id) = (slot.key.0, slot.key.1.as_str());
        let generated = async {
            // Until its credit is free it is queued.
            if let Some(held) = waiting {
                tokio::select! {
                    biased;
                    () = held.notified() => {}
                    refused = &mut serving => {
                        return Some(ended(refused, &body, &members, background.stored.limit_bytes()).await);
                    }
                }
            }
            match background.stored.begin(owner, id, &in_state(&body, Status::InProgress)).await {
                Ok(true) => {}
                // Cancelled or deleted before it began.
                Ok(false) => return None,
                Err(error) => {
                    tracing::warn!(%error, "a background response could not be begun");
                    let message = "The response could not be begun.";
                    return Some((Status::Failed, failed(&body, "server_error", message)));
                }
            }
            Some(ended(serving.await, &body, &members, background.stored.limit_bytes()).await)
        };
        let ended = tokio::select! {
            ended = generated => ended,
            () = slot.given_up.cancelled() => None,
            () = background.unwanted(owner, id) => None,
        };
        let Some((status, answer)) = ended else { return };
        let (status, answer) = match background.stored.fits(answer.len()) {
            true => (status, answer),
            false => {
                let message = "The answer is larger than what can be stored.";
                (Status::Failed, failed(&body, "response_too_large", message))
            }
        };
        let answer = match status == Status::Failed && background.stopping.load(Ordering::Relaxed) {
            true => stopped(&body),
            false => answer,
        };
        write_down(&background.stored, owner, id, status, &answer).await;
    }
}

/// Writes the end, and tries again where Postgres is away; at last it is left to the purge.
async fn write_down(stored: &Stored, owner: Owner, id: &str, status: Status, answer: &str) {
    let mut pause = FIRST_PAUSE;
    for _ in 0..TRIES {
        match stored.end(owner, id, status, answer).await {
            Ok(_cancelled_meanwhile) => return,
            Err(error) => tracing::warn!(%error, "the end of a background response was not written down"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// The object before anything was generated.
fn queued(request: &ParsedRequest, members: &[(&'static str, String)]) -> String {
    let opening = r#"{"id":null,"object":"response","created_at":0,"status":"queued","background":true,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"metadata":{},"model":null,"output":[],"parallel_tool_calls":true,"previous_response_id":null,"store":true,"temperature":null,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":null,"truncation":"disabled","usage":null}"#;
    let body = std::str::from_utf8(request.body()).unwrap_or_default();
    let mut said: Vec<(&str, String)> = ECHOED
        .iter()
        .filter_map(|name| Some((*name, body[member(body, name)?].to_owned())))
        .filter(|(_, value)| value != "null")
        .collect();
    said.extend(members.iter().map(|(name, value)| (*name, value.clone())));
    restate(opening, &said)
}

/// What the gateway's answer makes of the response.
async fn ended(
    answer: Response,
    queued: &str,
    members: &[(&'static str, String)],
    limit_bytes: usize,
) -> (Status, String) {
    let (head, body) = answer.into_parts();
    let heard = match head.status == StatusCode::OK && is_event_stream(&head.headers) {
        true => Heard::read(body, limit_bytes).await,
        false => whole(head.status, body).await,
    };
    match heard {
        Heard::Ended { status, body } => (status, restate(&body, members)),
        Heard::Failed { code, message } => (Status::Failed, failed(queued, &code, &message)),
        Heard::TooLarge => {
            let message = "The answer is larger than what can be stored.";
            (Status::Failed, failed(queued, "response_too_large", message))
        }
        Heard::Unreadable => {
            let message = "The model's provider gave no answer that can be read.";
            (Status::Failed, failed(queued, "server_error", message))
        }
    }
}

/// An answer that was not streamed: a refusal, or a provider that does not stream.
async fn whole(http_status: StatusCode, body: Body) -> Heard {
    let body = to_bytes(body, ANSWER_LIMIT).await.unwrap_or_default();
    if http_status != StatusCode::OK {
        let (code, message) = refusal(std::str::from_utf8(&body).unwrap_or_default());
        return Heard::Failed { code, message };
    }
    Heard::of_object(&body)
}

fn json(body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Code and message of an error body.
fn refusal(body: &str) -> (String, String) {
    #[derive(Deserialize)]
    struct Body {
        error: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        code: Option<String>,
        message: Option<String>,
    }
    let detail = serde_json::from_str::<Body>(body).map(|body| body.error);
    let (code, message) = detail.map(|detail| (detail.code, detail.message)).unwrap_or_default();
    let unknown = || "The response could not be generated.".to_owned();
    (code.unwrap_or_else(|| "server_error".into()), message.unwrap_or_else(unknown))
}
