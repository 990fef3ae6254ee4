//! A Cash Wallet's arithmetic, done again from the events alone and without its rules.

use std::collections::{BTreeMap, BTreeSet};

use codexapi_aggregates::cash::{CashEvent, CashWallet};
use codexapi_aggregates::money::MicroUsd;
use uuid::Uuid;

use super::Difference;
use super::difference::EventName;

/// Sums over a Cash Wallet's events.
#[derive(Default)]
pub(super) struct CashAudit {
    paid_in: MicroUsd,
    taken_back: MicroUsd,
    spent: MicroUsd,
    /// What was taken back of each payment and each commission.
    known: BTreeMap<Uuid, MicroUsd>,
    purchases: BTreeSet<Uuid>,
}

impl CashAudit {
    /// Takes an event in; what it says must follow from the ones before it.
    pub fn check(&mut self, event: &CashEvent, name: impl Fn() -> EventName) -> Result<(), Difference> {
        self.movement(event).map_err(|what| Difference::Rule { event: name(), what })?;
        let net = self.net();
        let (balance, debt) = (net.max(MicroUsd::ZERO), (MicroUsd::ZERO - net).max(MicroUsd::ZERO));
        for (what, expected, found) in [
            ("the cash balance after it", balance, event.balance()),
            ("the debt after it", debt, event.debt()),
        ] {
            if expected != found {
                return Err(Difference::Amount { event: name(), what: what.into(), expected, found });
            }
        }
        Ok(())
    }

    /// Σ paid in − Σ taken back − Σ spent is the folded wallet's balance less its debt.
    pub fn adds_up(&self, stream: &str, wallet: &CashWallet) -> Result<(), Difference> {
        let (expected, found) = (self.net(), wallet.balance() - wallet.debt());
        if expected == found {
            return Ok(());
        }
        Err(Difference::CashDoesNotAddUp { stream: stream.into(), expected, found })
    }

    fn net(&self) -> MicroUsd {
        self.paid_in - self.taken_back - self.spent
    }

    fn movement(&mut self, event: &CashEvent) -> Result<(), String> {
        match event {
            CashEvent::ToppedUp { payment_id, amount_micro, .. } => {
                self.comes_in("payment", payment_id.0, *amount_micro)
            }
            CashEvent::CommissionPaid { commission_id, amount_micro, .. } => {
                self.comes_in("commission", commission_id.0, *amount_micro)
            }
            CashEvent::PaymentTakenBack { payment_id, .. }
            | CashEvent::PaymentReinstated { payment_id, .. } => {
                self.goes_back("payment", payment_id.0, event.change())
            }
            CashEvent::CommissionTakenBack { commission_id, .. }
            | CashEvent::CommissionReinstated { commission_id, .. } => {
                self.goes_back("commission", commission_id.0, event.change())
            }
            CashEvent::TokensBought { purchase_id, amount_micro, .. } => {
                self.spent += *amount_micro;
                if !self.purchases.insert(purchase_id.0) {
                    return Err(format!("purchase {purchase_id} was made before"));
                }
                Ok(())
            }
        }
    }

    fn comes_in(&mut self, what: &str, id: Uuid, amount: MicroUsd) -> Result<(), String> {
        self.paid_in += amount;
        match self.known.insert(id, MicroUsd::ZERO) {
            None => Ok(()),
            Some(_) => Err(format!("{what} {id} was paid in before")),
        }
    }

    fn goes_back(&mut self, what: &str, id: Uuid, change: MicroUsd) -> Result<(), String> {
        self.taken_back -= change;
        let taken = self.known.get_mut(&id).ok_or_else(|| format!("{what} {id} never came in"))?;
        *taken -= change;
        if *taken < MicroUsd::ZERO {
            return Err(format!("of {what} {id} more was given again than was taken back"));
        }
        Ok(())
    }
}
