//! Customers and their generations, held and settled by the real commands; only the provider is left out.

use std::sync::Arc;

use anyhow::Context;
use codexapi::accounts::{self, GrantCredit, NewCustomer};
use codexapi::clock;
use codexapi::commands::Call;
use codexapi::event_log::EventLog;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, GenerationId, KeyId, NodeIncarnation};
use codexapi_aggregates::money::{MicroUsd, Rate};
use codexapi_aggregates::pricing::PriceBook;
use codexapi_aggregates::pricing::tariff::{Fees, Mode, Quote, Rates, Tariff};
use codexapi_aggregates::settlement;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{
    Attempt, AttemptEnd, AttemptResult, BillingPolicy, ClientFamily, Outcome, Payer, Protocol,
    SettleGeneration, Timings, TokenUsage, Usage, UsageSource,
};
use codexapi_aggregates::wallet::{
    GrantSource, HoldLimits, PlaceHold, ReleaseReason, Wallet, WalletAction, WalletCommand, WalletTerms,
};

use super::service::World;

/// Nothing here is about running out of it.
const CREDIT: MicroUsd = MicroUsd::dollars(900_000);

const MODELS: [&str; 3] = ["gpt-5.5", "claude-opus-4-8", "deepseek-v4-pro"];
const PROVIDERS: [&str; 2] = ["one", "two"];

pub struct Customer {
    pub account_id: AccountId,
    pub key_id: KeyId,
    pub token: String,
}

pub struct Business {
    pub log: EventLog,
    pub customers: Vec<Customer>,
    terms: WalletTerms,
    node: NodeIncarnation,
}

impl Business {
    pub async fn open(world: &World, customers: usize) -> anyhow::Result<Self> {
        let (log, config) = (world.open_log().await?, world.config()?);
        let metadata = Metadata::process("bench");
        let mut all = Vec::with_capacity(customers);
        for _ in 0..customers {
            let created =
                accounts::create_customer(&log, &config.credentials, &metadata, NewCustomer::default())
                    .await?;
            let grant = GrantCredit {
                account_id: created.account_id,
                source: GrantSource::Admin,
                amount_micro: CREDIT,
                expires_at: None,
                idempotency_key: "credit".into(),
            };
            accounts::grant_credit(&log, &config.wallet.terms(), &metadata, grant).await?;
            all.push(Customer {
                account_id: created.account_id,
                key_id: created.system_token.key_id,
                token: created.system_token.token.reveal().to_owned(),
            });
        }
        let node = NodeIncarnation(clock::new_id());
        Ok(Self { log, customers: all, terms: config.wallet.terms(), node })
    }

    /// The `number`th generation, of `customer`, at `at`; the position of its last event.
    pub async fn generate(&self, customer: &Customer, number: u64, at: Timestamp) -> anyhow::Result<i64> {
        let generation_id = GenerationId(clock::new_id());
        let hold = WalletAction::PlaceHold(Box::new(self.hold(customer, generation_id, number)));
        self.wallet(customer, hold, at).await?;
        let settle = settlement_of(customer, generation_id, number, at);
        let (wallet_stream, usage_stream) =
            (customer.account_id.to_string(), format!("{}:{generation_id}", customer.account_id));
        let metadata = customer_metadata(customer);
        let (pair, _) = self
            .log
            .execute_pair(
                &usage_stream,
                &wallet_stream,
                Call::new(&metadata).single_use_stream().at(at),
                |usage: &TokenUsage, wallet: &Wallet, now| {
                    settlement::settle(
                        usage,
                        wallet,
                        &SettleGeneration { now, ..settle.clone() },
                        &self.terms,
                    )
                },
            )
            .await
            .context("settling")?;
        Ok(pair.first.position.max(pair.second.position))
    }

    /// Two wallet commands of one event each: a hold, and its release.
    pub async fn hold_and_release(&self, customer: &Customer, number: u64) -> anyhow::Result<()> {
        let generation_id = GenerationId(clock::new_id());
        let hold = WalletAction::PlaceHold(Box::new(self.hold(customer, generation_id, number)));
        self.wallet(customer, hold, clock::now()).await?;
        let reason = ReleaseReason::NothingDelivered;
        let release = WalletAction::ReleaseHold { generation_id, reason, attempts: vec![] };
        self.wallet(customer, release, clock::now()).await
    }

    async fn wallet(&self, customer: &Customer, action: WalletAction, at: Timestamp) -> anyhow::Result<()> {
        let metadata = customer_metadata(customer);
        self.log
            .execute(&customer.account_id.to_string(), Call::new(&metadata).at(at), |wallet: &Wallet, now| {
                wallet.decide(WalletCommand { action: action.clone(), terms: self.terms.clone(), now })
            })
            .await
            .context("a wallet's command")?;
        Ok(())
    }

    fn hold(&self, customer: &Customer, generation_id: GenerationId, number: u64) -> PlaceHold {
        PlaceHold {
            generation_id,
            key_id: customer.key_id,
            family: family(number),
            input_tokens: usage(number).input,
            already_billed_tokens: 0,
            cash_debt_micro: MicroUsd::ZERO,
            policies: PriceBook::default().family_policies(family(number)),
            cached_tokens: 0,
            max_output_tokens: 1_000,
            quote: quote(number),
            limits: HoldLimits::default(),
            fair_use: Arc::default(),
            attempt: attempt(number),
            node: self.node,
        }
    }
}

fn customer_metadata(customer: &Customer) -> Metadata {
    Metadata {
        actor: format!("customer:{}", customer.account_id),
        request_id: Some(format!("req_{}", clock::new_id().simple())),
        cause: None,
    }
}

fn settlement_of(
    customer: &Customer,
    generation_id: GenerationId,
    number: u64,
    at: Timestamp,
) -> SettleGeneration {
    SettleGeneration {
        generation_id,
        payer: Payer::Wallet { account_id: customer.account_id },
        key_id: customer.key_id,
        family: family(number),
        protocol: Protocol::Responses,
        model: model(number).into(),
        served_model: model(number).into(),
        provider: provider(number).into(),
        provider_response_id: Some(format!("resp_{}", generation_id.0.simple())),
        outcome: Outcome::Completed,
        usage_source: UsageSource::Reported,
        usage: usage(number),
        estimate_cap_micro: MicroUsd::ZERO,
        quote: quote(number),
        policy: BillingPolicy::Full,
        prefix: None,
        attempts: vec![AttemptResult {
            attempt: attempt(number),
            status: Some(200),
            ended: Some(AttemptEnd::Answered),
            provider_cost_micro: MicroUsd::ZERO,
        }],
        timings: Timings::default(),
        now: at,
    }
}

/// Differs from one to the next as far as reports group by it.
fn usage(number: u64) -> Usage {
    Usage {
        input: 800 + number % 700,
        cached_input: number % 500,
        output: 50 + number % 333,
        ..Usage::default()
    }
}

fn model(number: u64) -> &'static str {
    MODELS[(number % 3) as usize]
}

fn provider(number: u64) -> &'static str {
    PROVIDERS[(number / 3 % 2) as usize]
}

fn family(number: u64) -> ClientFamily {
    ClientFamily::ALL[(number / 7 % 6) as usize]
}

fn attempt(number: u64) -> Attempt {
    Attempt { number: 1, provider: provider(number).into(), upstream_model: model(number).into() }
}

fn quote(number: u64) -> Quote {
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
        model: model(number).into(),
        card_version: 1,
        mode: Mode::Standard,
        internal_window: None,
        billed: tariff(5_000_000, 30_000_000),
        display: None,
        cost: tariff(1_000_001, 3_000_000),
    }
}
