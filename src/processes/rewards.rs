//! What follows from payments: commissions of referrers, and codes that are used up or come back.
//!
//! It reads payments' events from a cursor of its own and answers them with commands. Each of those changes nothing
//! when it is repeated, so the cursor moves after the commands, and it does not matter where this is cut off or that
//! another node does the same.

use std::time::Duration;

use anyhow::Context;
use codexapi_aggregates::bonus::{BonusAction, BonusCommand, Bonuses};
use codexapi_aggregates::cash::CashWallet;
use codexapi_aggregates::event::{AnyEvent, Metadata, RecordedEvent};
use codexapi_aggregates::ids::{AccountId, CommissionId, GrantId, PaymentId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{Payment, PaymentEvent};
use codexapi_aggregates::referral::{
    self, Referral, ReferralAction, ReferralCommand, ReferralRefusal, SettlingRefusal,
};
use codexapi_aggregates::time::Timestamp;
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::commands::CommandError;
use crate::event_log::EventLog;
use crate::event_log::read::{self, SHARD};

/// The cursor's name.
const PROCESS: &str = "rewards";

/// Events of payments answered between two moves of the cursor.
const BATCH: i64 = 200;

/// How long it may take to hear of an event that another node appended.
const POLL: Duration = Duration::from_secs(1);

/// Looks are at least this far apart: most of what is appended is no payment's.
const GATHER: Duration = Duration::from_millis(250);

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Answers payments' events.
pub struct Rewards {
    pub pool: PgPool,
    pub log: EventLog,
    /// What referrers earn, in basis points.
    pub referral_basis_points: u32,
}

/// Whether a look came to the log's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    More,
    AtHead,
}

