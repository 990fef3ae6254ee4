//! One generation: what was asked, who pays, at which prices, and what it is called in the log.

use std::time::{Duration, Instant};

use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{GenerationId, KeyId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::pricing::tariff::Quote;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{
    Attempt, AttemptEnd, AttemptResult, BillingPolicy, InputPrefix, Outcome, Payer, Protocol,
    SettleGeneration, Timings, Usage, UsageSource,
};

use super::refusal::Caller;
use super::told::KeyHeadroom;
use super::toolbox::Notice;
use crate::nodes::ending::Ending;
use crate::upstream::Target;

/// A generation whose hold is durable.
pub struct Generation {
    pub id: GenerationId,
    pub caller: Caller,
    pub payer: Payer,
    pub key_id: KeyId,
    pub metadata: Metadata,
    pub usage_stream: String,
    /// The client names no conversation, so the usage stream is this generation's own.
    pub own_stream: bool,
    /// The one that is being tried, or has answered.
    pub target: Target,
    /// Those that were tried before it.
    pub failed_attempts: Vec<AttemptResult>,
    pub quote: Quote,
    pub policy: BillingPolicy,
    /// Absent where the client names no conversation.
    pub prefix: Option<InputPrefix>,
    /// Estimated input tokens.
    pub input_tokens: u64,
    /// Tokens, in and out; usage beyond it is absurd.
    pub ceiling_tokens: u64,
    /// The most an estimate may cost: the hold's worst case.
    pub worst_micro: MicroUsd,
    /// After the hold; `None` for operator principals.
    pub balance_micro: Option<MicroUsd>,
    /// A plan pays, not the balance.
    pub by_plan: bool,
    pub limits: KeyHeadroom,
    /// When it is given up, answer or not.
    pub deadline: Instant,
    /// Silence after which the provider's stream counts as failed.
    pub idle: Duration,
    pub arrived: Instant,
    pub held_ms: u32,
    /// When the attempt that is being made was sent, in milliseconds since the request arrived.
    pub dispatched_ms: u32,
    /// When the client left, if that was before the provider's answer began.
    pub client_left_at: Option<Instant>,
    /// The client wants its cost in the last chunk.
    pub wants_cost: bool,
    /// What is said of a surge, where the customer's choice has changed the model.
    pub notice: Option<Notice>,
}

/// How a generation ended, as far as its bill goes.
#[derive(Clone, Debug)]
pub struct Ended {
    pub outcome: Outcome,
    pub usage_source: UsageSource,
    pub usage: Usage,
    pub served_model: Option<String>,
    pub provider_response_id: Option<String>,
    /// Absent where the provider gave no response.
    pub status: Option<u16>,
    pub first_byte_ms: Option<u32>,
}

impl Ended {
    fn of_attempt(&self) -> AttemptEnd {
        match (self.outcome, self.status) {
            (Outcome::UpstreamFailed, _) => AttemptEnd::Failed,
            (Outcome::DrainLimit, None) => AttemptEnd::GivenUp,
            (Outcome::Completed | Outcome::ClientLeft | Outcome::DrainLimit | Outcome::ToldFailed, _) => {
                AttemptEnd::Answered
            }
        }
    }
}

impl Generation {
    pub fn protocol(&self) -> Protocol {
        self.caller.protocol
    }

    /// The attempt that is being made, as it stands on record before it is dispatched.
    pub fn attempt(&self) -> Attempt {
        Attempt {
            number: u32::try_from(self.failed_attempts.len()).unwrap_or(u32::MAX).saturating_add(1),
            provider: self.target.provider.name().to_owned(),
            upstream_model: self.target.upstream_model.clone(),
        }
    }

    /// The attempt that is being made has failed and cost nothing.
    pub fn attempt_failed(&mut self, status: Option<u16>, ended: AttemptEnd) {
        let failed = self.attempt_ended(status, ended);
        self.failed_attempts.push(failed);
    }

    fn attempt_ended(&self, status: Option<u16>, ended: AttemptEnd) -> AttemptResult {
        let (attempt, provider_cost_micro) = (self.attempt(), MicroUsd::ZERO);
        AttemptResult { attempt, status, ended: Some(ended), provider_cost_micro }
    }

    /// All attempts of a generation of which the provider's answer, begun with `status`, came to nothing.
    pub fn attempts_with_failed(&self, status: Option<u16>) -> Vec<AttemptResult> {
        let failed = self.attempt_ended(status, AttemptEnd::Failed);
        self.failed_attempts.iter().cloned().chain([failed]).collect()
    }

    pub fn ending(&self) -> Ending {
        Ending {
            generation_id: self.id,
            usage_stream: self.usage_stream.clone(),
            own_stream: self.own_stream,
            payer: self.payer,
            metadata: self.metadata.clone(),
        }
    }

    /// Milliseconds since the request arrived.
    pub fn elapsed_ms(&self) -> u32 {
        u32::try_from(self.arrived.elapsed().as_millis()).unwrap_or(u32::MAX)
    }

    /// From dispatch to the provider's first byte.
    pub fn since_dispatch(&self, first_byte_ms: Option<u32>) -> Duration {
        let waited = first_byte_ms.unwrap_or(self.dispatched_ms).saturating_sub(self.dispatched_ms);
        Duration::from_millis(waited.into())
    }

    /// The command that ends it; `now` is filled in when it is decided.
    pub fn settle(&self, ended: Ended) -> SettleGeneration {
        let serving = self.attempt_ended(ended.status, ended.of_attempt());
        let attempts = self.failed_attempts.iter().cloned().chain([serving]).collect();
        SettleGeneration {
            generation_id: self.id,
            payer: self.payer,
            key_id: self.key_id,
            family: self.caller.family,
            protocol: self.protocol(),
            model: self.caller.model.clone(),
            served_model: ended.served_model.unwrap_or_else(|| self.target.upstream_model.clone()),
            provider: self.target.provider.name().to_owned(),
            provider_response_id: ended.provider_response_id,
            outcome: ended.outcome,
            usage_source: ended.usage_source,
            usage: ended.usage,
            estimate_cap_micro: self.worst_micro,
            quote: self.quote.clone(),
            policy: self.policy,
            prefix: self.prefix.clone(),
            attempts,
            timings: Timings {
                held_ms: self.held_ms,
                first_byte_ms: ended.first_byte_ms,
                total_ms: self.elapsed_ms(),
            },
            now: Timestamp::default(),
        }
    }
}
