//! Every reason for which a request is refused, and how each vendor words it.
//!
//! A check names the reason once; the dialect is chosen only when the refusal is
//! written out, so both vendors' wordings of one rule stand side by side.

use http::StatusCode;
use serde_json::{Value, json};

use crate::request::Dialect;

/// Why a request is not served. `param` is a path such as `messages[0].role`.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    InvalidJson(String),
    NotAnObject,
    NoKey,
    WrongKey,
    MissingVersion,
    Missing(String),
    Unknown(String),
    WrongType {
        param: String,
        expected: &'static str,
        got: &'static str,
    },
    TooSmall {
        param: String,
        least: String,
        got: String,
    },
    TooLarge {
        param: String,
        most: String,
        got: String,
    },
    Empty(String),
    BadValue {
        param: String,
        allowed: &'static str,
        got: String,
    },
    /// A rule that only one dialect has, in that vendor's own words.
    Rule {
        param: String,
        message: String,
    },
    ModelNotFound(String),
    ResponseNotFound(String),
    BodyTooLarge,
    BadDirective(String),
}

impl Refusal {
    pub fn rule(param: impl Into<String>, message: impl Into<String>) -> Self {
        Refusal::Rule { param: param.into(), message: message.into() }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::NoKey | Refusal::WrongKey => StatusCode::UNAUTHORIZED,
            Refusal::ModelNotFound(_) => StatusCode::NOT_FOUND,
            Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::InvalidJson(_)
            | Refusal::NotAnObject
            | Refusal::MissingVersion
            | Refusal::Missing(_)
            | Refusal::Unknown(_)
            | Refusal::WrongType { .. }
            | Refusal::TooSmall { .. }
            | Refusal::TooLarge { .. }
            | Refusal::Empty(_)
            | Refusal::BadValue { .. }
            | Refusal::Rule { .. }
            | Refusal::ResponseNotFound(_)
            | Refusal::BadDirective(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The error body in the caller's dialect.
    pub fn body(&self, dialect: Dialect) -> Value {
        match dialect {
            Dialect::Messages => anthropic_error(self.anthropic_type(), &self.anthropic_message()),
            Dialect::Responses | Dialect::Chat => {
                openai_error(self.openai_type(), self.openai_code(), self.param(), &self.openai_message())
            }
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Refusal::Missing(param)
            | Refusal::Unknown(param)
            | Refusal::Empty(param)
            | Refusal::WrongType { param, .. }
            | Refusal::TooSmall { param, .. }
            | Refusal::TooLarge { param, .. }
            | Refusal::BadValue { param, .. }
            | Refusal::Rule { param, .. } => Some(param),
            Refusal::ModelNotFound(_) => Some("model"),
            Refusal::ResponseNotFound(_) => Some("previous_response_id"),
            Refusal::InvalidJson(_)
            | Refusal::NotAnObject
            | Refusal::NoKey
            | Refusal::WrongKey
            | Refusal::MissingVersion
            | Refusal::BodyTooLarge
            | Refusal::BadDirective(_) => None,
        }
    }

    fn openai_type(&self) -> &'static str {
        "invalid_request_error"
    }

    fn openai_code(&self) -> Option<&'static str> {
        match self {
            Refusal::NoKey | Refusal::InvalidJson(_) | Refusal::NotAnObject => None,
            Refusal::WrongKey => Some("invalid_api_key"),
            Refusal::MissingVersion | Refusal::Rule { .. } => None,
            Refusal::Missing(_) => Some("missing_required_parameter"),
            Refusal::Unknown(_) => Some("unknown_parameter"),
            Refusal::WrongType { .. } => Some("invalid_type"),
            Refusal::TooSmall { least, .. } => {
                Some(number_code(least, "integer_below_min_value", "decimal_below_min_value"))
            }
            Refusal::TooLarge { most, .. } => {
                Some(number_code(most, "integer_above_max_value", "decimal_above_max_value"))
            }
            Refusal::Empty(_) => Some("empty_array"),
            Refusal::BadValue { .. } => Some("invalid_value"),
            Refusal::ModelNotFound(_) => Some("model_not_found"),
            Refusal::ResponseNotFound(_) => Some("previous_response_not_found"),
            Refusal::BodyTooLarge => Some("request_too_large"),
            Refusal::BadDirective(_) => Some("simulator_directive"),
        }
    }

