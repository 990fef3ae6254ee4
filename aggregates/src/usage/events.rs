//! What is recorded of a generation: tokens, lines, cost, attempts, timings. Never prompts or outputs.

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::buckets::Usage;
use crate::ids::{AccountId, GenerationId, KeyId};
use crate::money::{MicroUsd, PicoUsd};
use crate::pricing::rating::Line;
use crate::pricing::tariff::Mode;
use crate::time::Timestamp;
use crate::wallet::entitlements::PlanUse;
use crate::wallet::events::{GrantPart, ReleaseReason, ReversalReason};

/// The client program, recognised from its headers; it can be spoofed and grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientFamily {
    CodexCli,
    ClaudeCode,
    Codexclaude,
    /// OpenAI's own SDKs, in any language.
    OpenaiSdk,
    /// Anthropic's own SDKs.
    AnthropicSdk,
    Other,
}

impl ClientFamily {
    pub const ALL: [Self; 6] = [
        Self::CodexCli,
        Self::ClaudeCode,
        Self::Codexclaude,
        Self::OpenaiSdk,
        Self::AnthropicSdk,
        Self::Other,
    ];

    /// The name in reports, metric labels and read tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::CodexCli => "codex_cli",
            Self::ClaudeCode => "claude_code",
            Self::Codexclaude => "codexclaude",
            Self::OpenaiSdk => "openai_sdk",
            Self::AnthropicSdk => "anthropic_sdk",
            Self::Other => "other",
        }
    }

    /// What people call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::CodexCli => "the official Codex CLI",
            Self::ClaudeCode => "Claude Code",
            Self::Codexclaude => "codexclaude",
            Self::OpenaiSdk => "OpenAI's SDKs",
            Self::AnthropicSdk => "Anthropic's SDKs",
            Self::Other => "other clients",
        }
    }
}

/// The wire protocol a client or a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Responses,
    Chat,
    Messages,
    /// The older text completions; clients speak it, no provider is asked in it.
    Completions,
}

impl Protocol {
    /// The name in configuration, events and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Responses => "responses",
            Self::Chat => "chat",
            Self::Messages => "messages",
            Self::Completions => "completions",
        }
    }
}

/// Attempts one generation may have in all; the next refusal of a provider is the client's.
pub const MAX_ATTEMPTS: u32 = 8;

/// One try at one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    pub provider: String,
    /// The provider's name of the model.
    pub upstream_model: String,
}

/// Where an attempt stands after the last one started.
pub(crate) enum AttemptOrder {
    Next,
    /// It is the last one started.
    Repeated,
    OutOfOrder {
        expected: u32,
    },
    TooMany,
}

impl Attempt {
    pub(crate) fn follows(&self, last: &Attempt) -> AttemptOrder {
        let expected = last.number + 1;
        if self == last {
            AttemptOrder::Repeated
        } else if self.number != expected {
            AttemptOrder::OutOfOrder { expected }
        } else if expected > MAX_ATTEMPTS {
            AttemptOrder::TooMany
        } else {
            AttemptOrder::Next
        }
    }
}

/// How an attempt ended and what it cost the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptResult {
    #[serde(flatten)]
    pub attempt: Attempt,
    /// HTTP status; absent where the provider was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Absent in events that are older than this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<AttemptEnd>,
    pub provider_cost_micro: MicroUsd,
}

/// How one attempt at a provider ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// Its answer began, and was carried on for as long as anybody wanted it.
    Answered,
    /// Nothing of the request was sent.
    NotReached,
    /// It does not want us: our key, our account, no such model there.
    Refused,
    /// Too busy to begin.
    Overloaded,
    /// It failed after it may have begun.
    Failed,
    /// The request itself was at fault.
    BadRequest,
    /// The client left, and nothing came within what may be spent on that.
    GivenUp,
}

/// How a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Completed, incomplete by length, stopped, filtered, refused, or cancelled by the customer.
    Completed,
    /// The client left and the rest was drained to its terminal usage.
    ClientLeft,
    /// The client left and the drain limit was reached.
    DrainLimit,
    /// The provider failed after output had begun.
    UpstreamFailed,
    /// Settling was not durable in time: the client was told so and pays nothing.
    ToldFailed,
}

/// Where the usage figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The provider's own report.
    Reported,
    /// The provider reported none; counted here, at most the hold's worst case.
    Estimated,
    /// The provider's report was negative, absurd or inconsistent; counted here instead.
    Rejected,
}

