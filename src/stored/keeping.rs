//! Keeping answers: what is written down of a finished generation, and that it never fails one.

use anyhow::Context;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::assemble::Assembler;
use codexapi_protocols::request::ParsedRequest;
use codexapi_protocols::restate::restate;
use serde::Deserialize;
use serde_json::Value;

use super::items::ids_of;
use super::{Metadata, Owner, Status, Stored, StoredError, is_id, now};

/// A finished response.
#[derive(Clone, Debug)]
pub struct NewResponse {
    /// The response object as the client got it.
    pub body: Bytes,
    /// The whole input as a JSON array, earlier responses' included.
    pub input: String,
    pub previous_response_id: Option<String>,
    pub generation_id: Option<GenerationId>,
}

/// A finished chat completion.
#[derive(Clone, Debug)]
pub struct NewCompletion {
    /// The completion object as the client got it.
    pub body: Bytes,
    /// The request's messages as a JSON array.
    pub messages: String,
    pub metadata: Metadata,
    pub generation_id: Option<GenerationId>,
}

/// What is known before an answer comes: whose it will be and what was asked. Small: the request is
/// shared, not copied.
#[derive(Clone, Debug)]
pub struct Keep {
    owner: Owner,
    request: ParsedRequest,
    previous_response_id: Option<String>,
    metadata: Metadata,
}

/// What every answer says of itself.
#[derive(Deserialize)]
struct Said {
    id: String,
    model: String,
    #[serde(default)]
    status: Option<Status>,
}

impl Keep {
    /// `None` where the answer is not to be kept. `request` is the expanded one; `previous_response_id`
    /// is that of the request as it came.
    ///
    /// # Errors
    /// `BadMetadata`, of a completion.
    pub fn of(
        stored: &Stored,
        owner: Owner,
        request: &ParsedRequest,
        previous_response_id: Option<String>,
    ) -> Result<Option<Self>, StoredError> {
        if !request.is_kept() || stored.kept_for.is_none() {
            return Ok(None);
        }
        let metadata = match (request.protocol, request.metadata()) {
            (Protocol::Chat, Some(json)) => Metadata::parse(json)?,
            // A response carries its own in its body.
            (Protocol::Chat | Protocol::Responses | Protocol::Completions | Protocol::Messages, _) => {
                Metadata::default()
            }
        };
        Ok(Some(Self { owner, request: request.clone(), previous_response_id, metadata }))
    }

    /// What the answer's own members should say, to the client too: the provider was told otherwise.
    pub fn restated(&self) -> Vec<(&'static str, String)> {
        restated(self.request.protocol, self.previous_response_id.as_deref(), false)
    }

    /// Reads a streamed answer for what is to be kept.
    pub fn assembler(&self, stored: &Stored) -> Assembler {
        Assembler::new(self.request.protocol, stored.limit_bytes)
    }

    /// Keeps the whole answer, as the client gets it.
    pub async fn keep(self, stored: &Stored, body: Bytes, generation_id: Option<GenerationId>) {
        let input = self.request.input_json();
        let Self { owner, metadata, previous_response_id, .. } = self;
        match self.request.protocol {
            Protocol::Responses => {
                let new = NewResponse { body, input, previous_response_id, generation_id };
                stored.keep_response(owner, new).await;
            }
            Protocol::Chat => {
                let new = NewCompletion { body, messages: input, metadata, generation_id };
                stored.keep_completion(owner, new).await;
            }
            Protocol::Completions | Protocol::Messages => {}
        }
    }
}

/// What a stored response's own members say, whatever its provider was told.
pub(super) fn restated(
    protocol: Protocol,
    previous_response_id: Option<&str>,
    background: bool,
) -> Vec<(&'static str, String)> {
    if protocol != Protocol::Responses {
        return vec![];
    }
    let mut members = vec![
        ("store", "true".to_owned()),
        ("previous_response_id", Value::from(previous_response_id).to_string()),
    ];
    if background {
        members.push(("background", "true".to_owned()));
    }
    members
}

