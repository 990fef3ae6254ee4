//! Every reason for which a call is refused, and Stripe's envelope for it.

use http::StatusCode;
use serde_json::{Value, json};

/// Why a call is not served. `param` is a path such as `line_items[0][quantity]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    NoKey,
    WrongKey {
        given: String,
    },
    UnknownUrl {
        method: String,
        path: String,
    },
    NotAForm {
        given: String,
    },
    BodyTooLarge,
    BadVersion {
        given: String,
    },
    UnknownParameter {
        param: String,
    },
    MissingParameter {
        param: String,
    },
    EmptyParameter {
        param: String,
    },
    InvalidInteger {
        param: String,
        given: String,
    },
    Invalid {
        param: String,
        code: Option<&'static str>,
        message: String,
    },
    NotFound {
        what: &'static str,
        id: String,
        param: &'static str,
    },
    /// Well formed, but not as things stand. Unlike a malformed call, this result belongs to its idempotency key.
    NotNow {
        code: Option<&'static str>,
        param: Option<&'static str>,
        message: String,
        extra: Value,
    },
    Declined(Box<Declined>),
    KeyTooLong,
    KeyOfOtherParameters {
        key: String,
    },
    KeyOfOtherPath {
        key: String,
        path: String,
        first_path: String,
    },
    KeyInUse {
        key: String,
    },
    /// What a test has told the fake to answer.
    Told {
        status: u16,
    },
}

/// A card's no. The payment intent stands in the answer as it is then.
#[derive(Clone, Debug, PartialEq)]
pub struct Declined {
    pub code: &'static str,
    pub decline_code: &'static str,
    pub message: &'static str,
    pub charge: String,
    pub payment_intent: Value,
    pub payment_method: Value,
}

impl Declined {
    /// The error as it stands in answers and in `last_payment_error`.
    pub fn error(&self) -> Value {
        json!({
            "charge": self.charge,
            "code": self.code,
            "decline_code": self.decline_code,
            "doc_url": format!("https://stripe.com/docs/error-codes/{}", self.code.replace('_', "-")),
            "message": self.message,
            "payment_method": self.payment_method,
            "type": "card_error",
        })
    }
}

impl Refusal {
    pub fn malformed(param: &str, message: &str) -> Self {
        Refusal::invalid(param.to_owned(), message)
    }

    pub fn invalid(param: String, message: &str) -> Self {
        Refusal::Invalid { param, code: None, message: message.to_owned() }
    }

