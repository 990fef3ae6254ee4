//! Asking Gumroad whether a licence key is good.

use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use crate::config::GumroadSettings;
use crate::tls;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest answer that is read.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024;

/// What Gumroad says of a licence key.
#[derive(Debug)]
pub enum LicenceCheck {
    Good,
    /// Unknown, disabled, refunded, disputed, or of a test purchase.
    NotGood,
    /// Nothing could be learnt: try again, or ask an operator.
    Unknown(anyhow::Error),
}

/// Asks about licences of one product.
pub struct Gumroad {
    client: reqwest::Client,
    url: String,
    product_id: Option<String>,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Answer {
    success: bool,
    purchase: Option<Purchase>,
}

#[derive(Deserialize)]
struct Purchase {
    #[serde(default)]
    product_id: Option<String>,
    #[serde(default)]
    refunded: bool,
    #[serde(default)]
    chargebacked: bool,
    #[serde(default)]
    disputed: bool,
    #[serde(default)]
    dispute_won: bool,
    #[serde(default)]
    test: bool,
}

impl Gumroad {
    pub fn new(settings: &GumroadSettings) -> anyhow::Result<Self> {
        let client = tls::http_client_builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("a client for Gumroad")?;
        Ok(Self {
            client,
            url: format!("{}/v2/licenses/verify", settings.gumroad_api_base.trim_end_matches('/')),
            product_id: settings.gumroad_product_id.clone(),
            timeout: Duration::from_secs(settings.gumroad_timeout_seconds.into()),
        })
    }

    /// Whether `licence_key` is good.
    pub async fn check(&self, licence_key: &str) -> LicenceCheck {
        let Some(product_id) = &self.product_id else {
            return LicenceCheck::Unknown(anyhow::anyhow!(
                "no product is configured (CODEXAPI_GUMROAD_PRODUCT_ID)"
            ));
        };
        let asked = tokio::time::timeout(self.timeout, self.ask(product_id, licence_key)).await;
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return LicenceCheck::Unknown(error),
            Err(_) => return LicenceCheck::Unknown(anyhow::anyhow!("no answer within {:?}", self.timeout)),
        };
        if answer.is_some_and(|purchase| purchase.is_good_for(product_id)) {
            LicenceCheck::Good
        } else {
            LicenceCheck::NotGood
        }
    }

    /// The purchase; `None` where Gumroad knows of none.
    async fn ask(&self, product_id: &str, licence_key: &str) -> anyhow::Result<Option<Purchase>> {
        let fields = [
            ("product_id", product_id),
            ("license_key", licence_key),
            // The count is for the seller's own software; asking is no use.
            ("increment_uses_count", "false"),
        ];
        let form = reqwest::Url::parse_with_params(&self.url, fields).context("the address of Gumroad")?;
        let form = form.query().unwrap_or_default().to_owned();
        let request = self.client.post(&self.url).header("content-type", "application/x-www-form-urlencoded");
        let mut response = request.body(form).send().await.context("asking Gumroad")?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.context("Gumroad's answer")? {
            anyhow::ensure!(body.len() + chunk.len() <= ANSWER_LIMIT_BYTES, "Gumroad's answer is too large");
            body.extend_from_slice(&chunk);
        }
        // A missing licence is a 404 that says so; any other 404 is not Gumroad's.
        anyhow::ensure!(matches!(status, 200 | 404), "Gumroad answers {status}");
        let answer: Answer = serde_json::from_slice(&body).context("Gumroad's answer")?;
        match (status, answer) {
            (200, Answer { success: true, purchase: Some(purchase) }) => Ok(Some(purchase)),
            (_, Answer { success: false, .. }) => Ok(None),
            (_, Answer { success: true, .. }) => anyhow::bail!("Gumroad answers {status} with a success"),
        }
    }
}

impl Purchase {
    fn is_good_for(&self, product_id: &str) -> bool {
        let other_product = self.product_id.as_deref().is_some_and(|named| named != product_id);
        let taken_back = self.refunded || self.chargebacked || (self.disputed && !self.dispute_won);
        !other_product && !taken_back && !self.test
    }
}
