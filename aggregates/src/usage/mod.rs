//! Token usage: one stream per conversation of a wallet, or per generation where the client names
//! no conversation. It keeps what was used, so that a generation is settled once and for one usage,
//! and how far the conversation has been billed, so that resent context is not billed again.

pub mod buckets;
pub mod events;
mod marks;
pub mod settle;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use buckets::Usage;
pub(crate) use events::AttemptOrder;
pub use events::{
    Attempt, AttemptEnd, AttemptResult, BillingPolicy, ClientFamily, GenerationSettled, MAX_ATTEMPTS, Mark,
    Outcome, Payer, Protocol, Timings, UsageEvent, UsageSource,
};
use marks::Marks;
pub use settle::{InputPrefix, RatedGeneration, SettleGeneration, WalletShare};

use crate::ids::{GenerationId, KeyId};
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::entitlements::PlanUse;
use crate::wallet::events::{GrantPart, ReleaseReason, ReversalReason};

/// Settled generations kept; settling, releasing or reversing an older one is refused.
const KEPT_SETTLED: usize = 1_000;

/// Operator generations that may be open at a time in one stream.
const KEPT_OPEN: usize = 1_000;

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum UsageRefusal {
    #[error("generation {generation_id} was settled for different usage")]
    SettledDifferently { generation_id: GenerationId },
    #[error("generation {generation_id} was reversed")]
    AlreadyReversed { generation_id: GenerationId },
    #[error("generation {generation_id} is not among the last {KEPT_SETTLED} settled here")]
    UnknownGeneration { generation_id: GenerationId },
    #[error("generation {generation_id} was never opened")]
    NotOpen { generation_id: GenerationId },
    #[error("generation {generation_id} is opened already")]
    AlreadyOpen { generation_id: GenerationId },
    #[error("usage of generation {generation_id} is beyond what any model could report")]
    AbsurdUsage { generation_id: GenerationId },
    #[error("attempt {expected} is the next, not attempt {got}")]
    AttemptOutOfOrder { expected: u32, got: u32 },
    #[error("a generation has at most {most} attempts")]
    TooManyAttempts { most: u32 },
}

// State

/// A settled generation, as far as later commands need it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    pub generation_id: GenerationId,
    pub payer: Payer,
    pub usage: Usage,
    pub outcome: Outcome,
    pub usage_source: UsageSource,
    pub charged_micro: MicroUsd,
    pub from: Vec<GrantPart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<PlanUse>>,
    pub reversed: bool,
    pub key_id: KeyId,
    pub settled_at: Timestamp,
    /// Input tokens that were billed before, and by which generation's mark.
    already_billed_tokens: u64,
    continues: Option<GenerationId>,
}

/// An operator principal's generation under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OpenGeneration {
    generation_id: GenerationId,
    /// The last one started.
    attempt: Attempt,
}

/// One conversation's usage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenUsage {
    marks: Marks,
    /// Shared on clone; copied only when a clone is changed.
    settled: Arc<VecDeque<Settled>>,
    open: VecDeque<OpenGeneration>,
}

impl TokenUsage {
    /// The generation as it was settled here, if it is among the last ones.
    pub fn settled(&self, generation_id: GenerationId) -> Option<&Settled> {
        self.settled.iter().rev().find(|settled| settled.generation_id == generation_id)
    }

    /// Input tokens of `prefix` that this conversation was billed for under `billed_model`: the
    /// longest mark that the new input begins with, less what instructions and tools have shrunk
    /// since. 0 where no mark fits (compaction, or another conversation under the same id).
    pub fn already_billed(&self, billed_model: &str, prefix: &InputPrefix) -> u64 {
        self.billed_before(billed_model, prefix).map_or(0, |(_, tokens)| tokens)
    }

    /// The same, with the generation that set the mark.
    fn billed_before(&self, billed_model: &str, prefix: &InputPrefix) -> Option<(GenerationId, u64)> {
        self.marks.billed_before(billed_model, prefix)
    }

    // Rules; settling has a file of its own.

    /// Puts an operator principal's generation on record before it is dispatched.
    pub fn open(
        &self,
        generation_id: GenerationId,
        key_id: KeyId,
        attempt: Attempt,
        now: Timestamp,
    ) -> Result<Vec<UsageEvent>, UsageRefusal> {
        if self.is_open(generation_id) || self.settled(generation_id).is_some() {
            return Err(UsageRefusal::AlreadyOpen { generation_id });
        }
        Ok(vec![UsageEvent::GenerationOpened { generation_id, key_id, attempt, at: now }])
    }

    /// Puts a further attempt of an operator's generation on record. No event where it is the last
    /// one started.
    pub fn start_attempt(
        &self,
        generation_id: GenerationId,
        attempt: Attempt,
        now: Timestamp,
    ) -> Result<Vec<UsageEvent>, UsageRefusal> {
        let open = self.open.iter().find(|open| open.generation_id == generation_id);
        let last = &open.ok_or(UsageRefusal::NotOpen { generation_id })?.attempt;
        match attempt.follows(last) {
            AttemptOrder::Repeated => Ok(vec![]),
            AttemptOrder::Next => Ok(vec![UsageEvent::AttemptStarted { generation_id, attempt, at: now }]),
            AttemptOrder::TooMany => Err(UsageRefusal::TooManyAttempts { most: MAX_ATTEMPTS }),
            AttemptOrder::OutOfOrder { expected } => {
                Err(UsageRefusal::AttemptOutOfOrder { expected, got: attempt.number })
            }
        }
    }

