//! From a request to its answer: key, checks, directive, answer, receipt, delivery.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State as Shared};
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::answer::{Answer, new_id};
use crate::bills::{Ledger, Origin, Receipt};
use crate::check::Object;
use crate::directive::{Directive, ErrorTold};
use crate::received::LastReceived;
use crate::refusal::{Refusal, openai_error};
use crate::request::{Asked, Dialect, kept_headers};
use crate::requests::{Refused, Requests};
use crate::script::Script;
use crate::{auth, chat, control, delivery, messages, models, responses, told_error};

const MOST_BODY_BYTES: usize = 40 * 1024 * 1024;

const RESPONSES: &str = "/v1/responses";
const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const COUNT_TOKENS: &str = "/v1/messages/count_tokens";
const MODELS: &str = "/v1/models";
const MODEL: &str = "/v1/models/{id}";

pub struct State {
    pub ledger: Arc<Ledger>,
    pub script: Script,
    pub requests: Requests,
    pub received: LastReceived,
    api_key: Option<String>,
}

impl State {
    pub fn new(ledger: Ledger, api_key: Option<String>) -> Arc<Self> {
        Arc::new(State {
            ledger: Arc::new(ledger),
            script: Script::default(),
            requests: Requests::default(),
            received: LastReceived::default(),
            api_key,
        })
    }
}

/// Serves until the listener fails.
pub async fn serve(listener: TcpListener, state: Arc<State>) -> std::io::Result<()> {
    // Small events must leave at once, or their pace is the network stack's.
    let listener = listener.tap_io(|stream| {
        // A socket that refuses the option still works, only in coarser steps.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router(state)).await
}

fn router(state: Arc<State>) -> Router {
    Router::new()
        .route(RESPONSES, post(answer_responses))
        .route(CHAT, post(answer_chat))
        .route(MESSAGES, post(answer_messages))
        .route(COUNT_TOKENS, post(count_tokens))
        .route(MODELS, get(list_models))
        .route(MODEL, get(one_model))
        .merge(control::router())
        .fallback(no_such_path)
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .with_state(state)
}

type Received = Result<Bytes, BytesRejection>;

async fn answer_responses(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Received) -> Response {
    generate(&state, Dialect::Responses, RESPONSES, &headers, body).await
}

async fn answer_chat(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Received) -> Response {
    generate(&state, Dialect::Chat, CHAT, &headers, body).await
}

async fn answer_messages(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Received) -> Response {
    generate(&state, Dialect::Messages, MESSAGES, &headers, body).await
}

async fn count_tokens(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Received) -> Response {
    let dialect = Dialect::Messages;
    let counted = received(&state, dialect, &headers, body).and_then(|(_, body)| {
        let asked = messages::count(&body, &headers)?;
        let told = Directive::gather(None, &asked.last_user_text, &headers)?;
        Ok(told.input_tokens.unwrap_or(asked.input_tokens))
    });
    let response = match counted {
        Ok(tokens) => json_response(StatusCode::OK, &serde_json::json!({ "input_tokens": tokens })),
        Err(refusal) => refuse(&state, dialect, COUNT_TOKENS, &refusal),
    };
    finished(&state, dialect, COUNT_TOKENS, response)
}

async fn list_models(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    let dialect = models_dialect(&headers);
    let response = match auth::check(dialect, &headers, state.api_key.as_deref()) {
        Ok(()) => json_response(StatusCode::OK, &models::list(&headers)),
        Err(refusal) => refuse(&state, dialect, MODELS, &refusal),
    };
    finished(&state, dialect, MODELS, response)
}

async fn one_model(
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let dialect = models_dialect(&headers);
    let found =
        auth::check(dialect, &headers, state.api_key.as_deref()).and_then(|()| models::one(&id, &headers));
    let response = match found {
        Ok(model) => json_response(StatusCode::OK, &model),
        Err(refusal) => refuse(&state, dialect, MODEL, &refusal),
    };
    finished(&state, dialect, MODEL, response)
}

async fn no_such_path(Shared(state): Shared<Arc<State>>, method: http::Method, uri: Uri) -> Response {
    let message = format!("Invalid URL ({method} {})", uri.path());
    let body = openai_error("invalid_request_error", None, None, &message);
    state.requests.refused(Refused { path: "(other)", status: StatusCode::NOT_FOUND.as_u16(), message });
    let response = json_response(StatusCode::NOT_FOUND, &body);
    finished(&state, Dialect::Responses, "(other)", response)
}

async fn generate(
    state: &State,
    dialect: Dialect,
    path: &'static str,
    headers: &HeaderMap,
    body: Received,
) -> Response {
    let told = received(state, dialect, headers, body).and_then(|(bytes, body)| {
        state.received.keep(path, &bytes);
        let asked = read(dialect, body, headers)?;
        let scripted = state.script.take(path, &bytes);
        let told = Directive::gather(scripted, &asked.last_user_text, headers)?;
        Ok((bytes, asked, told))
    });
    let response = match told {
        Err(refusal) => refuse(state, dialect, path, &refusal),
        Ok((bytes, asked, told)) => {
            let origin = Origin {
                path,
                request_headers: kept_headers(headers),
                request_sha256: hex(&Sha256::digest(&bytes)),
            };
            answer(state, dialect, asked, told, origin).await
        }
    };
    finished(state, dialect, path, response)
}

/// The request's bytes and its JSON object, once its key has been checked.
fn received(
    state: &State,
    dialect: Dialect,
    headers: &HeaderMap,
    body: Received,
) -> Result<(Bytes, Object), Refusal> {
    auth::check(dialect, headers, state.api_key.as_deref())?;
    let bytes = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::BodyTooLarge,
        _ => Refusal::InvalidJson(rejection.to_string()),
    })?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok((bytes, object)),
        Ok(_) => Err(Refusal::NotAnObject),
        Err(error) => Err(Refusal::InvalidJson(error.to_string())),
    }
}

