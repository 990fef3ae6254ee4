//! Responses and chat completions that their owner may fetch again, and responses that are generated
//! while nobody waits.
//!
//! This is the customers' own data beside the event log: it is erasable, it expires, and no money
//! hangs on it. So keeping never fails a generation: what cannot be kept is logged and served all the
//! same. An owner sees nothing but its own; another's id is as unknown as one that never was.

pub mod background;
pub mod compaction;
mod completions;
mod heard;
mod items;
mod keeping;
mod metadata;
mod purge;
mod responses;
pub mod serving;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use codexapi_aggregates::ids::{AccountId, KeyId};
use codexapi_protocols::request::{ParsedRequest, earlier_items};
use serde_json::value::RawValue;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::clock;
use crate::config::StoredSettings;
use crate::gateway::Payee;

pub use completions::{CompletionPage, CompletionQuery, Order, StoredCompletion};
pub use keeping::{Keep, NewCompletion, NewResponse};
pub use metadata::Metadata;
pub use purge::purge;
pub use responses::{Status, StoredResponse};

/// How long Postgres has for one statement about stored objects.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// One in so many connections may be busy with stored objects.
const PART_OF_CONNECTIONS: u32 = 4;

/// Items that a request may go on from.
pub const MAX_EARLIER_ITEMS: usize = 10_000;

/// Stored items that one request may name.
pub const MAX_REFERENCES: usize = 100;

/// The longest id that is looked up; ours and the providers' are far shorter.
const MAX_ID_BYTES: usize = 128;

/// Whose an object is: the account or, for the operator's own generations, the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub Uuid);

impl From<Payee> for Owner {
    fn from(payee: Payee) -> Self {
        match payee {
            Payee::Customer { account_id: AccountId(id), .. } | Payee::Operator { key_id: KeyId(id) } => {
                Self(id)
            }
        }
    }
}

