//! Many nodes over one Postgres: the hot commands of a wallet run on one of them, its *home*.
//!
//! Any node may write any wallet and nothing is lost, because a stream's sequence is the guard; but two nodes that
//! write one wallet keep deciding anew. So the commands of a generation go to the wallet's home: the live node that
//! rendezvous hashing gives its account. A home that is silent, unreachable or at a loss is not waited for: the
//! command is then decided here. It may so run in both places. The generation's state makes one of it, and a home
//! no longer decides what was asked of it a while ago, so that one that was paused places no hold after its end.

pub mod command;
pub mod ending;
pub mod listener;
pub mod members;
mod remote;
pub mod signed;

use std::sync::Arc;
use std::time::Duration;

use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::usage::Payer;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::watch;

use crate::commands::CommandError;
use crate::event_log::EventLog;
use command::{Answer, NodeCommand};
use members::View;
use remote::{NoAnswer, Remote};
use signed::NodeKey;

/// How long a home is waited for.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// How old a command may be when its home decides it. Shorter than `PATIENCE` by more than nodes can be wrong about the
/// time: once the asker decides by itself the home does not, and a hold is never placed after its generation's end.
pub const COMMAND_LIFETIME: Duration = Duration::from_millis(200);

/// What a home had decided in time is in the log by then, or will not be.
pub const CERTAINLY_OVER: Duration = Duration::from_secs(3);

/// Where commands run.
#[derive(Clone)]
pub struct Homes {
    log: EventLog,
    own: NodeIncarnation,
    view: watch::Sender<Arc<View>>,
    /// Absent where this node takes no part.
    remote: Option<Arc<Remote>>,
    counts: Family<CommandLabels, Counter>,
}

/// How a command ended.
pub struct Ran<C: NodeCommand> {
    pub outcome: Result<C::Done, CommandError<C::Refusal>>,
    /// It may have run elsewhere, or may yet, until `CERTAINLY_OVER`.
    pub elsewhere_too: bool,
}

impl<C: NodeCommand> Ran<C> {
    /// Whether it may be in the log although it has no result, or yet come to it.
    pub fn may_be_stored(&self) -> bool {
        match &self.outcome {
            Ok(_) | Err(CommandError::Refused(_)) => false,
            Err(CommandError::Unavailable { outcome_unknown: true, .. }) => true,
            Err(_) => self.elsewhere_too,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CommandLabels {
    /// `here`, `forwarded`, `instead_of_home` or `for_another`.
    ran: &'static str,
}

impl Homes {
    /// Every wallet is at home here, whatever other nodes there are.
    pub fn here(log: EventLog, own: NodeIncarnation) -> Self {
        Self { log, own, view: watch::Sender::default(), remote: None, counts: Family::default() }
    }

    /// Wallets are at home where the live nodes' view of each other has them. A home that does not answer within
    /// `patience` is silent.
    ///
    /// # Errors
    /// An HTTP client cannot be made.
    pub fn shared(
        log: EventLog,
        own: NodeIncarnation,
        key: NodeKey,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        Ok(Self { remote: Some(Arc::new(Remote::new(key, patience)?)), ..Self::here(log, own) })
    }

    /// The live nodes as this one sees them.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Commands by where they ran.
    pub fn counts(&self) -> &Family<CommandLabels, Counter> {
        &self.counts
    }

    /// How many ran so.
    pub fn ran(&self, ran: &'static str) -> u64 {
        self.counts.get_or_create(&CommandLabels { ran }).get()
    }

    /// Runs a command at its wallet's home, or here where that is silent.
    pub async fn run<C: NodeCommand>(&self, command: &C) -> Ran<C> {
        let (ran, elsewhere_too) = match self.ask_home(command).await {
            None => ("here", false),
            Some(Err(NoAnswer::NotRun)) => ("instead_of_home", false),
            Some(Err(NoAnswer::Unknown)) => ("instead_of_home", true),
            Some(Ok(answer)) => {
                self.count("forwarded");
                let outcome = match answer {
                    Answer::Done(done) => Ok(done),
                    Answer::Refused(refusal) => Err(CommandError::Refused(refusal)),
                };
                return Ran { outcome, elsewhere_too: false };
            }
        };
        self.count(ran);
        Ran { outcome: command.run(&self.log, None).await, elsewhere_too }
    }

    /// `None` where this node is the home.
    async fn ask_home<C: NodeCommand>(
        &self,
        command: &C,
    ) -> Option<Result<Answer<C::Done, C::Refusal>, NoAnswer>> {
        let remote = self.remote.as_ref()?;
        let Payer::Wallet { account_id } = command.payer() else { return None };
        let view = Arc::clone(&self.view.borrow());
        let home = view.home_of(account_id).filter(|home| home.incarnation != self.own)?;
        Some(remote.ask(home, view.clock()?, command).await)
    }

    fn count(&self, ran: &'static str) {
        self.counts.get_or_create(&CommandLabels { ran }).inc();
    }
}
