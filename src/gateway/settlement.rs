//! Making the end of a generation durable, whatever happens to Postgres meanwhile.
//!
//! Settle, release and reversal are retried with a capped back-off until they are in the log. What
//! the client is told waits for that, but not for ever: past the deadline it is told that the
//! generation failed, and from then on the same loop makes sure that it pays nothing, even where the
//! settlement turns out to have been committed after all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::settlement::{self, Settlement, SettlementRefusal};
use codexapi_aggregates::usage::{AttemptResult, Outcome, Payer, SettleGeneration, TokenUsage, UsageRefusal};
use codexapi_aggregates::wallet::{
    ReleaseReason, ReversalReason, Wallet, WalletAction, WalletCommand, WalletTerms,
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use crate::commands::{Call, CommandError};
use crate::event_log::EventLog;

const FIRST_RETRY: Duration = Duration::from_millis(20);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// Settlements that may be waiting for Postgres at a time.
#[derive(Clone, Copy, Debug)]
pub struct SettlementLimits {
    /// How long a client waits for its generation to be durable.
    pub deadline: Duration,
    /// Unfinished settlements; at 80 % of it new generations are refused.
    pub queue: usize,
}

/// Ends generations.
#[derive(Clone)]
pub struct Settlements {
    log: EventLog,
    terms: WalletTerms,
    limits: SettlementLimits,
    admission: Arc<Admission>,
    tasks: TaskTracker,
    unfinished: Arc<AtomicUsize>,
}

/// Why the client cannot be told that its generation is settled.
#[derive(Debug, thiserror::Error)]
pub enum NotSettled {
    #[error("settling was not durable in time")]
    TimedOut,
    /// The hold is gone or the generation was settled otherwise; the client pays nothing more.
    #[error("settling was refused: {0}")]
    Refused(SettlementRefusal),
}

/// Where a generation's usage stands and who pays.
#[derive(Clone, Debug)]
pub struct Ending {
    pub generation_id: GenerationId,
    pub usage_stream: String,
    /// The usage stream is this generation's own, so that nobody else has written it.
    pub own_stream: bool,
    pub payer: Payer,
    pub metadata: Metadata,
}

impl Ending {
    fn call(&self) -> Call<'_> {
        let call = Call::new(&self.metadata);
        if self.own_stream && self.payer != Payer::Operator { call.single_use_stream() } else { call }
    }
}

impl Settlements {
    pub fn new(
        log: EventLog,
        terms: WalletTerms,
        limits: SettlementLimits,
        admission: Arc<Admission>,
        tasks: TaskTracker,
    ) -> Self {
        Self { log, terms, limits, admission, tasks, unfinished: Arc::default() }
    }

    /// Whether so many endings wait for Postgres that no new generation may begin.
    pub fn is_nearly_full(&self) -> bool {
        self.unfinished.load(Ordering::Relaxed) >= self.limits.queue / 5 * 4
    }

