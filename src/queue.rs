//! What operators do about entries of their queue, each once: charge an expired hold after all, let it cost nothing,
//! take a charge back, or leave everything as it is.
//!
//! The idempotency key is the entry itself, so that the same decision sent again answers as the first time, and
//! another one about the same entry is refused. What the money rules allow is theirs to say.

use anyhow::Context;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, GenerationId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::settlement::{self, SettlementRefusal};
use codexapi_aggregates::usage::{
    AttemptResult, BillingPolicy, ClientFamily, Outcome, Payer, Protocol, SettleGeneration, Timings,
    TokenUsage, Usage, UsageSource,
};
use codexapi_aggregates::wallet::events::{ReleaseReason, ReversalReason, WalletEvent};
use codexapi_aggregates::wallet::{Wallet, WalletAction, WalletCommand, WalletTerms};
use codexapi_projections::ReadError;
use codexapi_projections::queue::{self, QueueEntry, QueueReason, Resolution};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::commands::{CommandError, Committed, CommittedPair};
use crate::event_log::{EventLog, IdempotencyKey};

/// Tokens either way that an operator may charge a generation for: several times what any model reads or writes, and a
/// bound to what a slip of the finger books as the provider's cost.
pub const MOST_TOKENS: u64 = 10_000_000;

/// What an operator decides about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueAction {
    /// Charges an expired hold for these tokens, at the rates and up to the worst case it was placed with.
    Settle { input_tokens: u64, output_tokens: u64 },
    /// An expired hold costs nothing, and cannot be settled any more.
    Release,
    /// The whole charge goes back.
    Reverse,
    /// Nothing is done.
    Dismiss,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueResolved {
    pub resolution: Resolution,
    /// It had been decided so before; nothing happened this time.
    pub replayed: bool,
    /// Where the last event stands in the log; 0 where there was nothing to do.
    pub position: i64,
    /// Charged by this decision, or given back by it.
    pub amount_micro: MicroUsd,
}

/// Why an entry is not resolved.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("the queue has no entry {position}, or the read models lag")]
    NoEntry { position: i64 },
    #[error("entry {position} is resolved already: {}", .resolution.name())]
    Resolved { position: i64, resolution: Resolution },
    #[error("something else was decided about entry {position} before")]
    DecidedOtherwise { position: i64 },
    #[error("entry {position} is no expired hold: it can be reversed or dismissed")]
    NotAHold { position: i64 },
    #[error(
        "entry {position} is an expired hold, of which nothing was charged: it can be settled, released or dismissed"
    )]
    NothingCharged { position: i64 },
    #[error("entry {position} is of a generation that the operator paid for: it can be dismissed")]
    OperatorsOwn { position: i64 },
    #[error("a generation has at most {MOST_TOKENS} tokens each way, not {tokens}")]
    TooManyTokens { tokens: u64 },
    #[error(transparent)]
    Refused(SettlementRefusal),
    #[error(transparent)]
    Read(ReadError),
    #[error("{0}")]
    Command(CommandError<SettlementRefusal>),
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

/// Resolves the entry at `position`.
pub async fn resolve(
    log: &EventLog,
    terms: &WalletTerms,
    metadata: &Metadata,
    position: i64,
    action: QueueAction,
) -> Result<QueueResolved, QueueError> {
    let entry = queue::get(log.pool(), position).await.map_err(QueueError::Read)?;
    let entry = entry.ok_or(QueueError::NoEntry { position })?;
    if let Some(resolution) = entry.resolution.filter(|resolution| *resolution != action.resolution()) {
        return Err(QueueError::Resolved { position, resolution });
    }
    let desk = Desk { log, terms, metadata, entry: &entry, key: key_of(&entry, action) };
    match action {
        QueueAction::Settle { input_tokens, output_tokens } => {
            let tokens = input_tokens.max(output_tokens);
            if tokens > MOST_TOKENS {
                return Err(QueueError::TooManyTokens { tokens });
            }
            desk.settle(input_tokens, output_tokens).await
        }
        QueueAction::Release => desk.release().await,
        QueueAction::Reverse => desk.reverse().await,
        QueueAction::Dismiss => desk.dismiss().await,
    }
}

/// Decides alike about many entries, each by itself: what is refused stands beside what is done.
///
/// # Errors
/// What is no refusal ends it; what was decided until then stays, and the same again decides about the rest.
pub async fn resolve_many(
    log: &EventLog,
    terms: &WalletTerms,
    metadata: &Metadata,
    positions: &[i64],
    action: QueueAction,
) -> Result<Vec<Result<QueueResolved, QueueError>>, QueueError> {
    let mut decided = Vec::with_capacity(positions.len());
    for &position in positions {
        let resolved = resolve(log, terms, metadata, position, action).await;
        match resolved {
            Err(error) if !error.is_refusal() => return Err(error),
            resolved => decided.push(resolved),
        }
    }
    Ok(decided)
}

