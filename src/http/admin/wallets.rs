//! `/users` and `/users/{user_id}/wallet…`: customers with their balances, and changes of their credit.
//!
//! A balance is never overwritten. Every change is an event of the difference, made once per idempotency key; setting
//! a balance names the one that the operator saw, and is refused where it has moved since.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::GrantSource;
use codexapi_projections::{MAX_PAGE, accounts as account_rows, balances, movements};
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::body::AdminBody;
use super::ids;
use super::{Actor, positions};
use crate::accounts::listing::{self, Customer, MAX_SEARCH_CHARS};
use crate::accounts::{self, AdjustCredit, CreditChange, TakingReason, notes};
use crate::app::App;
use crate::http::error::{ErrorBody, Problem};
use crate::http::movement::MovementLine;
use crate::http::query::{NoQuery, QueryParams};
use crate::named_moment::NamedMoment;

/// Rows on a page where the caller names no number.
const DEFAULT_LIMIT: u32 = 50;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub struct UsersQuery {
    /// Customers on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextBefore` of the page before.
    before: Option<i64>,
    /// How an id, a name or an e-mail address begins, whatever its case.
    search: Option<String>,
}

/// Customers, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsersPage {
    users: Vec<User>,
    /// Pass it as `before` for the next page; absent on the last.
    next_before: Option<i64>,
}

/// A customer and the wallet, as far as the read models have come. Amounts in micro-USD.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct User {
    id: Uuid,
    name: Option<String>,
    email: Option<String>,
    registered_at: DateTime<Utc>,
    active: bool,
    balance_micro: i64,
    #[schema(example = "12.345678")]
    balance_usd: String,
    /// Set aside for running requests.
    held_micro: i64,
    /// Owed for payments that were taken back.
    debt_micro: i64,
    debt_usd: String,
    /// Ever charged for usage, less what was given back.
    charged_micro: i64,
}

/// Customers with balances, held credit and debt.
#[utoipa::path(
    get, path = "/admin/api/users", operation_id = "users", tag = "operator accounts", params(UsersQuery),
    responses((status = 200, body = UsersPage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<UsersPage>, Problem> {
    let params = QueryParams::of(&uri, &["limit", "before", "search"])?;
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(DEFAULT_LIMIT);
    let before = params.cursor("before", "nextBefore")?;
    let search = params.text("search").map(str::trim).filter(|search| !search.is_empty());
    if search.is_some_and(|search| search.chars().count() > MAX_SEARCH_CHARS) {
        let message = format!("`search` has at most {MAX_SEARCH_CHARS} characters.");
        return Err(Problem::invalid("invalid_query", message));
    }
    let page = listing::customers(&app.pool, search, before, limit).await.map_err(Problem::unavailable)?;
    Ok(Json(UsersPage { users: page.rows.into_iter().map(user).collect(), next_before: page.next }))
}

fn user(customer: Customer) -> User {
    User {
        id: customer.account_id,
        name: customer.name,
        email: customer.email,
        registered_at: customer.registered_at,
        active: customer.suspended_at.is_none(),
        balance_micro: customer.balance_micro.0,
        balance_usd: customer.balance_micro.to_string(),
        held_micro: customer.held_micro.0,
        debt_micro: customer.debt_micro.0,
        debt_usd: customer.debt_micro.to_string(),
        charged_micro: customer.charged_micro.0,
    }
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub struct TransactionsQuery {
    /// Movements on this page, 1 to 200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextBefore` of the page before.
    before: Option<i64>,
}

/// A wallet and its movements, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalletTransactions {
    balance_micro: i64,
    balance_usd: String,
    held_micro: i64,
    debt_micro: i64,
    transactions: Vec<WalletTransaction>,
    /// Pass it as `before` for the next page; absent on the last.
    next_before: Option<i64>,
}

/// A movement, with what only operators see of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WalletTransaction {
    #[serde(flatten)]
    line: MovementLine,
    /// What of the usage a plan paid for, and what nothing paid for.
    covered_by_plan_micro: i64,
    shortfall_micro: i64,
    /// What an operator wrote beside it.
    note: Option<String>,
    /// Place in the log.
    position: i64,
}

/// The movements of a customer's credit.
#[utoipa::path(
    get, path = "/admin/api/users/{user_id}/wallet/transactions", operation_id = "wallet_transactions",
    tag = "operator accounts", params(("user_id" = String, Path, description = "The account's id"), TransactionsQuery),
    responses((status = 200, body = WalletTransactions), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn transactions(
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    uri: Uri,
) -> Result<Json<WalletTransactions>, Problem> {
    let account = ids::account_id(&user_id)?;
    let params = QueryParams::of(&uri, &["limit", "before"])?;
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(DEFAULT_LIMIT);
    let before = params.cursor("before", "nextBefore")?;
    if account_rows::get(&app.pool, account.0).await?.is_none() {
        return Err(codexapi_aggregates::account::AccountRefusal::NotRegistered.into());
    }
    let wallet = balances::get(&app.pool, account.0).await?.unwrap_or_default();
    let page = movements::page(&app.pool, account.0, before, limit).await?;
    let ids: Vec<Uuid> = page.rows.iter().filter_map(|row| row.adjustment_id.or(row.grant_id)).collect();
    let mut notes = notes::by_movements(&app.pool, &ids).await.map_err(Problem::unavailable)?;
    let transaction = |row: &movements::Movement| WalletTransaction {
        line: MovementLine::from(row),
        covered_by_plan_micro: row.covered_micro.0,
        shortfall_micro: row.shortfall_micro.0,
        note: row.adjustment_id.or(row.grant_id).and_then(|id| notes.remove(&id)),
        position: row.position,
    };
    Ok(Json(WalletTransactions {
        balance_micro: wallet.balance_micro.0,
        balance_usd: wallet.balance_micro.to_string(),
        held_micro: wallet.held_micro.0,
        debt_micro: wallet.debt_micro.0,
        transactions: page.rows.iter().map(transaction).collect(),
        next_before: page.next,
    }))
}

/// Moves credit up or down: exactly one of `grantMicro` and `takeMicro`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdjustBody {
    /// Micro-USD to grant; pays debt first.
    grant_micro: Option<i64>,
    /// With `grantMicro`: `admin` (the default), `top_up`, `share_credit`, `gumroad`, `referral` or `promo`.
    #[schema(value_type = Option<String>)]
    source: Option<GrantSource>,
    /// With `grantMicro`: when what is left of it expires.
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<NamedMoment>,
    /// Micro-USD to take away; refused where there is less.
    take_micro: Option<i64>,
    /// With `takeMicro`: `granted_in_error`, `duplicate_credit`, `abuse` or `customer_request`.
    #[schema(value_type = Option<String>)]
    reason: Option<TakingReason>,
    /// For other operators, at most 500 characters; kept beside the log, where it can be erased.
    note: Option<String>,
    /// The same key with the same change moves credit once, however often it is sent.
    idempotency_key: String,
}

/// Sets a balance.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetBalance {
    /// The balance there should be, in micro-USD.
    balance_micro: i64,
    /// The balance you saw; where it is another by now, nothing changes.
    seen_micro: i64,
    /// For other operators, at most 500 characters; kept beside the log, where it can be erased.
    note: Option<String>,
    /// The same key with the same balances moves credit once, however often it is sent.
    idempotency_key: String,
}