impl Rewards {
    /// Goes on until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut appended = self.log.appended();
        let going_on = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.step().await {
                    Ok(Looked::More) => pause = FIRST_PAUSE,
                    Ok(Looked::AtHead) => {
                        pause = FIRST_PAUSE;
                        // Either way there may be something new.
                        sleep(GATHER).await;
                        let _timed_out_or_told =
                            tokio::time::timeout(POLL - GATHER, appended.changed()).await;
                    }
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "rewards wait; trying again");
                        sleep(pause).await;
                        pause = LONGEST_PAUSE.min(pause * 2);
                    }
                }
            }
        };
        stop.run_until_cancelled(going_on).await;
    }

    /// Answers what is new; whether there is more.
    ///
    /// # Errors
    /// Something could not be answered; the cursor stands before it.
    pub async fn step(&self) -> anyhow::Result<Looked> {
        let cursor = self.cursor().await?;
        let head = read::head(&self.pool, SHARD).await?;
        if head <= cursor {
            return Ok(Looked::AtHead);
        }
        let events = read::read_type_after(&self.pool, SHARD, "payment", cursor, head, BATCH).await?;
        let full = events.len() as i64 == BATCH;
        let up_to = events.last().filter(|_| full).map_or(head, |last| last.position);
        for stored in &events {
            let event =
                stored.decode().with_context(|| format!("the event at position {}", stored.position))?;
            self.answer(&event)
                .await
                .with_context(|| format!("the event at position {}", stored.position))?;
        }
        self.move_cursor(up_to).await?;
        Ok(if full { Looked::More } else { Looked::AtHead })
    }

    async fn cursor(&self) -> sqlx::Result<i64> {
        let position = sqlx::query_scalar("SELECT position FROM process_cursors WHERE process = $1");
        Ok(position.bind(PROCESS).fetch_optional(&self.pool).await?.unwrap_or(0))
    }

    async fn move_cursor(&self, position: i64) -> sqlx::Result<()> {
        sqlx::query(
            "INSERT INTO process_cursors AS known (process, position) VALUES ($1, $2)
             ON CONFLICT (process) DO UPDATE SET position = greatest(known.position, excluded.position)",
        )
        .bind(PROCESS)
        .bind(position)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn answer(&self, event: &RecordedEvent) -> anyhow::Result<()> {
        let AnyEvent::Payment(payment) = &event.event else { return Ok(()) };
        let metadata =
            Metadata { cause: Some(format!("payment:{}", event.event_id)), ..Metadata::process(PROCESS) };
        match payment {
            PaymentEvent::PaymentCredited { payment_id, paid_micro, at, .. } => {
                let account_id = self.payer(*payment_id).await?;
                self.tell_bonuses(
                    &metadata,
                    account_id,
                    BonusAction::UseCode { payment_id: payment_id.grant() },
                )
                .await?;
                self.purchased(&metadata, account_id, payment_id.grant(), (*paid_micro, *at)).await?;
                // What went back before it was known as paid found no commission to take along.
                let reversed =
                    self.log.read(&payment_id.to_string(), |payment: &Payment| payment.reversed()).await?;
                match reversed.is_positive() {
                    true => self.reversed(&metadata, account_id, payment_id.grant(), reversed).await,
                    false => Ok(()),
                }
            }
            PaymentEvent::PaymentFailed { payment_id, .. }
            | PaymentEvent::PaymentExpired { payment_id, .. } => {
                let account_id = self.payer(*payment_id).await?;
                self.tell_bonuses(
                    &metadata,
                    account_id,
                    BonusAction::ReturnCode { payment_id: payment_id.grant() },
                )
                .await
            }
            PaymentEvent::RefundRecorded { payment_id, reversed_micro, .. }
            | PaymentEvent::DisputeRecorded { payment_id, reversed_micro, .. } => {
                let account_id = self.payer(*payment_id).await?;
                self.reversed(&metadata, account_id, payment_id.grant(), *reversed_micro).await
            }
            PaymentEvent::PaymentStarted { .. } | PaymentEvent::CheckoutOpened { .. } => Ok(()),
        }
    }

    async fn payer(&self, payment_id: PaymentId) -> anyhow::Result<AccountId> {
        let payer = |payment: &Payment| payment.started().map(|started| started.account_id);
        let payer = self.log.read(&payment_id.to_string(), payer).await?;
        payer.with_context(|| format!("payment {payment_id} was never started"))
    }

    async fn tell_bonuses(
        &self,
        metadata: &Metadata,
        account_id: AccountId,
        action: BonusAction,
    ) -> anyhow::Result<()> {
        let decide = |bonuses: &Bonuses, now| bonuses.decide(BonusCommand { action: action.clone(), now });
        answered(self.log.execute(&account_id.to_string(), metadata, decide).await.map(drop))
    }

    /// A confirmed purchase: the customer is new no longer, and whoever referred them earns.
    async fn purchased(
        &self,
        metadata: &Metadata,
        account_id: AccountId,
        payment_id: GrantId,
        (purchase_micro, purchased_at): (MicroUsd, Timestamp),
    ) -> anyhow::Result<()> {
        let stream = account_id.to_string();
        let note = ReferralAction::NotePurchase { payment_id, purchased_at };
        let decide =
            |referral: &Referral, now| referral.decide(ReferralCommand { action: note.clone(), now });
        answered(self.log.execute(&stream, metadata, decide).await.map(drop))?;
        let Some(referrer) = self.log.read(&stream, Referral::referrer).await? else { return Ok(()) };
        let earn = ReferralAction::Earn {
            payment_id,
            referred_id: account_id,
            purchase_micro,
            basis_points: self.referral_basis_points,
        };
        let decide =
            |referral: &Referral, now| referral.decide(ReferralCommand { action: earn.clone(), now });
        let earned = self.log.execute(&referrer.to_string(), metadata, decide).await.map(drop);
        match earned {
            Err(CommandError::Refused(refusal @ ReferralRefusal::TooManyPending { .. })) => {
                tracing::error!(%referrer, %payment_id, %refusal, "a purchase earns its referrer nothing");
                Ok(())
            }
            earned => answered(earned),
        }
    }

    /// What refunds and disputes leave of a purchase, they leave of its commission.
    async fn reversed(
        &self,
        metadata: &Metadata,
        account_id: AccountId,
        payment_id: GrantId,
        reversed_micro: MicroUsd,
    ) -> anyhow::Result<()> {
        let referrer = self.log.read(&account_id.to_string(), Referral::referrer).await?;
        let Some(referrer) = referrer.map(|referrer| referrer.to_string()) else { return Ok(()) };
        let commission_id = CommissionId(payment_id.0);
        let decide = |referral: &Referral, cash: &CashWallet, now| {
            referral::adjust(referral, cash, commission_id, reversed_micro, now)
        };
        let adjusted = self.log.execute_pair(&referrer, &referrer, metadata, decide).await.map(drop);
        match adjusted {
            // Purchases from before they were referred earned nothing; neither did those while the club was closed.
            Err(CommandError::Refused(SettlingRefusal::Referral(ReferralRefusal::UnknownCommission {
                ..
            }))) => Ok(()),
            adjusted => answered(adjusted),
        }
    }
}

fn answered<R: std::fmt::Display>(answered: Result<(), CommandError<R>>) -> anyhow::Result<()> {
    answered.map_err(|error| anyhow::anyhow!("{error}"))
}
