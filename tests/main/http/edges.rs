//! What clients meet at the edges: refusals in their own dialect, methods, pages, bodies that are too large.

use std::io::Write as _;
use std::sync::Arc;

use codexapi::http::router;
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{OPERATOR_TOKEN, Service};

const PROVIDERS: &str = r#"
[[providers]]
name = "nobody"
protocol = ["responses", "chat", "messages"]
base_url = "http://127.0.0.1:9"

[[providers.models]]
model = "gpt-5.5"

[[providers.models]]
model = "claude-opus-4-8"

[[providers.models]]
model = "deepseek-v4-pro"
"#;

/// A service that sells three models; nobody provides them.
async fn selling() -> Service {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(PROVIDERS.as_bytes()).expect("written");
    let path = file.path().display().to_string();
    Service::start_with(&[("CODEXAPI_PROVIDERS_FILE", &path), ("CODEXAPI_BODY_LIMIT_BYTES", "65536")]).await
}

const ANTHROPIC: (&str, &str) = ("anthropic-version", "2023-06-01");
const KEY: (&str, &str) = ("x-api-key", OPERATOR_TOKEN);

#[tokio::test(flavor = "multi_thread")]
async fn a_401_names_the_scheme_and_basic_is_told_what_is_wanted() {
    let service = Service::start().await;
    let cases = [
        (None, "missing_token", "Bearer realm=\"codexapi\""),
        (Some("Basic YWRhOnNlY3JldA=="), "bearer_wanted", "Bearer realm=\"codexapi\""),
        (
            Some("Bearer sk-not-one-of-ours"),
            "invalid_token",
            "Bearer realm=\"codexapi\", error=\"invalid_token\"",
        ),
    ];
    for (authorization, code, challenge) in cases {
        let sent = authorization.map(|value| ("authorization", value));
        let headers = sent.as_slice();
        let answer = service.send("GET", "/api/v1/me", headers).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()["www-authenticate"], challenge);
        let (_, body) = service.get("/api/v1/me", headers).await;
        assert_eq!(body["error"]["code"], code);
    }
    let with_key = [("authorization", "Basic YWRhOnNlY3JldA=="), KEY];
    assert_eq!(service.get("/v1/models", &with_key).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropics_clients_read_of_the_models_in_their_own_dialect() {
    let service = selling().await;
    let (status, body) = service.get("/v1/models", &[ANTHROPIC]).await;
    assert_eq!((status, &body["type"]), (StatusCode::UNAUTHORIZED, &"error".into()), "{body}");
    assert_eq!(body["error"]["type"], "authentication_error");
    let (_, body) = service.get("/v1/models", &[("x-api-key", "sk-ant-not-one-of-ours")]).await;
    assert_eq!(body["error"]["type"], "authentication_error");
    let (status, body) = service.get("/v1/models/missing", &[ANTHROPIC, KEY]).await;
    assert_eq!((status, &body["error"]["type"]), (StatusCode::NOT_FOUND, &"not_found_error".into()));
    let (_, body) = service.get("/v1/models", &[]).await;
    assert_eq!(body["error"]["code"], "missing_token", "everybody else in OpenAI's: {body}");
    let authorization = super::bearer(OPERATOR_TOKEN);
    let (_, body) = service.get("/v1/models", &[("authorization", &authorization)]).await;
    assert_eq!((&body["object"], body["data"].as_array().map(Vec::len)), (&"list".into(), Some(3)));
    let (_, body) = service.get("/v1/models/claude-opus-4-8", &[ANTHROPIC, KEY]).await;
    assert_eq!((&body["type"], &body["display_name"]), (&"model".into(), &"Opus 4.8".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_come_in_pages_as_anthropics_sdk_turns_them() {
    let service = selling().await;
    let (mut path, mut seen) = ("/v1/models?limit=2".to_owned(), vec![]);
    loop {
        let (status, body) = service.get(&path, &[ANTHROPIC, KEY]).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        seen.extend(body["data"].as_array().expect("models").iter().map(|model| model["id"].clone()));
        if body["has_more"] == false {
            break;
        }
        path = format!("/v1/models?limit=2&after_id={}", body["last_id"].as_str().expect("an id"));
    }
    assert_eq!(Value::from(seen), json!(["claude-opus-4-8", "deepseek-v4-pro", "gpt-5.5"]));
    for query in ["limit=0", "limit=1001", "after_id=nobody", "page=2"] {
        let (status, body) = service.get(&format!("/v1/models?{query}"), &[ANTHROPIC, KEY]).await;
        assert_eq!(
            (status, &body["error"]["type"]),
            (StatusCode::BAD_REQUEST, &"invalid_request_error".into())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_text_is_refused_in_the_dialect_of_its_url() {
    let service = Service::start().await;
    for path in ["/v1/responses/%ff", "/v1/models/%ff", "/api/v1/generations/%C3", "/v1/messages/%80"] {
        let (status, body) = service.get(path, &[KEY]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {body}");
        match path.starts_with("/v1/m") {
            true => assert_eq!(body["error"]["type"], "invalid_request_error", "{path}: {body}"),
            false => assert_eq!(body["error"]["code"], "invalid_path", "{path}: {body}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_for_models_on_sale_alone() {
    let service = selling().await;
    let count = async |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello"}]});
        service.post("/v1/messages/count_tokens", &[ANTHROPIC, KEY], body.to_string()).await
    };
    let (status, body) = count("claude-opus-4-8").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body["input_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{body}");
    let (status, body) = count("claude-of-tomorrow").await;
    assert_eq!((status, &body["error"]["type"]), (StatusCode::NOT_FOUND, &"not_found_error".into()));
    assert!(body["error"]["message"].as_str().is_some_and(|text| text.contains("claude-opus-4-8")), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn message_batches_are_refused_clearly_and_not_tried_again() {
    let service = Service::start().await;
    for (method, path) in [
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches/msgbatch_1/results"),
        ("DELETE", "/v1/messages/batches/msgbatch_1"),
        ("POST", "/v1/messages/anything"),
    ] {
        let answer = service.send(method, path, &[KEY]).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(answer.headers()["x-should-retry"], "false");
        let body = super::json_body(answer).await;
        assert_eq!((&body["type"], &body["error"]["type"]), (&"error".into(), &"not_found_error".into()));
        assert!(
            body["error"]["message"].as_str().is_some_and(|text| text.contains("/v1/messages")),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_405_always_names_the_methods_there_are() {
    let service = Service::start().await;
    for (method, path, allowed) in [
        ("GET", "/v1/responses", "POST"),
        ("DELETE", "/v1/messages", "POST"),
        ("GET", "/v1/messages/count_tokens", "POST"),
        ("POST", "/v1/models", "GET"),
        ("POST", "/api/v1/me", "GET"),
    ] {
        let answer = service.send(method, path, &[KEY]).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        let named = answer.headers()["allow"].to_str().expect("text");
        assert!(named.contains(allowed), "{method} {path}: {named}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_or_unwanted_is_answered_and_not_cut_off() {
    let service = selling().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = Arc::clone(&service.app);
    let server = tokio::spawn(async move { axum::serve(listener, router(app)).await });
    let too_large = [
        ("/v1/messages", "request_too_large"),
        ("/v1/messages/count_tokens", "request_too_large"),
        ("/v1/chat/completions", "invalid_request_error"),
        ("/v1/responses", "invalid_request_error"),
    ];
    for (path, kind) in too_large {
        let (head, body) = send_chunked(address, path, OPERATOR_TOKEN, 8 << 20).await;
        assert!(head.starts_with("HTTP/1.1 413 "), "{path}: {head}");
        assert_eq!(body["error"]["type"], kind, "{path}: {body}");
    }
    // Nobody reads the body of a caller who is turned away.
    let (head, body) = send_chunked(address, "/v1/messages", "sk-ant-not-one-of-ours", 8 << 20).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert_eq!(body["error"]["type"], "authentication_error");
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_refused_by_what_it_is() {
    let service = selling().await;
    for path in ["/v1/responses", "/v1/chat/completions", "/v1/completions", "/v1/messages"] {
        for coding in ["gzip", "zstd", "identity"] {
            let body = json!({"model": "missing"}).to_string();
            let (status, answer) = service.post(path, &[KEY, ("content-encoding", coding)], body).await;
            let message = answer["error"]["message"].as_str().expect("a message");
            assert!(status.is_client_error(), "{path}, {coding}: {message}");
            assert_eq!(message.contains("Content-Encoding"), coding != "identity", "{path}: {message}");
        }
    }
}

/// Sends `bytes` in chunks to the end before it reads: the head of the answer and its body.
async fn send_chunked(
    address: std::net::SocketAddr,
    path: &str,
    token: &str,
    bytes: usize,
) -> (String, Value) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nx-api-key: {token}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..bytes / 0x10000 {
        stream.write_all(chunk.as_bytes()).await.expect("the connection stays open while we send");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("sent to the end");
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return (head.to_owned(), body);
        }
        let read = stream.read(&mut piece).await.expect("an answer");
        assert!(read > 0, "closed after {text:?}");
        answer.extend_from_slice(&piece[..read]);
    }
}
