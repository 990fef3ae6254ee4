//! `/queue`: what the rules let pass but a person should look at, and what is decided about it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use codexapi_aggregates::settlement::SettlementRefusal;
use codexapi_projections::queue::{self as entries, QueueEntry, QueueReason, Resolution};
use codexapi_protocols::errors::ErrorKind;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::body::AdminBody;
use super::{Actor, of_change};
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::{NoQuery, QueryParams};
use crate::queue::{self, QueueAction, QueueError, QueueResolved};

/// Entries on a page where the caller names no number, and at most.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;
/// Entries that one request decides about: a page of them.
const MOST_ENTRIES: usize = MAX_LIMIT as usize;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct QueueQuery {
    /// Entries on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    #[expect(dead_code, reason = "describes the query")]
    limit: Option<u32>,
    /// `nextBefore` of the page before.
    #[expect(dead_code, reason = "describes the query")]
    before: Option<i64>,
    /// `open` (by default) or `all`.
    #[expect(dead_code, reason = "describes the query")]
    show: Option<String>,
}

/// What wants an operator's eye, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueuePage {
    /// Entries that are not resolved, on all pages.
    open: i64,
    entries: Vec<QueuedEntry>,
    /// Pass it as `before` for the next page; absent on the last.
    next_before: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueuedEntry {
    /// Its event's place in the log.
    id: i64,
    /// `hold_expired`, `usage_rejected`, `usage_zero`, `provider_id_repeated`.
    #[schema(value_type = Vec<String>)]
    reasons: Vec<QueueReason>,
    generation_id: Uuid,
    /// Absent where the operator paid.
    account_id: Option<Uuid>,
    /// Of a hold that expired, the last one asked; absent of older ones.
    provider: Option<String>,
    /// The provider's name of it.
    model: Option<String>,
    provider_response_id: Option<String>,
    /// The generation that came with this provider's response id first.
    first_generation_id: Option<Uuid>,
    /// What was held, for an expired hold; else what was charged.
    amount_micro: i64,
    amount_usd: String,
    /// What the provider charges us; 0 for an expired hold, of which nobody knows.
    provider_cost_micro: i64,
    at: DateTime<Utc>,
    /// `settled_late`, `reversed`, `released` or `dismissed`; absent while it is open.
    #[schema(value_type = Option<String>)]
    resolution: Option<Resolution>,
    resolved_at: Option<DateTime<Utc>>,
}

/// What is decided about an entry.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveEntry {
    action: ActionName,
    /// Of `settle`, and of it alone: the tokens to charge, as the provider's own records show them.
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionName {
    /// Charges an expired hold for the tokens given, at most its worst case.
    Settle,
    /// An expired hold costs nothing, and cannot be settled any more.
    Release,
    /// The whole charge goes back to where it came from.
    Reverse,
    /// Nothing is done; the entry is closed.
    Dismiss,
}

/// One decision about many entries.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveEntries {
    action: SharedAction,
    /// Of 1 to 200 entries.
    #[schema(min_items = 1, max_items = 200)]
    ids: Vec<i64>,
}

/// What can be decided alike about many: tokens are of one generation alone.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SharedAction {
    /// Expired holds cost nothing, and cannot be settled any more.
    Release,
    /// The whole charges go back to where they came from.
    Reverse,
    /// Nothing is done; the entries are closed.
    Dismiss,
}

/// What came of each entry, in the order they were given in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntriesResolved {
    resolved: Vec<EntryResolved>,
    refused: Vec<EntryRefused>,
}

/// An entry about which this cannot be decided; it stands as it stood.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EntryRefused {
    id: i64,
    /// Machine-readable reason, snake case.
    code: &'static str,
    message: String,
}

/// What a decision has come to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryResolved {
    id: i64,
    /// How the entry stands from now on.
    #[schema(value_type = String)]
    resolution: Resolution,
    /// It had been decided so before; nothing happened this time.
    replayed: bool,
    /// Charged, or given back.
    amount_micro: i64,
    amount_usd: String,
    /// Where the last event stands in the log; none where there was nothing to do.
    positions: Vec<i64>,
}

