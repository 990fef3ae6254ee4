//! Which provider gets a request, what becomes of it when that one cannot serve, and what it all costs: real HTTP
//! in, and behind the gateway providers that do as they are told.
//!
//! Every scene has a model of its own, so that its targets, faults and circuits are nobody else's and scenes can
//! run side by side.

mod circuits;
mod crash;
mod crossing;
mod cuts;
mod door;
mod failover;
mod front;
pub mod heard;
mod limits;
mod patience;
mod signed_in;
mod sticky;
mod switched;
mod table;
mod told;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use codexapi::config::Config;
use codexapi::config::prices::PriceList;
use codexapi::config::providers::{Provider, ProviderAccount, ProviderKey, ProviderModel, Providers};
use codexapi_aggregates::account::{Account, AccountCommand, KeyLimits};
use codexapi_aggregates::routing::{
    ModelRule, POLICY_STREAM, RoutingAction, RoutingCommand, RoutingPolicy, TargetRule,
};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::Protocol;
use codexapi_aggregates::wallet::WalletEvent;

use self::front::{Front, Manner};
use crate::harness::in_force;
use crate::money::ledger::Ledger;
use crate::money::{Customer, Deployment, test};

/// Scenes one deployment has models for.
const SCENES: usize = 40;

/// Providers that speak all dialects.
const ALL: [&str; 5] = ["one", "two", "three", "four", "five"];

/// What the providers of the tests are paid with; it must show nowhere.
const PROVIDER_KEY: &str = "sk-providers-own-secret";

const BALANCE: i64 = 10_000_000;

/// The service with providers that do as they are told.
struct World {
    deployment: Deployment,
    front: Front,
    scenes: AtomicUsize,
}

/// A model with targets of its own.
#[derive(Clone, Debug)]
struct Scene {
    /// What clients ask for.
    model: String,
    /// What its providers call it.
    upstream: String,
}

impl World {
    async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(settings, None).await
    }

    /// The same with a signed-in account in `codex_home`.
    async fn start_with(settings: &[(&str, &str)], codex_home: Option<PathBuf>) -> Self {
        let front = Front::start().await;
        let address = front.url.clone();
        let deployment = Deployment::start_with(settings, |config, simulator| {
            front.serves(simulator);
            configure(config, &address, codex_home);
        })
        .await;
        Self { deployment, front, scenes: AtomicUsize::new(0) }
    }

    /// A model that these providers serve, in this order and manner. A manner that is the last stays.
    async fn scene(&self, targets: &[(&str, &[Manner])]) -> Scene {
        let weighted =
            targets.iter().enumerate().map(|(place, (provider, _))| (*provider, u32::from(place == 0)));
        let scene = self.weighted(&weighted.collect::<Vec<_>>()).await;
        for (provider, manners) in targets {
            self.front.is_told(provider, &scene.upstream, manners);
        }
        scene
    }

    /// A model that these providers serve well, by weight.
    async fn weighted(&self, targets: &[(&str, u32)]) -> Scene {
        let number = self.scenes.fetch_add(1, Ordering::Relaxed);
        assert!(number < SCENES, "too many scenes");
        let scene = Scene { model: format!("scene-{number}"), upstream: format!("upstream-{number}") };
        self.targets(&scene, targets).await;
        scene
    }

    /// The operator decides anew who serves a scene.
    async fn targets(&self, scene: &Scene, targets: &[(&str, u32)]) {
        let rule = |(provider, weight): &(&str, u32)| TargetRule {
            provider: (*provider).into(),
            upstream_model: Some(scene.upstream.clone()),
            weight: *weight,
        };
        let targets = targets.iter().map(rule).collect();
        self.decide(RoutingAction::SetTargets { model: scene.model.clone(), region: None, targets }).await;
    }

    async fn rule(&self, scene: &Scene, rule: ModelRule) {
        self.decide(RoutingAction::SetModel { model: scene.model.clone(), rule }).await;
    }

    /// Sets what a customer's token may do, and waits until it counts here.
    async fn limit(&self, customer: &Customer, limits: KeyLimits) {
        let key_id = customer.key_id;
        self.account(customer, |now| AccountCommand::SetKeyLimits { key_id, limits: limits.clone(), now })
            .await;
    }

    /// Changes a customer's account, and waits until the change counts.
    async fn account(
        &self,
        customer: &Customer,
        command: impl Fn(Timestamp) -> AccountCommand + Send + Sync,
    ) {
        let app = &self.deployment.app;
        let (stream, metadata) = (customer.account_id.to_string(), test());
        let changed =
            app.log.execute(&stream, &metadata, |account: &Account, now| account.decide(command(now)));
        in_force(app, changed.await.expect("changed").position).await;
    }

    async fn decide(&self, action: RoutingAction) {
        let metadata = test();
        let decided =
            self.deployment.app.log.execute(POLICY_STREAM, &metadata, |policy: &RoutingPolicy, now| {
                policy.decide(RoutingCommand { action: action.clone(), now })
            });
        decided.await.expect("decided");
    }
}

