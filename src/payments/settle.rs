//! Bringing a payment to where Stripe has it: credited, given up, reversed.
//!
//! Every object is fetched here and now; what a webhook or a customer brought is only its id. An object that does
//! not name a payment that was started here is foreign, and nothing comes of it.

use std::collections::BTreeMap;

use codexapi_aggregates::cash::CashWallet;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, PaymentId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{
    Channel, Credited, CreditingRefusal, DisputeStatus, FailureReason, ObservedPayment, ObservedReversal,
    Payment, PaymentAction, PaymentRefusal, Purpose, RefundStatus, Reversal, Standing, Started, confirm,
    confirm_cash, reverse, reverse_cash,
};
use codexapi_aggregates::wallet::Wallet;
use serde::de::DeserializeOwned;

use super::inbox::Effect;
use super::profiles::{self, PaymentProfile};
use super::stripe::{
    ACCOUNT_ID, CheckoutSession, Dispute, List, PAYMENT_ID, PaymentIntent, Reference, Refund, Since,
    StripeError, currency_of, micro_of_cents,
};
use super::{Payments, stripe};
use crate::commands::CommandError;
use crate::crash_points;

/// Pages of a payment's refunds, and of its disputes: more than a payment may have.
const MAX_PAGES: usize = 3;

/// What Stripe's look at a payment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub payment_id: PaymentId,
    pub account_id: AccountId,
    pub effect: Effect,
    /// What the credit of the payment comes to, were nothing spent; absent where it is not paid.
    pub remaining_micro: Option<MicroUsd>,
    /// Of the wallet it went to, after it; absent where it is not paid.
    pub balance_micro: Option<MicroUsd>,
}

/// How far a payment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    Credited,
    /// `session_id`: the checkout where it is paid, as far as that is known.
    Uncredited {
        session_id: Option<String>,
    },
}

/// Why a payment is not where Stripe has it.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error(transparent)]
    Stripe(#[from] StripeError),
    #[error("the object names no payment that was started here")]
    Foreign,
    #[error(transparent)]
    Command(#[from] CommandError<CreditingRefusal>),
    #[error(transparent)]
    Read(anyhow::Error),
}

/// What Stripe's object says it is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub payment_id: PaymentId,
    pub account_id: AccountId,
}

impl Payments {
    /// Fetches a checkout session and brings its payment to where it is.
    pub async fn settle_session(&self, id: &str, metadata: &Metadata) -> Result<Settled, SettleError> {
        let session = self.stripe.checkout_session(id).await?;
        self.settle_fetched_session(&session, metadata).await
    }

    /// The same for a session that was just fetched.
    pub async fn settle_fetched_session(
        &self,
        session: &CheckoutSession,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        crash_points::reached(crash_points::PAYMENT_FETCHED);
        let (named, started) = self.started(session.metadata.as_ref()).await?;
        let is_for_us = session.client_reference_id.as_deref() == Some(&named.account_id.to_string());
        let is_a_subscription = session.mode == "subscription";
        if !is_for_us || !(session.mode == "payment" || is_a_subscription) {
            return Err(SettleError::Foreign);
        }
        match (session.payment_status.as_str(), session.status.as_deref()) {
            ("paid", _) if is_a_subscription => {
                let invoice = session.invoice.as_ref().ok_or(SettleError::Foreign)?;
                self.settle_first_invoice(invoice.id(), session, named, metadata).await
            }
            ("paid", _) => {
                let observed = observed_session(session, named);
                let settled = self.confirm(&observed, &started, metadata).await?;
                if let Some(Reference::Whole(intent)) = &session.payment_intent {
                    self.keep_card(named.account_id, intent).await?;
                }
                Ok(settled)
            }
            (_, Some("expired")) => self.give_up(named, PaymentAction::ExpirePayment, metadata).await,
            // Nothing is told of a session that is open, or whose money is on its way.
            (_, _) => match &session.payment_intent {
                Some(intent) if session.status.as_deref() == Some("complete") => {
                    let intent = self.whole(intent).await?;
                    self.settle_unpaid(named, &started, &intent, true, metadata).await
                }
                Some(_) | None => Ok(unpaid(named, Effect::NothingNew)),
            },
        }
    }

