//! A small business for tests: a customer who has paid, and generations that are held, settled and
//! reversed through the real commands.

use codexapi::clock;
use codexapi::event_log::{EventLog, EventLogOptions};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, GenerationId, GrantId, KeyId, NodeIncarnation};
use codexapi_aggregates::money::{MicroUsd, Rate};
use codexapi_aggregates::pricing::PriceBook;
use codexapi_aggregates::pricing::tariff::{Fees, Mode, Quote, Rates, Tariff};
use codexapi_aggregates::settlement;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{
    Attempt, AttemptResult, BillingPolicy, ClientFamily, Outcome, Payer, Protocol, SettleGeneration, Timings,
    TokenUsage, Usage, UsageSource,
};
use codexapi_aggregates::wallet::{
    GrantSource, HoldLimits, PlaceHold, ReversalReason, Wallet, WalletAction, WalletCommand, WalletTerms,
};
use sqlx::PgPool;

pub struct Business {
    pub log: EventLog,
    pub account: AccountId,
    key: KeyId,
    node: NodeIncarnation,
}

impl Business {
    /// A customer with $10.
    pub async fn open(pool: &PgPool) -> Self {
        let node = NodeIncarnation(clock::new_id());
        let log = EventLog::open(pool.clone(), EventLogOptions::new(node)).await.expect("the log opens");
        let business = Self { log, account: AccountId(clock::new_id()), key: KeyId(clock::new_id()), node };
        business.grant(MicroUsd::dollars(10)).await;
        business
    }

    /// An account that exists, over the log that is its service's.
    pub fn of(log: EventLog, account: AccountId, key: KeyId) -> Self {
        Self { log, account, key, node: NodeIncarnation(clock::new_id()) }
    }

    pub fn wallet(&self) -> String {
        self.account.to_string()
    }

    pub async fn grant(&self, amount_micro: MicroUsd) {
        self.grant_for(amount_micro, None).await;
    }

    pub async fn grant_until(&self, amount_micro: MicroUsd, expires_at: Timestamp) {
        self.grant_for(amount_micro, Some(expires_at)).await;
    }

    async fn grant_for(&self, amount_micro: MicroUsd, expires_at: Option<Timestamp>) {
        let grant_id = GrantId(clock::new_id());
        let source = GrantSource::Admin;
        self.command(WalletAction::GrantCredit { grant_id, source, amount_micro, expires_at }).await;
    }

    /// One generation of `conversation`, held and settled.
    pub async fn generate(&self, conversation: &str) -> GenerationId {
        let generation_id = self.hold().await;
        self.settle(conversation, &self.settlement_of(generation_id)).await;
        generation_id
    }

    pub async fn settle(&self, conversation: &str, settle: &SettleGeneration) {
        let terms = WalletTerms::default();
        self.log
            .execute_pair(
                conversation,
                &self.wallet(),
                &Metadata::process("test"),
                |usage: &TokenUsage, wallet: &Wallet, now| {
                    let command = SettleGeneration { now, ..settle.clone() };
                    settlement::settle(usage, wallet, &command, &terms)
                },
            )
            .await
            .expect("settled");
    }

    pub async fn hold(&self) -> GenerationId {
        let generation_id = GenerationId(clock::new_id());
        self.command(WalletAction::PlaceHold(Box::new(self.place_hold(generation_id)))).await;
        generation_id
    }

    pub fn place_hold(&self, generation_id: GenerationId) -> PlaceHold {
        PlaceHold {
            generation_id,
            key_id: self.key,
            family: ClientFamily::CodexCli,
            input_tokens: 1_000,
            already_billed_tokens: 0,
            cash_debt_micro: MicroUsd(0),
            policies: PriceBook::default().family_policies(ClientFamily::CodexCli),
            cached_tokens: 0,
            max_output_tokens: 500,
            quote: quote(),
            limits: HoldLimits::default(),
            fair_use: std::sync::Arc::default(),
            attempt: attempt(),
            node: self.node,
        }
    }

    pub async fn reverse(&self, conversation: &str, generation_id: GenerationId) {
        let terms = WalletTerms::default();
        self.log
            .execute_pair(
                conversation,
                &self.wallet(),
                &Metadata::process("test"),
                |usage: &TokenUsage, wallet: &Wallet, now| {
                    settlement::reverse(
                        usage,
                        wallet,
                        generation_id,
                        ReversalReason::BadGeneration,
                        &terms,
                        now,
                    )
                },
            )
            .await
            .expect("reversed");
    }

    pub async fn command(&self, action: WalletAction) {
        let terms = WalletTerms::default();
        self.log
            .execute(&self.wallet(), &Metadata::process("test"), |wallet: &Wallet, now| {
                wallet.decide(WalletCommand { action: action.clone(), terms: terms.clone(), now })
            })
            .await
            .expect("decided");
    }

    pub fn settlement_of(&self, generation_id: GenerationId) -> SettleGeneration {
        SettleGeneration {
            generation_id,
            payer: Payer::Wallet { account_id: self.account },
            key_id: self.key,
            family: ClientFamily::CodexCli,
            protocol: Protocol::Responses,
            model: "gpt-5.5".into(),
            served_model: "gpt-5.5".into(),
            provider: "simulator".into(),
            provider_response_id: None,
            outcome: Outcome::Completed,
            usage_source: UsageSource::Reported,
            usage: Usage { input: 901, cached_input: 77, output: 123, ..Usage::default() },
            estimate_cap_micro: MicroUsd::ZERO,
            quote: quote(),
            policy: BillingPolicy::Full,
            prefix: None,
            attempts: vec![AttemptResult {
                attempt: attempt(),
                status: Some(200),
                ended: None,
                provider_cost_micro: MicroUsd::ZERO,
            }],
            timings: Timings::default(),
            now: clock::now(),
        }
    }
}

fn attempt() -> Attempt {
    Attempt { number: 1, provider: "simulator".into(), upstream_model: "gpt-5.5".into() }
}

fn quote() -> Quote {
    let tariff = |input, output| Tariff {
        rates: Rates {
            input: Rate(input),
            cached_input: Some(Rate(input / 10)),
            cache_write_5m: None,
            cache_write_1h: None,
            output: Rate(output),
        },
        tiers: vec![],
        fees: Fees::default(),
    };
    Quote {
        model: "gpt-5.5".into(),
        card_version: 1,
        mode: Mode::Standard,
        internal_window: None,
        billed: tariff(5_000_000, 30_000_000),
        display: None,
        cost: tariff(1_000_001, 3_000_000),
    }
}
