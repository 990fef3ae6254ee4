//! One request to Stripe, and the few times it is worth sending again.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use rand::RngExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::API_VERSION;
use super::form::Form;
use crate::config::stripe::StripeKey;

/// For name look-up, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// For one request and its whole answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// For all attempts together: less than a customer's request may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(9);

/// Attempts of one call.
const MAX_ATTEMPTS: u32 = 3;

/// The pause before the second attempt; it doubles, and is drawn at random from its upper half.
const FIRST_PAUSE: Duration = Duration::from_millis(300);

/// The largest answer: a page of a hundred objects is well below it.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// What Stripe says of itself about trying again.
const STRIPE_SHOULD_RETRY: &str = "stripe-should-retry";

/// Stripe, by one key.
pub struct Stripe {
    client: reqwest::Client,
    base: String,
    authorization: HeaderValue,
}

/// Why Stripe gave no answer that can be used. Holds no id, no key and no word of a body.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// The same call may work later; Stripe may have acted on it.
    #[error("Stripe did not answer when asked to {what}: {why}")]
    Unavailable { what: &'static str, why: String },
    #[error("Stripe has no such object when asked to {what}")]
    NotFound { what: &'static str },
    #[error("Stripe refused to {what}: {status} {code}")]
    Refused { what: &'static str, status: u16, code: String },
    #[error("Stripe's answer when asked to {what} cannot be read: {why}")]
    Unreadable { what: &'static str, why: String },
}

impl StripeError {
    /// Stripe has been asked for something else under the same idempotency key.
    pub fn is_about_the_key(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "idempotency_error")
    }
}

/// One call.
pub(super) struct Call<'a> {
    /// In words, for errors: `open a checkout`.
    pub what: &'static str,
    /// After the base.
    pub path: String,
    pub send: Send<'a>,
}

pub(super) enum Send<'a> {
    Get(Form),
    /// Under the same key, Stripe does it once.
    Post {
        form: Form,
        idempotency_key: &'a str,
    },
}

/// How an attempt ended that gave no object.
struct Failed {
    error: StripeError,
    worth_repeating: bool,
}

impl Stripe {
    /// # Errors
    /// The TLS set-up fails.
    pub fn new(base: &str, key: &StripeKey) -> anyhow::Result<Self> {
        let client = crate::tls::http_client_builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", key.reveal()))?;
        authorization.set_sensitive(true);
        Ok(Self { client, base: base.to_owned(), authorization })
    }

    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, StripeError> {
        let give_up_at = Instant::now() + CALL_TIMEOUT;
        let mut pause = FIRST_PAUSE;
        for attempts in 1.. {
            let left = give_up_at.saturating_duration_since(Instant::now());
            let failed = match self.attempt(&call, left.min(ATTEMPT_TIMEOUT)).await {
                Ok(object) => return Ok(object),
                Err(failed) => failed,
            };
            let drawn = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
            let too_late = Instant::now() + drawn >= give_up_at;
            if !failed.worth_repeating || attempts >= MAX_ATTEMPTS || too_late {
                return Err(failed.error);
            }
            sleep(drawn).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    async fn attempt<T: DeserializeOwned>(&self, call: &Call<'_>, within: Duration) -> Result<T, Failed> {
        let what = call.what;
        let unavailable =
            |why: String| Failed { error: StripeError::Unavailable { what, why }, worth_repeating: true };
        let answered = timeout(within, self.send(call)).await;
        let (status, headers, body) = answered
            .map_err(|_| unavailable(format!("nothing within {within:?}")))?
            .map_err(|error| unavailable(error.without_url().to_string()))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| Failed {
                // Where in the object it went wrong, never what stood there.
                error: StripeError::Unreadable { what, why: format!("{:?} error", error.classify()) },
                worth_repeating: false,
            });
        }
        Err(refused(what, status, &headers, &body))
    }

    async fn send(&self, call: &Call<'_>) -> Result<(StatusCode, HeaderMap, Vec<u8>), reqwest::Error> {
        let url = format!("{}{}", self.base, call.path);
        let request = match &call.send {
            Send::Get(query) => self.client.get(format!("{url}?{}", query.encode())),
            Send::Post { form, idempotency_key } => self
                .client
                .post(url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header("Idempotency-Key", *idempotency_key)
                .body(form.encode()),
        };
        let request =
            request.header(AUTHORIZATION, &self.authorization).header("Stripe-Version", API_VERSION);
        let mut response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                // Cut off, it cannot be read, which is said of it.
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, headers, body))
    }
}

fn refused(what: &'static str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failed {
    let code = code_of(body);
    let told = headers.get(STRIPE_SHOULD_RETRY).and_then(|told| told.to_str().ok());
    let busy =
        status == StatusCode::CONFLICT || status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    let worth_repeating = match told {
        Some("true") => true,
        Some("false") => false,
        Some(_) | None => busy,
    };
    // Our key is wrong, or may not do this: no word about the customer's card or order.
    let ours = status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN;
    let error = match status {
        StatusCode::NOT_FOUND => StripeError::NotFound { what },
        _ if code == "resource_missing" => StripeError::NotFound { what },
        _ if busy || ours => StripeError::Unavailable { what, why: format!("{} {code}", status.as_u16()) },
        _ => StripeError::Refused { what, status: status.as_u16(), code },
    };
    Failed { error, worth_repeating }
}

/// Stripe's code of what was wrong, else its type, if it looks like one.
fn code_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        code: Option<String>,
        r#type: Option<String>,
    }
    let is_a_code = |code: &String| {
        code.len() <= 64
            && code.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    };
    serde_json::from_slice(body)
        .ok()
        .and_then(|Body { error }| error.code.or(error.r#type))
        .filter(is_a_code)
        .unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stripe_says_of_the_call_itself_is_a_refusal() {
        let told = |status: u16, body: &str, should_retry: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(told) = should_retry {
                headers.insert(STRIPE_SHOULD_RETRY, HeaderValue::from_static(told));
            }
            let status = StatusCode::from_u16(status).unwrap();
            let Failed { error, worth_repeating } = refused("ask", status, &headers, body.as_bytes());
            let kind = match error {
                StripeError::Unavailable { .. } => "unavailable".to_owned(),
                StripeError::NotFound { .. } => "not found".to_owned(),
                StripeError::Refused { code, .. } => code,
                StripeError::Unreadable { .. } => "unreadable".to_owned(),
            };
            (kind, worth_repeating)
        };
        let error = |code: &str| format!(r#"{{"error":{{"code":"{code}","type":"card_error"}}}}"#);
        assert_eq!(told(402, &error("card_declined"), None), ("card_declined".into(), false));
        assert_eq!(
            told(400, r#"{"error":{"type":"idempotency_error"}}"#, None),
            ("idempotency_error".into(), false)
        );
        assert_eq!(told(400, &error("<b>"), None), ("unknown".into(), false));
        assert_eq!(told(404, "", None), ("not found".into(), false));
        assert_eq!(told(400, &error("resource_missing"), None), ("not found".into(), false));
        for status in [401, 403] {
            assert_eq!(told(status, &error("api_key_expired"), None), ("unavailable".into(), false));
        }
        for status in [409, 429, 500, 503] {
            assert_eq!(told(status, "", None), ("unavailable".into(), true));
            assert_eq!(told(status, "", Some("false")), ("unavailable".into(), false));
        }
    }
}