    fn openai_message(&self) -> String {
        match self {
            Refusal::InvalidJson(why) => format!(
                "We could not parse the JSON body of your request. (HINT: {why})"
            ),
            Refusal::NotAnObject => "The body of your request must be a JSON object.".into(),
            Refusal::NoKey => "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).".into(),
            Refusal::WrongKey => "Incorrect API key provided.".into(),
            Refusal::MissingVersion => "anthropic-version: header is required".into(),
            Refusal::Missing(param) => format!("Missing required parameter: '{param}'."),
            Refusal::Unknown(param) => format!("Unknown parameter: '{param}'."),
            Refusal::WrongType { param, expected, got } => format!(
                "Invalid type for '{param}': expected {expected}, but got {got} instead."
            ),
            Refusal::TooSmall { param, least, got } => format!(
                "Invalid '{param}': {} below minimum value. Expected a value >= {least}, but got {got} instead.",
                number_code(least, "integer", "decimal"),
            ),
            Refusal::TooLarge { param, most, got } => format!(
                "Invalid '{param}': {} above maximum value. Expected a value <= {most}, but got {got} instead.",
                number_code(most, "integer", "decimal"),
            ),
            Refusal::Empty(param) => format!(
                "Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
            ),
            Refusal::BadValue { param, allowed, got } => format!(
                "Invalid value: '{got}'. Supported values are: {allowed}. (param: '{param}')"
            ),
            Refusal::Rule { message, .. } => message.clone(),
            Refusal::ModelNotFound(model) => format!(
                "The model `{model}` does not exist or you do not have access to it."
            ),
            Refusal::ResponseNotFound(id) => format!("Previous response with id '{id}' not found."),
            Refusal::BodyTooLarge => "The request body is too large.".into(),
            Refusal::BadDirective(why) => format!("The simulator's directive is invalid: {why}"),
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match self {
            Refusal::NoKey | Refusal::WrongKey => "authentication_error",
            Refusal::ModelNotFound(_) => "not_found_error",
            Refusal::BodyTooLarge => "request_too_large",
            Refusal::InvalidJson(_)
            | Refusal::NotAnObject
            | Refusal::MissingVersion
            | Refusal::Missing(_)
            | Refusal::Unknown(_)
            | Refusal::WrongType { .. }
            | Refusal::TooSmall { .. }
            | Refusal::TooLarge { .. }
            | Refusal::Empty(_)
            | Refusal::BadValue { .. }
            | Refusal::Rule { .. }
            | Refusal::ResponseNotFound(_)
            | Refusal::BadDirective(_) => "invalid_request_error",
        }
    }

    fn anthropic_message(&self) -> String {
        match self {
            Refusal::InvalidJson(why) => {
                format!("The request body is not valid JSON: {why}")
            }
            Refusal::NotAnObject => "The request body is not a valid dictionary".into(),
            Refusal::NoKey => "x-api-key header is required".into(),
            Refusal::WrongKey => "invalid x-api-key".into(),
            Refusal::MissingVersion => "anthropic-version: header is required".into(),
            Refusal::Missing(param) => format!("{}: Field required", dotted(param)),
            Refusal::Unknown(param) => {
                format!("{}: Extra inputs are not permitted", dotted(param))
            }
            Refusal::WrongType { param, expected, .. } => {
                format!("{}: Input should be {expected}", dotted(param))
            }
            Refusal::TooSmall { param, least, .. } => {
                format!("{}: Input should be greater than or equal to {least}", dotted(param))
            }
            Refusal::TooLarge { param, most, .. } => {
                format!("{}: Input should be less than or equal to {most}", dotted(param))
            }
            Refusal::Empty(param) => {
                format!("{}: at least one item is required", dotted(param))
            }
            Refusal::BadValue { param, allowed, .. } => {
                format!("{}: Input should be {allowed}", dotted(param))
            }
            Refusal::Rule { message, .. } => message.clone(),
            Refusal::ModelNotFound(model) => format!("model: {model}"),
            Refusal::ResponseNotFound(id) => format!("not found: {id}"),
            Refusal::BodyTooLarge => "Request exceeds the maximum size".into(),
            Refusal::BadDirective(why) => format!("The simulator's directive is invalid: {why}"),
        }
    }
}

/// OpenAI's error body.
pub fn openai_error(kind: &str, code: Option<&str>, param: Option<&str>, message: &str) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
}

/// Anthropic's error body.
pub fn anthropic_error(kind: &str, message: &str) -> Value {
    json!({ "type": "error", "error": { "type": kind, "message": message } })
}

/// Anthropic writes paths as `messages.0.role` where OpenAI writes `messages[0].role`.
fn dotted(param: &str) -> String {
    param.replace('[', ".").replace(']', "")
}

fn number_code(bound: &str, integer: &'static str, decimal: &'static str) -> &'static str {
    if bound.contains('.') { decimal } else { integer }
}
