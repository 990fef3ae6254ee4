//! Making the end of a generation durable, whatever happens to Postgres meanwhile.
//!
//! Settle, release and reversal are retried with a capped back-off until they are in the log. What
//! the client is told waits for that, but not for ever: past the deadline it is told that the
//! generation failed, and from then on the same loop makes sure that it pays nothing, even where the
//! settlement turns out to have been committed after all. Where that is possible, the client hears
//! nothing before it is certain: what it is told must outlive this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use codexapi_aggregates::settlement::{Settlement, SettlementRefusal};
use codexapi_aggregates::usage::{AttemptResult, Payer, SettleGeneration};
use codexapi_aggregates::wallet::{ReleaseReason, WalletTerms};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use crate::commands::CommandError;
use crate::nodes::command::NodeCommand;
use crate::nodes::ending::{Ending, Forgo, Release, Settle};
use crate::nodes::{CERTAINLY_OVER, Homes, Ran};

const FIRST_RETRY: Duration = Duration::from_millis(20);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// Settlements that may be waiting for Postgres at a time.
#[derive(Clone, Copy, Debug)]
pub struct SettlementLimits {
    /// How long a client waits for its generation to be durable.
    pub deadline: Duration,
    /// How long a client waits beyond the deadline where its charge may be stored.
    pub in_doubt: Duration,
    /// Unfinished settlements; at 80 % of it new generations are refused.
    pub queue: usize,
}

/// Ends generations.
#[derive(Clone)]
pub struct Settlements {
    homes: Homes,
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

impl Settlements {
    pub fn new(
        homes: Homes,
        terms: WalletTerms,
        limits: SettlementLimits,
        admission: Arc<Admission>,
        tasks: TaskTracker,
    ) -> Self {
        Self { homes, terms, limits, admission, tasks, unfinished: Arc::default() }
    }

    /// Whether so many endings wait for Postgres that no new generation may begin.
    pub fn is_nearly_full(&self) -> bool {
        self.unfinished.load(Ordering::Relaxed) >= self.limits.queue / 5 * 4
    }

    /// Endings not yet durable, for metrics.
    pub fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed)
    }

    /// Settles durably, or past the deadline sees to it that nothing is charged. Where the settlement may be in the log
    /// all the same, that is waited for, too.
    ///
    /// # Errors
    /// `TimedOut` past the deadline, `Refused` where the rules refuse the settlement.
    pub async fn settle(&self, ending: Ending, command: SettleGeneration) -> Result<Settlement, NotSettled> {
        let unfinished = self.count_unfinished();
        let generation = ending.generation_id;
        let settle = Settle { ending, command, terms: self.terms.clone() };
        let deadline = Instant::now() + self.limits.deadline;
        let (mut pause, mut in_doubt) = (FIRST_RETRY, false);
        let failed = loop {
            let Ok(ran) = tokio::time::timeout_at(deadline, self.once(&settle)).await else {
                in_doubt = true;
                break NotSettled::TimedOut;
            };
            in_doubt |= ran.may_be_stored();
            match ran.outcome {
                Ok(settlement) => return Ok(settlement),
                Err(CommandError::Refused(refusal)) => break NotSettled::Refused(refusal),
                Err(error) if Instant::now() + pause < deadline => {
                    tracing::warn!(%generation, %error, "settling will be retried");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_RETRY);
                }
                Err(_) => break NotSettled::TimedOut,
            }
        };
        tracing::error!(%generation, in_doubt, "{failed}");
        let forgone = self.forgo_in_background(settle, unfinished);
        // Were the client told now and this process killed, nobody would take back a charge that is stored after all.
        if in_doubt && tokio::time::timeout(self.limits.in_doubt, forgone).await.is_err() {
            tracing::error!(%generation, "it is told that it failed, while its charge is still in doubt");
        }
        Err(failed)
    }

    /// Closes a generation of which nothing is charged: frees a customer's hold, ends an operator's; `attempts`
    /// says how each of them failed. Retried
    /// until durable, in the background after the first try.
    pub async fn release(&self, ending: Ending, reason: ReleaseReason, attempts: Vec<AttemptResult>) {
        let unfinished = self.count_unfinished();
        let release = Release { ending, reason, attempts, terms: self.terms.clone() };
        if let Err(error) = self.once(&release).await.outcome {
            tracing::warn!(generation = %release.ending.generation_id, %error, "releasing will be retried");
            let this = self.clone();
            self.tasks.spawn(async move {
                let _unfinished = unfinished;
                this.until_durable("releasing", &release).await;
            });
        }
    }

    /// Frees a hold whose request was answered with an error though it may be in the log, or yet come to it.
    pub fn release_what_may_be_held(&self, ending: Ending) {
        let (reason, attempts) = (ReleaseReason::NotDispatched, vec![]);
        let release = Release { ending, reason, attempts, terms: self.terms.clone() };
        let this = self.clone();
        let unfinished = self.count_unfinished();
        self.tasks.spawn(async move {
            let _unfinished = unfinished;
            tokio::time::sleep(CERTAINLY_OVER).await;
            this.until_durable("releasing what may be held", &release).await;
        });
    }

    /// The client is told that it pays nothing, whatever becomes of its request meanwhile.
    fn forgo_in_background(&self, settle: Settle, unfinished: Unfinished) -> JoinHandle<()> {
        let forgo = Forgo::from(settle);
        let this = self.clone();
        self.tasks.spawn(async move {
            let _unfinished = unfinished;
            this.until_durable("forgoing a charge", &forgo).await;
        })
    }

    /// What waits for credit of this payer is asked again once it is done.
    async fn once<C: NodeCommand>(&self, command: &C) -> Ran<C> {
        let ran = self.homes.run(command).await;
        if ran.outcome.is_ok() && C::FREES_CREDIT {
            self.wake(command.payer());
        }
        ran
    }

    fn wake(&self, payer: Payer) {
        match payer {
            Payer::Wallet { account_id } => self.admission.wake(account_id),
            Payer::Operator => {}
        }
    }

    /// Repeats a command with a capped back-off until it is durable or refused. A stopping process
    /// gives up at its own deadline; the hold then expires.
    async fn until_durable<C: NodeCommand>(&self, what: &'static str, command: &C) {
        let mut pause = FIRST_RETRY;
        loop {
            match self.once(command).await.outcome {
                Ok(_) => return,
                Err(CommandError::Refused(refusal)) => {
                    // E.g. a release whose first try was committed though its answer was lost.
                    tracing::info!(%refusal, "{what} has nothing left to do");
                    self.wake(command.payer());
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
