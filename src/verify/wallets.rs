//! A wallet's arithmetic, done again from the events alone and without the wallet's rules.

use std::collections::{BTreeMap, BTreeSet};

use codexapi_aggregates::ids::GenerationId;
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

    /// Σ grants − Σ charged + Σ charge reversals − Σ expiries is the folded wallet's balance.
    pub fn adds_up(&self, stream: &str, wallet: &Wallet) -> Result<(), Difference> {
        let (expected, found) = (self.balance(), wallet.balance());
        if expected == found {
            return Ok(());
        }
        Err(Difference::BalanceDoesNotAddUp { stream: stream.into(), expected, found })
    }

    fn balance(&self) -> MicroUsd {
        self.granted - self.charged + self.reversed - self.expired
    }

    fn movement(&mut self, event: &WalletEvent, position: i64) -> Result<(), String> {
        match event {
            WalletEvent::CreditGranted { amount_micro, .. } => self.granted += *amount_micro,
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
                if sum(from) != *charged_micro {
                    return Err(format!(
                        "its parts sum to ${}, not to the charge of ${charged_micro}",
                        sum(from)
                    ));
                }
                self.close(*generation_id, Some(*late))?;
                self.charged += *charged_micro;
            }
            WalletEvent::ChargeReversed { amount_micro, to, .. } => {
                if sum(to) != *amount_micro {
                    return Err(format!("its parts sum to ${}, not to ${amount_micro}", sum(to)));
                }
                self.reversed += *amount_micro;
            }
            WalletEvent::EntitlementGranted { .. }
            | WalletEvent::EntitlementEnded { .. }
            | WalletEvent::EntitlementReinstated { .. }
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

fn sum(parts: &[GrantPart]) -> MicroUsd {
    parts.iter().map(|part| part.amount_micro).sum()
}