/// Providers of further attempts, as they were put on record before their dispatch.
fn further_attempts(ledger: &Ledger) -> Vec<(u32, String)> {
    let started = ledger.wallet.iter().filter_map(|event| match event {
        WalletEvent::AttemptStarted { attempt, .. } => Some((attempt.number, attempt.provider.clone())),
        _ => None,
    });
    started.collect()
}

/// Provider and status of every attempt on the settlement, in order.
fn attempts(ledger: &Ledger) -> Vec<(String, Option<u16>)> {
    let attempts = &ledger.only_settlement().attempts;
    attempts.iter().map(|result| (result.attempt.provider.clone(), result.status)).collect()
}

fn configure(config: &mut Config, front: &str, codex_home: Option<PathBuf>) {
    let mut prices = String::new();
    for number in 0..SCENES {
        write!(
            prices,
            "[[models]]\nmodel = \"scene-{number}\"\ncontext_tokens = 12_000_000\nmax_output_tokens = 64_000\n\
             display = {{ input = \"4.00\", output = \"8.00\" }}\ncost = {{ input = \"1.00\", output = \"2.00\" }}\n"
        )
        .expect("text");
    }
    config.catalog.prices = PriceList::parse(&prices).expect("good prices");
    let all = [Protocol::Responses, Protocol::Chat, Protocol::Messages];
    let provider = |name: &str, protocols: &[Protocol], base_url: String| Provider {
        name: name.into(),
        protocols: protocols.to_vec(),
        base_url: base_url.parse().expect("an address"),
        account: ProviderAccount::Api(Some(ProviderKey::new(PROVIDER_KEY.into()))),
        errors_are_free: name == "free",
        models: vec![ProviderModel {
            model: format!("unused-{name}"),
            upstream: "unused".into(),
            aliases: vec![],
        }],
    };
    let at_front = |name: &str, protocols: &[Protocol]| provider(name, protocols, format!("{front}/{name}"));
    let mut providers: Vec<Provider> = ALL.iter().map(|name| at_front(name, &all)).collect();
    providers.push(at_front("free", &all));
    providers.extend(all.map(|protocol| at_front(name_of(protocol), &[protocol])));
    providers.push(provider("closed", &all, "http://127.0.0.1:9".into()));
    if let Some(codex_home) = codex_home {
        let account = ProviderAccount::SignedIn { codex_home };
        providers.push(Provider { account, ..at_front("signed-in", &[Protocol::Responses]) });
    }
    config.catalog.providers = Providers::new(providers);
}

/// The provider that speaks this dialect only.
fn name_of(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Responses => "responses",
        Protocol::Chat => "chat",
        Protocol::Messages => "messages",
        Protocol::Completions => unreachable!("no provider speaks it"),
    }
}
