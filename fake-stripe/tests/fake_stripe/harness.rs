//! A running fake, and the few ways in which tests talk to it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::{Client, RequestBuilder};
use serde_json::Value;

pub const KEY: &str = "sk_test_tests";

pub const PACK: &str = "mode=payment&success_url=https://shop.example/&line_items[0][quantity]=1\
    &line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=5000\
    &line_items[0][price_data][product_data][name]=Tokens";

pub struct Fake {
    child: Child,
    base_url: String,
    client: Client,
}

impl Fake {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn keeping(file: &Path) -> Self {
        Self::start_with(&["--keep", file.to_str().expect("a path in UTF-8")])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_codexapi-fake-stripe"))
            .args(["--api-key", KEY])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the fake starts");
        let stdout = child.stdout.take().expect("its stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the fake says that it is ready");
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        let base_url = ready["baseUrl"].as_str().expect("a base URL").to_owned();
        Fake { child, base_url, client: http_client() }
    }

    pub fn post(&self, path: &str, form: &str) -> RequestBuilder {
        self.client
            .post(format!("{}{path}", self.base_url))
            .bearer_auth(KEY)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base_url)).bearer_auth(KEY)
    }

    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // Already gone where a test has killed it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn sent(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("the fake answers");
    let status = response.status().as_u16();
    (status, response.json().await.expect("a JSON body"))
}

/// In one build with the service, reqwest has no TLS provider of its own and wants one installed.
fn http_client() -> Client {
    // `Err` says that another test has installed it.
    let _installed_already = rustls::crypto::ring::default_provider().install_default().is_err();
    Client::new()
}
