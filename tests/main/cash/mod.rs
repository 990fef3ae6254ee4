//! Real money, and what is given beyond what is paid for, over HTTP.

mod codes;
pub mod fake_gumroad;
mod gumroad;
mod paying;
mod referral;
mod share_credit;
mod token_purchase;
mod wallet;

use codexapi::clock;
use codexapi::verify::{self, HoldTerms, Report, VerifyOptions};
use codexapi_aggregates::cash::{CashAction, CashCommand, CashWallet};
use codexapi_aggregates::ids::{AccountId, GrantId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::{READ_MODELS, checkpoint};
use http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::harness::PATIENCE;
use crate::http::{ADMIN_TOKEN, Service, bearer, operator};

/// A service with one customer.
struct Shop {
    service: Service,
    account_id: AccountId,
    token: String,
}

impl Shop {
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    async fn open_with(settings: &[(&str, &str)]) -> Self {
        let service = Service::start_with(settings).await;
        let (account_id, token) = customer(&service).await;
        Self { service, account_id, token }
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.service.get(path, &[("authorization", &bearer(&self.token))]).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        post_as(&self.service, &self.token, path, body).await
    }

    /// Status and code of a refused POST.
    async fn refused(&self, path: &str, body: &Value) -> (u16, String) {
        refusal(self.post(path, body).await)
    }

    /// An operator's POST, under one of the prefixes.
    async fn operate(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let path = format!("/admin-api/v1{path}");
        self.service.post(&path, &[("x-api-key", ADMIN_TOKEN)], body.to_string()).await
    }

    /// An operator's GET, under the other.
    async fn inspect(&self, path: &str) -> Value {
        let path = format!("/admin/api{path}");
        let (status, body) = self.service.get(&path, &[("x-api-key", ADMIN_TOKEN)]).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Has the Cash Wallet do something that it must allow.
    async fn cash(&self, action: CashAction) {
        let decide = |cash: &CashWallet, now| cash.decide(CashCommand { action: action.clone(), now });
        let stream = self.account_id.to_string();
        self.service.app.log.execute(&stream, &operator(), decide).await.expect("allowed");
    }

    /// A confirmed payment into the Cash Wallet; its id.
    async fn pay_in(&self, dollars: i64) -> GrantId {
        let payment_id = GrantId(Uuid::from_u128(clock::new_id().as_u128()));
        self.cash(CashAction::TopUp { payment_id, amount_micro: MicroUsd::dollars(dollars) }).await;
        payment_id
    }

    /// Waits until every read model has all of the log.
    async fn settle_down(&self) {
        let pool = &self.service.app.pool;
        let head: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from events")
            .fetch_one(pool)
            .await
            .expect("the log's head");
        for model in READ_MODELS {
            let wait = checkpoint::wait_for(pool, model.name, head, PATIENCE).await;
            assert!(wait.expect("readable"), "{} did not reach {head}", model.name);
        }
    }

    async fn verify(&self) -> Report {
        self.settle_down().await;
        let options = VerifyOptions::new(HoldTerms::standard(clock::now()));
        verify::run(&self.service.app.pool, &options).await.expect("verify can be carried out")
    }

    /// Events of a type there are.
    async fn count(&self, event_type: &str) -> i64 {
        sqlx::query_scalar("select count(*) from events where event_type = $1")
            .bind(event_type)
            .fetch_one(&self.service.app.pool)
            .await
            .expect("a number")
    }
}

/// A customer's id and a token that works.
async fn customer(service: &Service) -> (AccountId, String) {
    let created = service.customer().await;
    (created.account_id, created.system_token.token.reveal().to_owned())
}

async fn post_as(service: &Service, token: &str, path: &str, body: &Value) -> (StatusCode, Value) {
    service.post(path, &[("authorization", &bearer(token))], body.to_string()).await
}

fn refusal((status, answer): (StatusCode, Value)) -> (u16, String) {
    let code = answer["error"]["code"].as_str().unwrap_or_else(|| panic!("not refused: {answer}"));
    (status.as_u16(), code.to_owned())
}