/// What a change has come to, as it was first made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreditMoved {
    /// The grant's or the adjustment's id; none where the balance was right already.
    movement_id: Option<Uuid>,
    /// What it did to the balance.
    change_micro: i64,
    /// What of a grant paid debt.
    debt_paid_micro: i64,
    balance_micro: i64,
    #[schema(example = "12.345678")]
    balance_usd: String,
    /// The key had been used before; nothing moved this time.
    replayed: bool,
    /// Where its events stand in the log.
    positions: Vec<i64>,
}

/// Grants credit or takes it away, with a reason.
#[utoipa::path(
    post, path = "/admin/api/users/{user_id}/wallet/credit", operation_id = "adjust_wallet_credit",
    tag = "operator accounts", params(("user_id" = String, Path, description = "The account's id")),
    request_body = AdjustBody,
    responses((status = 200, body = CreditMoved), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn adjust(
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    actor: Actor,
    _: NoQuery,
    AdminBody(body): AdminBody<AdjustBody>,
) -> Result<Json<CreditMoved>, Problem> {
    let account_id = ids::account_id(&user_id)?;
    let change = match (body.grant_micro, body.take_micro) {
        (Some(amount), None) if body.reason.is_none() => CreditChange::Up {
            amount_micro: MicroUsd(amount),
            source: body.source.unwrap_or(GrantSource::Admin),
            expires_at: body.expires_at.map(|named| named.0),
        },
        (None, Some(amount)) if body.source.is_none() && body.expires_at.is_none() => {
            let Some(reason) = body.reason else {
                return Err(Problem::invalid("reason_wanted", "`reason` says why credit is taken away."));
            };
            CreditChange::Down { amount_micro: MicroUsd(amount), reason }
        }
        _ => {
            let message = "Send `grantMicro` (with `source`, `expiresAt`) or `takeMicro` (with `reason`), and not both.";
            return Err(Problem::invalid("grant_or_take", message));
        }
    };
    moved(
        &app,
        &actor,
        AdjustCredit {
            account_id,
            change,
            note: body.note,
            idempotency_key: ids::idempotency_key(&body.idempotency_key)?,
        },
    )
    .await
}

/// Sets a balance by an event of the difference: a grant, or an adjustment. Refused where the balance has moved since
/// you saw it, and upwards while there is debt.
#[utoipa::path(
    post, path = "/admin/api/users/{user_id}/wallet", operation_id = "set_wallet_balance", tag = "operator accounts",
    params(("user_id" = String, Path, description = "The account's id")), request_body = SetBalance,
    responses((status = 200, body = CreditMoved), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn set_balance(
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    actor: Actor,
    _: NoQuery,
    AdminBody(body): AdminBody<SetBalance>,
) -> Result<Json<CreditMoved>, Problem> {
    let change = CreditChange::To {
        balance_micro: MicroUsd(body.balance_micro),
        seen_micro: MicroUsd(body.seen_micro),
    };
    let account_id = ids::account_id(&user_id)?;
    let (note, idempotency_key) = (body.note, ids::idempotency_key(&body.idempotency_key)?);
    moved(&app, &actor, AdjustCredit { account_id, change, note, idempotency_key }).await
}

async fn moved(app: &App, actor: &Actor, adjust: AdjustCredit) -> Result<Json<CreditMoved>, Problem> {
    let terms = app.config.wallet.terms();
    let done = accounts::adjust_credit(&app.log, &terms, &actor.metadata, adjust).await?;
    Ok(Json(CreditMoved {
        movement_id: done.movement_id,
        change_micro: done.change_micro.0,
        debt_paid_micro: done.debt_paid_micro.0,
        balance_micro: done.balance_micro.0,
        balance_usd: done.balance_micro.to_string(),
        replayed: done.replayed,
        positions: positions(done.position, done.events),
    }))
}
