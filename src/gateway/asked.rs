//! What a client asks for, and the same for the provider it is sent to.

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::conversation::{Untranslatable, has_foreign_seal};
use codexapi_protocols::headers::forwarded_request;
use codexapi_protocols::meter::MeterSettings;
use codexapi_protocols::request::ParsedRequest;
use codexapi_protocols::translate::{self, AnswerFrame, AnswerTranslation, UpstreamModel};
use http::HeaderMap;

use super::refusal::GatewayError;
use crate::upstream::Target;

/// A request, read and admitted.
pub(super) struct Asked {
    pub parsed: ParsedRequest,
    pub headers: HeaderMap,
    pub query: Option<String>,
    /// What the answer says of itself where it is translated.
    pub frame: AnswerFrame,
    /// The model's, in tokens.
    pub max_output_tokens: u64,
}

/// What is sent to one provider, ready, and how its answer comes back.
pub(super) struct UpstreamRequest {
    pub headers: HeaderMap,
    pub query: Option<String>,
    pub body: Bytes,
    pub meter: MeterSettings,
    pub back: Back,
}

/// How an answer gets into the client's dialect.
pub(super) enum Back {
    /// It is in it.
    Native,
    Translated(Box<AnswerTranslation>),
}

impl Asked {
    /// The request for one target: its own bytes where the provider speaks the client's dialect.
    ///
    /// # Errors
    /// What the provider's dialect cannot say.
    pub fn for_target(&self, target: &Target) -> Result<UpstreamRequest, Untranslatable> {
        let headers = forwarded_request(target.protocol, &self.headers);
        let choices = self.parsed.choices;
        if target.protocol == self.parsed.protocol {
            let include_usage = self.parsed.include_usage;
            let body =
                without_foreign_seals(target.protocol, self.parsed.forward_body(&target.upstream_model));
            let meter = MeterSettings { choices, include_usage };
            return Ok(UpstreamRequest {
                headers,
                query: self.query.clone(),
                body,
                meter,
                back: Back::Native,
            });
        }
        let model = UpstreamModel { name: &target.upstream_model, max_output_tokens: self.max_output_tokens };
        let (client, upstream) = (self.parsed.protocol, target.protocol);
        let translated =
            translate::request(client, upstream, self.parsed.body(), &model, self.frame.clone())?;
        Ok(UpstreamRequest {
            headers,
            query: None,
            body: translated.body,
            // The translation wants to see the usage itself.
            meter: MeterSettings { choices, include_usage: true },
            back: Back::Translated(Box::new(translated.back)),
        })
    }
}

/// A session that was served by another dialect's provider brings back what that one had sealed; its own
/// provider would refuse it.
fn without_foreign_seals(protocol: Protocol, body: Bytes) -> Bytes {
    if !has_foreign_seal(&body) {
        return body;
    }
    let stripped = match protocol {
        Protocol::Responses => translate::responses::strip_foreign(&body),
        Protocol::Messages => translate::responses::strip_foreign_thinking(&body),
        Protocol::Chat | Protocol::Completions => None,
    };
    stripped.map_or(body, Bytes::from)
}

impl From<Untranslatable> for GatewayError {
    fn from(error: Untranslatable) -> Self {
        Self::BadRequest { message: error.to_string(), field: error.field().map(str::to_owned) }
    }
}
