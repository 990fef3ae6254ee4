//! What a generation costs, whatever happens to it: real HTTP in, the upstream simulator behind, and
//! the simulator's own bills as the independent witness of what was used.
//!
//! Every customer is used for one promise only, so that tests can run side by side and a balance can
//! be compared to the last micro-USD.

pub mod asking;
pub mod clients;
mod codex;
mod cuts;
pub mod ledger;
pub mod matrix;
mod operators;
mod overrun;
mod wire;
mod withholding;

use std::sync::Arc;
use std::time::Duration;

use codexapi::accounts::{self, GrantCredit, NewCustomer};
use codexapi::app::App;
use codexapi::config::Config;
use codexapi::config::prices::PriceList;
use codexapi::config::providers::{Provider, ProviderAccount, ProviderModel, Providers};
use codexapi::embedded::{Simulator, SimulatorOptions};
use codexapi::listener::{self, Limits};
use codexapi::projector::LogFeed;
use codexapi::verify::{self, HoldTerms, VerifyOptions};
use codexapi::{clock, http as service};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, KeyId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::usage::Protocol;
use codexapi_aggregates::wallet::events::GrantSource;
use serde_json::Value;
use sqlx::ConnectOptions;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::{TestDatabase, in_force, wait_for};

pub const OPERATOR_TOKEN: &str = "cdx-op-static-for-money-tests-01";

/// The one model of these tests, and a second name that has to be rewritten on the way.
pub const MODEL: &str = "even-model";
pub const ALIAS: &str = "even-alias";

/// micro-USD per token. Every kind of input costs the same, so all amounts are whole micro-USD.
pub const INPUT_RATE: i64 = 4;
pub const OUTPUT_RATE: i64 = 8;

/// What the provider charges the operator, micro-USD per token.
pub const INPUT_COST: i64 = 1;
pub const OUTPUT_COST: i64 = 2;

const PRICES: &str = r#"
[[models]]
model = "even-model"
context_tokens = 12_000_000
max_output_tokens = 64_000
display = { input = "4.00", output = "8.00" }
cost = { input = "1.00", output = "2.00" }
"#;

/// Longer than any answer of these tests takes; only a failure waits this long.
const ANSWERED_WITHIN: Duration = Duration::from_secs(90);

/// The service on a port, its own simulator behind it, its own database below.
pub struct Deployment {
    pub app: Arc<App>,
    pub url: String,
    pub upstream: String,
    pub client: reqwest::Client,
    _simulator: Simulator,
    projecting: CancellationToken,
    _stop: DropGuard,
    _folder: TempDir,
    database: TestDatabase,
}

/// A customer whose token works.
#[derive(Clone)]
pub struct Customer {
    pub account_id: AccountId,
    pub key_id: KeyId,
    pub token: String,
}

