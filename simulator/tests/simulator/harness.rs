//! A running simulator and the few ways in which tests talk to it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

pub const RESPONSES: &str = "/v1/responses";
pub const CHAT: &str = "/v1/chat/completions";
pub const MESSAGES: &str = "/v1/messages";

/// How often, and how long apart, a test asks for a bill that must come.
const BILL_TRIES: u32 = 200;
const BILL_PAUSE: Duration = Duration::from_millis(25);

pub struct Simulator {
    child: Child,
    base_url: String,
    client: Client,
}

/// One answer, read to its end.
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Simulator {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_codexapi-simulator"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the simulator starts");
        let stdout = child.stdout.take().expect("its stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the simulator says that it is ready");
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        assert_eq!(ready["ready"], true);
        let base_url = ready["baseUrl"].as_str().expect("a base URL").to_owned();
        Simulator { child, base_url, client: http_client() }
    }

    /// A request with what every Anthropic request needs; OpenAI ignores it.
    pub fn request(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.base_url)).header("anthropic-version", "2023-06-01")
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn wait_for_end(mut self) -> std::process::ExitStatus {
        self.child.wait().expect("the simulator ends")
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        Reply::read(self.send(path, body).await).await
    }

    pub async fn send(&self, path: &str, body: Value) -> Response {
        let request = self.request(path).json(&body);
        request.send().await.expect("the simulator answers")
    }

    /// Posts the dialect's smallest request with this user text.
    pub async fn ask(&self, path: &str, text: &str) -> Reply {
        self.post(path, small(path, text)).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.client.get(self.url(path)).send().await;
        let text = response.expect("an answer").text().await.expect("a body");
        serde_json::from_str(&text).expect("JSON")
    }

    pub async fn bills(&self) -> Vec<Value> {
        self.get("/_bills").await["bills"].as_array().expect("a list of bills").clone()
    }

    /// The only bill, which must be there already.
    pub async fn bill(&self) -> Value {
        let bills = self.bills().await;
        assert_eq!(bills.len(), 1, "exactly one bill: {bills:?}");
        bills[0].clone()
    }

    /// The only bill, waited for: a server learns late that its client has gone.
    pub async fn bill_to_come(&self) -> Value {
        for _ in 0..BILL_TRIES {
            if let [bill] = self.bills().await.as_slice() {
                return bill.clone();
            }
            tokio::time::sleep(BILL_PAUSE).await;
        }
        panic!("no bill came");
    }

    pub async fn script(&self, entries: Value) {
        let posted = self.client.post(self.url("/_script")).json(&entries).send();
        let response = posted.await.expect("an answer");
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // Already gone where a test has stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reply {
    async fn read(response: Response) -> Self {
        Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.expect("a whole body"),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("a JSON body")
    }

    /// The stream's events: name (empty where there is none) and data.
    pub fn events(&self) -> Vec<(String, Value)> {
        assert!(self.text.ends_with("\n\n"), "the last event is complete");
        self.text
            .split_terminator("\n\n")
            .map(|event| {
                let line =
                    |start: &str| event.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
                let data = line("data: ");
                let data = serde_json::from_str(data).unwrap_or_else(|_| json!(data));
                (line("event: ").to_owned(), data)
            })
            .collect()
    }

    /// The events' names, with runs of the same name counted once.
    pub fn event_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.events().into_iter().map(|(name, _)| name).collect();
        names.dedup();
        names
    }
}

/// The smallest request of each dialect.
pub fn small(path: &str, text: &str) -> Value {
    match path {
        RESPONSES => json!({ "model": "m", "input": text }),
        CHAT => json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }),
        _ => json!({
            "model": "m",
            "max_tokens": 1_000,
            "messages": [{ "role": "user", "content": text }],
        }),
    }
}

pub fn streamed(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body
}

/// A user text that carries this directive.
pub fn told(directive: &Value) -> String {
    format!("hello [[sim:{directive}]]")
}

/// In one build with the service, reqwest has no TLS provider of its own and wants one installed.
fn http_client() -> Client {
    // `Err` says that another test has installed it.
    let _installed_already = rustls::crypto::ring::default_provider().install_default().is_err();
    Client::new()
}
