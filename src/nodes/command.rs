//! What travels between nodes: the few hot commands, complete, so that any node decides them alike.
//!
//! Each has one function that runs it on a log, for the node that makes it and for the home it is sent to. Running
//! twice is like running once: a generation has one hold, each attempt one number, and is ended once.

use std::time::Instant;

use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, GenerationId, PlanId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::usage::{Attempt, Payer, TokenUsage, UsageRefusal};
use codexapi_aggregates::wallet::{
    HoldLimits, KeyUseNow, PlaceHold, Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal,
    WalletTerms,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::commands::{Call, CommandError};
use crate::event_log::EventLog;

/// A command of one payer that may run on another node.
pub trait NodeCommand: Serialize + DeserializeOwned + Send + Sync {
    /// What it is called between nodes.
    const NAME: &'static str;
    /// Whether what waits for credit is to be asked again after it.
    const FREES_CREDIT: bool;
    type Done: Serialize + DeserializeOwned + Send;
    type Refusal: Serialize + DeserializeOwned + std::error::Error + Send;

    /// An operator's command has no home.
    fn payer(&self) -> Payer;

    /// Runs it on `log`; not decided after `not_after`.
    fn run(
        &self,
        log: &EventLog,
        not_after: Option<Instant>,
    ) -> impl Future<Output = Result<Self::Done, CommandError<Self::Refusal>>> + Send;
}

/// What a home says to a command.
#[derive(Serialize, Deserialize)]
pub enum Answer<T, R> {
    Done(T),
    Refused(R),
}

/// Sets a customer's credit aside for a generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldCredit {
    pub account_id: AccountId,
    pub hold: PlaceHold,
    pub terms: WalletTerms,
    pub metadata: Metadata,
}

/// A hold as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub worst_micro: MicroUsd,
    pub balance_micro: MicroUsd,
    pub plan_id: Option<PlanId>,
    /// What the key has used with it, where it is limited.
    pub key_use: Option<KeyUseNow>,
}

impl NodeCommand for HoldCredit {
    const NAME: &'static str = "hold";
    const FREES_CREDIT: bool = false;
    type Done = Held;
    type Refusal = WalletRefusal;

    fn payer(&self) -> Payer {
        Payer::Wallet { account_id: self.account_id }
    }

    async fn run(
        &self,
        log: &EventLog,
        not_after: Option<Instant>,
    ) -> Result<Held, CommandError<WalletRefusal>> {
        let wallet_stream = self.account_id.to_string();
        let call = Call::new(&self.metadata).not_after(not_after);
        let committed = log
            .execute(&wallet_stream, call, |wallet: &Wallet, now| {
                let action = WalletAction::PlaceHold(Box::new(self.hold.clone()));
                match wallet.decide(WalletCommand { action, terms: self.terms.clone(), now }) {
                    // Placed before, by whichever node, and this is that very request again.
                    Err(WalletRefusal::HoldExists { .. }) if self.is_held_in(wallet) => Ok(vec![]),
                    decided => decided,
                }
            })
            .await?;
        let mut held = match held_in(&committed.events) {
            Some(held) => held,
            None => self.held_before(log, &wallet_stream).await?,
        };
        if self.hold.limits != HoldLimits::default() {
            let key_use = |wallet: &Wallet| wallet.key_use(self.hold.key_id, clock::now());
            held.key_use = Some(log.read(&wallet_stream, key_use).await.map_err(CommandError::Failed)?);
        }
        Ok(held)
    }
}

impl HoldCredit {
    fn is_held_in(&self, wallet: &Wallet) -> bool {
        wallet.open_hold(self.hold.generation_id).is_some_and(|open| open.node == self.hold.node)
    }

    async fn held_before(&self, log: &EventLog, stream: &str) -> Result<Held, CommandError<WalletRefusal>> {
        let generation_id = self.hold.generation_id;
        let held = |wallet: &Wallet| {
            let open = wallet.open_hold(generation_id)?;
            let plan_id = open.plan.as_ref().map(|cover| cover.plan_id.clone());
            let (worst_micro, balance_micro) = (open.worst_micro, wallet.balance());
            Some(Held { worst_micro, balance_micro, plan_id, key_use: None })
        };
        let held = log.read(stream, held).await.map_err(CommandError::Failed)?;
        held.ok_or(CommandError::Refused(WalletRefusal::HoldExists { generation_id }))
    }
}

fn held_in(events: &[WalletEvent]) -> Option<Held> {
    events.iter().find_map(|event| match event {
        WalletEvent::HoldPlaced { worst_micro, balance_micro, plan, .. } => Some(Held {
            worst_micro: *worst_micro,
            balance_micro: *balance_micro,
            plan_id: plan.as_ref().map(|cover| cover.plan_id.clone()),
            key_use: None,
        }),
        _ => None,
    })
}

/// Puts a further attempt of a generation on record before it is dispatched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordAttempt {
    pub generation_id: GenerationId,
    pub attempt: Attempt,
    pub payer: Payer,
    pub usage_stream: String,
    pub terms: WalletTerms,
    pub metadata: Metadata,
}

/// Why an attempt is not put on record.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum AttemptRefusal {
    #[error(transparent)]
    Usage(UsageRefusal),
    #[error(transparent)]
    Wallet(WalletRefusal),
}

impl NodeCommand for RecordAttempt {
    const NAME: &'static str = "attempt";
    const FREES_CREDIT: bool = false;
    type Done = ();
    type Refusal = AttemptRefusal;

    fn payer(&self) -> Payer {
        self.payer
    }

    async fn run(
        &self,
        log: &EventLog,
        not_after: Option<Instant>,
    ) -> Result<(), CommandError<AttemptRefusal>> {
        let (generation_id, attempt) = (self.generation_id, &self.attempt);
        let call = Call::new(&self.metadata).not_after(not_after);
        match self.payer {
            Payer::Wallet { account_id } => log
                .execute(&account_id.to_string(), call, |wallet: &Wallet, now| {
                    let action = WalletAction::StartAttempt { generation_id, attempt: attempt.clone() };
                    let command = WalletCommand { action, terms: self.terms.clone(), now };
                    wallet.decide(command).map_err(AttemptRefusal::Wallet)
                })
                .await
                .map(drop),
            Payer::Operator => log
                .execute(&self.usage_stream, call, |usage: &TokenUsage, now| {
                    usage.start_attempt(generation_id, attempt.clone(), now).map_err(AttemptRefusal::Usage)
                })
                .await
                .map(drop),
        }
    }
}