fn read(dialect: Dialect, body: Object, headers: &HeaderMap) -> Result<Asked, Refusal> {
    match dialect {
        Dialect::Responses => responses::read(body, headers),
        Dialect::Chat => chat::read(body, headers),
        Dialect::Messages => messages::read(body, headers),
    }
}

async fn answer(state: &State, dialect: Dialect, asked: Asked, told: Directive, origin: Origin) -> Response {
    if let Some(error) = &told.error {
        wait(told.header_delay_ms).await;
        return with_told_headers(error_response(error, told_error::status(error), dialect), &told);
    }
    if let Some(error) = &told.error_in_200 {
        wait(told.header_delay_ms).await;
        return with_told_headers(error_response(error, StatusCode::OK, dialect), &told);
    }
    let answer = Arc::new(Answer::new(dialect, asked, told));
    let receipt = Receipt::open(Arc::clone(&state.ledger), Arc::clone(&answer), origin);
    wait(answer.told.header_delay_ms).await;
    let mut response = if answer.asked.stream {
        let events = match dialect {
            Dialect::Responses => responses::events(&answer),
            Dialect::Chat => chat::events(&answer),
            Dialect::Messages => messages::events(&answer),
        };
        let body = delivery::streamed(events, &answer, receipt);
        response(StatusCode::OK, "text/event-stream; charset=utf-8", body)
    } else {
        if answer.told.stall_forever == Some(true) {
            std::future::pending::<()>().await;
        }
        let body = match dialect {
            Dialect::Responses => responses::body(&answer),
            Dialect::Chat => chat::body(&answer),
            Dialect::Messages => messages::body(&answer),
        };
        let body = delivery::whole(Bytes::from(body.to_string()), &answer, receipt);
        response(StatusCode::OK, "application/json", body)
    };
    if dialect != Dialect::Messages
        && let Ok(model) = HeaderValue::from_str(&answer.model)
    {
        response.headers_mut().insert("openai-model", model);
    }
    with_told_headers(response, &answer.told)
}

async fn wait(milliseconds: Option<u64>) {
    if let Some(milliseconds) = milliseconds {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

fn error_response(told: &ErrorTold, status: StatusCode, dialect: Dialect) -> Response {
    let mut response = json_response(status, &told_error::body(told, dialect));
    if let Some(seconds) = told.retry_after {
        let seconds = HeaderValue::from(seconds);
        response.headers_mut().insert("retry-after", seconds);
    }
    response
}

fn with_told_headers(mut response: Response, told: &Directive) -> Response {
    for (name, value) in told.headers.iter().flatten() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn refuse(state: &State, dialect: Dialect, path: &'static str, refusal: &Refusal) -> Response {
    let status = refusal.status();
    let body = refusal.body(dialect);
    state.requests.refused(Refused {
        path,
        status: status.as_u16(),
        message: body["error"]["message"].as_str().unwrap_or_default().to_owned(),
    });
    json_response(status, &body)
}

/// Counts the request and names it, as every vendor's answer does.
fn finished(state: &State, dialect: Dialect, path: &'static str, mut response: Response) -> Response {
    state.requests.count(path, response.status().as_u16());
    let (header, prefix) = match dialect {
        Dialect::Messages => ("request-id", "req_"),
        Dialect::Responses | Dialect::Chat => ("x-request-id", "req_"),
    };
    if let Ok(id) = HeaderValue::from_str(&new_id(prefix)) {
        response.headers_mut().insert(header, id);
    }
    response
}

fn models_dialect(headers: &HeaderMap) -> Dialect {
    if models::is_anthropic(headers) { Dialect::Messages } else { Dialect::Responses }
}

pub fn json_response(status: StatusCode, body: &Value) -> Response {
    response(status, "application/json", Body::from(body.to_string()))
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    response
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
