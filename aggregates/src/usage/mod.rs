//! Token usage: one stream per conversation of a wallet, or per generation where the client names
//! no conversation. It keeps what was used, so that a generation is settled once and for one usage,
//! and how far the conversation has been billed, so that resent context is not billed again.

pub mod buckets;
pub mod events;
pub mod settle;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use buckets::Usage;
pub use events::{
    Attempt, AttemptResult, BillingPolicy, ClientFamily, GenerationSettled, Mark, Outcome, Payer, Protocol,
    Timings, UsageEvent, UsageSource,
};
pub use settle::{InputPrefix, RatedGeneration, SettleGeneration, WalletShare};

use crate::ids::{GenerationId, KeyId};
use crate::money::MicroUsd;
use crate::time::Timestamp;
use crate::wallet::events::{GrantPart, ReversalReason};

/// Marks kept per billed model.
const KEPT_MARKS: usize = 8;

/// Billed models whose marks are kept; the one not used longest goes first.
const KEPT_MODELS: usize = 8;

/// Settled generations kept; settling, releasing or reversing an older one is refused.
const KEPT_SETTLED: usize = 1_000;

/// Operator generations that may be open at a time in one stream.
const KEPT_OPEN: usize = 1_000;

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    pub reversed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct ModelMarks {
    marks: VecDeque<Mark>,
    used_at: Timestamp,
}

/// One conversation's usage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenUsage {
    marks: BTreeMap<String, ModelMarks>,
    /// Shared on clone; copied only when a clone is changed.
    settled: Arc<VecDeque<Settled>>,
    open: VecDeque<GenerationId>,
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
        let Some(known) = self.marks.get(billed_model) else { return 0 };
        known
            .marks
            .iter()
            .filter(|mark| prefix.digest_after(mark.items) == Some(mark.digest.as_str()))
            .max_by_key(|mark| (mark.items, mark.input_tokens))
            .map_or(0, |mark| {
                let shrunk = mark.fixed_tokens.saturating_sub(prefix.fixed_tokens);
                mark.input_tokens.saturating_sub(shrunk)
            })
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
        if self.open.contains(&generation_id) || self.settled(generation_id).is_some() {
            return Err(UsageRefusal::AlreadyOpen { generation_id });
        }
        Ok(vec![UsageEvent::GenerationOpened { generation_id, key_id, attempt, at: now }])
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

    pub(crate) fn is_open(&self, generation_id: GenerationId) -> bool {
        self.open.contains(&generation_id)
    }

    fn evolve(&mut self, event: UsageEvent) {
        match event {
            UsageEvent::GenerationOpened { generation_id, .. } => {
                self.open.push_back(generation_id);
                if self.open.len() > KEPT_OPEN {
                    self.open.pop_front();
                }
            }
            UsageEvent::GenerationSettled(settled) => self.remember(*settled),
            UsageEvent::ChargeReversed { generation_id, .. } => {
                for settled in Arc::make_mut(&mut self.settled).iter_mut() {
                    if settled.generation_id == generation_id {
                        settled.reversed = true;
                    }
                }
            }
        }
    }

    fn remember(&mut self, event: GenerationSettled) {
        self.open.retain(|open| *open != event.generation_id);
        if let Some(mark) = event.mark {
            self.set_mark(event.billed_model, mark, event.at);
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
            reversed: false,
        });
        if settled.len() > KEPT_SETTLED {
            settled.pop_front();
        }
    }

    fn set_mark(&mut self, model: String, mark: Mark, at: Timestamp) {
        let known = self.marks.entry(model).or_default();
        known.used_at = at;
        known.marks.retain(|old| (old.items, &old.digest) != (mark.items, &mark.digest));
        known.marks.push_back(mark);
        if known.marks.len() > KEPT_MARKS {
            known.marks.pop_front();
        }
        if self.marks.len() > KEPT_MODELS {
            let oldest =
                self.marks.iter().min_by_key(|(_, known)| known.used_at).map(|(model, _)| model.clone());
            if let Some(oldest) = oldest {
                self.marks.remove(&oldest);
            }
        }
    }
}

// cqrs-es

/// Commands as cqrs-es hands them over; `commands.rs` calls the rules themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum UsageCommand {
    Open { generation_id: GenerationId, key_id: KeyId, attempt: Attempt, now: Timestamp },
    Settle(Box<SettleGeneration>, WalletShare),
    Reverse { generation_id: GenerationId, reason: ReversalReason, now: Timestamp },
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
            UsageCommand::Settle(settle, share) => {
                settle.refuse_absurd_usage()?;
                let rated = self.rate(&settle);
                self.settle(*settle, rated, share)?
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
