//! A wallet's arithmetic, done again from the events alone and without the wallet's rules.

use std::collections::{BTreeMap, BTreeSet};

use codexapi_aggregates::ids::{GenerationId, GrantId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::{GrantPart, Wallet, WalletEvent};

use super::Difference;
use super::difference::EventName;
use super::plans::PlanAudit;

/// An open hold, as its event told.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenHold {
    pub amount_micro: MicroUsd,
    pub position: i64,
}

/// Sums over a wallet's events.
#[derive(Default)]
pub(super) struct WalletAudit {
    granted: MicroUsd,
    charged: MicroUsd,
    reversed: MicroUsd,
    expired: MicroUsd,
    purchased: MicroUsd,
    adjusted: MicroUsd,
    /// Σ payment reversals less Σ reinstatements.
    payments_reversed: MicroUsd,
    debt: MicroUsd,
    /// What is taken back of each payment.
    taken_back: BTreeMap<GrantId, MicroUsd>,
    held: MicroUsd,
    open: BTreeMap<GenerationId, OpenHold>,
    /// Expired and neither charged nor released since.
    expired_holds: BTreeSet<GenerationId>,
    plans: PlanAudit,
}

impl WalletAudit {
    /// Takes an event in; what it says must follow from the ones before it.
    pub fn check(
        &mut self,
        event: &WalletEvent,
        position: i64,
        name: impl Fn() -> EventName,
    ) -> Result<(), Difference> {
        let follows = self.movement(event, position).and_then(|()| self.plans.check(event));
        follows.map_err(|what| Difference::Rule { event: name(), what })?;
        let amount = |what: &str, expected, found| Difference::Amount {
            event: name(),
            what: what.into(),
            expected,
            found,
        };
        if self.balance() != event.balance() {
            return Err(amount("the balance after it", self.balance(), event.balance()));
        }
        if self.held != event.held() {
            return Err(amount("the total held after it", self.held, event.held()));
        }
        Ok(())
    }

    pub fn open_holds(&self) -> &BTreeMap<GenerationId, OpenHold> {
        &self.open
    }

    /// Σ grants − Σ charged + Σ charge reversals − Σ purchases − Σ adjustments − Σ payment reversals
    /// − Σ expiries is the folded wallet's balance less its debt.
    pub fn adds_up(&self, stream: &str, wallet: &Wallet) -> Result<(), Difference> {
        let (expected, found) = (self.worth(), wallet.balance() - wallet.debt());
        if expected != found {
            return Err(Difference::BalanceDoesNotAddUp { stream: stream.into(), expected, found });
        }
        if self.debt != wallet.debt() {
            let (expected, found) = (self.debt, wallet.debt());
            return Err(Difference::DebtDoesNotAddUp { stream: stream.into(), expected, found });
        }
        Ok(())
    }

    /// What there is less what is owed.
    fn worth(&self) -> MicroUsd {
        self.granted - self.charged + self.reversed
            - self.purchased
            - self.adjusted
            - self.payments_reversed
            - self.expired
    }

    fn balance(&self) -> MicroUsd {
        self.worth() + self.debt
    }

    /// The debt after an event that says it, or paid some.
    fn owe(&mut self, event: &WalletEvent) -> Result<(), String> {
        let change = event.debt_change();
        self.debt += change;
        if self.debt < MicroUsd::ZERO {
            return Err(format!("it pays more debt than there is, by ${}", MicroUsd::ZERO - self.debt));
        }
        match event {
            WalletEvent::PaymentReversed { debt_micro, .. }
            | WalletEvent::PaymentReinstated { debt_micro, .. }
                if *debt_micro != self.debt =>
            {
                Err(format!("the debt after it should be ${} and is ${debt_micro}", self.debt))
            }
            _ => Ok(()),
        }
    }

