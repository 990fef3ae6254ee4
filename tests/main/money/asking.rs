//! Requests in the three dialects, and what an answer told its client.

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::request::ParsedRequest;
use futures::StreamExt;
use http::HeaderMap;
use reqwest::Response;
use serde_json::{Value, json};

use super::{Customer, Deployment, MODEL};

pub const PROTOCOLS: [Protocol; 3] = [Protocol::Responses, Protocol::Chat, Protocol::Messages];

/// One request, to be sent as it is.
#[derive(Clone, Debug)]
pub struct Ask {
    pub protocol: Protocol,
    pub body: Value,
    pub headers: Vec<(&'static str, String)>,
}

/// An answer as its client saw it.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The body ended as HTTP wants it.
    pub complete: bool,
}

impl Ask {
    /// A request of at most `max_output` tokens that tells the simulator what to do.
    pub fn new(protocol: Protocol, stream: bool, max_output: u64, directive: &Value) -> Self {
        let text = format!("go on [[sim:{directive}]]");
        let body = match protocol {
            Protocol::Responses => {
                json!({"model": MODEL, "stream": stream, "max_output_tokens": max_output, "input": text})
            }
            Protocol::Chat => json!({
                "model": MODEL, "stream": stream, "max_completion_tokens": max_output,
                "messages": [{"role": "user", "content": text}],
            }),
            Protocol::Completions => {
                json!({"model": MODEL, "stream": stream, "max_tokens": max_output, "prompt": text})
            }
            Protocol::Messages => json!({
                "model": MODEL, "stream": stream, "max_tokens": max_output,
                "messages": [{"role": "user", "content": text}],
            }),
        };
        Self { protocol, body, headers: vec![] }
    }

    /// The same for another model.
    pub fn of(mut self, model: &str) -> Self {
        self.body["model"] = model.into();
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn path(&self) -> &'static str {
        match self.protocol {
            Protocol::Responses => "/v1/responses",
            Protocol::Chat => "/v1/chat/completions",
            Protocol::Messages => "/v1/messages",
            Protocol::Completions => "/v1/completions",
        }
    }

    /// Input tokens as the gateway counts them before it dispatches.
    pub fn estimated_input(&self) -> i64 {
        let body = Bytes::from(self.body.to_string());
        let parsed = ParsedRequest::parse(self.protocol, &body).expect("a good request");
        i64::try_from(parsed.estimate.total_tokens()).expect("a small request")
    }

    /// Sends it; the answer's head.
    pub async fn send(&self, deployment: &Deployment, token: &str) -> Response {
        let mut request = deployment
            .client
            .post(format!("{}{}", deployment.url, self.path()))
            .header("content-type", "application/json")
            .bearer_auth(token)
            .body(self.body.to_string());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.send().await.expect("an answer")
    }

    /// Sends it and reads what comes.
    pub async fn run(&self, deployment: &Deployment, customer: &Customer) -> Told {
        read(self.send(deployment, &customer.token).await).await
    }

    /// What the simulator itself answers, without the gateway.
    pub async fn record(&self, deployment: &Deployment) -> Told {
        let request = deployment
            .client
            .post(format!("{}{}", deployment.upstream, self.path()))
            .header("content-type", "application/json")
            .header("anthropic-version", "2023-06-01")
            .body(self.body.to_string());
        read(request.send().await.expect("an answer")).await
    }
}

/// Reads an answer to its end, proper or not.
pub async fn read(response: Response) -> Told {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let mut body = response.bytes_stream();
    let (mut bytes, mut complete) = (Vec::new(), true);
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(_) => {
                complete = false;
                break;
            }
        }
    }
    Told { status, headers, text: String::from_utf8(bytes).expect("text"), complete }
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// Whether a client of this dialect takes it for a finished answer.
    pub fn is_success(&self, protocol: Protocol, stream: bool) -> bool {
        if !stream || self.status != 200 {
            return self.status == 200;
        }
        says_finished(protocol, &self.text)
    }
}

/// Whether a stream holds a frame that says the answer is finished.
pub fn says_finished(protocol: Protocol, stream: &str) -> bool {
    let signs: &[&str] = match protocol {
        Protocol::Responses => &["event: response.completed", "event: response.incomplete"],
        Protocol::Chat | Protocol::Completions => &["\"finish_reason\":\"", "[DONE]"],
        Protocol::Messages => &["event: message_stop", "\"stop_reason\":\""],
    };
    signs.iter().any(|sign| stream.contains(sign))
}
