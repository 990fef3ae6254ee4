//! Limits of wallets, waiting, draining and settling. Tests set the times to seconds.

use clap::Args;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::WalletTerms;

/// What every wallet's rules are told.
#[derive(Clone, Debug, Args)]
pub struct WalletSettings {
    /// Seconds after which a hold expires whatever its node does, from 1 to 604800
    #[arg(
        long,
        env = "CODEXAPI_HOLD_MAX_AGE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 21_600,
        value_parser = clap::value_parser!(u32).range(1..=604_800)
    )]
    pub hold_max_age_seconds: u32,
    /// Seconds between two renewals of a node's lease, from 1 to 60
    #[arg(
        long,
        env = "CODEXAPI_LEASE_RENEW_SECONDS",
        value_name = "SECONDS",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=60)
    )]
    pub lease_renew_seconds: u32,
    /// Seconds after which a node that no longer renews is dead and its holds expire, from 2 to 3600
    #[arg(
        long,
        env = "CODEXAPI_LEASE_LAPSE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(2..=3_600)
    )]
    pub lease_lapse_seconds: u32,
    /// Seconds between two sweeps for due expiries, from 1 to 600
    #[arg(
        long,
        env = "CODEXAPI_SWEEP_SECONDS",
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=600)
    )]
    pub sweep_seconds: u32,
    /// What parallel requests may together overdraw a wallet by at least, in dollars such as 2.00
    #[arg(long, env = "CODEXAPI_LEAK_FLOOR_USD", value_name = "DOLLARS", default_value = "2.00")]
    pub leak_floor_usd: MicroUsd,
    /// The same as a share of the customer's payments of the last 90 days, in basis points, from 0 to 10000
    #[arg(
        long,
        env = "CODEXAPI_LEAK_BASIS_POINTS",
        value_name = "BASIS_POINTS",
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(0..=10_000)
    )]
    pub leak_basis_points: u32,
    /// Generations a wallet and day that are free because the provider failed mid-stream, from 0 to 10000
    #[arg(
        long,
        env = "CODEXAPI_INSURED_GENERATIONS_PER_DAY",
        value_name = "COUNT",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(0..=10_000)
    )]
    pub insured_generations_per_day: u32,
    /// What such generations may cost the operator a wallet and day, in dollars such as 2.00
    #[arg(long, env = "CODEXAPI_INSURED_USD_PER_DAY", value_name = "DOLLARS", default_value = "2.00")]
    pub insured_usd_per_day: MicroUsd,
}

impl WalletSettings {
    /// The terms that go with every wallet command.
    pub fn terms(&self) -> WalletTerms {
        WalletTerms {
            hold_max_age_secs: i64::from(self.hold_max_age_seconds),
            leak_floor_micro: self.leak_floor_usd,
            leak_basis_points: self.leak_basis_points,
            insured_generations_per_day: self.insured_generations_per_day,
            insured_micro_per_day: self.insured_usd_per_day,
        }
    }
}

/// How long and how many requests wait for the ones that run on the same balance.
#[derive(Clone, Debug, Args)]
pub struct WaitSettings {
    /// Seconds a request waits at most before it is answered 429, from 0 to 600
    #[arg(
        long,
        env = "CODEXAPI_WAIT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 120,
        value_parser = clap::value_parser!(u32).range(0..=600)
    )]
    pub wait_seconds: u32,
    /// Requests of one wallet that wait at most, from 0 to 1000
    #[arg(
        long,
        env = "CODEXAPI_WAITING_PER_WALLET",
        value_name = "COUNT",
        default_value_t = 32,
        value_parser = clap::value_parser!(u32).range(0..=1_000)
    )]
    pub waiting_per_wallet: u32,
}

/// How far a stream is read on for its usage after its client has left.
#[derive(Clone, Debug, Args)]
pub struct DrainSettings {
    /// Seconds at most, from 0 to 600
    #[arg(
        long,
        env = "CODEXAPI_DRAIN_SECONDS",
        value_name = "SECONDS",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(0..=600)
    )]
    pub drain_seconds: u32,
    /// Further output tokens at most, from 0 to 1000000
    #[arg(
        long,
        env = "CODEXAPI_DRAIN_TOKENS",
        value_name = "TOKENS",
        default_value_t = 2_000,
        value_parser = clap::value_parser!(u32).range(0..=1_000_000)
    )]
    pub drain_tokens: u32,
    /// Streams drained on this node at a time, from 0 to 10000
    #[arg(
        long,
        env = "CODEXAPI_DRAINING_PER_NODE",
        value_name = "COUNT",
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(0..=10_000)
    )]
    pub draining_per_node: u32,
    /// Streams drained for one wallet at a time, from 0 to 1000
    #[arg(
        long,
        env = "CODEXAPI_DRAINING_PER_WALLET",
        value_name = "COUNT",
        default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(0..=1_000)
    )]
    pub draining_per_wallet: u32,
    /// Seconds an answer that is not streamed is waited for after its client has left, from 0 to 3600
    #[arg(
        long,
        env = "CODEXAPI_DRAIN_WHOLE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 600,
        value_parser = clap::value_parser!(u32).range(0..=3_600)
    )]
    pub drain_whole_seconds: u32,
}

/// How a finished generation gets its charge.
#[derive(Clone, Debug, Args)]
pub struct GatewaySettings {
    /// Seconds in which a settlement must be durable, or the client is told it failed and pays nothing; 1 to 300
    #[arg(
        long,
        env = "CODEXAPI_SETTLE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=300)
    )]
    pub settle_seconds: u32,
    /// Seconds a client waits longer where its charge may be stored all the same, from 0 to 600: it is told that it pays
    /// nothing once that is certain
    #[arg(
        long,
        env = "CODEXAPI_IN_DOUBT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 120,
        value_parser = clap::value_parser!(u32).range(0..=600)
    )]
    pub in_doubt_seconds: u32,
    /// Settlements that may be on their way at a time, from 10 to 1000000; at 80 % new generations get 503
    #[arg(
        long,
        env = "CODEXAPI_SETTLEMENT_QUEUE",
        value_name = "COUNT",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(10..=1_000_000)
    )]
    pub settlement_queue: u32,
    /// Failures in a row after which this node leaves a provider alone for a while, in place of the routing policy's
    /// number, from 0 (never) to 1000
    #[arg(
        long,
        env = "CODEXAPI_CIRCUIT_FAILURES",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(0..=1_000)
    )]
    pub circuit_failures: Option<u32>,
}
