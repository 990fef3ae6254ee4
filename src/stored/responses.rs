//! Stored responses: read, deleted, and moved from state to state while they are generated.

use chrono::{DateTime, Utc};
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_protocols::restate::restate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::FromRow;
use uuid::Uuid;

use super::items::ids_of;
use super::{Owner, Stored, StoredError, is_id, now};

/// How far a response is, in OpenAI's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Queued,
    InProgress,
    Completed,
    Incomplete,
    Failed,
    Cancelled,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it may still become another.
    pub fn is_running(self) -> bool {
        match self {
            Self::Queued | Self::InProgress => true,
            Self::Completed | Self::Incomplete | Self::Failed | Self::Cancelled => false,
        }
    }

    fn of(name: &str) -> Result<Self, StoredError> {
        let all = [
            Self::Queued,
            Self::InProgress,
            Self::Completed,
            Self::Incomplete,
            Self::Failed,
            Self::Cancelled,
        ];
        all.into_iter()
            .find(|status| status.name() == name)
            .ok_or_else(|| StoredError::Unavailable(anyhow::anyhow!("{name:?} is no status")))
    }
}

/// A response and what was asked.
#[derive(Clone, Debug)]
pub struct StoredResponse {
    pub response_id: String,
    pub model: String,
    pub status: Status,
    pub background: bool,
    /// A JSON array of items.
    pub input: String,
    /// The response object.
    pub body: String,
}

/// A background response that is about to be generated.
pub(super) struct Reserved<'a> {
    pub owner: Owner,
    pub response_id: &'a str,
    pub model: &'a str,
    pub input: &'a str,
    pub body: &'a str,
    pub previous_response_id: Option<&'a str>,
    pub node: NodeIncarnation,
    pub expires_at: DateTime<Utc>,
}

#[derive(FromRow)]
struct Row {
    model: String,
    status: String,
    background: bool,
    input: String,
    body: String,
    node_is_dead: bool,
}

const IS_RUNNING: &str = "status IN ('queued', 'in_progress')";

impl Stored {
    /// One response of this owner. One that a dead node has left behind is failed by this very look.
    ///
    /// # Errors
    /// `ResponseNotFound`, `Unavailable`.
    pub async fn response(&self, owner: Owner, id: &str) -> Result<StoredResponse, StoredError> {
        let not_found = || StoredError::ResponseNotFound { id: id.to_owned() };
        if !is_id(id) {
            return Err(not_found());
        }
        let read = sqlx::query_as(
            "SELECT model, status, background, input, body,
                    EXISTS (SELECT FROM nodes WHERE incarnation = node AND ended_at IS NOT NULL) AS node_is_dead
             FROM stored_responses WHERE owner_id = $1 AND response_id = $2 AND expires_at > $3",
        )
        .bind(owner.0)
        .bind(id)
        .bind(now());
        let row: Row = self.timed(read.fetch_optional(&self.pool)).await?.ok_or_else(not_found)?;
        let mut response = StoredResponse {
            response_id: id.to_owned(),
            status: Status::of(&row.status)?,
            model: row.model,
            background: row.background,
            input: row.input,
            body: row.body,
        };
        if response.status.is_running() && row.node_is_dead {
            let body = abandoned(&response.body);
            self.end(owner, id, Status::Failed, &body).await?;
            (response.status, response.body) = (Status::Failed, body);
        }
        Ok(response)
    }

    /// Deletes a response; one that is being generated is given up by whoever generates it.
    ///
    /// # Errors
    /// `ResponseNotFound`, `Unavailable`.
    pub async fn delete_response(&self, owner: Owner, id: &str) -> Result<(), StoredError> {
        let not_found = || StoredError::ResponseNotFound { id: id.to_owned() };
        if !is_id(id) {
            return Err(not_found());
        }
        let delete = sqlx::query(
            "DELETE FROM stored_responses WHERE owner_id = $1 AND response_id = $2 AND expires_at > $3",
        )
        .bind(owner.0)
        .bind(id)
        .bind(now());
        match self.timed(delete.execute(&self.pool)).await?.rows_affected() {
            0 => Err(not_found()),
            _ => Ok(()),
        }
    }

