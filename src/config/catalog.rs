//! The two files a deployment writes: providers and prices. Read and checked with the other settings.

use clap::Args;

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
}
