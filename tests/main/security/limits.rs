//! Clients that keep what they do not use: a head that trickles, a body that trickles, an answer nobody takes,
//! connections without number. Each is ended, and nobody else waits for it.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::wire::{address, connect, converse, head, read_to_end};
use crate::harness::{PATIENCE, wait_for};
use crate::money::Deployment;

/// Between two bytes of a client that takes its time.
const TRICKLE: Duration = Duration::from_millis(50);

/// Shorter than anybody waits for a body.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

const HURRIED: [(&str, &str); 4] = [
    ("CODEXAPI_CLIENT_HEAD_SECONDS", "1"),
    ("CODEXAPI_CLIENT_BODY_SECONDS", "1"),
    ("CODEXAPI_CLIENT_IDLE_SECONDS", "1"),
    ("CODEXAPI_CLIENT_STALLED_SECONDS", "1"),
];

/// Sends a byte now and then until the other side has had enough.
async fn trickle(stream: &mut TcpStream) {
    let trickling = async {
        while stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(TRICKLE).await
        }
    };
    tokio::time::timeout(PATIENCE, trickling).await.expect("it is ended");
}

async fn is_served(deployment: &Deployment) {
    let health = deployment.client.get(format!("{}/health", deployment.url)).send().await;
    assert_eq!(health.expect("an answer").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_ends_its_connection() {
    let deployment = Deployment::start(&HURRIED).await;
    for start in ["", "GET /hea", "GET /health HTTP/1.1\r\nHost: test\r\nX-Slow: "] {
        let mut silent = connect(&deployment).await;
        silent.write_all(start.as_bytes()).await.expect("sent");
        let heard = read_to_end(&mut silent).await;
        assert!(heard.closed && heard.text.is_empty(), "{start}: {heard:?}");
    }
    let mut slow = connect(&deployment).await;
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\nX-Slow: ").await.expect("sent");
    trickle(&mut slow).await;
    is_served(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_head_on_a_connection_must_come_in_time_too() {
    let deployment = Deployment::start(&HURRIED).await;
    let request = "GET /health HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut idle = connect(&deployment).await;
    assert_eq!(converse(&mut idle, request.as_bytes()).await.statuses(), [200]);
    assert!(read_to_end(&mut idle).await.closed, "nothing is asked for");
    let mut slow = connect(&deployment).await;
    assert_eq!(converse(&mut slow, request.as_bytes()).await.statuses(), [200]);
    slow.write_all(b"GET /health HTTP/1.1\r\nX-Slow: ").await.expect("sent");
    trickle(&mut slow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_is_asked_any_more_ends() {
    let deployment =
        Deployment::start(&[("CODEXAPI_CLIENT_HEAD_SECONDS", "60"), ("CODEXAPI_CLIENT_IDLE_SECONDS", "1")])
            .await;
    for requests in 1..=3 {
        let mut idle = connect(&deployment).await;
        for _ in 0..requests {
            let heard = converse(&mut idle, b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n").await;
            assert_eq!(heard.statuses(), [200]);
        }
        assert!(read_to_end(&mut idle).await.closed, "after {requests}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_told_so_and_costs_nothing() {
    let deployment = Deployment::start(&HURRIED).await;
    let customer = deployment.customer(1_000_000).await;
    let paths = [
        ("/v1/responses", "error"),
        ("/v1/messages", "error"),
        ("/v1/messages/count_tokens", "error"),
        ("/api/v1/plan-settings", "request_timeout"),
        ("/api/v1/gumroad/register", "request_timeout"),
    ];
    let trickling = paths.map(async |(path, said)| {
        let mut slow = connect(&deployment).await;
        let head = head(path, &customer.token);
        slow.write_all(format!("{head}Content-Length: 60000\r\n\r\n{{").as_bytes()).await.expect("sent");
        let (mut reading, mut writing) = slow.into_split();
        let writing = tokio::spawn(async move {
            while writing.write_all(b" ").await.is_ok() {
                tokio::time::sleep(TRICKLE).await;
            }
        });
        let mut heard = vec![0; 64 * 1024];
        let mut length = 0;
        let answer = async {
            while !String::from_utf8_lossy(&heard[..length]).contains(said) {
                let read = reading.read(&mut heard[length..]).await.expect("an answer");
                assert!(read > 0, "{path}: closed after {:?}", String::from_utf8_lossy(&heard[..length]));
                length += read;
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time");
        let answer = String::from_utf8_lossy(&heard[..length]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
        drop(reading);
        tokio::time::timeout(PATIENCE, writing).await.expect("it is ended").expect("written");
    });
    join_all(trickling).await;
    assert_eq!(deployment.count("wallet.hold_placed", customer.account_id).await, 0);
    is_served(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_announced_as_too_large_is_refused_by_its_head_alone() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(1_000_000).await;
    let cases = [
        ("/v1/messages", 99_999_999_999_u64, r#""type":"request_too_large""#),
        ("/v1/messages/count_tokens", 99_999_999_999, r#""type":"request_too_large""#),
        ("/v1/responses", 99_999_999_999, r#""type":"invalid_request_error""#),
        ("/v1/chat/completions", 40_000_000, r#""type":"invalid_request_error""#),
        ("/v1/chat/completions/chatcmpl-1", 40_000_000, r#""code":"request_too_large""#),
        ("/v1/responses/input_tokens", 40_000_000, r#""code":"request_too_large""#),
        ("/api/v1/plan-settings", 70_000, r#""code":"request_too_large""#),
    ];
    for (path, length, said) in cases {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let started = Instant::now();
            let mut client = connect(&deployment).await;
            let head = head(path, &customer.token);
            let head = format!("{head}{expect}Content-Length: {length}\r\n\r\n");
            let heard = converse(&mut client, head.as_bytes()).await;
            assert_eq!(heard.statuses(), [413], "{path} {expect}: {heard:?}");
            assert!(heard.text.contains(said), "{path} {expect}: {heard:?}");
            assert!(started.elapsed() < BODY_PATIENCE, "{path} {expect}: {:?}", started.elapsed());
        }
    }
    assert_eq!(deployment.count("wallet.hold_placed", customer.account_id).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_on_after_a_head_that_was_refused_hears_the_refusal() {
    let deployment = Deployment::start(&[]).await;
    let customer = deployment.customer(1_000_000).await;
    let mut client = connect(&deployment).await;
    let head = head("/v1/messages", &customer.token);
    client.write_all(format!("{head}Content-Length: 99999999999\r\n\r\n").as_bytes()).await.expect("sent");
    for _ in 0..128 {
        client.write_all(&[b' '; 64 * 1024]).await.expect("the connection stays open while we send");
    }
    assert_eq!(converse(&mut client, b" ").await.statuses(), [413]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_off() {
    let deployment = Deployment::start(&HURRIED).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut deaf =
        socket.connect(address(&deployment).parse().expect("an address")).await.expect("connected");
    let open = &deployment.app.metrics.connections.open;
    wait_for("it is connected", async || (open.get() == 1).then_some(())).await;
    // More than any buffer on the way takes.
    let many = "GET /openapi.json HTTP/1.1\r\nHost: test\r\n\r\n".repeat(200);
    deaf.write_all(many.as_bytes()).await.expect("sent");
    wait_for("it is cut off", async || (open.get() == 0).then_some(())).await;
    drop(deaf);
    is_served(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_long_in_coming_is_waited_for() {
    let deployment = Deployment::start(&HURRIED).await;
    let customer = deployment.customer(1_000_000).await;
    let body = json!({
        "model": crate::money::MODEL, "max_output_tokens": 64, "stream": true,
        "input": "go on [[sim:{\"input_tokens\":10,\"output_tokens\":5,\"first_byte_delay_ms\":3000}]]",
    });
    let request = super::wire::post("/v1/responses", &customer.token, &body.to_string());
    let mut patient = connect(&deployment).await;
    patient.write_all(request.as_bytes()).await.expect("sent");
    let heard = read_to_end(&mut patient).await;
    assert!(heard.text.contains("response.completed"), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_all_connections() {
    let deployment = Deployment::start(&[("CODEXAPI_CLIENT_CONNECTIONS_PER_ADDRESS", "3")]).await;
    let counted = &deployment.app.metrics.connections;
    let mut taken = vec![];
    for _ in 0..3 {
        taken.push(connect(&deployment).await);
    }
    wait_for("three are counted", async || (counted.open.get() == 3).then_some(())).await;
    let mut fourth = connect(&deployment).await;
    let heard = read_to_end(&mut fourth).await;
    assert!(heard.closed && heard.text.is_empty(), "{heard:?}");
    assert_eq!(counted.turned_away.get(), 1);
    drop(taken);
    wait_for("they are gone", async || (counted.open.get() == 0).then_some(())).await;
    is_served(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_connections_are_taken_the_next_one_waits_for_the_first_to_end() {
    let deployment =
        Deployment::start(&[("CODEXAPI_CLIENT_CONNECTIONS", "16"), ("CODEXAPI_CLIENT_HEAD_SECONDS", "2")])
            .await;
    let mut silent = vec![];
    for _ in 0..16 {
        silent.push(connect(&deployment).await);
    }
    let open = &deployment.app.metrics.connections.open;
    wait_for("all are taken", async || (open.get() == 16).then_some(())).await;
    // The silent ones are ended, each at its time, and with that there is room.
    is_served(&deployment).await;
}