    pub fn not_now(code: &'static str, message: impl Into<String>) -> Self {
        Refusal::NotNow { code: Some(code), param: None, message: message.into(), extra: Value::Null }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::NoKey | Refusal::WrongKey { .. } => StatusCode::UNAUTHORIZED,
            Refusal::UnknownUrl { .. } | Refusal::NotFound { .. } => StatusCode::NOT_FOUND,
            Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Declined(_) => StatusCode::PAYMENT_REQUIRED,
            Refusal::KeyInUse { .. } => StatusCode::CONFLICT,
            Refusal::Told { status } => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Refusal::NotAForm { .. }
            | Refusal::BadVersion { .. }
            | Refusal::UnknownParameter { .. }
            | Refusal::MissingParameter { .. }
            | Refusal::EmptyParameter { .. }
            | Refusal::InvalidInteger { .. }
            | Refusal::Invalid { .. }
            | Refusal::NotNow { .. }
            | Refusal::KeyTooLong
            | Refusal::KeyOfOtherParameters { .. }
            | Refusal::KeyOfOtherPath { .. } => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether the call got as far as being executed: only then its result is saved under its idempotency key.
    pub fn was_executed(&self) -> bool {
        matches!(self, Refusal::NotNow { .. } | Refusal::Declined(_))
    }

    pub fn body(&self) -> Value {
        json!({ "error": self.error() })
    }

    fn error(&self) -> Value {
        match self {
            Refusal::NoKey => error(
                "You did not provide an API key. You need to provide your API key in the Authorization header, \
                 using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            ),
            Refusal::WrongKey { given } => error(&format!("Invalid API Key provided: {}", masked(given))),
            Refusal::UnknownUrl { method, path } => error(&format!(
                "Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at \
                 https://support.stripe.com/."
            )),
            Refusal::NotAForm { given } => error(&format!(
                "Invalid request (check that your POST content type is application/x-www-form-urlencoded). \
                 The content type was: {given}"
            )),
            Refusal::BodyTooLarge => error("The request body is too large."),
            Refusal::BadVersion { given } => error(&format!("Invalid Stripe API version: {given}")),
            Refusal::UnknownParameter { param } => {
                with("parameter_unknown", param, &format!("Received unknown parameter: {param}"))
            }
            Refusal::MissingParameter { param } => {
                with("parameter_missing", param, &format!("Missing required param: {param}."))
            }
            Refusal::EmptyParameter { param } => with(
                "parameter_invalid_empty",
                param,
                &format!(
                    "You passed an empty string for '{param}'. We assume empty values are an attempt to unset a \
                     parameter; however '{param}' cannot be unset. You should remove '{param}' from your request or \
                     supply a non-empty value."
                ),
            ),
            Refusal::InvalidInteger { param, given } => {
                with("parameter_invalid_integer", param, &format!("Invalid integer: {given}"))
            }
            Refusal::Invalid { param, code: Some(code), message } => with(code, param, message),
            Refusal::Invalid { param, code: None, message } => {
                json!({ "message": message, "param": param, "type": "invalid_request_error" })
            }
            Refusal::NotFound { what, id, param } => {
                with("resource_missing", param, &format!("No such {what}: '{id}'"))
            }
            Refusal::NotNow { code, param, message, extra } => {
                let mut found = error(message);
                if let Some(code) = code {
                    found["code"] = json!(code);
                }
                if let Some(param) = param {
                    found["param"] = json!(param);
                }
                if let Some(extra) = extra.as_object() {
                    for (name, value) in extra {
                        found[name] = value.clone();
                    }
                }
                found
            }
            Refusal::Declined(declined) => {
                let mut found = declined.error();
                found["payment_intent"] = declined.payment_intent.clone();
                found
            }
            Refusal::KeyTooLong => {
                json!({ "message": "Idempotency keys can be at most 255 characters.", "type": "idempotency_error" })
            }
            Refusal::KeyOfOtherParameters { key } => json!({
                "message": format!(
                    "Keys for idempotent requests can only be used with the same parameters they were first used \
                     with. Try using a key other than '{key}' if you meant to execute a different request."
                ),
                "type": "idempotency_error",
            }),
            Refusal::KeyOfOtherPath { key, path, first_path } => json!({
                "message": format!(
                    "Keys for idempotent requests can only be used for the same endpoint they were first used for \
                     ('{path}' vs '{first_path}'). Try using a key other than '{key}' if you meant to execute a \
                     different request."
                ),
                "type": "idempotency_error",
            }),
            Refusal::KeyInUse { key } => json!({
                "code": "idempotency_key_in_use",
                "message": format!(
                    "There is currently another in-progress request using this Idempotent Key (that probably means \
                     you submitted twice, and the other request is still going through): {key}. Please try again \
                     later."
                ),
                "type": "idempotency_error",
            }),
            Refusal::Told { status: 429 } => json!({
                "code": "rate_limit",
                "message": "Too many requests hit the API too quickly. We recommend an exponential backoff of your \
                            requests.",
                "type": "invalid_request_error",
            }),
            Refusal::Told { .. } => {
                json!({ "message": "An unknown error occurred", "type": "api_error" })
            }
        }
    }
}

fn error(message: &str) -> Value {
    json!({ "message": message, "type": "invalid_request_error" })
}

fn with(code: &str, param: &str, message: &str) -> Value {
    json!({
        "code": code,
        "doc_url": format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")),
        "message": message,
        "param": param,
        "type": "invalid_request_error",
    })
}

/// `sk_test_********cret`, as Stripe shows it.
fn masked(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    let hidden = letters.len().saturating_sub(4);
    let start = letters.iter().take(8.min(hidden)).collect::<String>();
    format!("{start}{}{}", "*".repeat(hidden.saturating_sub(8)), letters[hidden..].iter().collect::<String>())
}
