//! Keys of the deployment and the operator's static tokens.

use clap::Args;

use crate::secrets::{Sealer, SealingKey, Token, TokenDigestKey};

/// The secrets of this deployment; the same on every node.
#[derive(Clone, Debug, Args)]
pub struct CredentialSettings {
    /// Keys the digests by which tokens are found: 64 hexadecimal digits, from `openssl rand -hex 32`. Keep it:
    /// under another key every issued token is unknown
    #[arg(long, env = "CODEXAPI_TOKEN_DIGEST_KEY", value_name = "HEX", hide_env_values = true)]
    pub token_digest_key: TokenDigestKey,
    /// Seals the copies of tokens an operator may show again: 64 hexadecimal digits. Without it tokens are shown
    /// once, when they are made
    #[arg(long, env = "CODEXAPI_SEALING_KEY", value_name = "HEX", hide_env_values = true)]
    pub sealing_key: Option<SealingKey>,
    /// Earlier sealing keys, comma separated; they open what they sealed and seal nothing new
    #[arg(
        long,
        env = "CODEXAPI_RETIRED_SEALING_KEYS",
        value_name = "HEX,…",
        value_delimiter = ',',
        hide_env_values = true,
        requires = "sealing_key"
    )]
    pub retired_sealing_keys: Vec<SealingKey>,
    /// Tokens whose generations the operator pays for, comma separated, each 24 to 512 visible ASCII characters
    #[arg(
        long,
        env = "CODEXAPI_STATIC_API_TOKENS",
        value_name = "TOKEN,…",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub static_api_tokens: Vec<Token>,
    /// Tokens that open the operator's routes, comma separated, each 24 to 512 visible ASCII characters
    #[arg(
        long,
        env = "CODEXAPI_STATIC_ADMIN_TOKENS",
        value_name = "TOKEN,…",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub static_admin_tokens: Vec<Token>,
}

impl CredentialSettings {
    /// `None` where tokens are shown once and never again.
    pub fn sealer(&self) -> Option<Sealer> {
        self.sealing_key.clone().map(|current| Sealer::new(current, self.retired_sealing_keys.clone()))
    }
}