/// What wants an operator's eye: expired holds, usage nobody can believe, response ids a provider gave before.
#[utoipa::path(
    get, path = "/admin/api/queue", operation_id = "list_queue", tag = "operator money", params(QueueQuery),
    responses((status = 200, body = QueuePage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<QueuePage>, Problem> {
    let params = QueryParams::of(&uri, &["limit", "before", "show"])?;
    let limit = params.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let before = params.cursor("before", "nextBefore")?;
    let open_only = match params.text("show") {
        None | Some("open") => true,
        Some("all") => false,
        Some(_) => return Err(Problem::invalid("invalid_query", "`show` is `open` or `all`.")),
    };
    let page = entries::page(&app.pool, open_only, before, limit).await?;
    let open = entries::open_count(&app.pool).await?;
    let next_before = page.next;
    Ok(Json(QueuePage { open, entries: page.rows.into_iter().map(QueuedEntry::from).collect(), next_before }))
}

/// Resolves an entry, once; the same decision again answers as the first time, another one is refused.
#[utoipa::path(
    post, path = "/admin/api/queue/{entry_id}/resolve", operation_id = "resolve_queue_entry", tag = "operator money",
    params(("entry_id" = i64, Path, description = "The entry's `id`")), request_body = ResolveEntry,
    responses((status = 200, body = EntryResolved), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn resolve(
    State(app): State<Arc<App>>,
    Path(entry_id): Path<String>,
    actor: Actor,
    _: NoQuery,
    AdminBody(body): AdminBody<ResolveEntry>,
) -> Result<Json<EntryResolved>, Problem> {
    let id =
        entry_id.parse().map_err(|_| Problem::invalid("invalid_entry_id", "An entry's id is a number."))?;
    let action = body.read()?;
    let terms = app.config.wallet.terms();
    let resolved = queue::resolve(&app.log, &terms, &actor.metadata, id, action).await?;
    Ok(Json(EntryResolved::of(id, &resolved)))
}

/// Decides alike about many entries, each by itself and once: what is refused stops no other. Where an answer fails to
/// come, the same request again decides about the rest.
#[utoipa::path(
    post, path = "/admin/api/queue/resolve", operation_id = "resolve_queue_entries", tag = "operator money",
    request_body = ResolveEntries,
    responses((status = 200, body = EntriesResolved), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn resolve_many(
    State(app): State<Arc<App>>,
    actor: Actor,
    _: NoQuery,
    AdminBody(body): AdminBody<ResolveEntries>,
) -> Result<Json<EntriesResolved>, Problem> {
    if !(1..=MOST_ENTRIES).contains(&body.ids.len()) {
        let message = format!("`ids` holds 1 to {MOST_ENTRIES} entries, not {}.", body.ids.len());
        return Err(Problem::invalid("invalid_ids", message));
    }
    let (terms, action) = (app.config.wallet.terms(), QueueAction::from(body.action));
    let decided = queue::resolve_many(&app.log, &terms, &actor.metadata, &body.ids, action).await?;
    let mut told = EntriesResolved { resolved: vec![], refused: vec![] };
    for (id, decided) in body.ids.into_iter().zip(decided) {
        match decided.map_err(Problem::from) {
            Ok(resolved) => told.resolved.push(EntryResolved::of(id, &resolved)),
            Err(Problem { code, message, .. }) => told.refused.push(EntryRefused { id, code, message }),
        }
    }
    Ok(Json(told))
}

impl EntryResolved {
    fn of(id: i64, resolved: &QueueResolved) -> Self {
        Self {
            id,
            resolution: resolved.resolution,
            replayed: resolved.replayed,
            amount_micro: resolved.amount_micro.0,
            amount_usd: resolved.amount_micro.to_string(),
            positions: of_change(resolved.position),
        }
    }
}

impl From<SharedAction> for QueueAction {
    fn from(action: SharedAction) -> Self {
        match action {
            SharedAction::Release => Self::Release,
            SharedAction::Reverse => Self::Reverse,
            SharedAction::Dismiss => Self::Dismiss,
        }
    }
}

impl ResolveEntry {
    fn read(self) -> Result<QueueAction, Problem> {
        match (self.action, self.input_tokens, self.output_tokens) {
            (ActionName::Settle, Some(input_tokens), Some(output_tokens)) => {
                Ok(QueueAction::Settle { input_tokens, output_tokens })
            }
            (ActionName::Settle, _, _) => {
                let message = "`settle` wants `inputTokens` and `outputTokens`: what is to be charged.";
                Err(Problem::invalid("tokens_missing", message))
            }
            (ActionName::Release, None, None) => Ok(QueueAction::Release),
            (ActionName::Reverse, None, None) => Ok(QueueAction::Reverse),
            (ActionName::Dismiss, None, None) => Ok(QueueAction::Dismiss),
            (ActionName::Release | ActionName::Reverse | ActionName::Dismiss, _, _) => {
                let message =
                    "`inputTokens` and `outputTokens` are of `settle`; leave them out of other actions.";
                Err(Problem::invalid("tokens_unwanted", message))
            }
        }
    }
}

impl From<QueueEntry> for QueuedEntry {
    fn from(entry: QueueEntry) -> Self {
        Self {
            id: entry.position,
            reasons: entry.reasons,
            generation_id: entry.generation_id,
            account_id: entry.account_id,
            provider: entry.provider,
            model: entry.model,
            provider_response_id: entry.provider_response_id,
            first_generation_id: entry.first_generation_id,
            amount_micro: entry.amount_micro.0,
            amount_usd: entry.amount_micro.to_string(),
            provider_cost_micro: entry.provider_cost_micro.0,
            at: entry.at,
            resolution: entry.resolution,
            resolved_at: entry.resolved_at,
        }
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        let message = error.to_string();
        let conflict =
            |code, message: String| Self::new(StatusCode::CONFLICT, ErrorKind::InvalidRequest, code, message);
        match error {
            QueueError::NoEntry { .. } => {
                Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "entry_not_found", message)
            }
            QueueError::Resolved { .. } => conflict("entry_resolved", message),
            QueueError::DecidedOtherwise { .. } => conflict("decided_otherwise", message),
            QueueError::NotAHold { .. } => conflict("no_expired_hold", message),
            QueueError::NothingCharged { .. } => conflict("nothing_charged", message),
            QueueError::OperatorsOwn { .. } => conflict("operators_own", message),
            QueueError::TooManyTokens { .. } => Self::invalid("too_many_tokens", message),
            QueueError::Refused(SettlementRefusal::Wallet(_)) => conflict("refused_by_wallet", message),
            QueueError::Refused(SettlementRefusal::Usage(_)) => conflict("refused_by_usage", message),
            QueueError::Read(error) => error.into(),
            QueueError::Command(error) => error.into(),
            QueueError::Failed(cause) => Self::failed(cause),
        }
    }
}

impl From<SettlementRefusal> for Problem {
    fn from(refusal: SettlementRefusal) -> Self {
        QueueError::Refused(refusal).into()
    }
}
