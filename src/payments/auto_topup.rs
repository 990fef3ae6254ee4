//! Charging a saved card when a wallet runs low.
//!
//! `run_auto_topup` may be called by anybody, at any time and at once: the stream of the wallet's automatic top-up
//! decides, the open attempt is taken up where it stands, and Stripe does it once under the attempt's own key.

use codexapi_aggregates::auto_topup::{
    Attempt, AttemptFailure, AutoTopUp, AutoTopUpAction, AutoTopUpCommand, AutoTopUpRefusal, Fire,
    FiringRefusal, OffReason, fire,
};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, PaymentId};
use codexapi_aggregates::payment::{FailureReason, Payment, PaymentAction, PaymentRefusal, Standing};
use codexapi_aggregates::wallet::Wallet;

use super::settle::SettleError;
use super::stripe::{SavedCardCharge, StripeError};
use super::{Payments, profiles};
use crate::commands::{Call, CommandError};
use crate::{clock, crash_points};

/// Stripe forgets idempotency keys after a day: an attempt older than this is not asked for again.
const ATTEMPT_SECS: i64 = 20 * 3_600;

/// What came of looking at a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutoTopUpOutcome {
    /// Nothing is due, for this reason.
    NotDue(AutoTopUpRefusal),
    Credited {
        payment_id: PaymentId,
    },
    Failed {
        payment_id: PaymentId,
        reason: AttemptFailure,
    },
    /// Not known yet; it will be looked at again.
    Open {
        payment_id: PaymentId,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum AutoTopUpError {
    #[error(transparent)]
    Settle(#[from] SettleError),
    #[error(transparent)]
    AutoTopUp(#[from] CommandError<AutoTopUpRefusal>),
    #[error(transparent)]
    Firing(#[from] CommandError<FiringRefusal>),
    #[error(transparent)]
    Payment(#[from] CommandError<PaymentRefusal>),
    #[error(transparent)]
    Read(anyhow::Error),
}

impl Payments {
    /// Tops a wallet up where that is due, and takes up what was begun.
    pub async fn run_auto_topup(
        &self,
        account_id: AccountId,
        metadata: &Metadata,
    ) -> Result<AutoTopUpOutcome, AutoTopUpError> {
        let stream = account_id.to_string();
        let open = self.log.read(&stream, AutoTopUp::attempt).await.map_err(AutoTopUpError::Read)?;
        let attempt = match open {
            Some(attempt) => attempt,
            None => match self.fire(account_id, metadata).await? {
                Ok(attempt) => attempt,
                Err(refusal) => return Ok(AutoTopUpOutcome::NotDue(refusal)),
            },
        };
        crash_points::reached(crash_points::PAYMENT_STARTED);
        self.charge(account_id, attempt, metadata).await?;
        self.conclude(account_id, attempt.payment_id, metadata).await
    }

    /// A command of the stream of a wallet's automatic top-up.
    pub async fn set_auto_topup(
        &self,
        account_id: AccountId,
        action: AutoTopUpAction,
        metadata: &Metadata,
    ) -> Result<(), CommandError<AutoTopUpRefusal>> {
        let decide = |auto: &AutoTopUp, now| {
            auto.decide(AutoTopUpCommand { action: action.clone(), terms: self.auto_topup_terms, now })
        };
        self.log.execute(&account_id.to_string(), metadata, decide).await.map(drop)
    }

    async fn fire(
        &self,
        account_id: AccountId,
        metadata: &Metadata,
    ) -> Result<Result<Attempt, AutoTopUpRefusal>, AutoTopUpError> {
        let stream = account_id.to_string();
        let balance = self.log.read(&stream, Wallet::balance).await.map_err(AutoTopUpError::Read)?;
        let payment_id = PaymentId(clock::new_id());
        let asked = Fire { account_id, payment_id, balance_micro: balance, livemode: self.livemode };
        let call = Call::new(metadata).fresh_second_stream();
        let decide = |auto: &AutoTopUp, payment: &Payment, now| {
            fire(auto, payment, asked, now).map(|(attempt, started)| (attempt, started, ()))
        };
        let fired = self.log.execute_pair(&stream, &payment_id.to_string(), call, decide).await;
        match fired {
            Ok(_) => {}
            Err(CommandError::Refused(FiringRefusal::AutoTopUp(refusal))) => return Ok(Err(refusal)),
            Err(error) => return Err(error.into()),
        }
        let open = self.log.read(&stream, AutoTopUp::attempt).await.map_err(AutoTopUpError::Read)?;
        Ok(open.ok_or(AutoTopUpRefusal::Off))
    }

    /// Asks the saved card for the money, unless that is decided already.
    async fn charge(
        &self,
        account_id: AccountId,
        attempt: Attempt,
        metadata: &Metadata,
    ) -> Result<(), AutoTopUpError> {
        let payment_id = attempt.payment_id;
        if self.standing(payment_id).await? != Standing::Open {
            return Ok(());
        }
        // Was it charged after all, the reconciler finds it, and credit outranks failure.
        if clock::now() > attempt.started_at.plus_secs(ATTEMPT_SECS) {
            return self.give_up_charge(payment_id, FailureReason::NotAccepted, metadata).await;
        }
        let card =
            profiles::get(&self.pool, account_id, self.livemode).await.map_err(AutoTopUpError::Read)?;
        let Some(card) = card else {
            self.give_up_charge(payment_id, FailureReason::NotAccepted, metadata).await?;
            let off = AutoTopUpAction::SwitchOff { reason: OffReason::NoCard };
            return Ok(self.set_auto_topup(account_id, off, metadata).await?);
        };
        let charged = self
            .stripe
            .charge_saved_card(&SavedCardCharge {
                payment_id,
                account_id,
                price_micro: attempt.price_micro,
                customer_id: &card.customer_id,
                payment_method_id: &card.payment_method_id,
                idempotency_key: &format!("auto-topup-{account_id}-{}", attempt.arming),
            })
            .await;
        crash_points::reached(crash_points::CHECKOUT_OPENED);
        match charged {
            Ok(intent) => {
                self.settle_intent(&intent.id, metadata).await?;
                Ok(())
            }
            Err(StripeError::Refused { code, .. }) => {
                let reason = match code.as_str() {
                    "authentication_required" => FailureReason::AuthenticationRequired,
                    "card_declined" | "expired_card" | "incorrect_cvc" | "processing_error" => {
                        FailureReason::Declined
                    }
                    _ => FailureReason::NotAccepted,
                };
                self.give_up_charge(payment_id, reason, metadata).await
            }
            Err(StripeError::NotFound { .. }) => {
                self.give_up_charge(payment_id, FailureReason::NotAccepted, metadata).await
            }
            // Whether it was charged is not known; the same key tells when it is asked again.
            Err(error @ (StripeError::Unavailable { .. } | StripeError::Unreadable { .. })) => {
                Err(SettleError::Stripe(error).into())
            }
        }
    }

    async fn give_up_charge(
        &self,
        payment_id: PaymentId,
        reason: FailureReason,
        metadata: &Metadata,
    ) -> Result<(), AutoTopUpError> {
        self.act(payment_id, PaymentAction::FailPayment { reason }, metadata).await?;
        Ok(())
    }

    /// Tells the wallet's automatic top-up what came of its payment.
    async fn conclude(
        &self,
        account_id: AccountId,
        payment_id: PaymentId,
        metadata: &Metadata,
    ) -> Result<AutoTopUpOutcome, AutoTopUpError> {
        let look = |payment: &Payment| (payment.standing(), payment.failure());
        let read = self.log.read(&payment_id.to_string(), look).await.map_err(AutoTopUpError::Read)?;
        let failed = |reason| {
            let action = AutoTopUpAction::NoteFailed { payment_id, reason };
            (action, AutoTopUpOutcome::Failed { payment_id, reason })
        };
        let (action, outcome) = match read {
            (Standing::Open, _) => return Ok(AutoTopUpOutcome::Open { payment_id }),
            (Standing::Credited, _) => {
                (AutoTopUpAction::NoteCredited { payment_id }, AutoTopUpOutcome::Credited { payment_id })
            }
            (Standing::Failed, Some(reason)) => failed(reason.into()),
            (Standing::Failed | Standing::Expired, _) => failed(AttemptFailure::Expired),
        };
        self.set_auto_topup(account_id, action, metadata).await?;
        Ok(outcome)
    }

    async fn standing(&self, payment_id: PaymentId) -> Result<Standing, AutoTopUpError> {
        self.log.read(&payment_id.to_string(), Payment::standing).await.map_err(AutoTopUpError::Read)
    }
}
