//! Transfers that end too early, to the byte.

use serde_json::json;

use crate::harness::{CHAT, MESSAGES, RESPONSES, Simulator, small, streamed, told};

/// Reads a body to its end: the bytes, and whether the transfer was whole.
async fn drain(mut response: reqwest::Response) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return (bytes, true),
            Err(_) => return (bytes, false),
        }
    }
}

#[tokio::test]
async fn a_cut_stream_gives_exactly_the_bytes_told_and_breaks_off() {
    let simulator = Simulator::start();
    let length = {
        let body = streamed(small(MESSAGES, &told(&json!({ "delta_count": 3, "cut_at_byte": 99_999 }))));
        drain(simulator.send(MESSAGES, body).await).await.0.len()
    };
    for at in [0, 1, 100, 500, length - 1, length] {
        // Padded, so that every request has the same length and so the same usage.
        let directive = format!(r#"[[sim:{{"delta_count":3,"cut_at_byte":{at:>5}}}]]"#);
        let body = streamed(small(MESSAGES, &format!("hello {directive}")));
        let (bytes, whole) = drain(simulator.send(MESSAGES, body).await).await;
        assert_eq!(bytes.len(), at);
        assert!(!whole, "cut at {at} must look like a broken transfer");
    }
}

#[tokio::test]
async fn a_clean_early_end_gives_exactly_the_bytes_told_and_ends_properly() {
    let simulator = Simulator::start();
    for path in [RESPONSES, CHAT, MESSAGES] {
        for at in [0, 1, 300] {
            let body = streamed(small(path, &told(&json!({ "clean_end_at_byte": at }))));
            let (bytes, whole) = drain(simulator.send(path, body).await).await;
            assert_eq!((bytes.len(), whole), (at, true));
        }
    }
}

#[tokio::test]
async fn a_whole_body_can_be_cut_too() {
    let simulator = Simulator::start();
    let body = small(CHAT, &told(&json!({ "cut_at_byte": 50 })));
    let (bytes, whole) = drain(simulator.send(CHAT, body).await).await;
    assert_eq!((bytes.len(), whole), (50, false));
    let bill = simulator.bill().await;
    assert_eq!(bill["status"], "cut");
    assert_eq!(bill["output_tokens"], 19, "a whole answer is made before it is sent");
}

#[tokio::test]
async fn a_cut_stream_is_billed_as_far_as_it_was_made() {
    let simulator = Simulator::start();
    let full = streamed(small(CHAT, &told(&json!({ "delta_count": 10, "tag": "full" }))));
    let whole = simulator.post(CHAT, full).await.text;
    let fourth = whole.match_indices("tok ").nth(3).expect("a fourth delta").0;
    let directive = json!({ "delta_count": 10, "cut_at_byte": fourth, "tag": "cut" });
    let body = streamed(small(CHAT, &told(&directive)));
    drain(simulator.send(CHAT, body).await).await;
    let bills = simulator.get("/_bills?tag=cut").await["bills"].clone();
    assert_eq!(bills.as_array().unwrap().len(), 1);
    assert_eq!(bills[0]["status"], "cut");
    assert_eq!(bills[0]["output_tokens"], 4);
    assert_eq!(bills[0]["delivered_bytes"], fourth);
}
