//! A customer's real money: paid in by card or as reviewed commissions, spent on token packages.
//!
//! Money is one amount, not grants: balance less debt is the sum of all that came in less all that went out. Taking
//! back is never clamped, so whatever order refunds, disputes and spending come in, the sum is the same; what the
//! balance cannot give is debt, which later money pays first.

mod events;
mod purchase;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use events::CashEvent;
pub use purchase::{Bought, PurchaseRefusal, TokenOrder, buy_tokens};

use crate::ids::{CommissionId, GrantId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// The largest single payment or commission: $100 000.
pub const MAX_PAID_IN: MicroUsd = MicroUsd::dollars(100_000);

/// Payments, and commissions, that can still be taken back; the oldest are forgotten.
pub const MAX_REMEMBERED: usize = 4_096;

// Commands

/// Something asked of a Cash Wallet at a moment (the later of the clock and the wallet's last event).
#[derive(Clone, Debug, PartialEq)]
pub struct CashCommand {
    pub action: CashAction,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CashAction {
    /// A confirmed payment; the same one again changes nothing.
    TopUp {
        payment_id: GrantId,
        amount_micro: MicroUsd,
    },
    /// What a refund or dispute takes more of a payment than was taken before. How much that is, is the payment's
    /// rule; where it was refunded and disputed, it is more than came in.
    TakeBack {
        payment_id: GrantId,
        amount_micro: MicroUsd,
    },
    /// What of it is given again.
    Reinstate {
        payment_id: GrantId,
        amount_micro: MicroUsd,
    },
    /// A reviewed commission; the same one again changes nothing.
    PayCommission {
        commission_id: CommissionId,
        amount_micro: MicroUsd,
    },
    TakeBackCommission {
        commission_id: CommissionId,
        amount_micro: MicroUsd,
    },
    ReinstateCommission {
        commission_id: CommissionId,
        amount_micro: MicroUsd,
    },
    /// Only ever with the Token Wallet's grant: see `buy_tokens`.
    BuyTokens(TokenOrder),
}

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CashRefusal {
    #[error("an amount is more than $0 and at most ${most}; ${amount} is not")]
    AmountOutOfRange { amount: MicroUsd, most: MicroUsd },
    #[error("payment {payment_id} was credited with ${credited}, not with ${amount}")]
    PaymentExists { payment_id: GrantId, credited: MicroUsd, amount: MicroUsd },
    #[error("payment {payment_id} is not known here")]
    UnknownPayment { payment_id: GrantId },
    #[error("commission {commission_id} was paid with ${paid}, not with ${amount}")]
    CommissionExists { commission_id: CommissionId, paid: MicroUsd, amount: MicroUsd },
    #[error("commission {commission_id} is not known here")]
    UnknownCommission { commission_id: CommissionId },
    #[error("${amount} cannot be reinstated: ${taken} of it was taken back")]
    MoreThanTakenBack { amount: MicroUsd, taken: MicroUsd },
    #[error("the Cash Wallet owes ${debt} for payments that were taken back")]
    InDebt { debt: MicroUsd },
    #[error("the Cash Wallet's ${available} do not cover the ${requested} this costs")]
    InsufficientCash { available: MicroUsd, requested: MicroUsd },
}

// State

/// One customer's real money.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CashWallet {
    balance_micro: MicroUsd,
    debt_micro: MicroUsd,
    payments: BTreeMap<GrantId, PaidIn>,
    commissions: BTreeMap<CommissionId, PaidIn>,
}

/// Money that came in, and how much of it went back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct PaidIn {
    amount_micro: MicroUsd,
    taken_back_micro: MicroUsd,
    at: Timestamp,
}

impl CashWallet {
    /// What can be spent; 0 while there is debt.
    pub fn balance(&self) -> MicroUsd {
        self.balance_micro
    }

    /// What was taken back beyond the balance and is not paid yet.
    pub fn debt(&self) -> MicroUsd {
        self.debt_micro
    }