    /// Fetches a payment intent with its refunds and disputes, and brings its payment to where they are.
    pub async fn settle_intent(&self, id: &str, metadata: &Metadata) -> Result<Settled, SettleError> {
        let intent = self.stripe.payment_intent(id).await?;
        crash_points::reached(crash_points::PAYMENT_FETCHED);
        if named(&intent.metadata).is_none() {
            // Stripe makes the intents of invoices, and writes nothing of ours on them.
            let invoice = self.stripe.invoice_of_intent(&intent.id).await?.ok_or(SettleError::Foreign)?;
            return self.settle_invoice(&invoice, metadata).await;
        }
        let (named, started) = self.started(Some(&intent.metadata)).await?;
        if intent.status != "succeeded" {
            return self.settle_unpaid(named, &started, &intent, false, metadata).await;
        }
        let observed = observed_intent(&intent, named);
        let settled = self.confirm(&observed, &started, metadata).await?;
        self.keep_card(named.account_id, &intent).await?;
        let (settled, refused) = self.reverse_all(&intent, &started, settled, metadata).await?;
        refused.map_or(Ok(settled), Err)
    }

    /// Brings a credited payment to where the refunds and disputes of its intent are, and says which was refused.
    pub(super) async fn reverse_all(
        &self,
        intent: &PaymentIntent,
        started: &Started,
        mut settled: Settled,
        metadata: &Metadata,
    ) -> Result<(Settled, Option<SettleError>), SettleError> {
        let mut refused = None;
        for observed in self.reversals(intent, settled.payment_id).await? {
            match self.reverse(&observed, started, metadata).await {
                Ok(reversed) => {
                    settled = Settled { effect: weightier(settled.effect, reversed.effect), ..reversed };
                }
                // One that cannot be ours holds up no other.
                Err(error @ SettleError::Command(CommandError::Refused(_))) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok((settled, refused))
    }

    /// Fetches a checkout session of `account_id`'s own, for something that `is_wanted`, and brings its payment to
    /// where it is.
    pub async fn confirm_for(
        &self,
        account_id: AccountId,
        session_id: &str,
        is_wanted: impl Fn(&Purpose) -> bool,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        let session = self.stripe.checkout_session(session_id).await?;
        let (named, started) = self.started(session.metadata.as_ref()).await?;
        if named.account_id != account_id || started.account_id != account_id || !is_wanted(&started.purpose)
        {
            return Err(SettleError::Foreign);
        }
        self.settle_fetched_session(&session, metadata).await
    }

    /// How far a payment of `account_id`'s own is, by our word alone.
    pub async fn look(&self, account_id: AccountId, payment_id: PaymentId) -> Result<Look, SettleError> {
        let look = |payment: &Payment| {
            payment.started().filter(|started| started.account_id == account_id)?;
            Some(match payment.standing() {
                Standing::Credited => Look::Credited,
                Standing::Open | Standing::Expired | Standing::Failed => {
                    Look::Uncredited { session_id: payment.session_id().map(str::to_owned) }
                }
            })
        };
        let found = self.log.read(&payment_id.to_string(), look).await.map_err(SettleError::Read)?;
        found.ok_or(SettleError::Foreign)
    }

    /// What an object of Stripe's says it is for, if that was started here.
    async fn started(&self, written: Option<&stripe::Metadata>) -> Result<(Named, Started), SettleError> {
        let named = written.and_then(named).ok_or(SettleError::Foreign)?;
        let look = |payment: &Payment| payment.started().cloned();
        let started = self.log.read(&named.payment_id.to_string(), look).await.map_err(SettleError::Read)?;
        Ok((named, started.ok_or(SettleError::Foreign)?))
    }

    pub(super) async fn confirm(
        &self,
        observed: &ObservedPayment,
        started: &Started,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        let (payment_id, account_id) = (observed.payment_id, started.account_id);
        let (stream, wallet) = (payment_id.to_string(), account_id.to_string());
        let credited = match started.purpose {
            Purpose::TokenCredit { .. } | Purpose::Entitlement { .. } => {
                let decide = |payment: &Payment, wallet: &Wallet, now| {
                    confirm(payment, wallet, observed, &self.terms, now)
                };
                self.log.execute_pair(&stream, &wallet, metadata, decide).await?.1
            }
            Purpose::CashTopUp => {
                let decide =
                    |payment: &Payment, cash: &CashWallet, now| confirm_cash(payment, cash, observed, now);
                self.log.execute_pair(&stream, &wallet, metadata, decide).await?.1
            }
        };
        crash_points::reached(crash_points::PAYMENT_CREDITED);
        Ok(settled(payment_id, account_id, credited, Effect::Credited))
    }

    async fn reverse(
        &self,
        observed: &ObservedReversal,
        started: &Started,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        let (payment_id, account_id) = (observed.payment_id, started.account_id);
        let (stream, wallet) = (payment_id.to_string(), account_id.to_string());
        let credited = match started.purpose {
            Purpose::TokenCredit { .. } | Purpose::Entitlement { .. } => {
                let decide = |payment: &Payment, wallet: &Wallet, now| {
                    reverse(payment, wallet, observed, &self.terms, now)
                };
                self.log.execute_pair(&stream, &wallet, metadata, decide).await?.1
            }
            Purpose::CashTopUp => {
                let decide =
                    |payment: &Payment, cash: &CashWallet, now| reverse_cash(payment, cash, observed, now);
                self.log.execute_pair(&stream, &wallet, metadata, decide).await?.1
            }
        };
        crash_points::reached(crash_points::PAYMENT_REVERSED);
        Ok(settled(payment_id, account_id, credited, Effect::Reversed))
    }

    /// An intent without money: over for good where nobody will try again.
    pub(super) async fn settle_unpaid(
        &self,
        named: Named,
        started: &Started,
        intent: &PaymentIntent,
        checkout_is_over: bool,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        let nobody_is_there = match started.channel {
            Channel::Checkout => checkout_is_over,
            Channel::OffSession | Channel::Invoice => true,
        };
        let failed = |reason| PaymentAction::FailPayment { reason };
        match intent.status.as_str() {
            "canceled" => self.give_up(named, PaymentAction::ExpirePayment, metadata).await,
            "requires_action" if started.channel != Channel::Checkout => {
                self.give_up(named, failed(FailureReason::AuthenticationRequired), metadata).await
            }
            "requires_payment_method" if nobody_is_there && intent.last_payment_error.is_some() => {
                let code = intent.last_payment_error.as_ref().and_then(|error| error.code.as_deref());
                let reason = match code {
                    Some("authentication_required") => FailureReason::AuthenticationRequired,
                    Some(_) | None => FailureReason::Declined,
                };
                self.give_up(named, failed(reason), metadata).await
            }
            _ => Ok(unpaid(named, Effect::NothingNew)),
        }
    }

    pub(super) async fn give_up(
        &self,
        named: Named,
        action: PaymentAction,
        metadata: &Metadata,
    ) -> Result<Settled, SettleError> {
        let changed = self.act(named.payment_id, action, metadata).await.map_err(of_payment)?;
        Ok(unpaid(named, if changed { Effect::Ended } else { Effect::NothingNew }))
    }

    async fn whole(&self, intent: &Reference<PaymentIntent>) -> Result<PaymentIntent, StripeError> {
        match intent {
            Reference::Whole(intent) => Ok(PaymentIntent::clone(intent)),
            Reference::Id(id) => self.stripe.payment_intent(id).await,
        }
    }

    /// A card that the customer lets us charge again.
    async fn keep_card(&self, account_id: AccountId, intent: &PaymentIntent) -> Result<(), SettleError> {
        if intent.setup_future_usage.as_deref() != Some("off_session") {
            return Ok(());
        }
        let (Some(customer), Some(card)) = (&intent.customer, &intent.payment_method) else { return Ok(()) };
        let profile = PaymentProfile {
            customer_id: customer.id().to_owned(),
            payment_method_id: card.id().to_owned(),
            livemode: intent.livemode,
        };
        profiles::save(&self.pool, account_id, &profile).await.map_err(SettleError::Read)
    }

    /// Refunds and disputes of a payment, all of them.
    async fn reversals(
        &self,
        intent: &PaymentIntent,
        payment_id: PaymentId,
    ) -> Result<Vec<ObservedReversal>, SettleError> {
        let refunds: Vec<Refund> = self.all_of(&intent.id).await?;
        let disputes: Vec<Dispute> = self.all_of(&intent.id).await?;
        let observed = |reversal, cents, currency: &str, livemode| ObservedReversal {
            payment_id,
            reversal,
            amount_micro: micro_of_cents(cents).unwrap_or(MicroUsd::ZERO),
            currency: currency_of(currency),
            livemode,
        };
        // A refund does not say which mode it is of; its payment does.
        let refunds = refunds.iter().filter_map(|refund| {
            Some(observed(refund.reversal()?, refund.amount, &refund.currency, intent.livemode))
        });
        let disputes = disputes.iter().filter_map(|dispute| {
            Some(observed(dispute.reversal()?, dispute.amount, &dispute.currency, dispute.livemode))
        });
        Ok(refunds.chain(disputes).collect())
    }

    /// Refunds or disputes of a payment intent, on as many pages as a payment can have of them.
    async fn all_of<T: Since + DeserializeOwned>(&self, intent: &str) -> Result<Vec<T>, StripeError> {
        let mut found: Vec<T> = Vec::new();
        for _ in 0..MAX_PAGES {
            let List { data, has_more } = self.stripe.of_intent(intent, found.last().map(T::id)).await?;
            let is_last = !has_more || data.is_empty();
            found.extend(data);
            if is_last {
                break;
            }
        }
        Ok(found)
    }
}

impl Refund {
    /// `None` where its status is not known here.
    pub fn reversal(&self) -> Option<Reversal> {
        let status = match self.status.as_deref()? {
            "pending" | "requires_action" | "succeeded" => RefundStatus::Made,
            "failed" | "canceled" => RefundStatus::Failed,
            other => return unknown("refund", other),
        };
        Some(Reversal::Refund { refund_id: self.id.clone(), status })
    }
}

impl Dispute {
    /// `None` where its status is not known here.
    pub fn reversal(&self) -> Option<Reversal> {
        let status = match self.status.as_str() {
            "warning_needs_response" | "warning_under_review" => DisputeStatus::Inquiry,
            "needs_response" | "under_review" => DisputeStatus::Open,
            "lost" => DisputeStatus::Lost,
            // Prevented: what it was about was refunded before it became one, and the refund is told of by itself.
            "won" | "warning_closed" | "prevented" => DisputeStatus::Won,
            other => return unknown("dispute", other),
        };
        Some(Reversal::Dispute { dispute_id: self.id.clone(), status })
    }
}

/// A status this build does not know moves nothing, and is said aloud.
fn unknown<T>(what: &'static str, status: &str) -> Option<T> {
    let shown: String = status.chars().filter(char::is_ascii_graphic).take(40).collect();
    tracing::warn!(what, status = shown, "Stripe has a status that is not known here; nothing came of it");
    None
}

fn observed_session(session: &CheckoutSession, named: Named) -> ObservedPayment {
    ObservedPayment {
        payment_id: named.payment_id,
        account_id: named.account_id,
        session_id: Some(session.id.clone()),
        payment_intent_id: session.payment_intent.as_ref().map(|intent| intent.id().to_owned()),
        paid: true,
        amount_micro: session.amount_total.and_then(micro_of_cents).unwrap_or(MicroUsd::ZERO),
        currency: session.currency.as_deref().and_then(currency_of),
        livemode: session.livemode,
        period: None,
    }
}

fn observed_intent(intent: &PaymentIntent, named: Named) -> ObservedPayment {
    ObservedPayment {
        payment_id: named.payment_id,
        account_id: named.account_id,
        session_id: None,
        payment_intent_id: Some(intent.id.clone()),
        paid: true,
        amount_micro: micro_of_cents(intent.amount_received).unwrap_or(MicroUsd::ZERO),
        currency: currency_of(&intent.currency),
        livemode: intent.livemode,
        period: None,
    }
}

pub(super) fn named(written: &BTreeMap<String, String>) -> Option<Named> {
    let payment_id = written.get(PAYMENT_ID)?.parse().ok()?;
    let account_id = written.get(ACCOUNT_ID)?.parse().ok()?;
    Some(Named { payment_id, account_id })
}

fn settled(payment_id: PaymentId, account_id: AccountId, credited: Credited, effect: Effect) -> Settled {
    Settled {
        payment_id,
        account_id,
        effect: if credited.repeated { Effect::NothingNew } else { effect },
        remaining_micro: Some(credited.remaining_micro),
        balance_micro: Some(credited.balance_micro),
    }
}

pub(super) fn unpaid(named: Named, effect: Effect) -> Settled {
    let Named { payment_id, account_id } = named;
    Settled { payment_id, account_id, effect, remaining_micro: None, balance_micro: None }
}

/// Of two effects on one payment the one to be shown: that it was credited says more than that it was reversed.
pub(super) fn weightier(one: Effect, other: Effect) -> Effect {
    if one == Effect::NothingNew { other } else { one }
}

pub(super) fn of_payment(error: CommandError<PaymentRefusal>) -> SettleError {
    SettleError::Command(error.map(CreditingRefusal::Payment))
}
