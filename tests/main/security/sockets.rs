//! Requests no client would send: each is refused or cut off, none is taken for another, and none costs anything.

use codexapi_aggregates::usage::Protocol;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::wire::{connect, converse, exchange, head, post, send_and_leave};
use crate::harness::wait_for;
use crate::money::asking::{Ask, PROTOCOLS};
use crate::money::{Customer, Deployment, MODEL};

const BALANCE: i64 = 10_000_000;

/// Where the fuzzing begins; a failure prints the request itself.
const SEED: u64 = 20_261_128;

/// Mangled requests per fuzzing test.
const MANGLED: usize = 400;

/// What must become of a request.
#[derive(Clone, Copy, Debug)]
enum Becomes {
    /// One answer with one of these statuses, if any answer, and the end of the connection.
    Refused(&'static [u16]),
    /// One of these, and the service may go on with the connection.
    Answered(&'static [u16]),
}

use Becomes::{Answered, Refused};

async fn deployment() -> Deployment {
    Deployment::start(&[
        ("CODEXAPI_BODY_LIMIT_BYTES", "65536"),
        ("CODEXAPI_CLIENT_HEAD_SECONDS", "3"),
        ("CODEXAPI_CLIENT_BODY_SECONDS", "3"),
    ])
    .await
}

/// The customer has paid nothing, and a request as it should be still is served.
async fn cost_nothing(deployment: &Deployment, customer: &Customer) {
    assert_eq!(deployment.ledger(customer.account_id).await.charges(), 0);
    assert_eq!(deployment.balance(customer.account_id).await, BALANCE);
    let told = json!({"input_tokens": 10, "output_tokens": 5});
    let good = Ask::new(Protocol::Responses, false, 64, &told).run(deployment, customer).await;
    assert_eq!(good.status, 200, "{}", good.text);
    assert_eq!(deployment.ledger(customer.account_id).await.charges(), 1);
    let open = &deployment.app.metrics.connections.open;
    // One may be kept by the client of the harness.
    wait_for("every connection has ended", async || (open.get() <= 1).then_some(())).await;
}

/// Sends all at once, each on a connection of its own; none of it gets as far as a hold.
async fn each_becomes(cases: Vec<(&str, String, Becomes)>, deployment: &Deployment, customer: &Customer) {
    let heard = join_all(cases.iter().map(|(_, request, _)| exchange(deployment, request.as_bytes()))).await;
    for ((name, _, becomes), heard) in cases.iter().zip(heard) {
        let statuses = heard.statuses();
        assert!(statuses.len() <= 1, "{name}: {statuses:?}");
        match becomes {
            Refused(allowed) => {
                assert!(statuses.iter().all(|status| allowed.contains(status)), "{name}: {heard:?}");
            }
            Answered(allowed) => {
                assert!(matches!(statuses[..], [one] if allowed.contains(&one)), "{name}: {heard:?}");
            }
        }
    }
    assert_eq!(deployment.count("wallet.hold_placed", customer.account_id).await, 0);
}

fn generation() -> String {
    json!({"model": MODEL, "max_output_tokens": 16, "input": "hello"}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_head_is_refused() {
    let deployment = deployment().await;
    let customer = deployment.customer(BALANCE).await;
    let token = customer.token.as_str();
    let body = generation();
    let lines = |line: &str| {
        let length = body.len();
        format!("{}{line}Content-Length: {length}\r\n\r\n{body}", head("/v1/responses", token))
    };
    let twice = |name: &str, value: &str| lines(&format!("{name}: {value}\r\n"));
    let authorization = format!("Bearer {token}");
    let with_key = |line: &str| lines(line).replace("Authorization: Bearer", "x-api-key:");
    let cases = vec![
        ("no version", "GET /v1/models\r\n\r\n".into(), Refused(&[400])),
        ("no path", "GET\r\n\r\n".into(), Refused(&[400])),
        ("a version to come", "GET / HTTP/9.9\r\n\r\n".into(), Refused(&[400])),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), Refused(&[400])),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".into(), Refused(&[400])),
        ("a NUL in the method", "G\0T / HTTP/1.1\r\n\r\n".into(), Refused(&[400])),
        ("a NUL in the path", "GET /\0 HTTP/1.1\r\n\r\n".into(), Refused(&[400])),
        ("two spaces", "GET  / HTTP/1.1\r\n\r\n".into(), Refused(&[400])),
        ("a long path", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)), Refused(&[400, 414, 431])),
        ("a large header", lines(&format!("X-Large: {}\r\n", "a".repeat(100_000))), Refused(&[431])),
        ("many headers", lines(&"X-Many: a\r\n".repeat(120)), Refused(&[431])),
        ("headers without end", lines(&"X-Many: a\r\n".repeat(50_000)), Refused(&[431])),
        ("a space before the colon", lines("X-Space : a\r\n"), Refused(&[400])),
        ("a folded header", lines("X-Folded: a\r\n b\r\n"), Refused(&[400])),
        ("a folded first header", lines(" X-Folded: a\r\n"), Refused(&[400])),
        ("a header without a name", lines(": a\r\n"), Refused(&[400])),
        ("a line without a colon", lines("nonsense\r\n"), Refused(&[400])),
        ("a NUL in a header", lines("X-Nul: a\0b\r\n"), Refused(&[400])),
        ("a carriage return in a header", lines("X-Return: a\rb\r\n"), Refused(&[400])),
        ("two tokens", twice("Authorization", &authorization), Answered(&[400])),
        ("two tokens, one of nobody", twice("authorization", "Bearer sk-nobody"), Answered(&[400])),
        ("two keys", with_key(&format!("X-Api-Key: {token}\r\n")), Answered(&[400])),
        ("two hosts", twice("Host", "elsewhere"), Answered(&[400])),
        ("two types", twice("Content-Type", "text/plain"), Answered(&[400])),
        ("two expectations", twice("Expect: 100-continue\r\nExpect", "100-continue"), Answered(&[400])),
        (
            "a token that is no text",
            lines("").replace("Bearer cdx", "Bearer \u{80}cdx").replace(token, "\u{e4}\u{f6}"),
            Answered(&[401]),
        ),
    ];
    each_becomes(cases, &deployment, &customer).await;
    cost_nothing(&deployment, &customer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_doubtful_length_is_refused() {
    let deployment = deployment().await;
    let customer = deployment.customer(BALANCE).await;
    let body = generation();
    let with =
        |lines: &str, body: &str| format!("{}{lines}\r\n{body}", head("/v1/responses", &customer.token));
    let length = |text: &str| with(&format!("Content-Length: {text}\r\n"), &body);
    let chunked = |chunks: &str| with("Transfer-Encoding: chunked\r\n", chunks);
    let one_chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let cases = vec![
        ("a negative length", length("-1"), Refused(&[400])),
        ("a length with a sign", length("+5"), Refused(&[400])),
        ("a length in words", length("five"), Refused(&[400])),
        ("no length", length(""), Refused(&[400])),
        ("a list of lengths", length("5, 6"), Refused(&[400])),
        ("a length over all", length("18446744073709551616"), Refused(&[400])),
        ("a length nobody sends", length("18446744073709551000"), Refused(&[400, 408, 413])),
        ("two lengths", with("Content-Length: 5\r\nContent-Length: 6\r\n", &body), Refused(&[400])),
        ("a body cut short", length(&(body.len() + 1).to_string()), Answered(&[408])),
        ("an unknown coding", with("Transfer-Encoding: cow\r\n", &one_chunk), Refused(&[400])),
        ("a coding not last", with("Transfer-Encoding: chunked, gzip\r\n", &one_chunk), Refused(&[400])),
        (
            "two codings",
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &one_chunk),
            Refused(&[400]),
        ),
        ("a hidden coding", with("Transfer-Encoding : chunked\r\n", &one_chunk), Refused(&[400])),
        ("a coding in HTTP/1.0", chunked(&one_chunk).replace("HTTP/1.1", "HTTP/1.0"), Refused(&[400])),
        ("a size that is none", chunked("xyz\r\nhello\r\n0\r\n\r\n"), Refused(&[400])),
        ("a negative size", chunked("-5\r\nhello\r\n0\r\n\r\n"), Refused(&[400])),
        ("a size over all", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), Refused(&[400])),
        ("a size too small", chunked("2\r\nhello\r\n0\r\n\r\n"), Refused(&[400])),
        ("no last chunk", chunked("5\r\nhello\r\n"), Answered(&[408])),
        (
            "an extension without end",
            chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(100_000))),
            Refused(&[400]),
        ),
        (
            "trailers without end",
            chunked(&format!("5\r\nhello\r\n0\r\n{}\r\n", "X-Many: a\r\n".repeat(50_000))),
            Refused(&[400]),
        ),
        (
            "a body that is too large",
            with("Content-Length: 200000\r\n", &" ".repeat(200_000)),
            Answered(&[413]),
        ),
        (
            "chunks that are too large",
            chunked(&format!("{:x}\r\n{}\r\n0\r\n\r\n", 200_000, " ".repeat(200_000))),
            Answered(&[413]),
        ),
    ];
    each_becomes(cases, &deployment, &customer).await;
    cost_nothing(&deployment, &customer).await;
}

