//! Payments as their streams tell of them, without a payment provider.

use codexapi::clock;
use codexapi::processes::rewards::{Looked, Rewards};
use codexapi_aggregates::bonus::{self, Bonuses};
use codexapi_aggregates::ids::{AccountId, PaymentId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{
    self, Channel, Currency, ObservedPayment, ObservedReversal, Payment, PaymentAction, PaymentCommand,
    Purpose, RefundStatus, Reversal, StartPayment,
};
use codexapi_aggregates::wallet::Wallet;

use super::Shop;
use crate::http::operator;

impl Shop {
    /// A payment for twice its price in credit, started and not paid yet.
    pub(super) async fn start(&self, account_id: AccountId, dollars: i64) -> PaymentId {
        let start = order(account_id, dollars);
        let payment_id = start.payment_id;
        self.tell(payment_id, PaymentAction::StartPayment(Box::new(start))).await;
        payment_id
    }

    /// The same with a code; refused where that is not good for it.
    pub(super) async fn start_with_code(&self, dollars: i64, code: &str) -> Result<PaymentId, String> {
        let start = order(self.account_id, dollars);
        let payment_id = start.payment_id;
        let decide = |payment: &Payment, bonuses: &Bonuses, now| {
            bonus::start_with_code(payment, bonuses, start.clone(), code, now)
                .map(|(payment_events, bonus_events)| (payment_events, bonus_events, ()))
        };
        let (stream, account) = (payment_id.to_string(), self.account_id.to_string());
        let started = self.service.app.log.execute_pair(&stream, &account, &operator(), decide).await;
        started.map(|_| payment_id).map_err(|error| error.to_string())
    }

    pub(super) async fn tell(&self, payment_id: PaymentId, action: PaymentAction) {
        let decide = |payment: &Payment, now| {
            payment.decide(PaymentCommand { payment_id, action: action.clone(), now })
        };
        let told = self.service.app.log.execute(&payment_id.to_string(), &operator(), decide).await;
        told.expect("allowed");
    }

    pub(super) async fn confirm(&self, account_id: AccountId, payment_id: PaymentId) {
        let log = &self.service.app.log;
        let price = |payment: &Payment| payment.started().expect("started").price_micro;
        let observed = ObservedPayment {
            payment_id,
            account_id,
            session_id: None,
            payment_intent_id: None,
            paid: true,
            amount_micro: log.read(&payment_id.to_string(), price).await.expect("readable"),
            currency: Some(Currency::Usd),
            livemode: false,
            period: None,
        };
        let terms = self.service.app.config.wallet.terms();
        let decide = |payment: &Payment, wallet: &Wallet, now| {
            payment::confirm(payment, wallet, &observed, &terms, now)
        };
        let (stream, wallet) = (payment_id.to_string(), account_id.to_string());
        log.execute_pair(&stream, &wallet, &operator(), decide).await.expect("confirmed");
    }

    pub(super) async fn pay(&self, account_id: AccountId, dollars: i64) -> PaymentId {
        let payment_id = self.start(account_id, dollars).await;
        self.confirm(account_id, payment_id).await;
        payment_id
    }

    /// A refund of that many dollars, or one that came back.
    pub(super) async fn refund(
        &self,
        account_id: AccountId,
        payment_id: PaymentId,
        dollars: i64,
        status: RefundStatus,
    ) {
        let observed = ObservedReversal {
            payment_id,
            reversal: Reversal::Refund { refund_id: format!("re_{dollars}"), status },
            amount_micro: MicroUsd::dollars(dollars),
            currency: Some(Currency::Usd),
            livemode: false,
        };
        let terms = self.service.app.config.wallet.terms();
        let decide = |payment: &Payment, wallet: &Wallet, now| {
            payment::reverse(payment, wallet, &observed, &terms, now)
        };
        let (stream, wallet) = (payment_id.to_string(), account_id.to_string());
        self.service.app.log.execute_pair(&stream, &wallet, &operator(), decide).await.expect("recorded");
    }

    pub(super) fn rewards(&self) -> Rewards {
        let app = &self.service.app;
        let referral_basis_points = app.config.bonuses.referral_basis_points;
        Rewards { pool: app.pool.clone(), log: app.log.clone(), referral_basis_points }
    }

    /// Has the process answer everything that has happened.
    pub(super) async fn reward(&self) {
        let rewards = self.rewards();
        while rewards.step().await.expect("answered") == Looked::More {}
        self.settle_down().await;
    }
}

fn order(account_id: AccountId, dollars: i64) -> StartPayment {
    StartPayment {
        payment_id: PaymentId(clock::new_id()),
        account_id,
        channel: Channel::Checkout,
        purpose: Purpose::TokenCredit { credit_micro: MicroUsd::dollars(2 * dollars) },
        plan_id: Some("pack".into()),
        quantity: 1,
        price_micro: MicroUsd::dollars(dollars),
        currency: Currency::Usd,
        livemode: false,
    }
}
