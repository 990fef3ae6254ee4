//! What the log says became of a customer's generations.

use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::usage::{GenerationSettled, UsageEvent};
use codexapi_aggregates::wallet::{Wallet, WalletEvent};

use super::{Customer, Deployment};
use crate::harness::wait_for;

/// One customer's money and the events that made it.
#[derive(Debug)]
pub struct Ledger {
    pub wallet: Vec<WalletEvent>,
    pub settled: Vec<GenerationSettled>,
}

impl Ledger {
    pub fn holds(&self) -> usize {
        self.wallet.iter().filter(|event| matches!(event, WalletEvent::HoldPlaced { .. })).count()
    }

    pub fn releases(&self) -> usize {
        self.wallet.iter().filter(|event| matches!(event, WalletEvent::HoldReleased { .. })).count()
    }

    pub fn charges(&self) -> usize {
        self.wallet.iter().filter(|event| matches!(event, WalletEvent::UsageCharged { .. })).count()
    }

    /// micro-USD.
    pub fn shortfall(&self) -> i64 {
        self.settled.iter().map(|settled| settled.shortfall_micro.0).sum()
    }

    /// The one settlement, where there must be exactly one and nothing else.
    pub fn only_settlement(&self) -> &GenerationSettled {
        let counts = (self.holds(), self.charges(), self.releases(), self.settled.len());
        assert_eq!(counts, (1, 1, 0, 1), "holds, charges, releases, settlements: {self:#?}");
        &self.settled[0]
    }

    /// The one hold was freed and nothing was settled.
    pub fn assert_only_released(&self) {
        let counts = (self.holds(), self.charges(), self.releases(), self.settled.len());
        assert_eq!(counts, (1, 0, 1, 0), "holds, charges, releases, settlements: {self:#?}");
    }
}

impl Deployment {
    /// micro-USD.
    pub async fn balance(&self, account_id: AccountId) -> i64 {
        self.app.log.read(&account_id.to_string(), |wallet: &Wallet| wallet.balance().0).await.expect("read")
    }

    /// Events of this type in the customer's wallet.
    pub async fn count(&self, event_type: &str, account_id: AccountId) -> i64 {
        sqlx::query_scalar("select count(*) from events where event_type = $1 and aggregate_id = $2")
            .bind(event_type)
            .bind(account_id.to_string())
            .fetch_one(&self.app.pool)
            .await
            .expect("counted")
    }

    /// Everything on record about the customer.
    pub async fn events_of(&self, customer: &Customer) -> i64 {
        sqlx::query_scalar("select count(*) from events where aggregate_id like $1 || '%'")
            .bind(customer.account_id.to_string())
            .fetch_one(&self.app.pool)
            .await
            .expect("counted")
    }

    /// Waits until the customer's first hold is durable.
    pub async fn held(&self, account_id: AccountId) {
        wait_for("a hold", async || (self.count("wallet.hold_placed", account_id).await > 0).then_some(()))
            .await;
    }

    /// Waits until none of the customer's generations is under way.
    pub async fn settled(&self, account_id: AccountId) {
        let wallet = account_id.to_string();
        wait_for("no open hold", async || {
            let open = self.app.log.read(&wallet, |wallet: &Wallet| wallet.open_holds().count()).await;
            (open.expect("read") == 0).then_some(())
        })
        .await;
    }

    /// The customer's events once nothing is under way any more.
    pub async fn ledger(&self, account_id: AccountId) -> Ledger {
        self.settled(account_id).await;
        let wallet = self.payloads("aggregate_type = 'wallet' and aggregate_id = $1", account_id).await;
        let usage: Vec<UsageEvent> =
            self.payloads("aggregate_type = 'usage' and aggregate_id like $1 || ':%'", account_id).await;
        let settled = usage.into_iter().filter_map(|event| match event {
            UsageEvent::GenerationSettled(settled) => Some(*settled),
            UsageEvent::GenerationOpened { .. }
            | UsageEvent::AttemptStarted { .. }
            | UsageEvent::GenerationReleased { .. }
            | UsageEvent::ChargeReversed { .. }
            | UsageEvent::ReviewDismissed { .. } => None,
        });
        Ledger { wallet, settled: settled.collect() }
    }

    async fn payloads<E: serde::de::DeserializeOwned>(&self, of: &str, account_id: AccountId) -> Vec<E> {
        let select = format!("select payload::text from events where {of} order by position");
        let rows: Vec<String> = sqlx::query_scalar(&select)
            .bind(account_id.to_string())
            .fetch_all(&self.app.pool)
            .await
            .expect("events");
        rows.iter().map(|row| serde_json::from_str(row).expect("an event")).collect()
    }
}