    // Rules

    /// No event where nothing changes.
    pub fn decide(&self, command: CashCommand) -> Result<Vec<CashEvent>, CashRefusal> {
        let CashCommand { action, now } = command;
        match action {
            CashAction::TopUp { payment_id, amount_micro } => self.top_up(payment_id, amount_micro, now),
            CashAction::TakeBack { payment_id, amount_micro } => {
                let unknown = CashRefusal::UnknownPayment { payment_id };
                in_range(amount_micro)?;
                self.payments.get(&payment_id).ok_or(unknown)?;
                let (balance_micro, debt_micro) = self.after(MicroUsd::ZERO - amount_micro);
                let at = now;
                Ok(vec![CashEvent::PaymentTakenBack {
                    payment_id,
                    amount_micro,
                    balance_micro,
                    debt_micro,
                    at,
                }])
            }
            CashAction::Reinstate { payment_id, amount_micro } => {
                let unknown = CashRefusal::UnknownPayment { payment_id };
                self.payments.get(&payment_id).ok_or(unknown)?.may_reinstate(amount_micro)?;
                let (balance_micro, debt_micro) = self.after(amount_micro);
                let at = now;
                Ok(vec![CashEvent::PaymentReinstated {
                    payment_id,
                    amount_micro,
                    balance_micro,
                    debt_micro,
                    at,
                }])
            }
            CashAction::PayCommission { commission_id, amount_micro } => {
                self.pay_commission(commission_id, amount_micro, now)
            }
            CashAction::TakeBackCommission { commission_id, amount_micro } => {
                let unknown = CashRefusal::UnknownCommission { commission_id };
                in_range(amount_micro)?;
                self.commissions.get(&commission_id).ok_or(unknown)?;
                let (balance_micro, debt_micro) = self.after(MicroUsd::ZERO - amount_micro);
                let at = now;
                Ok(vec![CashEvent::CommissionTakenBack {
                    commission_id,
                    amount_micro,
                    balance_micro,
                    debt_micro,
                    at,
                }])
            }
            CashAction::ReinstateCommission { commission_id, amount_micro } => {
                let unknown = CashRefusal::UnknownCommission { commission_id };
                self.commissions.get(&commission_id).ok_or(unknown)?.may_reinstate(amount_micro)?;
                let (balance_micro, debt_micro) = self.after(amount_micro);
                let at = now;
                Ok(vec![CashEvent::CommissionReinstated {
                    commission_id,
                    amount_micro,
                    balance_micro,
                    debt_micro,
                    at,
                }])
            }
            CashAction::BuyTokens(order) => self.buy(order, now),
        }
    }

    fn top_up(
        &self,
        payment_id: GrantId,
        amount_micro: MicroUsd,
        now: Timestamp,
    ) -> Result<Vec<CashEvent>, CashRefusal> {
        in_range(amount_micro)?;
        match self.payments.get(&payment_id) {
            Some(known) if known.amount_micro == amount_micro => return Ok(vec![]),
            Some(known) => {
                let (credited, amount) = (known.amount_micro, amount_micro);
                return Err(CashRefusal::PaymentExists { payment_id, credited, amount });
            }
            None => {}
        }
        let (balance_micro, debt_micro) = self.after(amount_micro);
        Ok(vec![CashEvent::ToppedUp { payment_id, amount_micro, balance_micro, debt_micro, at: now }])
    }

    fn pay_commission(
        &self,
        commission_id: CommissionId,
        amount_micro: MicroUsd,
        now: Timestamp,
    ) -> Result<Vec<CashEvent>, CashRefusal> {
        in_range(amount_micro)?;
        match self.commissions.get(&commission_id) {
            Some(known) if known.amount_micro == amount_micro => return Ok(vec![]),
            Some(known) => {
                let (paid, amount) = (known.amount_micro, amount_micro);
                return Err(CashRefusal::CommissionExists { commission_id, paid, amount });
            }
            None => {}
        }
        let (balance_micro, debt_micro) = self.after(amount_micro);
        Ok(vec![CashEvent::CommissionPaid {
            commission_id,
            amount_micro,
            balance_micro,
            debt_micro,
            at: now,
        }])
    }