/// Which input is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillingPolicy {
    /// Every bucket of every generation.
    Full,
    /// Only input beyond what this conversation was billed for before; output always.
    Delta,
}

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    Wallet {
        account_id: AccountId,
    },
    /// Static tokens and keys linked to no customer: the provider's cost is the operator's.
    Operator,
}

/// How long things took, in milliseconds since the request arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// Until the hold was durable.
    pub held_ms: u32,
    /// Until the provider's first byte; absent where none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u32>,
    pub total_ms: u32,
}

/// Keyed digest over the first n input items of a conversation, lower-case hex.
pub type ItemsDigest = String;

/// How far a conversation has been billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// Number of input items the mark covers.
    pub items: u32,
    /// Cumulative keyed digest over them.
    pub digest: ItemsDigest,
    /// Input tokens the provider reported for them, instructions and tools included.
    pub input_tokens: u64,
    /// Estimated tokens of instructions and tools then.
    pub fixed_tokens: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum UsageEvent {
    /// An operator principal's generation, on record before its first attempt is dispatched. A
    /// customer's is on record in the wallet's hold.
    GenerationOpened {
        generation_id: GenerationId,
        key_id: KeyId,
        attempt: Attempt,
        at: Timestamp,
    },
    /// A further attempt of an operator principal's generation, on record before it is dispatched.
    AttemptStarted {
        generation_id: GenerationId,
        attempt: Attempt,
        at: Timestamp,
    },
    /// An operator principal's generation came to nothing: no provider has answered. A customer's is on
    /// record in the release of its hold.
    GenerationReleased {
        generation_id: GenerationId,
        reason: ReleaseReason,
        /// How each attempt failed; absent in older events.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attempts: Vec<AttemptResult>,
        at: Timestamp,
    },
    GenerationSettled(Box<GenerationSettled>),
    /// Wallet and operator are square again: the whole charge went back.
    ChargeReversed {
        generation_id: GenerationId,
        payer: Payer,
        reason: ReversalReason,
        amount_micro: MicroUsd,
        at: Timestamp,
    },
    /// An operator has looked at what the queue says of a generation, and leaves it as it is.
    ReviewDismissed {
        generation_id: GenerationId,
        at: Timestamp,
    },
}

/// Everything that is known of a generation when it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GenerationSettled {
    pub generation_id: GenerationId,
    pub payer: Payer,
    pub key_id: KeyId,
    pub family: ClientFamily,
    pub protocol: Protocol,
    /// The label the client asked for and is shown.
    pub model: String,
    /// The model whose card is billed.
    pub billed_model: String,
    /// The model the provider says answered.
    pub served_model: String,
    pub provider: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_response_id: Option<String>,
    pub outcome: Outcome,
    pub usage_source: UsageSource,
    /// The whole usage, as reported or estimated; its total input is the cumulative context.
    pub usage: Usage,
    pub policy: BillingPolicy,
    /// Input tokens of `usage` that this conversation had been billed for before.
    pub already_billed_tokens: u64,
    /// The generation whose mark `already_billed_tokens` was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<GenerationId>,
    pub card_version: u32,
    pub mode: Mode,
    /// The number of the internal window that set the rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_window: Option<u32>,
    pub lines: Vec<Line>,
    pub remainder_pico: PicoUsd,
    pub cost_micro: MicroUsd,
    pub charged_micro: MicroUsd,
    pub covered_by_plan_micro: MicroUsd,
    pub shortfall_micro: MicroUsd,
    /// What the customer was spared because the provider failed mid-stream.
    pub insured_micro: MicroUsd,
    /// From which grants the charge was taken, so that a reversal can give it back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<GrantPart>,
    /// What it used of the plan that paid, so that a reversal can give it back; absent where the wallet did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<PlanUse>>,
    /// What all attempts together cost the operator.
    pub provider_cost_micro: MicroUsd,
    pub attempts: Vec<AttemptResult>,
    /// The conversation's mark that this generation sets, if it was charged or covered by a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    pub timings: Timings,
    /// The wallet's balance after the charge; absent for operator principals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance_micro: Option<MicroUsd>,
    pub at: Timestamp,
}

impl DomainEvent for UsageEvent {
    fn event_type(&self) -> String {
        match self {
            Self::GenerationOpened { .. } => "usage.generation_opened",
            Self::AttemptStarted { .. } => "usage.attempt_started",
            Self::GenerationReleased { .. } => "usage.generation_released",
            Self::GenerationSettled(_) => "usage.generation_settled",
            Self::ChargeReversed { .. } => "usage.charge_reversed",
            Self::ReviewDismissed { .. } => "usage.review_dismissed",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}