    /// Closes an operator's generation that came to nothing; nothing is charged and nothing cost.
    pub fn release(
        &self,
        generation_id: GenerationId,
        reason: ReleaseReason,
        attempts: Vec<AttemptResult>,
        now: Timestamp,
    ) -> Result<Vec<UsageEvent>, UsageRefusal> {
        if !self.is_open(generation_id) {
            return Err(UsageRefusal::NotOpen { generation_id });
        }
        Ok(vec![UsageEvent::GenerationReleased { generation_id, reason, attempts, at: now }])
    }

    /// Takes a whole charge back, once. No event where it is reversed already.
    pub fn reverse(
        &self,
        generation_id: GenerationId,
        reason: ReversalReason,
        now: Timestamp,
    ) -> Result<Vec<UsageEvent>, UsageRefusal> {
        let settled = self.settled(generation_id).ok_or(UsageRefusal::UnknownGeneration { generation_id })?;
        if settled.reversed {
            return Ok(vec![]);
        }
        Ok(vec![UsageEvent::ChargeReversed {
            generation_id,
            payer: settled.payer,
            reason,
            amount_micro: settled.charged_micro,
            at: now,
        }])
    }

    /// Puts on record that a generation was looked at and is left as it is. Whether there is anything to look at is
    /// the operator's queue's to know.
    pub fn dismiss_review(generation_id: GenerationId, now: Timestamp) -> UsageEvent {
        UsageEvent::ReviewDismissed { generation_id, at: now }
    }

    pub(crate) fn is_open(&self, generation_id: GenerationId) -> bool {
        self.open.iter().any(|open| open.generation_id == generation_id)
    }

    fn evolve(&mut self, event: UsageEvent) {
        match event {
            UsageEvent::GenerationOpened { generation_id, attempt, .. } => {
                self.open.push_back(OpenGeneration { generation_id, attempt });
                if self.open.len() > KEPT_OPEN {
                    self.open.pop_front();
                }
            }
            UsageEvent::AttemptStarted { generation_id, attempt, .. } => {
                for open in self.open.iter_mut().filter(|open| open.generation_id == generation_id) {
                    open.attempt = attempt.clone();
                }
            }
            UsageEvent::GenerationReleased { generation_id, .. } => {
                self.open.retain(|open| open.generation_id != generation_id);
            }
            UsageEvent::GenerationSettled(settled) => self.remember(*settled),
            UsageEvent::ChargeReversed { generation_id, .. } => {
                self.marks.take_back(generation_id, &self.settled);
                for settled in Arc::make_mut(&mut self.settled).iter_mut() {
                    if settled.generation_id == generation_id {
                        settled.reversed = true;
                    }
                }
            }
            UsageEvent::ReviewDismissed { .. } => {}
        }
    }

    fn remember(&mut self, event: GenerationSettled) {
        self.open.retain(|open| open.generation_id != event.generation_id);
        if let Some(mark) = event.mark {
            self.marks.set(event.billed_model, mark, event.generation_id, event.at);
        }
        let settled = Arc::make_mut(&mut self.settled);
        settled.push_back(Settled {
            generation_id: event.generation_id,
            payer: event.payer,
            usage: event.usage,
            outcome: event.outcome,
            usage_source: event.usage_source,
            charged_micro: event.charged_micro,
            from: event.from,
            plan: event.plan,
            reversed: false,
            key_id: event.key_id,
            settled_at: event.at,
            already_billed_tokens: event.already_billed_tokens,
            continues: event.continues,
        });
        if settled.len() > KEPT_SETTLED {
            settled.pop_front();
        }
    }
}

// cqrs-es

/// Commands as cqrs-es hands them over; `commands.rs` calls the rules themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum UsageCommand {
    Open {
        generation_id: GenerationId,
        key_id: KeyId,
        attempt: Attempt,
        now: Timestamp,
    },
    StartAttempt {
        generation_id: GenerationId,
        attempt: Attempt,
        now: Timestamp,
    },
    Settle(Box<SettleGeneration>, WalletShare),
    Release {
        generation_id: GenerationId,
        reason: ReleaseReason,
        attempts: Vec<AttemptResult>,
        now: Timestamp,
    },
    Reverse {
        generation_id: GenerationId,
        reason: ReversalReason,
        now: Timestamp,
    },
}

impl Aggregate for TokenUsage {
    const TYPE: &'static str = "usage";
    type Command = UsageCommand;
    type Event = UsageEvent;
    type Error = UsageRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: UsageCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), UsageRefusal> {
        let events = match command {
            UsageCommand::Open { generation_id, key_id, attempt, now } => {
                self.open(generation_id, key_id, attempt, now)?
            }
            UsageCommand::StartAttempt { generation_id, attempt, now } => {
                self.start_attempt(generation_id, attempt, now)?
            }
            UsageCommand::Settle(settle, share) => {
                settle.refuse_absurd_usage()?;
                let rated = self.rate(&settle);
                self.settle(*settle, rated, share)?
            }
            UsageCommand::Release { generation_id, reason, attempts, now } => {
                self.release(generation_id, reason, attempts, now)?
            }
            UsageCommand::Reverse { generation_id, reason, now } => {
                self.reverse(generation_id, reason, now)?
            }
        };
        for event in events {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: UsageEvent) {
        self.evolve(event);
    }
}
