//! A key's limits are one count for all nodes: two services over one database let exactly as much through as one.

use std::sync::Arc;

use codexapi::accounts;
use codexapi::app::App;
use codexapi_aggregates::account::{KeyKind, KeyLimits, RevocationReason};
use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::usage::Protocol;
use codexapi_aggregates::wallet::WalletEvent;
use futures::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{BALANCE, Scene, World};
use crate::harness::in_force;
use crate::money::asking::{Ask, read};
use crate::money::{Customer, INPUT_RATE, OUTPUT_RATE, serve, test};

/// A second service over the first one's database.
struct Nodes {
    world: World,
    urls: [String; 2],
    _second: Arc<App>,
    _stop: DropGuard,
}

impl Nodes {
    async fn start() -> Self {
        let world = World::start(&[("CODEXAPI_WAITING_PER_WALLET", "0")]).await;
        let second = App::build(world.deployment.app.config.clone()).await.expect("built");
        second.gateway.circuits().always_open_after(0);
        let stop = CancellationToken::new();
        let urls = [world.deployment.url.clone(), serve(&second, stop.clone()).await];
        Self { world, urls, _second: second, _stop: stop.drop_guard() }
    }

    async fn limited(&self, limits: KeyLimits) -> Customer {
        let customer = self.world.deployment.customer(BALANCE).await;
        self.world.limit(&customer, limits).await;
        customer
    }

    async fn send(&self, node: usize, token: &str, ask: &Ask) -> Response {
        let request = self.world.deployment.client.post(format!("{}{}", self.urls[node], ask.path()));
        request.bearer_auth(token).json(&ask.body).send().await.expect("an answer")
    }

    /// Sends `count` at once, by turns to both nodes; each in a conversation of its own.
    async fn storm(&self, customer: &Customer, ask: &Ask, count: usize) -> Vec<Response> {
        let asks = (0..count).map(|number| {
            let mut ask = ask.clone();
            ask.body["prompt_cache_key"] = format!("conversation {number:03}").into();
            async move { self.send(number % 2, &customer.token, &ask).await }
        });
        join_all(asks).await
    }
}

fn passed(answers: &[Response]) -> usize {
    answers.iter().filter(|answer| answer.status() == 200).count()
}

