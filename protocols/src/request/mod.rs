//! What a request says that metering needs, read in place from its body.
//!
//! Nothing else is validated: the provider knows its dialect better than we do, and a field we have
//! never heard of must survive. Where two readings of a body are possible (a field given twice) the
//! body is refused, or we might meter one reading and the provider bill another.

mod edit;
mod estimate;
mod fields;
mod forward;
mod prompt;
mod stored;

use std::ops::Range;

use blake3::Hasher;
use bytes::Bytes;
use codexapi_aggregates::usage::{InputPrefix, Protocol};

pub use estimate::{
    AUDIO_TOKENS, FILE_TOKENS, IMAGE_TOKENS, ITEM_TOKENS, MAX_DEPTH, MAX_ITEMS, OPAQUE_BYTES_PER_TOKEN,
    TEXT_BYTES_PER_TOKEN,
};
pub(crate) use estimate::{Estimate, Input};
pub use stored::{earlier_items, output_items};

/// The longest model name; it goes into events and headers.
pub const MAX_MODEL_BYTES: usize = 256;

/// The most answers a chat request may ask for in one call.
pub const MAX_CHOICES: u64 = 128;

/// Bytes of a cumulative digest over input items.
const DIGEST_BYTES: usize = 16;

/// Why a body cannot be metered, in words for the caller (400).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("the body is not a JSON object this gateway can read: {reason}")]
    NotReadable { reason: String },
    #[error("`{field}` is missing: it should be {expected}")]
    Missing { field: &'static str, expected: &'static str },
    #[error("`{field}` should be {expected}")]
    Wrong { field: &'static str, expected: &'static str },
    #[error("the body is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("`{field}` has more than {MAX_ITEMS} items")]
    TooManyItems { field: &'static str },
}

impl BadRequest {
    /// The field at fault, for OpenAI's `param`.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Missing { field, .. } | Self::Wrong { field, .. } | Self::TooManyItems { field } => {
                Some(field)
            }
            Self::NotReadable { .. } | Self::TooDeep => None,
        }
    }
}

/// Estimated input, in tokens; never the number that is charged where a provider reports its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputEstimate {
    /// Instructions, tools and output schemas.
    pub fixed_tokens: u64,
    /// Messages or input items.
    pub item_tokens: u64,
}

impl InputEstimate {
    pub fn total_tokens(&self) -> u64 {
        self.fixed_tokens + self.item_tokens
    }
}

/// One request, as far as it matters here. It holds the body, which is never copied.
#[derive(Clone)]
pub struct ParsedRequest {
    pub protocol: Protocol,
    /// The label the client asks for.
    pub model: String,
    pub stream: bool,
    /// The most output tokens of one answer, where the request names them.
    pub max_output_tokens: Option<u64>,
    /// Answers asked for (`n` of a chat request, the larger of `n` and `best_of` of a completion), else
    /// 1; each may use the maximum output.
    pub choices: u64,
    /// Whether the client itself asked for the usage chunk of a chat stream.
    pub include_usage: bool,
    pub prompt_cache_key: Option<String>,
    /// Where the provider's price depends on it (`priority`, `flex`), as the client wrote it.
    pub service_tier: Option<String>,
    /// Whether the answer is to be kept; `None` leaves it to the dialect ([`ParsedRequest::is_kept`]).
    pub store: Option<bool>,
    /// The stored response that this one goes on from; Responses only.
    pub previous_response_id: Option<String>,
    /// To be answered at once and generated afterwards; Responses only.
    pub background: bool,
    pub estimate: InputEstimate,
    body: Bytes,
    model_at: Range<usize>,
    items: Vec<Range<usize>>,
    usage_switch: forward::UsageSwitch,
    places: Places,
}

/// Where the values of members stand that are cut out, replaced or kept.
#[derive(Clone, Debug, Default)]
struct Places {
    /// `input` or `messages`.
    input: Option<Range<usize>>,
    store: Option<Range<usize>>,
    stream: Option<Range<usize>>,
    background: Option<Range<usize>>,
    previous_response_id: Option<Range<usize>>,
    metadata: Option<Range<usize>>,
}

impl std::fmt::Debug for ParsedRequest {
    /// Without the body, which is the customer's.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ParsedRequest")
            .field("protocol", &self.protocol)
            .field("model", &self.model)
            .field("stream", &self.stream)
            .field("estimate", &self.estimate)
            .finish_non_exhaustive()
    }
}

impl ParsedRequest {
    /// Reads a body of at most 4 GiB.
    pub fn parse(protocol: Protocol, body: &Bytes) -> Result<ParsedRequest, BadRequest> {
        fields::parse(protocol, body)
    }

    /// Number of input items or messages.
    pub fn item_count(&self) -> usize {
        self.items.len()
    }

    /// Cumulative keyed digests over the exact bytes of the input items: two requests agree on
    /// digest n only if their first n items are the same.
    pub fn prefix(&self, key: &[u8; 32]) -> InputPrefix {
        let mut hasher = Hasher::new_keyed(key);
        let digests = self.items.iter().map(|item| {
            // The length keeps two items from passing for one.
            hasher.update(&(item.len() as u64).to_le_bytes());
            hasher.update(&self.body[item.clone()]);
            hex::encode(&hasher.finalize().as_bytes()[..DIGEST_BYTES])
        });
        let digests = std::sync::Arc::new(digests.collect());
        InputPrefix { digests, fixed_tokens: self.estimate.fixed_tokens }
    }

    /// The same request as one that asks for usage itself, where its stream hides that by default.
    pub fn asking_for_usage(self) -> Self {
        forward::asking_for_usage(self)
    }

    /// The body for a provider that knows the model as `upstream_model`. Changed are that name, what
    /// would make the provider store anything in the operator's account and, for chat streams, that
    /// usage is asked for. The same bytes where nothing changes.
    pub fn forward_body(&self, upstream_model: &str) -> Bytes {
        forward::body(self, upstream_model)
    }
}

#[cfg(test)]
mod tests;
