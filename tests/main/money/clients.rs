//! A client that hangs up pays what was made for it, within the drain limit (§ 10, row 3).

use std::sync::Arc;

use codexapi_aggregates::usage::{Outcome, Protocol};
use futures::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::asking::{Ask, PROTOCOLS};
use super::{Customer, Deployment, INPUT_RATE, OUTPUT_RATE};

const BALANCE: i64 = 100_000_000;
const INPUT: i64 = 100;
const OUTPUT: i64 = 6;

/// Sends a request over a socket of its own, reads `bytes` of the answer, heads included, and hangs up.
pub async fn hang_up_after(deployment: &Deployment, customer: &Customer, ask: &Ask, bytes: usize) {
    let mut socket = request_of(deployment, customer, ask).await;
    let mut answer = vec![0; bytes];
    match socket.read_exact(&mut answer).await {
        Ok(_) => {}
        // The last offsets may lie beyond the end.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
    }
}

/// Sends a request over a socket of its own, which the answer comes through.
pub async fn request_of(deployment: &Deployment, customer: &Customer, ask: &Ask) -> TcpStream {
    let address = deployment.url.trim_start_matches("http://");
    let body = ask.body.to_string();
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        ask.path(),
        customer.token,
        body.len(),
    );
    let mut socket = TcpStream::connect(address).await.expect("connected");
    socket.write_all(request.as_bytes()).await.expect("sent");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gone_early_pays_at_most_what_it_saw_and_the_drain_limit() {
    const DRAINED: i64 = 2_000;
    let deployment = Deployment::start(&[]).await;
    for protocol in PROTOCOLS {
        let customer = deployment.customer(BALANCE).await;
        let told = json!({
            "input_tokens": INPUT, "output_tokens": 60_000, "delta_count": 60_000, "chunk_delay_ms": 1,
        });
        let ask = Ask::new(protocol, true, 64_000, &told);
        let mut answer = ask.send(&deployment, &customer.token).await.bytes_stream();
        let mut seen = String::new();
        while seen.matches("tok ").count() < 10 {
            seen += std::str::from_utf8(&answer.next().await.expect("more").expect("read")).expect("text");
        }
        drop(answer);
        let ledger = deployment.ledger(customer.account_id).await;
        let settled = ledger.only_settlement();
        assert_eq!(settled.outcome, Outcome::DrainLimit);
        // What was on its way when the client left counts as seen: socket buffers hold some of it.
        let output = i64::try_from(settled.usage.output).expect("a count");
        assert!((10..=DRAINED + 1_000).contains(&output), "{output} tokens were charged");
        let input = if protocol == Protocol::Messages { INPUT } else { ask.estimated_input() };
        assert_eq!(settled.charged_micro.0, input * INPUT_RATE + output * OUTPUT_RATE);
    }
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_a_whole_answer_pays_for_it() {
    let deployment = Arc::new(Deployment::start(&[]).await);
    for protocol in PROTOCOLS {
        let customer = deployment.customer(BALANCE).await;
        let told = json!({"input_tokens": INPUT, "output_tokens": OUTPUT, "header_delay_ms": 2_500});
        let asked = tokio::spawn({
            let (deployment, token) = (Arc::clone(&deployment), customer.token.clone());
            let ask = Ask::new(protocol, false, 64, &told);
            async move { ask.send(&deployment, &token).await }
        });
        deployment.held(customer.account_id).await;
        asked.abort();
        let ledger = deployment.ledger(customer.account_id).await;
        if ledger.releases() == 1 {
            // It left between the hold and the dispatch: the provider never saw the request.
            ledger.assert_only_released();
            continue;
        }
        let settled = ledger.only_settlement();
        assert_eq!(settled.outcome, Outcome::ClientLeft);
        assert_eq!(settled.charged_micro.0, INPUT * INPUT_RATE + OUTPUT * OUTPUT_RATE);
    }
    deployment.verify().await;
}
