//! Customers who bought at Gumroad.

use clap::Args;
use codexapi_aggregates::money::MicroUsd;

use super::addresses::keeps_secrets;

#[derive(Clone, Debug, Args)]
pub struct GumroadSettings {
    /// The product whose licence keys bring credit, as Gumroad's API calls it. Without it every sign-up waits for an
    /// operator
    #[arg(long, env = "CODEXAPI_GUMROAD_PRODUCT_ID", value_name = "ID")]
    pub gumroad_product_id: Option<String>,
    /// Where Gumroad's API is, as https://host; http only on this machine
    #[arg(
        long,
        env = "CODEXAPI_GUMROAD_API_BASE",
        value_name = "URL",
        default_value = "https://api.gumroad.com",
        value_parser = base
    )]
    pub gumroad_api_base: String,
    /// Seconds in which Gumroad must answer, from 1 to 8; then the sign-up waits for an operator
    #[arg(
        long,
        env = "CODEXAPI_GUMROAD_TIMEOUT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=8)
    )]
    pub gumroad_timeout_seconds: u32,
    /// What a licence key brings once, in dollars such as 200.00
    #[arg(long, env = "CODEXAPI_GUMROAD_CREDIT_USD", value_name = "DOLLARS", default_value = "200.00")]
    pub gumroad_credit_usd: MicroUsd,
    /// Sign-ups that one network may try in an hour, on each node, from 1 to 10000
    #[arg(
        long,
        env = "CODEXAPI_SIGN_UPS_PER_HOUR",
        value_name = "COUNT",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub sign_ups_per_hour: u32,
}

fn base(text: &str) -> Result<String, String> {
    let url =
        reqwest::Url::parse(text).map_err(|_| "is no URL such as https://api.gumroad.com".to_owned())?;
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_web = keeps_secrets(&url) && url.has_host();
    if is_web && is_plain && url.username().is_empty() && url.password().is_none() {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("is no https URL such as https://api.gumroad.com, without a path, nor an http one of this machine".into())
    }
}
