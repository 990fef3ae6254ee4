//! Every setting of the service: one struct, read from environment variables, all of it checked before anything
//! starts.
//!
//! A field's doc comment is at once its documentation and what `codexapi serve --help` prints. Files that settings
//! name (providers, prices) are read and checked in the same step, so a `Config` that exists is a `Config` that
//! works. Every value can also be given as a flag, except secrets: a command line is seen by everyone on the machine.

mod addresses;
pub mod bonuses;
pub mod brand;
pub mod catalog;
pub mod company;
mod connections;
pub mod credentials;
mod dollars;
mod explain;
pub mod gumroad;
pub mod limits;
mod masked;
pub mod plans;
pub mod prices;
pub mod providers;
mod secrets;
pub mod servers;
pub mod stored;
pub mod stripe;
mod toml_file;
mod unknown;

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::{Args, Command, FromArgMatches};

pub use addresses::{ProviderUrl, UrlRefusal};
pub use bonuses::BonusSettings;
pub use brand::BrandSettings;
pub use catalog::{CatalogSettings, Disclosure};
pub use company::CompanySettings;
pub use connections::ConnectionSettings;
pub use credentials::CredentialSettings;
pub use explain::{SettingError, explain, without_secrets};
pub use gumroad::GumroadSettings;
pub use limits::{DrainSettings, GatewaySettings, WaitSettings, WalletSettings};
pub use secrets::{missing_secret, secret_on_command_line, without_secret_flags};
pub use servers::{DatabaseSettings, HttpSettings, LogFormat, LogSettings, NatsSettings, NodeSettings};
pub use stored::StoredSettings;
pub use stripe::StripeSettings;
pub use unknown::{UnknownSetting, unknown_settings};

/// Everything `codexapi serve` can be told.
#[derive(Clone, Debug, Args)]
pub struct Config {
    #[command(flatten, next_help_heading = "Postgres: the event log and the read tables")]
    pub database: DatabaseSettings,
    #[command(flatten, next_help_heading = "NATS JetStream: feeds the projections")]
    pub nats: NatsSettings,
    #[command(flatten, next_help_heading = "HTTP")]
    pub http: HttpSettings,
    #[command(flatten, next_help_heading = "Clients' connections")]
    pub connections: ConnectionSettings,
    #[command(flatten, next_help_heading = "What customers' tools are set up with")]
    pub brand: BrandSettings,
    #[command(flatten, next_help_heading = "This node")]
    pub node: NodeSettings,
    #[command(flatten, next_help_heading = "Credentials")]
    pub credentials: CredentialSettings,
    #[command(flatten, next_help_heading = "Providers and prices")]
    pub catalog: CatalogSettings,
    #[command(flatten, next_help_heading = "Wallets: holds, leak limit, insurance")]
    pub wallet: WalletSettings,
    #[command(flatten, next_help_heading = "Bonuses: sharing, mails, referrals")]
    pub bonuses: BonusSettings,
    #[command(flatten, next_help_heading = "Customers who bought at Gumroad")]
    pub gumroad: GumroadSettings,
    #[command(flatten, next_help_heading = "Requests that wait for a running one")]
    pub wait: WaitSettings,
    #[command(flatten, next_help_heading = "Generations whose client has left")]
    pub drain: DrainSettings,
    #[command(flatten, next_help_heading = "Requests and settlement")]
    pub gateway: GatewaySettings,
    #[command(flatten, next_help_heading = "Stored responses and completions, background responses")]
    pub stored: StoredSettings,
    #[command(flatten, next_help_heading = "Payments by Stripe")]
    pub stripe: StripeSettings,
    #[command(flatten, next_help_heading = "Receipts: whose they are, and the VAT on them")]
    pub company: CompanySettings,
    #[command(flatten, next_help_heading = "Logging")]
    pub log: LogSettings,
}

impl Config {
    /// Reads settings from pairs of environment-variable name and value alone, whatever the environment of this
    /// process holds. For tests and for `codexapi dev`.
    ///
    /// # Errors
    /// The first setting that is missing, bad or unknown.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, SettingError>
    where
        N: AsRef<str>,
        V: Into<OsString>,
    {
        let command = Self::augment_args(Command::new("codexapi").no_binary_name(true));
        let mut arguments = Vec::new();
        for (name, value) in pairs {
            let flag = command
                .get_arguments()
                .find(|arg| arg.get_env().is_some_and(|env| env == name.as_ref()))
                .and_then(|arg| arg.get_long())
                .ok_or_else(|| SettingError::unknown(name.as_ref()))?;
            let mut argument = OsString::from(format!("--{flag}="));
            argument.push(value.into());
            arguments.push(argument);
        }
        let named = command.clone();
        command
            .mut_args(|arg| arg.env(Resettable::Reset))
            .try_get_matches_from(arguments)
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|error| explain(&[&named], &[], &error).unwrap_or_else(|| SettingError::other(&error)))?
            .checked()
    }

    /// What one setting alone cannot show.
    ///
    /// # Errors
    /// The setting that contradicts another.
    pub fn checked(self) -> Result<Self, SettingError> {
        let WalletSettings { lease_renew_seconds, lease_lapse_seconds, .. } = self.wallet;
        if lease_lapse_seconds <= lease_renew_seconds {
            return Err(SettingError {
                setting: "CODEXAPI_LEASE_LAPSE_SECONDS".into(),
                problem: format!(
                    "is {lease_lapse_seconds}, but must be more than CODEXAPI_LEASE_RENEW_SECONDS, which is \
                     {lease_renew_seconds}"
                ),
            });
        }
        let NodeSettings { node_listen, node_address, .. } = &self.node;
        if node_address.is_none() && node_listen.is_some_and(|address| address.ip().is_unspecified()) {
            return Err(SettingError {
                setting: "CODEXAPI_NODE_ADDRESS".into(),
                problem:
                    "is not set, and CODEXAPI_NODE_LISTEN is every address of this machine: other nodes \
                          must be told which host:port reaches this one"
                        .into(),
            });
        }
        self.stripe.check()?;
        self.company.check()?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