/// Why something stored cannot be had, kept or gone on from.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error("Response with id '{id}' not found.")]
    ResponseNotFound { id: String },
    #[error("Chat completion with id '{id}' not found.")]
    CompletionNotFound { id: String },
    #[error("Previous response with id '{id}' not found.")]
    PreviousNotFound { id: String },
    #[error("Previous response with id '{id}' is still {status}; wait until it is completed.")]
    PreviousUnfinished { id: String, status: &'static str },
    #[error(
        "The conversation that ends with response '{id}' has {items} items; at most {MAX_EARLIER_ITEMS} can be gone on from. Send the input itself, or compact the response."
    )]
    TooManyEarlierItems { id: String, items: usize },
    #[error("Item with id '{id}' not found: output items of stored responses can be named, and no others.")]
    ItemNotFound { id: String },
    #[error("{references} items are named; at most {MAX_REFERENCES} can be.")]
    TooManyReferences { references: usize },
    #[error("With its input the request has {bytes} bytes; stored conversations have at most {limit}.")]
    TooLarge { bytes: usize, limit: usize },
    #[error("A background response has to be stored: leave `store` out, or set it to true.")]
    BackgroundUnstored,
    #[error(
        "Background responses are not streamed here: leave `stream` out and fetch the response until it is finished."
    )]
    BackgroundStream,
    #[error("Nothing is stored by this service, so that no response can be generated in the background.")]
    StoringIsOff,
    #[error("{running} background responses are being generated already; try again when one is finished.")]
    TooManyRunning { running: usize },
    #[error("Cannot cancel a synchronous response.")]
    NotBackground,
    #[error(
        "`metadata` should be an object of at most 16 texts: names of up to 64 characters, values of up to 512."
    )]
    BadMetadata,
    #[error("`after` should be the id of an object of this list.")]
    UnknownCursor,
    #[error("Response with id '{id}' is still {status}; wait until it is completed.")]
    Unfinished { id: String, status: &'static str },
    #[error("stored objects cannot be read")]
    Unavailable(#[source] anyhow::Error),
}

/// Stored objects of all owners.
pub struct Stored {
    pool: PgPool,
    /// `None` keeps nothing.
    kept_for: Option<TimeDelta>,
    limit_bytes: usize,
    too_large_was_logged: AtomicBool,
    /// Stored objects get a part of the connections: holds and settlements need the others.
    turns: Semaphore,
}

impl Stored {
    pub fn new(pool: PgPool, settings: &StoredSettings) -> Self {
        let days = i64::from(settings.stored_days);
        let turns = pool.options().get_max_connections() / PART_OF_CONNECTIONS;
        let turns = usize::try_from(turns).unwrap_or(usize::MAX);
        Self {
            pool,
            kept_for: (days > 0).then(|| TimeDelta::days(days)),
            limit_bytes: usize::try_from(settings.stored_limit_bytes).unwrap_or(usize::MAX),
            too_large_was_logged: AtomicBool::new(false),
            turns: Semaphore::new(turns.max(1)),
        }
    }

    /// The largest object that is kept, with its input, in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// The body with the whole conversation in it: the items of the response it goes on from, then its
    /// own, with those it names. `None` where it is whole as it is.
    ///
    /// # Errors
    /// The earlier response is not this owner's, not finished, or too long to go on from; an item is not
    /// known.
    pub async fn expand(&self, owner: Owner, request: &ParsedRequest) -> Result<Option<Bytes>, StoredError> {
        let references = request.item_references();
        if request.previous_response_id.is_none() && references.is_empty() {
            return Ok(None);
        }
        let earlier = match &request.previous_response_id {
            Some(id) => self.earlier(owner, id).await?,
            None => vec![],
        };
        let named = self.named(owner, references).await?;
        let added = earlier.iter().chain(named.values().flatten());
        let bytes = added.map(|item| item.get().len()).sum::<usize>() + request.body().len();
        if bytes > self.limit_bytes {
            return Err(StoredError::TooLarge { bytes, limit: self.limit_bytes });
        }
        Ok(Some(request.expand(&earlier, &named)))
    }

    /// The items that a request after this response begins with.
    async fn earlier(&self, owner: Owner, id: &str) -> Result<Vec<Box<RawValue>>, StoredError> {
        let previous = match self.response(owner, id).await {
            Ok(previous) => previous,
            Err(StoredError::ResponseNotFound { id }) => return Err(StoredError::PreviousNotFound { id }),
            Err(other) => return Err(other),
        };
        if previous.status.is_running() {
            let status = previous.status.name();
            return Err(StoredError::PreviousUnfinished { id: id.to_owned(), status });
        }
        let earlier = earlier_items(&previous.input, &previous.body)
            .map_err(|error| StoredError::Unavailable(anyhow!(error).context("a stored response")))?;
        if earlier.len() > MAX_EARLIER_ITEMS {
            return Err(StoredError::TooManyEarlierItems { id: id.to_owned(), items: earlier.len() });
        }
        Ok(earlier)
    }

    /// A statement, when it is its turn and within its time.
    async fn timed<T>(&self, statement: impl Future<Output = sqlx::Result<T>>) -> Result<T, StoredError> {
        let in_turn = async {
            let _turn = self.turns.acquire().await.expect("never closed");
            statement.await
        };
        match tokio::time::timeout(STATEMENT_TIMEOUT, in_turn).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(StoredError::Unavailable(error.into())),
            Err(_) => Err(StoredError::Unavailable(anyhow!("no answer within {STATEMENT_TIMEOUT:?}"))),
        }
    }

    /// When an object made now expires; `None` where nothing is kept.
    fn expires_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        Some(now + self.kept_for?)
    }

    /// Whether it fits; says once why larger ones are not found again.
    fn fits(&self, bytes: usize) -> bool {
        if bytes <= self.limit_bytes {
            return true;
        }
        if !self.too_large_was_logged.swap(true, Ordering::Relaxed) {
            let limit = self.limit_bytes;
            tracing::warn!(
                bytes,
                limit,
                "an answer is too large to be stored (CODEXAPI_STORED_LIMIT_BYTES); further ones are not logged"
            );
        }
        false
    }
}

/// Whether it could be the id of anything stored.
fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':');
    !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(allowed)
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(clock::now().0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_could_be_an_id_is_looked_up() {
        for id in ["resp_0a1B", "chatcmpl-1", "gen:1.2"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "a b", "a\0", "é", "a/b", &"x".repeat(129)] {
            assert!(!is_id(id), "{id:?}");
        }
    }
}