/// What stands behind a request whose length can be read in two ways is never taken for a request: its sender might
/// be another than the one who pays for it.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_can_be_smuggled_in_another() {
    let deployment = deployment().await;
    let customer = deployment.customer(BALANCE).await;
    let hidden = format!(
        "GET /api/v1/me HTTP/1.1\r\nHost: test\r\nX-Smuggled: yes\r\nAuthorization: Bearer {}\r\n\r\n",
        customer.token
    );
    let head = head("/api/v1/toolbox", &customer.token).replace("Connection: close\r\n", "");
    let cases = [
        format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"),
        format!(
            "{head}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
            5 + hidden.len()
        ),
        format!("{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()),
        format!("{head}Content-Length: 0\r\nX: a\r\n Content-Length: 9\r\n\r\n{hidden}"),
    ];
    for request in cases {
        let mut stream = connect(&deployment).await;
        let heard = converse(&mut stream, request.as_bytes()).await;
        let statuses = heard.statuses();
        assert!(heard.closed && statuses.len() <= 1, "{request}\n{heard:?}");
        assert!(!heard.text.contains(&customer.account_id.to_string()), "{request}\n{heard:?}");
    }
    // Two requests that are as they should be are two, on one connection.
    let twice = format!("{hidden}{hidden}");
    let mut stream = connect(&deployment).await;
    assert_eq!(converse(&mut stream, twice.as_bytes()).await.statuses(), [200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_sound_json_is_refused() {
    let deployment = deployment().await;
    let customer = deployment.customer(BALANCE).await;
    let model = format!("\"model\":\"{MODEL}\"");
    let deep = |open: &str, close: &str| {
        let depth = 10_000;
        format!("{{{model},\"input\":{}1{}}}", open.repeat(depth), close.repeat(depth))
    };
    let mut bodies: Vec<Vec<u8>> = [
        String::new(),
        "null".into(),
        "[]".into(),
        "\"text\"".into(),
        "{".into(),
        format!("{{{model},\"input\":\"hello\""),
        format!("{{{model},\"input\":\"hello\"}} {{}}"),
        format!("{{{model},\"input\":\"\\ud800\"}}"),
        format!("{{{model},\"input\":\"a\nb\"}}"),
        format!("{{{model},\"input\":'hello'}}"),
        format!("{{{model},\"input\":\"hello\",}}"),
        format!("{{{model},{model},\"input\":\"hello\"}}"),
        format!("{{{model},\"input\":\"hello\",\"max_output_tokens\":1e999999}}"),
        format!("{{{model},\"input\":\"hello\",\"max_output_tokens\":-1}}"),
        format!("{{{model},\"input\":\"hello\",\"max_output_tokens\":{}}}", "9".repeat(400)),
        format!("{{{model},\"input\":\"hello\",\"max_output_tokens\":NaN}}"),
        format!("{{{model},\"input\":\"hello\",\"max_output_tokens\":0x10}}"),
        format!("{{\"model\":{},\"input\":\"hello\"}}", "9".repeat(400)),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        "[".repeat(60_000),
        "{\"a\":".repeat(12_000),
    ]
    .map(String::into_bytes)
    .into();
    let raw: [&[u8]; 4] = [b"\xff\xfe", b"\xef\xbb\xbf{}", b"{\"model\":\"\xc3\"}", b"{\"model\":\"a\0b\"}"];
    bodies.extend(raw.map(<[u8]>::to_vec));
    for path in
        ["/v1/responses", "/v1/chat/completions", "/v1/messages", "/v1/completions", "/api/v1/toolbox"]
    {
        for body in &bodies {
            let mut request = head(path, &customer.token).into_bytes();
            request.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            request.extend(body);
            let statuses = exchange(&deployment, &request).await.statuses();
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
            assert!(matches!(statuses[..], [400..=499]), "{path}: {statuses:?} for {shown}");
        }
    }
    cost_nothing(&deployment, &customer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mangled_request_never_fails_the_service() {
    let deployment = deployment().await;
    // Whatever is left of a good request cannot be paid.
    let customer = deployment.customer(0).await;
    let token = customer.token.as_str();
    let mut whole: Vec<String> = PROTOCOLS
        .iter()
        .map(|protocol| {
            let ask = Ask::new(*protocol, true, 16, &json!({"output_tokens": 5}));
            post(ask.path(), token, &ask.body.to_string())
        })
        .collect();
    whole.push(post("/api/v1/plan-settings", token, r#"{"walletOutsideScope":true}"#));
    whole.push(post("/api/v1/wallet/auto-topup", token, r#"{"enabled":true,"thresholdUsd":"1.00"}"#));
    whole.push(post("/v1/messages/count_tokens", token, r#"{"model":"even-model","messages":[]}"#));
    whole.push(format!(
        "GET /api/v1/billing/statement?format=csv&from=2026-11-01 HTTP/1.1\r\nHost: test\r\nx-api-key: {token}\r\n\r\n"
    ));
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..MANGLED {
        let request = mangled(&whole[random.random_range(0..whole.len())], &mut random);
        let heard = send_and_leave(&deployment, &request).await;
        let failed = heard.statuses().iter().any(|status| *status >= 500);
        assert!(!failed, "{}\n{heard:?}", request.escape_ascii());
    }
    assert_eq!(deployment.count("wallet.hold_placed", customer.account_id).await, 0);
    let open = &deployment.app.metrics.connections.open;
    wait_for("every connection has ended", async || (open.get() <= 1).then_some(())).await;
}

/// The request with one to four things done to it.
fn mangled(request: &str, random: &mut StdRng) -> Vec<u8> {
    const INSERTED: [&[u8]; 14] = [
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"\xff",
        b"\"",
        b"{",
        b"[[[[",
        b"\\u0000",
        b"%00",
        b"\r\n\r\n",
    ];
    let mut bytes = request.as_bytes().to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] = random.random(),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => {
                let inserted = INSERTED[random.random_range(0..INSERTED.len())];
                bytes.splice(at..at, inserted.iter().copied());
            }
            3 => {
                let end = (at + random.random_range(1..40)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + random.random_range(1..200)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            bytes.push(b'\n');
        }
    }
    bytes
}
