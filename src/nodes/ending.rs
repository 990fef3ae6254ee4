//! The commands that end a generation: in its usage stream and its payer's wallet at once.

use std::time::Instant;

use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::settlement::{self, Settlement, SettlementRefusal};
use codexapi_aggregates::usage::{AttemptResult, Outcome, Payer, SettleGeneration, TokenUsage, UsageRefusal};
use codexapi_aggregates::wallet::{
    ReleaseReason, ReversalReason, Wallet, WalletAction, WalletCommand, WalletTerms,
};
use serde::{Deserialize, Serialize};

use super::command::NodeCommand;
use crate::commands::{Call, CommandError};
use crate::event_log::EventLog;

/// Where a generation's usage stands and who pays.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ending {
    pub generation_id: GenerationId,
    pub usage_stream: String,
    /// The usage stream is this generation's own, so that nobody else has written it.
    pub own_stream: bool,
    pub payer: Payer,
    pub metadata: Metadata,
}

impl Ending {
    fn call(&self, not_after: Option<Instant>) -> Call<'_> {
        let call = Call::new(&self.metadata).not_after(not_after);
        if self.own_stream && self.payer != Payer::Operator { call.single_use_stream() } else { call }
    }
}

/// Charges for a generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settle {
    pub ending: Ending,
    pub command: SettleGeneration,
    pub terms: WalletTerms,
}

/// Ends a generation of which the client has been told that it pays nothing: the provider's bill is the operator's
/// loss, and a charge that was committed after all is reversed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forgo {
    settle: Settle,
}

/// Closes a generation of which nothing is charged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Release {
    pub ending: Ending,
    pub reason: ReleaseReason,
    /// How each of them failed.
    pub attempts: Vec<AttemptResult>,
    pub terms: WalletTerms,
}

impl NodeCommand for Settle {
    const NAME: &'static str = "settle";
    const FREES_CREDIT: bool = true;
    type Done = Settlement;
    type Refusal = SettlementRefusal;

    fn payer(&self) -> Payer {
        self.ending.payer
    }

    async fn run(
        &self,
        log: &EventLog,
        not_after: Option<Instant>,
    ) -> Result<Settlement, CommandError<SettlementRefusal>> {
        let (ending, call) = (&self.ending, self.ending.call(not_after));
        match ending.payer {
            Payer::Wallet { account_id } => {
                let settle = |usage: &TokenUsage, wallet: &Wallet, now| {
                    let command = SettleGeneration { now, ..self.command.clone() };
                    settlement::settle(usage, wallet, &command, &self.terms)
                };
                let wallet_stream = account_id.to_string();
                let settled = log.execute_pair(&ending.usage_stream, &wallet_stream, call, settle).await?;
                Ok(settled.1)
            }
            Payer::Operator => {
                let settle = |usage: &TokenUsage, now| {
                    let command = SettleGeneration { now, ..self.command.clone() };
                    settlement::settle_operator(usage, &command)
                };
                log.execute(&ending.usage_stream, call, settle).await?;
                Ok(Settlement::default())
            }
        }
    }
}

impl From<Settle> for Forgo {
    fn from(mut settle: Settle) -> Self {
        settle.command.outcome = Outcome::ToldFailed;
        Self { settle }
    }
}

impl NodeCommand for Forgo {
    const NAME: &'static str = "forgo";
    const FREES_CREDIT: bool = true;
    type Done = ();
    type Refusal = SettlementRefusal;

    fn payer(&self) -> Payer {
        self.settle.ending.payer
    }

    async fn run(
        &self,
        log: &EventLog,
        not_after: Option<Instant>,
    ) -> Result<(), CommandError<SettlementRefusal>> {
        let Settle { ending, command, terms } = &self.settle;
        let Payer::Wallet { account_id } = ending.payer else {
            return self.settle.run(log, not_after).await.map(drop);
        };
        let call = Call::new(&ending.metadata).not_after(not_after);
        let forgo = |usage: &TokenUsage, wallet: &Wallet, now| {
            let command = SettleGeneration { now, ..command.clone() };
            match settlement::settle(usage, wallet, &command, terms) {
                Err(SettlementRefusal::Usage(UsageRefusal::SettledDifferently { generation_id })) => {
                    settlement::reverse(usage, wallet, generation_id, ReversalReason::ToldFailed, terms, now)
                }
                other => other,
            }
        };
        log.execute_pair(&ending.usage_stream, &account_id.to_string(), call, forgo).await.map(drop)
    }
}

impl NodeCommand for Release {
    const NAME: &'static str = "release";
    const FREES_CREDIT: bool = true;
    type Done = ();
    type Refusal = SettlementRefusal;

    fn payer(&self) -> Payer {
        self.ending.payer
    }

    async fn run(
        &self,
        log: &EventLog,
        not_after: Option<Instant>,
    ) -> Result<(), CommandError<SettlementRefusal>> {
        let Self { ending, reason, attempts, terms } = self;
        let (generation_id, reason) = (ending.generation_id, *reason);
        let call = Call::new(&ending.metadata).not_after(not_after);
        match ending.payer {
            Payer::Wallet { account_id } => log
                .execute(&account_id.to_string(), call, |wallet: &Wallet, now| {
                    let attempts = attempts.clone();
                    let action = WalletAction::ReleaseHold { generation_id, reason, attempts };
                    let command = WalletCommand { action, terms: terms.clone(), now };
                    wallet.decide(command).map_err(SettlementRefusal::from)
                })
                .await
                .map(drop),
            Payer::Operator => log
                .execute(&ending.usage_stream, call, |usage: &TokenUsage, now| {
                    usage
                        .release(generation_id, reason, attempts.clone(), now)
                        .map_err(SettlementRefusal::from)
                })
                .await
                .map(drop),
        }
    }
}
