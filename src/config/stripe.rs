//! Taking payments by Stripe. Without a secret key nothing of it is on.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use codexapi_aggregates::auto_topup::AutoTopUpTerms;
use codexapi_aggregates::subscription::SubscriptionSettings;

use super::SettingError;
use super::addresses::keeps_secrets;

/// Where customers pay, and how we hear of it.
#[derive(Clone, Debug, Args)]
pub struct StripeSettings {
    /// Stripe's secret or restricted key, sk_… or rk_…; without it no payments are taken
    #[arg(long, env = "CODEXAPI_STRIPE_SECRET_KEY", value_name = "KEY", hide_env_values = true)]
    pub stripe_secret_key: Option<StripeKey>,
    /// The signing secret of the webhook endpoint, whsec_…; wanted with the secret key
    #[arg(long, env = "CODEXAPI_STRIPE_WEBHOOK_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub stripe_webhook_secret: Option<WebhookSecret>,
    /// Where Stripe's API is: https, or http on this machine
    #[arg(
        long,
        env = "CODEXAPI_STRIPE_API_BASE",
        value_name = "URL",
        default_value = "https://api.stripe.com",
        value_parser = api_base
    )]
    pub stripe_api_base: String,
    /// The page a customer returns to after paying; {CHECKOUT_SESSION_ID} in it is replaced by the session's id.
    /// By default /wallet?checkout=paid&session_id={CHECKOUT_SESSION_ID} under the public address
    #[arg(long, env = "CODEXAPI_STRIPE_SUCCESS_URL", value_name = "URL", value_parser = return_url)]
    pub stripe_success_url: Option<String>,
    /// The page a customer returns to who does not pay; by default /wallet?checkout=left under the public address
    #[arg(long, env = "CODEXAPI_STRIPE_CANCEL_URL", value_name = "URL", value_parser = return_url)]
    pub stripe_cancel_url: Option<String>,
    /// Seconds between two looks at what Stripe has of the last 7 days, for what no webhook told, from 1 to 86400
    #[arg(
        long,
        env = "CODEXAPI_STRIPE_RECONCILE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub stripe_reconcile_seconds: u32,
    /// Minutes that an automatic top-up waits after a declined card, from 1 to 10080
    #[arg(
        long,
        env = "CODEXAPI_AUTO_TOPUP_COOL_DOWN_MINUTES",
        value_name = "MINUTES",
        default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..=10_080)
    )]
    pub auto_topup_cool_down_minutes: u32,
    /// Declines in a row after which an automatic top-up is switched off, from 1 to 20
    #[arg(
        long,
        env = "CODEXAPI_AUTO_TOPUP_MAX_DECLINES",
        value_name = "NUMBER",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=20)
    )]
    pub auto_topup_max_declines: u32,
    /// Days that a subscription's plan still covers when its next period is not paid yet, from 0 to 30
    #[arg(
        long,
        env = "CODEXAPI_SUBSCRIPTION_GRACE_DAYS",
        value_name = "DAYS",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(0..=30)
    )]
    pub subscription_grace_days: u32,
}

impl StripeSettings {
    /// The key and the webhook's secret, where payments are taken.
    pub fn secrets(&self) -> Option<(&StripeKey, &WebhookSecret)> {
        self.stripe_secret_key.as_ref().zip(self.stripe_webhook_secret.as_ref())
    }

    pub fn auto_topup_terms(&self) -> AutoTopUpTerms {
        AutoTopUpTerms {
            cool_down_secs: i64::from(self.auto_topup_cool_down_minutes) * 60,
            max_failures: self.auto_topup_max_declines,
        }
    }

    pub fn subscription_settings(&self) -> SubscriptionSettings {
        SubscriptionSettings { grace_secs: self.subscription_grace_days * 86_400 }
    }

    /// # Errors
    /// One of the two secrets stands without the other: payments would be taken and never heard of.
    pub fn check(&self) -> Result<(), SettingError> {
        let (missing, named) = match (&self.stripe_secret_key, &self.stripe_webhook_secret) {
            (Some(_), None) => ("CODEXAPI_STRIPE_WEBHOOK_SECRET", "CODEXAPI_STRIPE_SECRET_KEY"),
            (None, Some(_)) => ("CODEXAPI_STRIPE_SECRET_KEY", "CODEXAPI_STRIPE_WEBHOOK_SECRET"),
            (Some(_), Some(_)) | (None, None) => return Ok(()),
        };
        let problem = format!("is not set, but {named} is: payments need both");
        Err(SettingError { setting: missing.into(), problem })
    }
}

/// A key of Stripe's API; `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct StripeKey(String);

impl StripeKey {
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it moves real money.
    pub fn is_live(&self) -> bool {
        self.0.starts_with("sk_live_") || self.0.starts_with("rk_live_")
    }
}

impl FromStr for StripeKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named =
            ["sk_test_", "rk_test_", "sk_live_", "rk_live_"].iter().any(|kind| text.starts_with(kind));
        let fits = named && is_secret(text);
        if fits {
            Ok(Self(text.into()))
        } else {
            Err("not a key that begins with sk_ or rk_, and test_ or live_")
        }
    }
}

/// What Stripe signs events with; `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(String);

impl WebhookSecret {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for WebhookSecret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = text.starts_with("whsec_") && is_secret(text);
        if fits { Ok(Self(text.into())) } else { Err("not a secret that begins with whsec_") }
    }
}

impl fmt::Debug for StripeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StripeKey(…)")
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

fn is_secret(text: &str) -> bool {
    (16..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The key must not cross a network in the clear.
fn api_base(text: &str) -> Result<String, &'static str> {
    let url: reqwest::Url = text.parse().map_err(|_| "not a URL")?;
    let plain = url.username().is_empty() && url.query().is_none() && url.path() == "/";
    if plain && keeps_secrets(&url) && url.has_host() {
        return Ok(url.origin().ascii_serialization());
    }
    Err("not an https:// address without a path, nor an http:// one of this machine")
}

/// Kept as written: Stripe's placeholder is no part of a URL.
fn return_url(text: &str) -> Result<String, &'static str> {
    let url: reqwest::Url = text.parse().map_err(|_| "not a URL")?;
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && text.len() <= 2_000;
    if fits { Ok(text.into()) } else { Err("not such an address") }
}
