//! The service's books against the provider's: what clients were told, what wallets were charged, what was billed.

use std::collections::{BTreeMap, BTreeSet};

use codexapi::event_log::read::{self, SHARD};
use codexapi_aggregates::event::AnyEvent;
use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::usage::{Outcome, UsageEvent};
use codexapi_aggregates::wallet::WalletEvent;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgPool;

use super::load::Told;
use super::service::World;
use crate::harness::wait_for;

/// Events, and bills, read at a time.
const PAGE: i64 = 1_000;

/// Everything the wallets' streams say, folded by a second, simpler hand.
#[derive(Debug, Default)]
pub struct Books {
    pub open_holds: BTreeSet<GenerationId>,
    /// Micro-USD that was charged and not given back.
    pub charged: BTreeMap<GenerationId, i64>,
    /// The provider's id of each settled generation.
    response_ids: BTreeMap<GenerationId, String>,
    /// Settled for nothing, since their clients had been told that settling failed.
    told_failed: BTreeSet<GenerationId>,
}

impl Books {
    /// Reads the whole log.
    ///
    /// # Panics
    /// Where a generation was charged twice.
    pub async fn read(pool: &PgPool) -> Self {
        let (mut books, mut position) = (Self::default(), 0);
        loop {
            let page = read::read_after(pool, SHARD, position, PAGE).await.expect("readable");
            let Some(last) = page.last() else { return books };
            position = last.position;
            for event in &page {
                books.enter(event.decode().expect("decoded").event);
            }
        }
    }

    fn enter(&mut self, event: AnyEvent) {
        match event {
            AnyEvent::Wallet(WalletEvent::HoldPlaced { generation_id, .. }) => {
                assert!(self.open_holds.insert(generation_id), "{generation_id} was held twice");
            }
            AnyEvent::Wallet(
                WalletEvent::HoldReleased { generation_id, .. }
                | WalletEvent::HoldExpired { generation_id, .. },
            ) => drop(self.open_holds.remove(&generation_id)),
            AnyEvent::Wallet(WalletEvent::UsageCharged { generation_id, charged_micro, .. }) => {
                self.open_holds.remove(&generation_id);
                let before = self.charged.insert(generation_id, charged_micro.0);
                assert_eq!(before, None, "{generation_id} was charged twice");
            }
            AnyEvent::Wallet(WalletEvent::ChargeReversed { generation_id, .. }) => {
                self.charged.remove(&generation_id).expect("what is reversed was charged");
            }
            AnyEvent::Usage(UsageEvent::GenerationSettled(settled)) => {
                if settled.outcome == Outcome::ToldFailed {
                    assert_eq!(settled.charged_micro.0, 0, "{}", settled.generation_id);
                    self.told_failed.insert(settled.generation_id);
                }
                if let Some(response_id) = settled.provider_response_id {
                    self.response_ids.insert(settled.generation_id, response_id);
                }
            }
            _ => {}
        }
    }
}

/// What the provider counted for one answer.
#[derive(Debug, Deserialize)]
struct Bill {
    id: String,
    model: String,
    uncached_input_tokens: i64,
    cached_tokens: i64,
    output_tokens: i64,
}

impl Bill {
    /// Micro-USD at the built-in cards, by hand: whole micro-dollars a token.
    fn cost(&self) -> i64 {
        assert_eq!(self.cached_tokens, 0, "nothing here is cached");
        let (input, output) = match self.model.as_str() {
            "gpt-5.5" => (5, 30),
            "claude-opus-4-8" => (5, 25),
            other => panic!("nobody asked for {other}"),
        };
        self.uncached_input_tokens * input + self.output_tokens * output
    }
}

/// Holds that the read model knows to be open.
pub async fn open_holds(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM open_holds").fetch_one(pool).await.expect("readable")
}

/// The service is at rest: compares what was told, charged and billed, and verifies the log.
pub async fn balance(world: &World, told: &[Told]) {
    wait_for("every hold is closed", async || {
        world.projected().await;
        (open_holds(&world.pool).await == 0).then_some(())
    })
    .await;
    world.verifies().await;
    let books = Books::read(&world.pool).await;
    assert_eq!(books.open_holds, BTreeSet::new());
    let bills = bills(world).await;
    let mut charged_for = BTreeMap::new();
    for (generation_id, charged) in &books.charged {
        if books.told_failed.contains(generation_id) {
            continue;
        }
        let response_id = books.response_ids.get(generation_id).expect("a charge has its usage");
        let bill = bills.get(response_id).expect("a charge has its bill");
        assert_eq!(*charged, *bill, "{generation_id}, billed as {response_id}");
        let other = charged_for.insert(response_id.as_str(), *charged);
        assert_eq!(other, None, "{response_id} was charged twice");
    }
    let mut told_complete = 0;
    for told in told {
        match told {
            Told::Complete { response_id } => {
                told_complete += bills[response_id];
                let charged = charged_for.get(response_id.as_str());
                assert_eq!(charged, Some(&bills[response_id]), "{response_id} was told complete");
            }
            Told::Failed { response_id: Some(response_id) } => {
                let charged = charged_for.get(response_id.as_str());
                assert_eq!(charged, None, "{response_id} was told to have failed");
            }
            Told::Failed { response_id: None } | Told::Refused { .. } | Told::Cut => {}
        }
    }
    let charged: i64 = books.charged.values().sum();
    let billed: i64 = bills.values().sum();
    assert!(told_complete <= charged && charged <= billed, "{told_complete} ≤ {charged} ≤ {billed}");
    assert!(told_complete > 0, "something was completed");
}

/// Micro-USD at the card of every answer the provider billed, by its id.
async fn bills(world: &World) -> BTreeMap<String, i64> {
    let (mut bills, mut after) = (BTreeMap::new(), Some(0));
    while let Some(from) = after {
        let url = format!("{}/_bills?after={from}&limit={PAGE}", world.simulator.base_url());
        let page: Value =
            world.http.get(url).send().await.expect("bills").json().await.expect("bills are JSON");
        let listed: Vec<Bill> = serde_json::from_value(page["bills"].clone()).expect("bills");
        for bill in listed {
            let other = bills.insert(bill.id.clone(), bill.cost());
            assert_eq!(other, None, "the provider's ids are its own");
        }
        after = page["next"].as_i64();
    }
    bills
}
