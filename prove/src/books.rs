//! Everything the log says about money, read by a second, simpler hand: what happened, and nothing folded from it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use codexapi::event_log::read::{self, SHARD};
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::ids::{GenerationId, KeyId};
use codexapi_aggregates::pricing::PricingEvent;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{GenerationSettled, UsageEvent};
use codexapi_aggregates::wallet::WalletEvent;
use sqlx::PgPool;

use crate::plan::Rates;

/// Events read at a time.
const PAGE: i64 = 1_000;

#[derive(Debug, Default)]
pub struct Books {
    pub holds: BTreeMap<GenerationId, Hold>,
    pub open_holds: BTreeSet<GenerationId>,
    /// Micro-USD that was charged and not given back.
    pub charged: BTreeMap<GenerationId, i64>,
    pub settled: BTreeMap<GenerationId, GenerationSettled>,
    /// By account.
    pub granted: BTreeMap<String, i64>,
    /// Each card by the moment it was published, in order.
    pub cards: Vec<Card>,
    /// What should never have been appended.
    pub wrong: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Hold {
    pub account: String,
    pub key_id: KeyId,
    pub worst_micro: i64,
    pub request_id: Option<String>,
    pub position: i64,
    pub at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Card {
    pub model: String,
    pub rates: Rates,
    pub position: i64,
    pub at: Timestamp,
}

impl Books {
    /// Reads the whole log.
    pub async fn read(pool: &PgPool) -> anyhow::Result<Self> {
        let (mut books, mut position) = (Self::default(), 0);
        loop {
            let page = read::read_after(pool, SHARD, position, PAGE).await.context("reading the log")?;
            let Some(last) = page.last() else { return Ok(books) };
            position = last.position;
            for event in &page {
                books.enter(event.decode().context("an event of the log")?);
            }
        }
    }

    fn enter(&mut self, recorded: RecordedEvent) {
        let (position, at, account) = (recorded.position, recorded.recorded_at, recorded.aggregate_id);
        let request_id = recorded.metadata.request_id;
        match recorded.event {
            AnyEvent::Wallet(WalletEvent::CreditGranted { amount_micro, .. }) => {
                *self.granted.entry(account).or_default() += amount_micro.0;
            }
            AnyEvent::Wallet(WalletEvent::HoldPlaced { generation_id, key_id, worst_micro, .. }) => {
                let worst_micro = worst_micro.0;
                let hold = Hold { account, key_id, worst_micro, request_id, position, at };
                self.once(generation_id, "held twice", |books| {
                    books.open_holds.insert(generation_id);
                    books.holds.insert(generation_id, hold).is_none()
                });
            }
            AnyEvent::Wallet(
                WalletEvent::HoldReleased { generation_id, .. }
                | WalletEvent::HoldExpired { generation_id, .. },
            ) => drop(self.open_holds.remove(&generation_id)),
            AnyEvent::Wallet(WalletEvent::UsageCharged { generation_id, charged_micro, .. }) => {
                self.open_holds.remove(&generation_id);
                self.once(generation_id, "charged twice", |books| {
                    books.charged.insert(generation_id, charged_micro.0).is_none()
                });
            }
            AnyEvent::Wallet(WalletEvent::ChargeReversed { generation_id, .. }) => {
                self.once(generation_id, "given back without having been charged", |books| {
                    books.charged.remove(&generation_id).is_some()
                });
            }
            AnyEvent::Usage(UsageEvent::GenerationSettled(settled)) => {
                let generation_id = settled.generation_id;
                self.once(generation_id, "settled twice", |books| {
                    books.settled.insert(generation_id, *settled).is_none()
                });
            }
            AnyEvent::Pricing(PricingEvent::RateCardPublished { card, .. }) => {
                let rates = card.display.rates;
                let rates = Rates {
                    input: rates.input.0,
                    cached_input: rates.cached_input().0,
                    output: rates.output.0,
                };
                self.cards.push(Card { model: card.model, rates, position, at });
            }
            _ => {}
        }
    }

    fn once(&mut self, generation: GenerationId, otherwise: &str, enter: impl FnOnce(&mut Self) -> bool) {
        if !enter(self) {
            self.wrong.push(format!("generation {generation} was {otherwise}"));
        }
    }
}
