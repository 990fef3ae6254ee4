//! Payments for histories: whatever the rules allow of what a few numbers ask for.

use codexapi_aggregates::cash::CashWallet;
use codexapi_aggregates::event::AnyEvent;
use codexapi_aggregates::ids::{AccountId, PaymentId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{
    self, Channel, CreditingRefusal, Currency, DisputeStatus, FailureReason, ObservedPayment,
    ObservedReversal, Payment, PaymentAction, PaymentCommand, PaymentEvent, Purpose, RefundStatus, Reversal,
    StartPayment,
};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::entitlements::EntitlementTerms;
use codexapi_aggregates::wallet::{Wallet, WalletTerms};
use cqrs_es::Aggregate;
use uuid::Uuid;

use super::{History, account};

impl History {
    pub(super) fn start_payment(&mut self, number: u8, amount: u16) {
        let (payment_id, now) = (PaymentId(Uuid::from_u128(self.id())), self.now());
        let (paying, events) = Paying::start(payment_id, account(number), amount, now);
        self.payments.push((payment_id, paying));
        self.paid(payment_id, events);
    }

    pub(super) fn go_on_paying(&mut self, pick: usize, amount: u16) {
        let (now, count) = (self.now(), self.payments.len());
        let (payment_id, paying) = &mut self.payments[pick / 3 % count];
        let (payment_id, events) = (*payment_id, paying.go_on(amount, now));
        self.paid(payment_id, events);
    }

    fn paid(&mut self, payment_id: PaymentId, events: Vec<PaymentEvent>) {
        for event in events {
            self.push(&payment_id.to_string(), AnyEvent::Payment(event));
        }
    }
}

/// One payment, and the wallets that its rules look at.
pub struct Paying {
    payment_id: PaymentId,
    account_id: AccountId,
    price_micro: MicroUsd,
    livemode: bool,
    payment: Payment,
    wallet: Wallet,
    cash: CashWallet,
}

impl Paying {
    pub fn start(
        payment_id: PaymentId,
        account_id: AccountId,
        amount: u16,
        now: Timestamp,
    ) -> (Self, Vec<PaymentEvent>) {
        let purpose = match amount % 3 {
            0 => Purpose::TokenCredit { credit_micro: MicroUsd::dollars(25) },
            1 => Purpose::CashTopUp,
            _ => Purpose::Entitlement { terms: Box::new(terms()) },
        };
        let channels = [Channel::Checkout, Channel::OffSession, Channel::Invoice];
        let start = StartPayment {
            payment_id,
            account_id,
            channel: channels[usize::from(amount / 3 % 3)],
            purpose,
            plan_id: amount.is_multiple_of(2).then(|| "pack".to_owned()),
            quantity: 1 + u32::from(amount % 4),
            price_micro: MicroUsd::dollars(10),
            currency: Currency::Usd,
            livemode: !amount.is_multiple_of(5),
        };
        let mut paying = Self {
            payment_id,
            account_id,
            price_micro: start.price_micro,
            livemode: start.livemode,
            payment: Payment::default(),
            wallet: Wallet::default(),
            cash: CashWallet::default(),
        };
        let events = paying.act(PaymentAction::StartPayment(Box::new(start)), now);
        (paying, events)
    }

    pub fn go_on(&mut self, amount: u16, now: Timestamp) -> Vec<PaymentEvent> {
        let (id, dollars) = (amount / 10 % 2, i64::from(1 + amount / 20 % 5));
        let statuses = [DisputeStatus::Inquiry, DisputeStatus::Open, DisputeStatus::Lost, DisputeStatus::Won];
        let status = statuses[usize::from(amount / 40 % 4)];
        match amount % 10 {
            0 => self.act(PaymentAction::NoteCheckout { session_id: format!("cs_{}", self.payment_id) }, now),
            1 => self.act(PaymentAction::FailPayment { reason: FailureReason::Declined }, now),
            2 => self.act(PaymentAction::ExpirePayment, now),
            3..=5 => self.credit(now),
            6 | 7 => {
                let refund_id = format!("re_{id}_{dollars}");
                self.reverse(Reversal::Refund { refund_id, status: RefundStatus::Made }, dollars, now)
            }
            8 => {
                let refund_id = format!("re_{id}_{dollars}");
                self.reverse(Reversal::Refund { refund_id, status: RefundStatus::Failed }, dollars, now)
            }
            _ => self.reverse(Reversal::Dispute { dispute_id: format!("dp_{id}"), status }, 10, now),
        }
    }

    fn act(&mut self, action: PaymentAction, now: Timestamp) -> Vec<PaymentEvent> {
        let command = PaymentCommand { payment_id: self.payment_id, action, now };
        let events = self.payment.decide(command).unwrap_or_default();
        self.take(events)
    }

    fn credit(&mut self, now: Timestamp) -> Vec<PaymentEvent> {
        let observed = ObservedPayment {
            payment_id: self.payment_id,
            account_id: self.account_id,
            session_id: None,
            payment_intent_id: Some(format!("pi_{}", self.payment_id)),
            paid: true,
            amount_micro: self.price_micro,
            currency: Some(Currency::Usd),
            livemode: self.livemode,
            period: None,
        };
        let decided = if self.is_for_cash() {
            self.cash_too(payment::confirm_cash(&self.payment, &self.cash, &observed, now))
        } else {
            let terms = WalletTerms::default();
            self.wallet_too(payment::confirm(&self.payment, &self.wallet, &observed, &terms, now))
        };
        self.take(decided)
    }

    fn reverse(&mut self, reversal: Reversal, dollars: i64, now: Timestamp) -> Vec<PaymentEvent> {
        let observed = ObservedReversal {
            payment_id: self.payment_id,
            reversal,
            amount_micro: MicroUsd::dollars(dollars),
            currency: Some(Currency::Usd),
            livemode: self.livemode,
        };
        let decided = if self.is_for_cash() {
            self.cash_too(payment::reverse_cash(&self.payment, &self.cash, &observed, now))
        } else {
            let terms = WalletTerms::default();
            self.wallet_too(payment::reverse(&self.payment, &self.wallet, &observed, &terms, now))
        };
        self.take(decided)
    }

    fn is_for_cash(&self) -> bool {
        self.payment.started().is_some_and(|started| started.purpose == Purpose::CashTopUp)
    }

    fn cash_too(&mut self, decided: Result<payment::PaymentAndCash, CreditingRefusal>) -> Vec<PaymentEvent> {
        let Ok((events, cash, _)) = decided else { return vec![] };
        cash.into_iter().for_each(|event| self.cash.apply(event));
        events
    }

    fn wallet_too(
        &mut self,
        decided: Result<payment::PaymentAndWallet, CreditingRefusal>,
    ) -> Vec<PaymentEvent> {
        let Ok((events, wallet, _)) = decided else { return vec![] };
        wallet.into_iter().for_each(|event| self.wallet.apply(event));
        events
    }

    fn take(&mut self, events: Vec<PaymentEvent>) -> Vec<PaymentEvent> {
        events.iter().for_each(|event| self.payment.apply(event.clone()));
        events
    }
}

fn terms() -> EntitlementTerms {
    EntitlementTerms {
        plan_id: "unlimited".parse().expect("an id"),
        scope: Default::default(),
        fair_use: Default::default(),
        block_secs: 86_400,
        blocks: 1,
    }
}
