//! Taking payments: a payment is on record before Stripe hears of it, and credited only when Stripe itself, asked
//! by us, says that exactly what was started is paid.
//!
//! A webhook, the return page and the reconciler are three hints to look; all end in the same commands, and the
//! payment's own state decides. So it does not matter which of them comes, how often, or in which order.

pub mod auto_topup;
pub mod checkout;
pub mod inbox;
pub mod profiles;
pub mod settle;
pub mod signature;
pub mod stripe;
pub mod subscribing;
pub mod subscriptions;
pub mod webhook;

use std::sync::Arc;

use codexapi_aggregates::auto_topup::AutoTopUpTerms;
use codexapi_aggregates::subscription::SubscriptionSettings;
use codexapi_aggregates::wallet::WalletTerms;
use sqlx::PgPool;

use crate::config::StripeSettings;
use crate::config::stripe::WebhookSecret;
use crate::event_log::EventLog;
use crate::processes::reconciler::Reconciled;
use inbox::Strangers;
use stripe::Stripe;

/// Stripe's placeholder for the id of the session that a customer returns from.
const SESSION_PLACEHOLDER: &str = "{CHECKOUT_SESSION_ID}";

/// Everything that taking payments needs.
pub struct Payments {
    pub stripe: Stripe,
    pub(crate) log: EventLog,
    pub(crate) pool: PgPool,
    pub(crate) terms: WalletTerms,
    /// Real money, not the test mode.
    pub livemode: bool,
    pub(crate) auto_topup_terms: AutoTopUpTerms,
    pub(crate) subscription_settings: SubscriptionSettings,
    webhook_secret: WebhookSecret,
    success_url: Option<String>,
    cancel_url: Option<String>,
    strangers: Strangers,
    pub reconciled: Reconciled,
}

impl Payments {
    /// `None` where no payments are taken.
    ///
    /// # Errors
    /// The TLS set-up fails.
    pub fn new(
        settings: &StripeSettings,
        log: EventLog,
        pool: PgPool,
        terms: WalletTerms,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        let Some((key, webhook_secret)) = settings.secrets() else { return Ok(None) };
        Ok(Some(Arc::new(Self {
            stripe: Stripe::new(&settings.stripe_api_base, key)?,
            log,
            pool,
            terms,
            livemode: key.is_live(),
            auto_topup_terms: settings.auto_topup_terms(),
            subscription_settings: settings.subscription_settings(),
            webhook_secret: webhook_secret.clone(),
            success_url: settings.stripe_success_url.clone(),
            cancel_url: settings.stripe_cancel_url.clone(),
            strangers: Strangers::default(),
            reconciled: Reconciled::default(),
        })))
    }

    fn success_url(&self, public_url: &str) -> String {
        let configured = self.success_url.clone();
        configured
            .unwrap_or_else(|| format!("{public_url}/wallet?checkout=paid&session_id={SESSION_PLACEHOLDER}"))
    }

    fn cancel_url(&self, public_url: &str) -> String {
        self.cancel_url.clone().unwrap_or_else(|| format!("{public_url}/wallet?checkout=left"))
    }
}