impl Deployment {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(settings, |_, _| {}).await
    }

    /// The same after `change` of its configuration, which is given the simulator's address.
    pub async fn start_with(settings: &[(&str, &str)], change: impl FnOnce(&mut Config, &str)) -> Self {
        let database = TestDatabase::new().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let simulator = Simulator::start(SimulatorOptions::new(folder.path())).await.expect("a simulator");
        let upstream = simulator.base_url().to_owned();
        let mut config = config(&database, &upstream, settings);
        change(&mut config, &upstream);
        let app = App::build(config).await.expect("built");
        // Provider faults are what most of these tests are about; one must not keep the next from being sent.
        app.gateway.circuits().always_open_after(0);
        let stop = CancellationToken::new();
        let projecting = stop.child_token();
        tokio::spawn({
            let (app, projecting) = (Arc::clone(&app), projecting.clone());
            async move {
                let feed = || LogFeed::new(app.pool.clone(), app.log.appended());
                app.projector.run(feed, projecting).await;
            }
        });
        let url = serve(&app, stop.clone()).await;
        let client = codexapi::tls::http_client_builder()
            .no_proxy()
            .timeout(ANSWERED_WITHIN)
            .build()
            .expect("a client");
        let _stop = stop.drop_guard();
        Self {
            app,
            url,
            upstream,
            client,
            _simulator: simulator,
            projecting,
            _stop,
            _folder: folder,
            database,
        }
    }

    /// A customer with `balance` micro-USD.
    pub async fn customer(&self, balance: i64) -> Customer {
        let credentials = &self.app.config.credentials;
        let created = accounts::create_customer(&self.app.log, credentials, &test(), NewCustomer::default())
            .await
            .expect("created");
        let account_id = created.account_id;
        if balance > 0 {
            self.grant(account_id, balance).await;
        }
        in_force(&self.app, created.system_token.position).await;
        let key_id = created.system_token.key_id;
        Customer { account_id, key_id, token: created.system_token.token.reveal().to_owned() }
    }

    /// From here on the read models stand still, and with them what is known of customers and their keys: money
    /// needs none of it, and thousands of generations are made sooner.
    pub fn stop_projecting(&self) {
        self.projecting.cancel();
    }

    async fn grant(&self, account_id: AccountId, amount: i64) {
        let grant = GrantCredit {
            account_id,
            source: GrantSource::Admin,
            amount_micro: MicroUsd(amount),
            expires_at: None,
            idempotency_key: "first".into(),
        };
        let terms = self.app.config.wallet.terms();
        accounts::grant_credit(&self.app.log, &terms, &test(), grant).await.expect("granted");
    }

    /// The simulator's bills with this tag, oldest first.
    pub async fn bills(&self, tag: &str) -> Vec<Value> {
        self.told_by_simulator(&format!("_bills?limit=100000&tag={tag}"), "bills").await
    }

    /// Waits until the simulator has received a request that contains this text.
    pub async fn received(&self, text: &str) {
        let path = format!("_received?match={text}");
        wait_for("a request at the provider", async || {
            (!self.told_by_simulator(&path, "requests").await.is_empty()).then_some(())
        })
        .await;
    }

    async fn told_by_simulator(&self, path: &str, list: &str) -> Vec<Value> {
        let asked = self.client.get(format!("{}/{path}", self.upstream)).send().await;
        let page: Value = asked.expect("the simulator answers").json().await.expect("JSON");
        page[list].as_array().expect("a list").clone()
    }

    /// The whole log verifies, and the report says no hold is open.
    pub async fn verify(&self) {
        let options = VerifyOptions::new(HoldTerms::standard(clock::now()));
        let report = verify::run(&self.database.pool, &options).await.expect("verify can be carried out");
        assert_eq!(report.difference, None);
        assert_eq!(report.open_holds, 0, "a hold was left open");
    }
}

/// Serves on a port of its own until `stop`; the address.
pub async fn serve(app: &Arc<App>, stop: CancellationToken) -> String {
    let bound = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", bound.local_addr().expect("an address"));
    let limits = Limits::new(&app.config.connections, &app.config.http);
    let counted = app.metrics.connections.clone();
    tokio::spawn(listener::serve(bound, service::router(Arc::clone(app)), limits, counted, stop));
    url
}

fn config(database: &TestDatabase, upstream: &str, settings: &[(&str, &str)]) -> Config {
    let url = database.pool.connect_options().to_url_lossy().to_string();
    let digest_key = "5a".repeat(32);
    let fixed = [
        ("DATABASE_URL", url.as_str()),
        // Nobody listens there: the read models follow the log itself.
        ("NATS_URL", "nats://127.0.0.1:9"),
        ("CODEXAPI_TOKEN_DIGEST_KEY", digest_key.as_str()),
        ("CODEXAPI_STATIC_API_TOKENS", OPERATOR_TOKEN),
        ("CODEXAPI_DATABASE_CONNECTIONS", "20"),
    ];
    let mut config = Config::from_pairs(fixed.iter().chain(settings).copied()).expect("good settings");
    config.catalog.prices = PriceList::parse(PRICES).expect("good prices");
    config.catalog.providers = Providers::new(vec![Provider {
        name: "simulator".into(),
        protocols: vec![Protocol::Responses, Protocol::Chat, Protocol::Messages],
        base_url: upstream.parse().expect("an address"),
        account: ProviderAccount::Api(None),
        errors_are_free: false,
        models: vec![ProviderModel {
            model: MODEL.into(),
            upstream: MODEL.into(),
            aliases: vec![ALIAS.into()],
        }],
    }]);
    config
}

pub fn test() -> Metadata {
    Metadata { actor: "operator:test".into(), ..Metadata::default() }
}
