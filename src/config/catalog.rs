//! The three files a deployment writes: providers, prices and plans. Read and checked with the other settings.

use clap::{Args, ValueEnum};

use super::plans::PlanList;
use super::prices::PriceList;
use super::providers::Providers;

/// What is sold and who provides it.
#[derive(Clone, Debug, Args)]
pub struct CatalogSettings {
    /// Path of a TOML file of providers; see config/providers.example.toml. Without it no model can be served, but for those
    /// that `codexapi dev` simulates
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
    /// What customers are shown of prices: full, the rates they are billed at, the lines of each charge and the model
    /// that answered; or display-only, published rates and amounts
    #[arg(
        long = "pricing-disclosure",
        env = "CODEXAPI_PRICING_DISCLOSURE",
        value_name = "HOW",
        default_value = "full"
    )]
    pub disclosure: Disclosure,
    /// The model that customers may choose to be served by, at its own prices, while a surge is on
    #[arg(
        long = "budget-model",
        env = "CODEXAPI_BUDGET_MODEL",
        value_name = "MODEL",
        default_value = "deepseek-v4-pro"
    )]
    pub budget_model: String,
}

/// What customers are shown of prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Disclosure {
    #[default]
    Full,
    #[value(alias = "display_only")]
    DisplayOnly,
}

impl Disclosure {
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::DisplayOnly => "display_only",
        }
    }
}