    pub(super) async fn reserve(&self, new: &Reserved<'_>) -> Result<(), StoredError> {
        let insert = sqlx::query(
            "INSERT INTO stored_responses
                 (owner_id, response_id, model, status, background, input, body, previous_response_id, node,
                  created_at, expires_at)
             VALUES ($1, $2, $3, 'queued', true, $4, $5, $6, $7, $8, $9)",
        )
        .bind(new.owner.0)
        .bind(new.response_id)
        .bind(new.model)
        .bind(new.input)
        .bind(new.body)
        .bind(new.previous_response_id)
        .bind(new.node.0)
        .bind(now())
        .bind(new.expires_at);
        self.timed(insert.execute(&self.pool)).await?;
        Ok(())
    }

    /// From queued to in progress.
    pub(super) async fn begin(&self, owner: Owner, id: &str, body: &str) -> Result<bool, StoredError> {
        self.turn(owner, id, Status::InProgress, body, "status = 'queued'").await
    }

    /// Ends a running response; `false` where it no longer runs, or is gone. Whoever is first wins.
    pub(super) async fn end(
        &self,
        owner: Owner,
        id: &str,
        status: Status,
        body: &str,
    ) -> Result<bool, StoredError> {
        self.turn(owner, id, status, body, IS_RUNNING).await
    }

    async fn turn(
        &self,
        owner: Owner,
        id: &str,
        status: Status,
        body: &str,
        from: &'static str,
    ) -> Result<bool, StoredError> {
        let statement = format!(
            "UPDATE stored_responses SET status = $3, body = $4, item_ids = $5 WHERE owner_id = $1 AND response_id = $2 AND {from}"
        );
        let update =
            sqlx::query(&statement).bind(owner.0).bind(id).bind(status.name()).bind(body).bind(ids_of(body));
        Ok(self.timed(update.execute(&self.pool)).await?.rows_affected() == 1)
    }

    /// Whether it is still to be generated.
    pub(super) async fn is_wanted(&self, owner: Owner, id: &str) -> Result<bool, StoredError> {
        let statement = format!(
            "SELECT EXISTS (SELECT FROM stored_responses WHERE owner_id = $1 AND response_id = $2 AND {IS_RUNNING})"
        );
        self.timed(sqlx::query_scalar(&statement).bind(owner.0).bind(id).fetch_one(&self.pool)).await
    }

    /// Running responses of dead nodes, and after them those that `node` has had for over a minute; the
    /// last says whether it is `node`'s own.
    pub(super) async fn running_of_dead_nodes_and(
        &self,
        node: NodeIncarnation,
        limit: i64,
    ) -> Result<Vec<(Owner, String, String, bool)>, StoredError> {
        let statement = format!(
            "SELECT owner_id, response_id, body, node = $1 FROM stored_responses
             WHERE {IS_RUNNING} AND (
                 (node = $1 AND created_at < now() - interval '1 minute')
                 OR node IN (SELECT incarnation FROM nodes WHERE ended_at IS NOT NULL))
             ORDER BY node = $1 LIMIT $2"
        );
        let rows: Vec<(Uuid, String, String, bool)> =
            self.timed(sqlx::query_as(&statement).bind(node.0).bind(limit).fetch_all(&self.pool)).await?;
        Ok(rows.into_iter().map(|(owner, id, body, own)| (Owner(owner), id, body, own)).collect())
    }
}

/// The object of a response that nobody generates any more.
pub(super) fn abandoned(body: &str) -> String {
    let message = "The server that generated this response stopped before it was finished.";
    failed(body, "server_error", message)
}

/// The object of a response that the service, in stopping, did not wait for.
pub(super) fn stopped(body: &str) -> String {
    let message = "The service was stopped before this response was finished; create it again.";
    failed(body, "service_stopped", message)
}

/// The object of a response that failed.
pub(super) fn failed(body: &str, code: &str, message: &str) -> String {
    let error: Value = json!({ "code": code, "message": message });
    restate(body, &[("status", "\"failed\"".to_owned()), ("error", error.to_string())])
}

/// The object in another state.
pub(super) fn in_state(body: &str, status: Status) -> String {
    restate(body, &[("status", format!("\"{}\"", status.name()))])
}
