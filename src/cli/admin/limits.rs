//! What keys may use, and whether a customer's keys work at all.

use clap::Args;
use codexapi_aggregates::account::{KeyLimits, SuspensionReason};
use codexapi_aggregates::ids::{AccountId, KeyId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::routing::Catalog;
use ipnet::IpNet;
use serde_json::json;

use super::{Desk, KEY};
use crate::accounts::{self, SetLimits, given};
use crate::cli::words::dollars;
use crate::named_moment::NamedMoment;

/// The whole of what a key may use.
#[derive(Args)]
pub(super) struct LimitsArguments {
    #[arg(help = KEY)]
    key: KeyId,
    /// Requests it may begin in a minute
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Tokens of a minute, input and output together
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u64>,
    /// Requests it may have running at a time
    #[arg(long, value_name = "N")]
    parallel_requests: Option<u32>,
    /// Dollars per UTC day, such as 2.50
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    daily_budget: Option<MicroUsd>,
    /// Dollars per UTC month
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    monthly_budget: Option<MicroUsd>,
    /// A model it may use; several times for several, never for all
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// When it stops working, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<NamedMoment>,
    /// A network it may be used from, such as 192.0.2.0/24; several times for several, never for everywhere
    #[arg(long = "network", value_name = "CIDR", value_parser = given::network)]
    networks: Vec<IpNet>,
}

pub(super) async fn set(desk: &Desk, arguments: LimitsArguments) -> anyhow::Result<()> {
    let limits = KeyLimits {
        requests_per_minute: arguments.requests_per_minute,
        tokens_per_minute: arguments.tokens_per_minute,
        parallel_requests: arguments.parallel_requests,
        daily_budget_micro: arguments.daily_budget,
        monthly_budget_micro: arguments.monthly_budget,
        allowed_models: arguments.models,
        expires_at: arguments.expires.map(|named| named.0),
        has_networks: !arguments.networks.is_empty(),
    };
    let set = SetLimits { limits, networks: arguments.networks };
    let position =
        accounts::set_key_limits(&desk.log, &Catalog::default(), &desk.metadata, arguments.key, set).await?;
    let in_force = desk.in_force(position).await;
    desk.output.record(&json!({ "key": arguments.key, "changed": position > 0, "inForce": in_force }));
    Ok(())
}

pub(super) async fn suspend(desk: &Desk, account: AccountId, reason: SuspensionReason) -> anyhow::Result<()> {
    let position = accounts::suspend(&desk.log, &desk.metadata, account, reason).await?;
    let in_force = desk.in_force(position).await;
    let changed = position > 0;
    desk.output
        .record(&json!({ "account": account, "suspended": true, "changed": changed, "inForce": in_force }));
    Ok(())
}

pub(super) async fn reinstate(desk: &Desk, account: AccountId) -> anyhow::Result<()> {
    let position = accounts::reinstate(&desk.log, &desk.metadata, account).await?;
    let in_force = desk.in_force(position).await;
    let changed = position > 0;
    desk.output
        .record(&json!({ "account": account, "suspended": false, "changed": changed, "inForce": in_force }));
    Ok(())
}
