//! The price of a call that generates nothing: a purchase from the caller's wallet, where the operator has set one.
//!
//! Generations have it as a line of their charge. Here it is asked of customers on every other route that is billed
//! to whoever calls (`Audience::Payer`), for calls that succeed. Who cannot pay is refused before anything is done; the
//! answer is held back until its price is durably paid. While the price is 0, which it is until it is set, all this
//! costs one look at the price book in memory.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use codexapi_aggregates::ids::{AccountId, PurchaseId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook};
use codexapi_aggregates::wallet::{
    PurchaseItem, Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal,
};
use codexapi_protocols::errors::ErrorKind;
use http::{HeaderName, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use super::auth::Principal;
use super::envelope::RequestId;
use super::error::Problem;
use crate::app::App;
use crate::clock;
use crate::commands::CommandError;
use crate::event_log::IdempotencyKey;

const COST: HeaderName = HeaderName::from_static("x-codexapi-cost-micro");
const BALANCE: HeaderName = HeaderName::from_static("x-codexapi-balance-micro");

/// Answers a call and has it paid.
pub async fn run(app: &App, request: Request, next: Next) -> Response {
    let principal = request.extensions().get::<Principal>().cloned();
    let Some(principal @ Principal::Customer { account_id, .. }) = principal else {
        return next.run(request).await;
    };
    let price = match app.log.read(BOOK_STREAM, PriceBook::per_call_micro).await {
        Ok(MicroUsd::ZERO) => return next.run(request).await,
        Ok(price) => price,
        Err(error) => return Problem::unavailable(error).into_response(),
    };
    let id = request.extensions().get::<RequestId>().cloned().expect("every request has an id");
    if let Err(problem) = refuse_who_cannot_pay(app, account_id, price).await {
        return problem.into_response();
    }
    let mut response = next.run(request).await;
    if !response.status().is_success() {
        return response;
    }
    match pay(app, account_id, &principal, &id, price).await {
        Ok(balance) => {
            response.headers_mut().insert(COST, HeaderValue::from(price.0));
            response.headers_mut().insert(BALANCE, HeaderValue::from(balance.0));
            response
        }
        Err(problem) => problem.into_response(),
    }
}

async fn refuse_who_cannot_pay(app: &App, account_id: AccountId, price: MicroUsd) -> Result<(), Problem> {
    let available = app.log.read(&account_id.to_string(), Wallet::available).await;
    let available = available.map_err(Problem::unavailable)?;
    if available < price {
        return Err(cannot_pay(&WalletRefusal::InsufficientCredit { available, requested: price }));
    }
    Ok(())
}

/// One append with a key of its own: the request's id, which is ours.
async fn pay(
    app: &App,
    account_id: AccountId,
    principal: &Principal,
    id: &RequestId,
    price: MicroUsd,
) -> Result<MicroUsd, Problem> {
    let stream = account_id.to_string();
    let purchase_id = PurchaseId(clock::new_id());
    let key = IdempotencyKey {
        command: "charge_call",
        account: stream.clone(),
        key: id.0.clone(),
        inputs_digest: Sha256::digest(price.0.to_be_bytes()).into(),
        keep_forever: false,
    };
    let terms = app.config.wallet.terms();
    let paid = app
        .log
        .execute_once(&stream, &principal.metadata(id), key, |wallet: &Wallet, now| {
            let action =
                WalletAction::Purchase { purchase_id, item: PurchaseItem::ApiCall, amount_micro: price };
            wallet.decide(WalletCommand { action, terms: terms.clone(), now })
        })
        .await;
    match paid {
        Ok(committed) => Ok(committed.events.last().map_or(MicroUsd::ZERO, WalletEvent::balance)),
        Err(CommandError::Refused(refusal)) => Err(cannot_pay(&refusal)),
        Err(error) => Err(Problem::unavailable(anyhow::anyhow!("a call could not be charged: {error}"))),
    }
}

fn cannot_pay(refusal: &WalletRefusal) -> Problem {
    let message = format!("This call could not be paid for: {refusal}.");
    Problem::new(StatusCode::PAYMENT_REQUIRED, ErrorKind::InsufficientCredit, "insufficient_credit", message)
}