/// An answer that begins and does not end before its client leaves.
fn stalled(scene: &Scene) -> Ask {
    let told = json!({"output_tokens": 5, "delta_count": 5, "stall_after": 1});
    let mut ask = Ask::new(Protocol::Chat, true, 64, &told).of(&scene.model);
    ask.body["prompt_cache_key"] = "conversation 000".into();
    ask
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_as_many_pass_as_the_limit_says_whichever_node_they_come_to() {
    const LIMIT: u32 = 9;
    const SENT: usize = 40;
    let nodes = Nodes::start().await;
    let scene = nodes.world.scene(&[("one", &[])]).await;
    let ask = stalled(&scene);
    let estimate = ask.estimated_input().unsigned_abs();
    for limits in [
        KeyLimits { parallel_requests: Some(LIMIT), ..KeyLimits::default() },
        KeyLimits { requests_per_minute: Some(LIMIT), ..KeyLimits::default() },
        KeyLimits { tokens_per_minute: Some(u64::from(LIMIT + 1) * estimate - 1), ..KeyLimits::default() },
    ] {
        let customer = nodes.limited(limits.clone()).await;
        super::door::early_in_a_minute().await;
        let answers = nodes.storm(&customer, &ask, SENT).await;
        assert_eq!(passed(&answers), LIMIT as usize, "{limits:?}");
        assert!(answers.iter().all(|answer| matches!(answer.status().as_u16(), 200 | 429)), "{limits:?}");
        assert_eq!(
            nodes.world.deployment.count("wallet.hold_placed", customer.account_id).await,
            i64::from(LIMIT)
        );
    }
}

/// What was spent beyond the budget, and at most could be: what the requests that ran when the last one was let in
/// cost more than was set aside for them.
fn overdrawn(events: &[WalletEvent], budget: i64) -> (i64, i64) {
    let mut charged = std::collections::HashMap::<GenerationId, i64>::new();
    for event in events {
        if let WalletEvent::UsageCharged { generation_id, charged_micro, .. } = event {
            charged.insert(*generation_id, charged_micro.0);
        }
    }
    let mut open = std::collections::HashMap::<GenerationId, (i64, i64)>::new();
    let (mut spent, mut most) = (0, 0);
    for event in events {
        match event {
            WalletEvent::HoldPlaced { generation_id, amount_micro, worst_micro, input_tokens, .. } => {
                // The least the rule asks for: alone the estimate, beside others the worst of all.
                let needed = i64::try_from(*input_tokens).expect("few") * INPUT_RATE;
                let worst: i64 = open.values().map(|(_, worst)| worst).sum();
                let asked = if open.is_empty() { needed } else { worst + worst_micro.0 };
                assert!(spent + asked <= budget, "let in though {spent} spent and {worst} at stake");
                let beyond: i64 = open.iter().map(|(id, (amount, _))| (charged[id] - amount).max(0)).sum();
                most = beyond + (charged[generation_id] - needed).max(0);
                open.insert(*generation_id, (amount_micro.0, worst_micro.0));
            }
            WalletEvent::UsageCharged { generation_id, charged_micro, .. } => {
                open.remove(generation_id);
                spent += charged_micro.0;
            }
            _ => {}
        }
    }
    (spent - budget, most)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_overdrawn_by_the_running_requests_overshoot_at_most() {
    const BUDGET: i64 = 20_000;
    let nodes = Nodes::start().await;
    let scene = nodes.world.scene(&[("one", &[])]).await;
    // Far more input than is estimated: 4 240 micro-USD where some 600 are set aside.
    let told = json!({"input_tokens": 1_000, "output_tokens": 30, "delta_count": 30, "chunk_delay_ms": 10});
    let ask = Ask::new(Protocol::Responses, true, 64, &told).of(&scene.model);
    let budgets = [
        KeyLimits { daily_budget_micro: Some(MicroUsd(BUDGET)), ..KeyLimits::default() },
        KeyLimits { monthly_budget_micro: Some(MicroUsd(BUDGET)), ..KeyLimits::default() },
    ];
    for limits in budgets {
        let customer = nodes.limited(limits).await;
        for _ in 0..2 {
            let answers = nodes.storm(&customer, &ask, 30).await;
            assert!(answers.iter().all(|answer| matches!(answer.status().as_u16(), 200 | 402 | 429)));
            join_all(answers.into_iter().map(read)).await;
        }
        let ledger = nodes.world.deployment.ledger(customer.account_id).await;
        assert!(
            ledger
                .settled
                .iter()
                .all(|settled| { settled.charged_micro.0 == 1_000 * INPUT_RATE + 30 * OUTPUT_RATE })
        );
        let (beyond, most) = overdrawn(&ledger.wallet, BUDGET);
        assert!(beyond > 0, "parallel requests that cost more than expected overdraw it: {beyond}");
        assert!(beyond <= most, "{beyond} beyond the budget, where {most} could be");
        let refused = nodes.send(1, &customer.token, &ask).await;
        assert_eq!(refused.status(), 402);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_could_pass_a_budget_together_run_one_at_a_time() {
    const BUDGET: i64 = 20_000;
    const MAX_OUTPUT: u64 = 5_000;
    let nodes = Nodes::start().await;
    let scene = nodes.world.scene(&[("one", &[])]).await;
    let told = json!({"output_tokens": MAX_OUTPUT, "delta_count": 5, "chunk_delay_ms": 200});
    let ask = Ask::new(Protocol::Responses, true, MAX_OUTPUT, &told).of(&scene.model);
    let limits = KeyLimits { daily_budget_micro: Some(MicroUsd(BUDGET)), ..KeyLimits::default() };
    let customer = nodes.limited(limits).await;
    let answers = nodes.storm(&customer, &ask, 30).await;
    assert_eq!(passed(&answers), 1, "its worst is {} micro-USD", MAX_OUTPUT.cast_signed() * OUTPUT_RATE);
    for refused in answers.iter().filter(|answer| answer.status() != 200) {
        match refused.status().as_u16() {
            429 => assert_eq!(refused.headers()["retry-after"], "5"),
            // It came when the one that passed had ended.
            402 => {}
            other => panic!("{other}"),
        }
    }
    join_all(answers.into_iter().map(read)).await;
    let ledger = nodes.world.deployment.ledger(customer.account_id).await;
    let charged: Vec<i64> = ledger.settled.iter().map(|settled| settled.charged_micro.0).collect();
    assert!(charged.len() == 1 && charged[0] > BUDGET, "{charged:?}");
    assert_eq!(nodes.send(1, &customer.token, &ask).await.status(), 402, "now it is spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_decides_about_a_key_the_other_obeys() {
    let nodes = Nodes::start().await;
    let scene = nodes.world.scene(&[("one", &[])]).await;
    let app = &nodes.world.deployment.app;
    let customer = nodes.world.deployment.customer(BALANCE).await;
    let account = Some(customer.account_id);
    let credentials = &app.config.credentials;
    let key =
        accounts::issue_key(&app.log, credentials, &test(), account, KeyKind::Api).await.expect("issued");
    in_force(app, key.position).await;
    let ask = Ask::new(Protocol::Chat, false, 64, &json!({"output_tokens": 5})).of(&scene.model);
    let status = async |token: &str| nodes.send(1, token, &ask).await.status().as_u16();
    assert_eq!((status(key.token.reveal()).await, status(&customer.token).await), (200, 200));

    let position =
        accounts::revoke_key(&app.log, &test(), account, key.key_id, RevocationReason::Requested).await;
    let lowered = KeyLimits { allowed_models: vec!["another".into()], ..KeyLimits::default() };
    nodes.world.limit(&customer, lowered).await;
    in_force(app, position.expect("revoked")).await;
    let holds = nodes.world.deployment.count("wallet.hold_placed", customer.account_id).await;
    for _ in 0..5 {
        assert_eq!((status(key.token.reveal()).await, status(&customer.token).await), (401, 403));
    }
    assert_eq!(nodes.world.deployment.count("wallet.hold_placed", customer.account_id).await, holds);
    let seen: Vec<Value> =
        nodes.world.front.seen(&scene.upstream).into_iter().map(|seen| seen.body).collect();
    assert_eq!(seen.len() as i64, holds);
}