impl Stored {
    /// Keeps a response until it expires. A failure is logged and changes nothing for the generation.
    pub async fn keep_response(&self, owner: Owner, new: NewResponse) {
        if let Err(error) = self.try_keep_response(owner, new).await {
            tracing::warn!(error = %format!("{error:#}"), "a response was not stored");
        }
    }

    /// Keeps a completion until it expires. A failure is logged and changes nothing for the generation.
    pub async fn keep_completion(&self, owner: Owner, new: NewCompletion) {
        if let Err(error) = self.try_keep_completion(owner, new).await {
            tracing::warn!(error = %format!("{error:#}"), "a chat completion was not stored");
        }
    }

    async fn try_keep_response(&self, owner: Owner, new: NewResponse) -> anyhow::Result<()> {
        let now = now();
        let Some((body, said, expires_at)) = self.readable(&new.body, new.input.len(), now)? else {
            return Ok(());
        };
        let status = said.status.unwrap_or(Status::Completed);
        // A provider that repeats an id means its latest answer by it.
        let insert = sqlx::query(
            "INSERT INTO stored_responses
                 (owner_id, response_id, model, status, input, body, previous_response_id, generation_id,
                  created_at, expires_at, item_ids)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (owner_id, response_id) DO UPDATE SET
                 model = excluded.model, status = excluded.status, input = excluded.input,
                 body = excluded.body, previous_response_id = excluded.previous_response_id,
                 generation_id = excluded.generation_id, created_at = excluded.created_at,
                 expires_at = excluded.expires_at, item_ids = excluded.item_ids
             WHERE NOT stored_responses.background",
        )
        .bind(owner.0)
        .bind(said.id)
        .bind(said.model)
        .bind(status.name())
        .bind(new.input)
        .bind(body)
        .bind(new.previous_response_id)
        .bind(new.generation_id.map(|id| id.0))
        .bind(now)
        .bind(expires_at)
        .bind(ids_of(body));
        self.timed(insert.execute(&self.pool)).await?;
        Ok(())
    }

    async fn try_keep_completion(&self, owner: Owner, new: NewCompletion) -> anyhow::Result<()> {
        let now = now();
        let Some((body, said, expires_at)) = self.readable(&new.body, new.messages.len(), now)? else {
            return Ok(());
        };
        let insert = sqlx::query(
            "INSERT INTO stored_completions
                 (owner_id, completion_id, model, messages, body, metadata, generation_id, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9)
             ON CONFLICT (owner_id, completion_id) DO UPDATE SET
                 model = excluded.model, messages = excluded.messages, body = excluded.body,
                 metadata = excluded.metadata, generation_id = excluded.generation_id,
                 created_at = excluded.created_at, expires_at = excluded.expires_at",
        )
        .bind(owner.0)
        .bind(said.id)
        .bind(said.model)
        .bind(new.messages)
        .bind(body)
        .bind(new.metadata.to_json())
        .bind(new.generation_id.map(|id| id.0))
        .bind(now)
        .bind(expires_at);
        self.timed(insert.execute(&self.pool)).await?;
        Ok(())
    }

    /// The answer as text, what it says of itself and when it expires; `None` where it is not kept.
    fn readable<'a>(
        &self,
        body: &'a Bytes,
        input_bytes: usize,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<(&'a str, Said, DateTime<Utc>)>> {
        let Some(expires_at) = self.expires_at(now) else { return Ok(None) };
        if !self.fits(body.len() + input_bytes) {
            return Ok(None);
        }
        let text = std::str::from_utf8(body).context("the answer is no text")?;
        let said: Said = serde_json::from_str(text).context("the answer does not say what it is")?;
        anyhow::ensure!(is_id(&said.id), "the answer's id cannot be looked up");
        Ok(Some((text, said, expires_at)))
    }
}

/// A whole answer with its own members restated.
pub(super) fn restated_body(body: Bytes, members: &[(&'static str, String)]) -> Bytes {
    match std::str::from_utf8(&body) {
        Ok(text) if !members.is_empty() => restate(text, members).into(),
        Ok(_) | Err(_) => body,
    }
}
