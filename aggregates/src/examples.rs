//! Small builders for the tests of every rule.

use uuid::Uuid;

use crate::ids::{AccountId, AdjustmentId, GenerationId, GrantId, KeyId, NodeIncarnation, PurchaseId};
use crate::money::{MicroUsd, Rate};
use crate::pricing::tariff::{Fees, Mode, Quote, Rates, Tariff};
use crate::time::Timestamp;
use crate::usage::{
    Attempt, AttemptEnd, AttemptResult, BillingPolicy, ClientFamily, InputPrefix, Outcome, Payer, Protocol,
    SettleGeneration, Timings, Usage, UsageSource,
};

/// The billed model of every example that does not say otherwise.
pub const MODEL: &str = "gpt-5.5";

/// Shorthand for an amount.
pub const fn micro(amount: i64) -> MicroUsd {
    MicroUsd(amount)
}

pub fn generation(number: u128) -> GenerationId {
    GenerationId(Uuid::from_u128(number))
}

pub fn grant_id(number: u128) -> GrantId {
    GrantId(Uuid::from_u128(number))
}

pub fn purchase_id(number: u128) -> PurchaseId {
    PurchaseId(Uuid::from_u128(number))
}

pub fn adjustment_id(number: u128) -> AdjustmentId {
    AdjustmentId(Uuid::from_u128(number))
}

pub fn key(number: u128) -> KeyId {
    KeyId(Uuid::from_u128(number))
}

pub fn node(number: u128) -> NodeIncarnation {
    NodeIncarnation(Uuid::from_u128(number))
}

/// A moment `seconds` after the examples begin, on a day of its own.
pub fn second(seconds: i64) -> Timestamp {
    Timestamp::from_secs(20_000 * 86_400 + seconds)
}

pub fn attempt() -> Attempt {
    Attempt { number: 1, provider: "openai".into(), upstream_model: MODEL.into() }
}

/// One flat rate for every kind of input and one for output, in micro-USD per million tokens.
pub fn flat(input: i64, output: i64) -> Tariff {
    let rates = Rates { input: Rate(input), output: Rate(output), ..Rates::default() };
    Tariff { rates, tiers: vec![], fees: Fees::default() }
}

/// A token costs one micro-USD, whatever it is: amounts in examples are token counts.
pub fn a_micro_per_token() -> Tariff {
    flat(1_000_000, 1_000_000)
}

pub fn quote(billed: Tariff) -> Quote {
    Quote {
        model: MODEL.into(),
        card_version: 1,
        mode: Mode::Standard,
        internal_window: None,
        cost: billed.clone(),
        billed,
        display: None,
    }
}

/// A conversation of `items` input items; two with the same `topic` begin alike.
pub fn conversation(topic: &str, items: u32, fixed_tokens: u64) -> InputPrefix {
    let digests = (1..=items).map(|item| format!("{topic}-{item}")).collect();
    InputPrefix { digests: std::sync::Arc::new(digests), fixed_tokens }
}

pub fn customer() -> Payer {
    Payer::Wallet { account_id: AccountId(Uuid::from_u128(7)) }
}

/// A completed generation of 100 input and 20 output tokens at a micro-USD each.
pub fn settle_generation(number: u128) -> SettleGeneration {
    let result = AttemptResult {
        attempt: attempt(),
        status: Some(200),
        ended: Some(AttemptEnd::Answered),
        provider_cost_micro: micro(0),
    };
    SettleGeneration {
        generation_id: generation(number),
        payer: customer(),
        key_id: key(1),
        family: ClientFamily::CodexCli,
        protocol: Protocol::Responses,
        model: "label".into(),
        served_model: MODEL.into(),
        provider: "openai".into(),
        provider_response_id: Some(format!("resp_{number}")),
        outcome: Outcome::Completed,
        usage_source: UsageSource::Reported,
        usage: Usage { input: 100, output: 20, ..Usage::default() },
        estimate_cap_micro: micro(1_000),
        quote: quote(a_micro_per_token()),
        policy: BillingPolicy::Full,
        prefix: None,
        attempts: vec![result],
        timings: Timings::default(),
        now: second(10),
    }
}