    /// Endings not yet durable, for metrics.
    pub fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed)
    }

    /// Settles durably, or past the deadline sees to it that nothing is charged.
    ///
    /// # Errors
    /// `TimedOut` past the deadline, `Refused` where the rules refuse the settlement.
    pub async fn settle(&self, ending: &Ending, command: SettleGeneration) -> Result<Settlement, NotSettled> {
        let _unfinished = self.count_unfinished();
        let deadline = Instant::now() + self.limits.deadline;
        let mut pause = FIRST_RETRY;
        loop {
            match tokio::time::timeout_at(deadline, self.try_settle(ending, &command)).await {
                Ok(Ok(settlement)) => return Ok(self.settled(ending, settlement)),
                Ok(Err(CommandError::Refused(refusal))) => {
                    tracing::error!(generation = %ending.generation_id, %refusal, "a settlement was refused");
                    self.forgo_in_background(ending.clone(), command);
                    return Err(NotSettled::Refused(refusal));
                }
                Ok(Err(error)) if Instant::now() + pause < deadline => {
                    tracing::warn!(generation = %ending.generation_id, %error, "settling will be retried");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_RETRY);
                }
                Ok(Err(_)) | Err(_) => {
                    tracing::error!(generation = %ending.generation_id, "settling was not durable in time");
                    self.forgo_in_background(ending.clone(), command);
                    return Err(NotSettled::TimedOut);
                }
            }
        }
    }

    /// Closes a generation of which nothing is charged: frees a customer's hold, ends an operator's; `attempts`
    /// says how each of them failed. Retried
    /// until durable, in the background after the first try.
    pub async fn release(&self, ending: &Ending, reason: ReleaseReason, attempts: Vec<AttemptResult>) {
        let unfinished = self.count_unfinished();
        match self.try_release(ending, reason, &attempts).await {
            Ok(()) => self.wake_waiting(ending.payer),
            Err(error) => {
                tracing::warn!(generation = %ending.generation_id, %error, "releasing will be retried");
                let (this, ending) = (self.clone(), ending.clone());
                self.tasks.spawn(async move {
                    let _unfinished = unfinished;
                    this.until_durable("releasing", || this.try_release(&ending, reason, &attempts)).await;
                    this.wake_waiting(ending.payer);
                });
            }
        }
    }

    fn settled(&self, ending: &Ending, settlement: Settlement) -> Settlement {
        self.wake_waiting(ending.payer);
        settlement
    }

    /// What waits for credit of this payer is asked again.
    fn wake_waiting(&self, payer: Payer) {
        match payer {
            Payer::Wallet { account_id } => self.admission.wake(account_id),
            Payer::Operator => {}
        }
    }

    /// The client has been told that it pays nothing. The provider's bill is recorded as the
    /// operator's loss; a charge that was committed after all is reversed.
    fn forgo_in_background(&self, ending: Ending, mut command: SettleGeneration) {
        command.outcome = Outcome::ToldFailed;
        let this = self.clone();
        let unfinished = self.count_unfinished();
        self.tasks.spawn(async move {
            let _unfinished = unfinished;
            this.until_durable("forgoing a charge", || this.try_forgo(&ending, &command)).await;
            this.wake_waiting(ending.payer);
        });
    }

    async fn try_settle(
        &self,
        ending: &Ending,
        command: &SettleGeneration,
    ) -> Result<Settlement, CommandError<SettlementRefusal>> {
        match ending.payer {
            Payer::Wallet { account_id } => {
                let wallet_stream = account_id.to_string();
                let (_, settlement) = self
                    .log
                    .execute_pair(
                        &ending.usage_stream,
                        &wallet_stream,
                        ending.call(),
                        |usage: &TokenUsage, wallet: &Wallet, now| {
                            let command = SettleGeneration { now, ..command.clone() };
                            settlement::settle(usage, wallet, &command, &self.terms)
                        },
                    )
                    .await?;
                Ok(settlement)
            }
            Payer::Operator => {
                self.log
                    .execute(&ending.usage_stream, &ending.metadata, |usage: &TokenUsage, now| {
                        let command = SettleGeneration { now, ..command.clone() };
                        settlement::settle_operator(usage, &command)
                    })
                    .await?;
                Ok(Settlement::default())
            }
        }
    }

    async fn try_forgo(
        &self,
        ending: &Ending,
        command: &SettleGeneration,
    ) -> Result<(), CommandError<SettlementRefusal>> {
        let Payer::Wallet { account_id } = ending.payer else {
            return self.try_settle(ending, command).await.map(drop);
        };
        let wallet_stream = account_id.to_string();
        self.log
            .execute_pair(
                &ending.usage_stream,
                &wallet_stream,
                &ending.metadata,
                |usage: &TokenUsage, wallet: &Wallet, now| {
                    let command = SettleGeneration { now, ..command.clone() };
                    match settlement::settle(usage, wallet, &command, &self.terms) {
                        Err(SettlementRefusal::Usage(UsageRefusal::SettledDifferently { generation_id })) => {
                            let told = ReversalReason::ToldFailed;
                            settlement::reverse(usage, wallet, generation_id, told, &self.terms, now)
                        }
                        other => other,
                    }
                },
            )
            .await?;
        Ok(())
    }

    async fn try_release(
        &self,
        ending: &Ending,
        reason: ReleaseReason,
        attempts: &[AttemptResult],
    ) -> Result<(), CommandError<SettlementRefusal>> {
        let generation_id = ending.generation_id;
        match ending.payer {
            Payer::Wallet { account_id } => {
                self.log
                    .execute(&account_id.to_string(), &ending.metadata, |wallet: &Wallet, now| {
                        let attempts = attempts.to_vec();
                        let action = WalletAction::ReleaseHold { generation_id, reason, attempts };
                        let command = WalletCommand { action, terms: self.terms.clone(), now };
                        wallet.decide(command).map_err(SettlementRefusal::from)
                    })
                    .await?;
            }
            Payer::Operator => {
                self.log
                    .execute(&ending.usage_stream, &ending.metadata, |usage: &TokenUsage, now| {
                        usage
                            .release(generation_id, reason, attempts.to_vec(), now)
                            .map_err(SettlementRefusal::from)
                    })
                    .await?;
            }
        }
        Ok(())
    }

    /// Repeats `attempt` with a capped back-off until it is durable or refused. A stopping process
    /// gives up at its own deadline; the hold then expires.
    async fn until_durable<R, F>(&self, what: &'static str, mut attempt: impl FnMut() -> F)
    where
        R: std::error::Error,
        F: Future<Output = Result<(), CommandError<R>>>,
    {
        let mut pause = FIRST_RETRY;
        loop {
            match attempt().await {
                Ok(()) => return,
                Err(CommandError::Refused(refusal)) => {
                    // E.g. a release whose first try was committed though its answer was lost.
                    tracing::info!(%refusal, "{what} has nothing left to do");
                    return;
                }
                Err(error) => tracing::warn!(%error, "{what} will be retried"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RETRY);
        }
    }

    fn count_unfinished(&self) -> Unfinished {
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        Unfinished(self.unfinished.clone())
    }
}

/// Counts one ending until it is dropped.
struct Unfinished(Arc<AtomicUsize>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
