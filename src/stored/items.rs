//! Output items that a request names in place of sending them.

use std::collections::HashMap;

use codexapi_protocols::request::output_items;
use futures::TryStreamExt;
use serde_json::value::RawValue;

use super::{MAX_REFERENCES, Owner, Stored, StoredError, is_id, now};

/// Items of one response that can be found again; an answer has a few.
const MAX_FOUND: usize = 1_000;

/// Items by their ids; `None` for one that cannot be sent again.
pub(super) type Named = HashMap<String, Option<Box<RawValue>>>;

/// What the items of a response object are called.
pub(super) fn ids_of(response: &str) -> Vec<String> {
    let ids = output_items(response).into_iter().map(|(id, _)| id).filter(|id| is_id(id));
    ids.take(MAX_FOUND).collect()
}

impl Stored {
    /// The named items of this owner's responses.
    ///
    /// # Errors
    /// `ItemNotFound`, `TooManyReferences`, `Unavailable`.
    pub(super) async fn named(&self, owner: Owner, ids: Vec<String>) -> Result<Named, StoredError> {
        if ids.len() > MAX_REFERENCES {
            return Err(StoredError::TooManyReferences { references: ids.len() });
        }
        if let Some(id) = ids.iter().find(|id| !is_id(id)) {
            return Err(StoredError::ItemNotFound { id: id.clone() });
        }
        if ids.is_empty() {
            return Ok(Named::new());
        }
        let mut named = self.items_of(owner, &ids).await?;
        named.retain(|id, _| ids.contains(id));
        match ids.into_iter().find(|id| !named.contains_key(id)) {
            Some(id) => Err(StoredError::ItemNotFound { id }),
            None => Ok(named),
        }
    }

    /// All items of the responses that have one of these; the newest counts where a provider repeats an id.
    async fn items_of(&self, owner: Owner, ids: &[String]) -> Result<Named, StoredError> {
        let most = i64::try_from(MAX_REFERENCES).unwrap_or(i64::MAX);
        let select = sqlx::query_scalar(
            "SELECT body FROM stored_responses WHERE owner_id = $1 AND item_ids && $2 AND expires_at > $3
             ORDER BY created_at DESC LIMIT $4",
        )
        .bind(owner.0)
        .bind(ids)
        .bind(now())
        .bind(most);
        let read = async {
            // One body at a time: each may be large.
            let mut bodies = select.fetch(&self.pool);
            let mut named = Named::new();
            while let Some(body) = bodies.try_next().await? {
                let body: String = body;
                for (id, item) in output_items(&body) {
                    named.entry(id).or_insert(item);
                }
            }
            Ok(named)
        };
        self.timed(read).await
    }
}