    fn movement(&mut self, event: &WalletEvent, position: i64) -> Result<(), String> {
        self.owe(event)?;
        match event {
            WalletEvent::CreditGranted { amount_micro, debt_paid_micro, .. } => {
                if debt_paid_micro > amount_micro {
                    return Err(format!("it pays ${debt_paid_micro} of debt with ${amount_micro}"));
                }
                self.granted += *amount_micro;
            }
            WalletEvent::GrantExpired { expired_micro, .. } => self.expired += *expired_micro,
            WalletEvent::HoldPlaced { generation_id, amount_micro, .. } => {
                let hold = OpenHold { amount_micro: *amount_micro, position };
                if self.open.insert(*generation_id, hold).is_some() {
                    return Err(format!("generation {generation_id} has a hold already"));
                }
                self.held += *amount_micro;
            }
            WalletEvent::AttemptStarted { generation_id, .. } => {
                if !self.open.contains_key(generation_id) {
                    return Err(format!("generation {generation_id} has no open hold"));
                }
            }
            WalletEvent::HoldReleased { generation_id, .. } => self.close(*generation_id, None)?,
            WalletEvent::HoldExpired { generation_id, .. } => {
                let hold = self.open.remove(generation_id);
                let hold = hold.ok_or_else(|| format!("generation {generation_id} has no open hold"))?;
                self.held -= hold.amount_micro;
                self.expired_holds.insert(*generation_id);
            }
            WalletEvent::UsageCharged { generation_id, charged_micro, from, late, .. } => {
                charge_is_whole(event)?;
                parts_are_whole(from, *charged_micro)?;
                self.close(*generation_id, Some(*late))?;
                self.charged += *charged_micro;
            }
            WalletEvent::ChargeReversed { amount_micro, to, debt_paid_micro, .. } => {
                parts_are_whole(to, *amount_micro - *debt_paid_micro)?;
                self.reversed += *amount_micro;
            }
            WalletEvent::PurchaseMade { amount_micro, from, .. } => {
                parts_are_whole(from, *amount_micro)?;
                self.purchased += *amount_micro;
            }
            WalletEvent::CreditAdjusted { amount_micro, from, .. } => {
                parts_are_whole(from, *amount_micro)?;
                self.adjusted += *amount_micro;
            }
            WalletEvent::PaymentReversed { payment_id, amount_micro, from, debt_added_micro, .. } => {
                parts_are_whole(from, *amount_micro - *debt_added_micro)?;
                self.payments_reversed += *amount_micro;
                *self.taken_back.entry(*payment_id).or_default() += *amount_micro;
            }
            WalletEvent::PaymentReinstated { payment_id, amount_micro, debt_paid_micro, .. } => {
                if debt_paid_micro > amount_micro {
                    return Err(format!("it pays ${debt_paid_micro} of debt with ${amount_micro}"));
                }
                self.payments_reversed -= *amount_micro;
                let taken = self.taken_back.entry(*payment_id).or_default();
                *taken -= *amount_micro;
                if *taken < MicroUsd::ZERO {
                    return Err(format!("payment {payment_id} gets back more than was taken for it"));
                }
            }
            WalletEvent::EntitlementGranted { .. }
            | WalletEvent::EntitlementEnded { .. }
            | WalletEvent::EntitlementReinstated { .. }
            | WalletEvent::EntitlementGraceSet { .. }
            | WalletEvent::EntitlementExpired { .. }
            | WalletEvent::WalletFallbackSet { .. } => {}
        }
        Ok(())
    }

    /// Every charge or release closes exactly one hold; `late` says that it had expired.
    fn close(&mut self, generation_id: GenerationId, late: Option<bool>) -> Result<(), String> {
        if let Some(hold) = self.open.remove(&generation_id) {
            self.held -= hold.amount_micro;
            return match late {
                Some(true) => Err(format!("generation {generation_id} is called late, its hold was open")),
                Some(false) | None => Ok(()),
            };
        }
        let had_expired = self.expired_holds.remove(&generation_id);
        match (had_expired, late) {
            (true, Some(true) | None) => Ok(()),
            (true, Some(false)) => {
                Err(format!("generation {generation_id}'s hold had expired, yet it is not late"))
            }
            (false, _) => Err(format!("generation {generation_id} has no hold to close")),
        }
    }
}

/// cost = charged + covered by plan + shortfall, always.
fn charge_is_whole(event: &WalletEvent) -> Result<(), String> {
    let WalletEvent::UsageCharged {
        cost_micro, charged_micro, covered_by_plan_micro, shortfall_micro, ..
    } = event
    else {
        return Ok(());
    };
    let met = *charged_micro + *covered_by_plan_micro + *shortfall_micro;
    if met == *cost_micro {
        return Ok(());
    }
    Err(format!("charged + covered + shortfall is ${met}, the cost is ${cost_micro}"))
}

fn parts_are_whole(parts: &[GrantPart], whole: MicroUsd) -> Result<(), String> {
    let sum: MicroUsd = parts.iter().map(|part| part.amount_micro).sum();
    if sum == whole {
        return Ok(());
    }
    Err(format!("its parts sum to ${sum}, not to ${whole}"))
}