impl QueueError {
    /// It would be said again, however often one asks.
    fn is_refusal(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::Command(_) | Self::Failed(_))
    }
}

impl QueueAction {
    /// How the entry stands afterwards.
    fn resolution(self) -> Resolution {
        match self {
            Self::Settle { .. } => Resolution::SettledLate,
            Self::Release => Resolution::Released,
            Self::Reverse => Resolution::Reversed,
            Self::Dismiss => Resolution::Dismissed,
        }
    }

    fn inputs(self) -> serde_json::Value {
        match self {
            Self::Settle { input_tokens, output_tokens } => {
                serde_json::json!(["settle", input_tokens, output_tokens])
            }
            Self::Release => serde_json::json!(["release"]),
            Self::Reverse => serde_json::json!(["reverse"]),
            Self::Dismiss => serde_json::json!(["dismiss"]),
        }
    }
}

fn key_of(entry: &QueueEntry, action: QueueAction) -> IdempotencyKey {
    IdempotencyKey {
        command: "resolve_queue_entry",
        account: entry.account_id.map_or_else(|| "system".into(), |account| account.to_string()),
        key: entry.position.to_string(),
        inputs_digest: Sha256::digest(action.inputs().to_string().as_bytes()).into(),
        keep_forever: true,
    }
}

struct Desk<'a> {
    log: &'a EventLog,
    terms: &'a WalletTerms,
    metadata: &'a Metadata,
    entry: &'a QueueEntry,
    key: IdempotencyKey,
}

impl Desk<'_> {
    async fn settle(self, input_tokens: u64, output_tokens: u64) -> Result<QueueResolved, QueueError> {
        let account_id = self.expired_hold()?;
        let hold =
            hold_of(self.log.pool(), account_id, self.generation()).await.map_err(QueueError::Failed)?;
        let settle = hold.settle(account_id, input_tokens, output_tokens);
        let (usage_stream, wallet_stream) = (self.own_stream(), account_id.to_string());
        let (position, key) = (self.entry.position, self.key);
        let done = self
            .log
            .execute_pair_once(
                &usage_stream,
                &wallet_stream,
                self.metadata,
                key,
                |usage: &TokenUsage, wallet: &Wallet, now| {
                    settlement::settle(usage, wallet, &SettleGeneration { now, ..settle.clone() }, self.terms)
                },
            )
            .await;
        let (pair, _) = done.map_err(|error| of_command(error, position))?;
        Ok(of_pair(Resolution::SettledLate, &pair))
    }

    async fn release(self) -> Result<QueueResolved, QueueError> {
        let (account_id, generation_id) = (self.expired_hold()?, self.generation());
        let position = self.entry.position;
        let done = self
            .log
            .execute_once(&account_id.to_string(), self.metadata, self.key, |wallet: &Wallet, now| {
                let reason = ReleaseReason::ByOperator;
                let action = WalletAction::ReleaseHold { generation_id, reason, attempts: vec![] };
                let command = WalletCommand { action, terms: self.terms.clone(), now };
                wallet.decide(command).map_err(SettlementRefusal::from)
            })
            .await;
        let committed = done.map_err(|error| of_command(error, position))?;
        Ok(resolved(Resolution::Released, &committed))
    }

    async fn reverse(self) -> Result<QueueResolved, QueueError> {
        let position = self.entry.position;
        if self.is_expired_hold() {
            return Err(QueueError::NothingCharged { position });
        }
        let account_id = self.entry.account_id.ok_or(QueueError::OperatorsOwn { position })?;
        let generation_id = self.generation();
        let usage_stream = stream_at(self.log.pool(), position).await.map_err(QueueError::Failed)?;
        let reason = ReversalReason::BadGeneration;
        let done = self
            .log
            .execute_pair_once(
                &usage_stream,
                &account_id.to_string(),
                self.metadata,
                self.key,
                |usage: &TokenUsage, wallet: &Wallet, now| {
                    settlement::reverse(usage, wallet, generation_id, reason, self.terms, now)
                },
            )
            .await;
        let (pair, _) = done.map_err(|error| of_command(error, position))?;
        Ok(of_pair(Resolution::Reversed, &pair))
    }

    async fn dismiss(self) -> Result<QueueResolved, QueueError> {
        let (position, generation_id) = (self.entry.position, self.generation());
        let done = self
            .log
            .execute_once(&self.own_stream(), self.metadata, self.key, |_: &TokenUsage, now| {
                Ok::<_, SettlementRefusal>(vec![TokenUsage::dismiss_review(generation_id, now)])
            })
            .await;
        let Committed { position, replayed, .. } = done.map_err(|error| of_command(error, position))?;
        Ok(QueueResolved {
            resolution: Resolution::Dismissed,
            replayed,
            position,
            amount_micro: MicroUsd::ZERO,
        })
    }

    fn generation(&self) -> GenerationId {
        GenerationId(self.entry.generation_id)
    }

    fn is_expired_hold(&self) -> bool {
        self.entry.reasons.contains(&QueueReason::HoldExpired)
    }

    /// Whose hold it is.
    fn expired_hold(&self) -> Result<AccountId, QueueError> {
        let position = self.entry.position;
        let account = self.entry.account_id.filter(|_| self.is_expired_hold());
        account.map(AccountId).ok_or(QueueError::NotAHold { position })
    }

    /// The stream of the generation alone; which conversation it was part of, its hold does not say.
    fn own_stream(&self) -> String {
        let payer = self.entry.account_id.map_or_else(|| "operator".into(), |account| account.to_string());
        format!("{payer}:{}", self.entry.generation_id)
    }
}

