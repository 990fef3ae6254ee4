//! Where a node takes other nodes' commands: a listener of its own, never the one customers reach.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::usage::Payer;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

use super::Homes;
use super::command::{Answer, HoldCredit, NodeCommand, RecordAttempt};
use super::ending::{Forgo, Release, Settle};
use super::remote::MOST_BYTES;
use super::signed::{ANSWER_MAC, Denied, Gate, NodeKey, Signature};
use crate::commands::CommandError;
use crate::gateway::admission::Admission;
use crate::listener::{self, Counted, Limits, Times};

/// How long one request may take, its body included; who sent it has long ceased to wait.
const LONGEST: Duration = Duration::from_secs(5);

/// Longer than nodes keep a connection they do not use, so that none is closed just as it is used again.
const IDLE: Duration = Duration::from_secs(300);

/// From all nodes together, and from one behind whose address all of them may stand.
const MOST_CONNECTIONS: u32 = 4_096;

/// A node as others see it.
pub struct Desk {
    homes: Homes,
    admission: Arc<Admission>,
    gate: Gate,
}

impl Desk {
    pub fn new(homes: Homes, own: NodeIncarnation, key: NodeKey, admission: Arc<Admission>) -> Self {
        Self { homes, admission, gate: Gate::new(key, own) }
    }
}

/// Runs other nodes' commands until `stop`.
pub async fn serve(desk: Desk, listener: TcpListener, stop: CancellationToken) {
    let limits = Limits {
        connections: MOST_CONNECTIONS,
        connections_per_address: MOST_CONNECTIONS,
        trusted: vec![],
        times: Times { head: LONGEST, idle: IDLE, stalled: LONGEST },
    };
    listener::serve(listener, router(desk), limits, Counted::default(), stop).await;
}

pub fn router(desk: Desk) -> Router {
    Router::new()
        .route(&path::<HoldCredit>(), post(take::<HoldCredit>))
        .route(&path::<RecordAttempt>(), post(take::<RecordAttempt>))
        .route(&path::<Settle>(), post(take::<Settle>))
        .route(&path::<Forgo>(), post(take::<Forgo>))
        .route(&path::<Release>(), post(take::<Release>))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, LONGEST))
        .with_state(Arc::new(desk))
}

fn path<C: NodeCommand>() -> String {
    format!("/{}", C::NAME)
}

async fn take<C: NodeCommand + 'static>(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(clock) = desk.homes.view.borrow().clock() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let (signature, left) = match desk.gate.admit(&headers, C::NAME, &body, clock.now()) {
        Ok(admitted) => admitted,
        Err(denied) => {
            tracing::warn!(%denied, command = C::NAME, "another node's request was denied");
            return status_of(denied).into_response();
        }
    };
    let command: C = match serde_json::from_slice(&body) {
        Ok(command) => command,
        // A node of another version; it decides by itself then.
        Err(error) => {
            tracing::warn!(%error, command = C::NAME, "another node's command cannot be read");
            return StatusCode::UNPROCESSABLE_ENTITY.into_response();
        }
    };
    desk.homes.count("for_another");
    let answer = match command.run(&desk.homes.log, Some(Instant::now() + left)).await {
        Ok(done) => {
            if let (true, Payer::Wallet { account_id }) = (C::FREES_CREDIT, command.payer()) {
                desk.admission.wake(account_id);
            }
            Answer::Done(done)
        }
        Err(CommandError::Refused(refusal)) => Answer::Refused(refusal),
        Err(error) => {
            tracing::warn!(%error, command = C::NAME, "another node's command was not decided");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    desk.signed(&signature, &answer)
}

impl Desk {
    fn signed<T: serde::Serialize>(&self, request: &Signature, answer: &T) -> Response {
        match serde_json::to_vec(answer) {
            Ok(body) => {
                let mac = self.gate.answer_mac(request, &body);
                ([(ANSWER_MAC, mac.as_str()), (CONTENT_TYPE.as_str(), "application/json")], body)
                    .into_response()
            }
            Err(error) => {
                tracing::error!(%error, "an answer to another node cannot be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

fn status_of(denied: Denied) -> StatusCode {
    match denied {
        Denied::Unsigned | Denied::Forged => StatusCode::UNAUTHORIZED,
        Denied::Late | Denied::Early => StatusCode::REQUEST_TIMEOUT,
        Denied::Repeated => StatusCode::CONFLICT,
    }
}
