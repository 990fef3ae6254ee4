//! The operator's routes, over HTTP, with two providers behind the service.

mod accounts;
mod health;
mod invoices;
mod maintenance;
mod monitor;
mod opening;
mod plans;
mod prices;
mod queue;
mod routing;
mod surges;
mod usage;
mod wallets;

use codexapi::embedded::{Simulator, SimulatorOptions};
use codexapi_aggregates::ids::AccountId;
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ADMIN_TOKEN, Service, bearer};

/// A service that buys from two simulated providers: both have `gpt-5.5`, the second has `claude-opus-4-8`, too.
pub struct Fleet {
    pub service: Service,
    pub one: Simulator,
    pub two: Simulator,
    client: reqwest::Client,
    _folder: TempDir,
}

impl Fleet {
    pub async fn start() -> Self {
        Self::selling(&["gpt-5.5"], &["gpt-5.5", "claude-opus-4-8"], &[]).await
    }

    /// The same with other models, and settings of the service's.
    pub async fn selling(one_sells: &[&str], two_sells: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let start = async |name| Simulator::start(SimulatorOptions::new(folder.path().join(name))).await;
        let (one, two) = (start("one").await.expect("a simulator"), start("two").await.expect("a simulator"));
        let provider = |name: &str, simulator: &Simulator, models: &[&str]| {
            let models = models.iter().map(|model| format!("[[providers.models]]\nmodel = {model:?}\n"));
            let (url, models) = (simulator.base_url(), models.collect::<String>());
            format!(
                "[[providers]]\nname = {name:?}\nprotocol = [\"responses\", \"chat\", \"messages\"]\n\
                 base_url = {url:?}\n{models}"
            )
        };
        let text = provider("one", &one, one_sells) + &provider("two", &two, two_sells);
        let file = folder.path().join("providers.toml");
        std::fs::write(&file, text).expect("written");
        let path = file.to_str().expect("text");
        let settings = [&[("CODEXAPI_PROVIDERS_FILE", path)], settings].concat();
        let service = Service::start_with(&settings).await;
        let client = codexapi::tls::http_client_builder().no_proxy().build().expect("a client");
        Self { service, one, two, client, _folder: folder }
    }

    /// A GET as an admin, under the first prefix.
    pub async fn read(&self, path: &str) -> Value {
        let path = format!("/admin/api{path}");
        let (status, body) = self.service.get(&path, &[("x-api-key", ADMIN_TOKEN)]).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// A POST as an admin; the answer's status and body.
    pub async fn try_set(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let path = format!("/admin-api/v1{path}");
        self.service.post(&path, &[("x-api-key", ADMIN_TOKEN)], body.to_string()).await
    }

    pub async fn set(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_set(path, body).await;
        assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
        answer
    }

    /// Status and code of a refused POST.
    pub async fn refused(&self, path: &str, body: &Value) -> (u16, String) {
        let (status, answer) = self.try_set(path, body).await;
        let code = answer["error"]["code"].as_str().unwrap_or_else(|| panic!("{path} {body}: {answer}"));
        (status.as_u16(), code.to_owned())
    }

    /// Every bill of a provider.
    pub async fn bills(&self, simulator: &Simulator) -> Vec<Value> {
        let url = format!("{}/_bills", simulator.base_url());
        let page: Value = self.client.get(url).send().await.expect("sent").json().await.expect("bills");
        page["bills"].as_array().expect("a list").clone()
    }

    /// Has a provider do what a directive says, that many times.
    pub async fn script(&self, simulator: &Simulator, times: u32, directive: Value) {
        let url = format!("{}/_script", simulator.base_url());
        let entry = json!({ "times": times, "directive": directive });
        let told = self.client.post(url).body(entry.to_string()).send().await.expect("sent");
        assert!(told.status().is_success());
    }

    /// A customer with money and a token that works.
    pub async fn customer(&self) -> (AccountId, String) {
        let created = self.service.customer().await;
        self.service.credit(created.account_id, 10).await;
        (created.account_id, created.system_token.token.reveal().to_owned())
    }

    /// One request of a conversation; status and body.
    pub async fn ask(&self, token: &str, model: &str, conversation: &str) -> (StatusCode, Value) {
        let body = json!({
            "model": model, "input": "go on", "max_output_tokens": 16, "prompt_cache_key": conversation,
        });
        let authorization = bearer(token);
        self.service.post("/v1/responses", &[("authorization", &authorization)], body.to_string()).await
    }

    /// How many requests each provider has billed.
    pub async fn billed(&self) -> (usize, usize) {
        (self.bills(&self.one).await.len(), self.bills(&self.two).await.len())
    }

    /// Actor and payload of every event of a type, in order.
    pub async fn events(&self, event_type: &str) -> Vec<(String, Value)> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "select metadata->>'actor', payload::text from events where event_type = $1 order by position",
        )
        .bind(event_type)
        .fetch_all(&self.service.app.pool)
        .await
        .expect("events");
        let parsed = |text: &str| serde_json::from_str(text).expect("JSON");
        rows.iter().map(|(actor, payload)| (actor.clone(), parsed(payload))).collect()
    }
}