/// What is known of a generation of which only the hold is left.
struct Held {
    generation_id: GenerationId,
    event: WalletEvent,
}

impl Held {
    /// Full price for the tokens given: what the conversation was billed for before is not known here.
    fn settle(&self, account_id: AccountId, input_tokens: u64, output_tokens: u64) -> SettleGeneration {
        let WalletEvent::HoldPlaced { key_id, family, quote, attempt, worst_micro, at, .. } = &self.event
        else {
            unreachable!("looked up as a hold that was placed");
        };
        SettleGeneration {
            generation_id: self.generation_id,
            payer: Payer::Wallet { account_id },
            key_id: *key_id,
            family: *family,
            protocol: spoken_by(*family),
            model: quote.model.clone(),
            served_model: attempt.upstream_model.clone(),
            provider: attempt.provider.clone(),
            provider_response_id: None,
            outcome: Outcome::Completed,
            usage_source: UsageSource::Estimated,
            usage: Usage { input: input_tokens, output: output_tokens, ..Usage::default() },
            estimate_cap_micro: *worst_micro,
            quote: (**quote).clone(),
            policy: BillingPolicy::Full,
            prefix: None,
            attempts: vec![AttemptResult {
                attempt: attempt.clone(),
                status: None,
                ended: None,
                provider_cost_micro: MicroUsd::ZERO,
            }],
            timings: Timings::default(),
            now: *at,
        }
    }
}

/// A hold does not keep the dialect; this is the one its kind of client speaks.
fn spoken_by(family: ClientFamily) -> Protocol {
    match family {
        ClientFamily::ClaudeCode | ClientFamily::Codexclaude | ClientFamily::AnthropicSdk => {
            Protocol::Messages
        }
        ClientFamily::CodexCli | ClientFamily::OpenaiSdk | ClientFamily::Other => Protocol::Responses,
    }
}

/// The newest hold of a generation, from the log: a wallet keeps of an expired one only what its rules need.
async fn hold_of(pool: &PgPool, account_id: AccountId, generation_id: GenerationId) -> anyhow::Result<Held> {
    let payload: Option<String> = sqlx::query_scalar(
        "SELECT payload::text FROM events WHERE aggregate_type = 'wallet' AND aggregate_id = $1 \
         AND event_type = 'wallet.hold_placed' AND payload->'HoldPlaced'->>'generation_id' = $2 \
         ORDER BY sequence DESC LIMIT 1",
    )
    .bind(account_id.to_string())
    .bind(generation_id.to_string())
    .fetch_optional(pool)
    .await
    .context("looking for the hold")?;
    let payload = payload.with_context(|| format!("the log has no hold of generation {generation_id}"))?;
    Ok(Held { generation_id, event: serde_json::from_str(&payload).context("reading the hold")? })
}

/// The usage stream in which the event at `position` stands.
async fn stream_at(pool: &PgPool, position: i64) -> anyhow::Result<String> {
    let stream = sqlx::query_scalar(
        "SELECT aggregate_id FROM events WHERE position = $1 AND aggregate_type = 'usage'",
    );
    let stream = stream.bind(position).fetch_optional(pool).await.context("looking for the settlement")?;
    stream.with_context(|| format!("the log has no settlement at {position}"))
}

/// A charge of nothing is reversed in the usage stream alone.
fn of_pair<E>(resolution: Resolution, pair: &CommittedPair<E, WalletEvent>) -> QueueResolved {
    let position = pair.first.position.max(pair.second.position);
    QueueResolved { position, ..resolved(resolution, &pair.second) }
}

fn resolved(resolution: Resolution, wallet: &Committed<WalletEvent>) -> QueueResolved {
    let amounts = wallet.events.iter().map(|event| match event {
        WalletEvent::UsageCharged { charged_micro, .. } => *charged_micro,
        WalletEvent::ChargeReversed { amount_micro, .. } => *amount_micro,
        _ => MicroUsd::ZERO,
    });
    QueueResolved {
        resolution,
        replayed: wallet.replayed,
        position: wallet.position,
        amount_micro: amounts.sum(),
    }
}

fn of_command(error: CommandError<SettlementRefusal>, position: i64) -> QueueError {
    match error {
        CommandError::IdempotencyMismatch { .. } => QueueError::DecidedOtherwise { position },
        CommandError::Refused(refusal) => QueueError::Refused(refusal),
        other => QueueError::Command(other),
    }
}