    fn buy(&self, order: TokenOrder, now: Timestamp) -> Result<Vec<CashEvent>, CashRefusal> {
        let TokenOrder { purchase_id, plan_id, quantity, price_micro, credit_micro } = order;
        in_range(price_micro)?;
        if self.debt_micro.is_positive() {
            return Err(CashRefusal::InDebt { debt: self.debt_micro });
        }
        if price_micro > self.balance_micro {
            let (available, requested) = (self.balance_micro, price_micro);
            return Err(CashRefusal::InsufficientCash { available, requested });
        }
        let (balance_micro, debt_micro) = self.after(MicroUsd::ZERO - price_micro);
        Ok(vec![CashEvent::TokensBought {
            purchase_id,
            plan_id,
            quantity,
            amount_micro: price_micro,
            credit_micro,
            balance_micro,
            debt_micro,
            at: now,
        }])
    }

    /// Balance and debt once `change` has come in; at most one of them is more than 0.
    fn after(&self, change: MicroUsd) -> (MicroUsd, MicroUsd) {
        let net = self.balance_micro - self.debt_micro + change;
        (net.max(MicroUsd::ZERO), (MicroUsd::ZERO - net).max(MicroUsd::ZERO))
    }

    fn evolve(&mut self, event: &CashEvent) {
        (self.balance_micro, self.debt_micro) = (event.balance(), event.debt());
        match event {
            CashEvent::ToppedUp { payment_id, amount_micro, at, .. } => {
                remember(&mut self.payments, *payment_id, *amount_micro, *at);
            }
            CashEvent::CommissionPaid { commission_id, amount_micro, at, .. } => {
                remember(&mut self.commissions, *commission_id, *amount_micro, *at);
            }
            CashEvent::PaymentTakenBack { payment_id, .. }
            | CashEvent::PaymentReinstated { payment_id, .. } => {
                if let Some(paid_in) = self.payments.get_mut(payment_id) {
                    paid_in.taken_back_micro -= event.change();
                }
            }
            CashEvent::CommissionTakenBack { commission_id, .. }
            | CashEvent::CommissionReinstated { commission_id, .. } => {
                if let Some(paid_in) = self.commissions.get_mut(commission_id) {
                    paid_in.taken_back_micro -= event.change();
                }
            }
            CashEvent::TokensBought { .. } => {}
        }
    }
}

impl PaidIn {
    fn may_reinstate(&self, amount: MicroUsd) -> Result<(), CashRefusal> {
        in_range(amount)?;
        if amount > self.taken_back_micro {
            return Err(CashRefusal::MoreThanTakenBack { amount, taken: self.taken_back_micro });
        }
        Ok(())
    }
}

fn in_range(amount: MicroUsd) -> Result<(), CashRefusal> {
    if !amount.is_positive() || amount > MAX_PAID_IN {
        return Err(CashRefusal::AmountOutOfRange { amount, most: MAX_PAID_IN });
    }
    Ok(())
}

fn remember<K: Copy + Ord>(known: &mut BTreeMap<K, PaidIn>, id: K, amount_micro: MicroUsd, at: Timestamp) {
    if known.len() >= MAX_REMEMBERED
        && let Some((oldest, _)) = known.iter().min_by_key(|(id, paid_in)| (paid_in.at, **id))
    {
        let oldest = *oldest;
        known.remove(&oldest);
    }
    known.insert(id, PaidIn { amount_micro, taken_back_micro: MicroUsd::ZERO, at });
}

// cqrs-es

impl Aggregate for CashWallet {
    const TYPE: &'static str = "cash_wallet";
    type Command = CashCommand;
    type Event = CashEvent;
    type Error = CashRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: CashCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), CashRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: CashEvent) {
        self.evolve(&event);
    }
}
