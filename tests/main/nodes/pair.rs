//! Two nodes in one process, each with a log and a listener of its own, and a wallet that is at home on the second.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codexapi::clock;
use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi::gateway::admission::{Admission, WaitingLimits};
use codexapi::nodes::Homes;
use codexapi::nodes::command::HoldCredit;
use codexapi::nodes::ending::{Ending, Settle};
use codexapi::nodes::listener::{self, Desk};
use codexapi::nodes::members::{DatabaseClock, LiveNode, View};
use codexapi::nodes::signed::NodeKey;
use codexapi::processes::waking;
use codexapi::secrets::TokenDigestKey;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, GenerationId, KeyId, NodeIncarnation};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::usage::Payer;
use codexapi_aggregates::wallet::WalletTerms;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::business::Business;
use crate::harness::TestDatabase;

/// So long that only what was heard wakes a waiting request.
const NEVER: Duration = Duration::from_secs(24 * 3_600);

pub struct Node {
    pub incarnation: NodeIncarnation,
    pub log: EventLog,
    pub homes: Homes,
    pub admission: Arc<Admission>,
    pub address: String,
    _stop: DropGuard,
}

impl Node {
    async fn start(pool: &PgPool, patience: Duration) -> Self {
        let incarnation = NodeIncarnation(clock::new_id());
        let log = EventLog::open(pool.clone(), EventLogOptions::new(incarnation)).await.expect("the log");
        let homes = Homes::shared(log.clone(), incarnation, key(), patience).expect("a client");
        let limits = WaitingLimits { longest: NEVER, per_wallet: 32, ask_again: NEVER };
        let admission = Arc::new(Admission::new(limits));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let desk = Desk::new(homes.clone(), incarnation, key(), Arc::clone(&admission));
        let stop = CancellationToken::new();
        tokio::spawn(listener::serve(desk, listener, stop.clone()));
        tokio::spawn(waking::run(log.clone(), Arc::clone(&admission), stop.clone()));
        Self { incarnation, log, homes, admission, address, _stop: stop.drop_guard() }
    }

    /// Asks for a hold as the gateway does.
    pub async fn waits_for(&self, hold: &HoldCredit) {
        use codexapi::commands::CommandError;
        use codexapi::gateway::admission::Asked;
        use codexapi_aggregates::wallet::WalletRefusal;
        let ask = || async {
            match self.homes.run(hold).await.outcome {
                Ok(_) => Asked::Admitted(()),
                Err(CommandError::Refused(WalletRefusal::MustWait { .. })) => Asked::MustWait,
                Err(error) => Asked::Refused(error),
            }
        };
        self.admission.admit(hold.account_id, pending(), ask).await.expect("admitted in the end");
    }
}

pub struct Pair {
    pub nodes: [Node; 2],
    /// A customer with $10 whose wallet is at home on the second node.
    pub business: Business,
    _database: TestDatabase,
}

impl Pair {
    /// The first node waits for the second as long as `patience`.
    pub async fn start(patience: Duration) -> Self {
        let database = TestDatabase::new().await;
        let nodes =
            [Node::start(&database.pool, patience).await, Node::start(&database.pool, patience).await];
        let here = view([&nodes[0].address, &nodes[1].address], &nodes);
        let account = account_at(&here, nodes[1].incarnation);
        let business = Business::of(nodes[1].log.clone(), account, KeyId(clock::new_id()));
        business.grant(MicroUsd::dollars(10)).await;
        let pair = Self { nodes, business, _database: database };
        pair.reached_at([&pair.nodes[0].address, &pair.nodes[1].address]);
        pair
    }

    /// Both nodes now think that they are reached there.
    pub fn reached_at(&self, addresses: [&str; 2]) {
        for node in &self.nodes {
            node.homes.sees(view(addresses, &self.nodes));
        }
    }

    pub fn hold(&self) -> HoldCredit {
        self.hold_of(GenerationId(clock::new_id()))
    }

    pub fn hold_of(&self, generation_id: GenerationId) -> HoldCredit {
        HoldCredit {
            account_id: self.business.account,
            hold: self.business.place_hold(generation_id),
            terms: WalletTerms::default(),
            metadata: Metadata::process("test"),
        }
    }

    pub fn settle(&self, hold: &HoldCredit) -> Settle {
        let generation_id = hold.hold.generation_id;
        let ending = Ending {
            generation_id,
            usage_stream: format!("{}:{generation_id}", self.business.account),
            own_stream: true,
            payer: Payer::Wallet { account_id: self.business.account },
            metadata: Metadata::process("test"),
        };
        Settle { ending, command: self.business.settlement_of(generation_id), terms: WalletTerms::default() }
    }

    /// Types of the wallet's events.
    pub async fn wallet_events(&self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT event_type FROM events WHERE aggregate_type = 'wallet' AND aggregate_id = $1 ORDER BY sequence",
        )
        .bind(self.business.wallet())
        .fetch_all(self.nodes[0].log.pool())
        .await
        .expect("readable")
    }
}

pub fn key() -> NodeKey {
    NodeKey::derive(&TokenDigestKey::new([7; 32]))
}

pub fn database_clock() -> DatabaseClock {
    let asked = Instant::now();
    DatabaseClock::read_between(asked, asked, clock::now())
}

fn view(addresses: [&str; 2], nodes: &[Node; 2]) -> View {
    let live = addresses.into_iter().zip(nodes);
    let live =
        live.map(|(address, node)| LiveNode { incarnation: node.incarnation, address: address.to_owned() });
    View::new(live.collect(), database_clock())
}

fn account_at(view: &View, node: NodeIncarnation) -> AccountId {
    let mut drawn = std::iter::repeat_with(|| AccountId(clock::new_id()));
    drawn
        .find(|account| view.home_of(*account).is_some_and(|home| home.incarnation == node))
        .expect("one of two")
}
