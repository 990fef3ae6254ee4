//! Credit taken from a wallet for anything but usage: purchases, and an operator's corrections.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::events::{AdjustmentReason, PurchaseItem, WalletEvent};
use super::grants::MAX_GRANT;
use super::{Decision, WalletRefusal};
use crate::ids::{AdjustmentId, PurchaseId};
use crate::money::MicroUsd;

/// Purchases and adjustments whose repetition a wallet recognises by itself; older ones are known to
/// the idempotency keys of the commands that made them.
const TAKINGS_REMEMBERED: usize = 100;

/// Ids of the last purchases and adjustments, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RecentTakings(VecDeque<Uuid>);

impl RecentTakings {
    pub(super) fn remember(&mut self, id: Uuid) {
        self.0.push_back(id);
        if self.0.len() > TAKINGS_REMEMBERED {
            self.0.pop_front();
        }
    }

    fn know(&self, id: Uuid) -> bool {
        self.0.contains(&id)
    }
}

impl Decision<'_> {
    /// A purchase may not take what open holds were admitted on: neither their estimates nor, beyond
    /// the leak limit, their worst cases.
    pub(super) fn purchase(
        &mut self,
        purchase_id: PurchaseId,
        item: PurchaseItem,
        amount_micro: MicroUsd,
    ) -> Result<(), WalletRefusal> {
        refuse_out_of_range(amount_micro)?;
        let wallet = self.wallet.as_ref();
        if wallet.recent_takings.know(purchase_id.0) {
            return Err(WalletRefusal::PurchaseExists { purchase_id });
        }
        if wallet.debt_micro.is_positive() {
            return Err(WalletRefusal::InDebt { debt: wallet.debt_micro });
        }
        let funds = wallet.funds();
        if funds.unheld < amount_micro {
            let available = funds.unheld.max(MicroUsd::ZERO);
            return Err(WalletRefusal::InsufficientCredit { available, requested: amount_micro });
        }
        let leak_limit = wallet.history.leak_limit(&self.terms, self.now);
        let open_holds = wallet.holds_on_balance();
        if open_holds > 0 && wallet.worst_micro + amount_micro > funds.for_worst + leak_limit {
            return Err(WalletRefusal::MustWait { open_holds });
        }
        let event = WalletEvent::PurchaseMade {
            purchase_id,
            item,
            amount_micro,
            from: wallet.parts_for(amount_micro, self.now),
            balance_micro: wallet.balance() - amount_micro,
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit_last(event);
        Ok(())
    }

    /// Takes even what is held: the operator's word counts for more than an estimate, and what a
    /// running generation then lacks is shortfall.
    pub(super) fn adjust_down(
        &mut self,
        adjustment_id: AdjustmentId,
        reason: AdjustmentReason,
        amount_micro: MicroUsd,
    ) -> Result<(), WalletRefusal> {
        refuse_out_of_range(amount_micro)?;
        let wallet = self.wallet.as_ref();
        if wallet.recent_takings.know(adjustment_id.0) {
            return Err(WalletRefusal::AdjustmentExists { adjustment_id });
        }
        let available = wallet.funds().balance;
        if available < amount_micro {
            return Err(WalletRefusal::InsufficientCredit { available, requested: amount_micro });
        }
        let event = WalletEvent::CreditAdjusted {
            adjustment_id,
            reason,
            amount_micro,
            from: wallet.parts_for(amount_micro, self.now),
            balance_micro: wallet.balance() - amount_micro,
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit_last(event);
        Ok(())
    }
}

pub(super) fn refuse_out_of_range(amount: MicroUsd) -> Result<(), WalletRefusal> {
    if amount.is_positive() && amount <= MAX_GRANT {
        return Ok(());
    }
    Err(WalletRefusal::AmountOutOfRange { amount, most: MAX_GRANT })
}
