//! The three files a deployment writes: providers, prices and plans. Read and checked with the other settings.

use clap::Args;

use super::plans::PlanList;
use super::prices::PriceList;
use super::providers::Providers;

/// What is sold and who provides it.
#[derive(Clone, Debug, Args)]
pub struct CatalogSettings {
    /// Path of a TOML file of providers; see config/providers.example.toml. Without it no model can be served
    #[arg(
        long = "providers-file",
        env = "CODEXAPI_PROVIDERS_FILE",
        value_name = "PATH",
        default_value = "",
        hide_default_value = true,
        value_parser = Providers::load
    )]
    pub providers: Providers,
    /// Path of a TOML file of rate cards, by default the built-in one (config/prices.toml). It fills an empty price
    /// book; afterwards prices change by `codexapi admin pricing publish`
    #[arg(
        long = "prices-file",
        env = "CODEXAPI_PRICES_FILE",
        value_name = "PATH",
        default_value = "",
        hide_default_value = true,
        value_parser = PriceList::load
    )]
    pub prices: PriceList,
    /// Path of a TOML file of plans, by default the built-in one (config/plans.toml). It fills an empty catalogue;
    /// afterwards plans change by `codexapi admin plans publish`
    #[arg(
        long = "plans-file",
        env = "CODEXAPI_PLANS_FILE",
        value_name = "PATH",
        default_value = "",
        hide_default_value = true,
        value_parser = PlanList::load
    )]
    pub plans: PlanList,
}
