//! Credit that comes and goes without being used.

use codexapi_aggregates::ids::{AdjustmentId, GrantId, PurchaseId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::wallet::events::{AdjustmentReason, GrantSource, PurchaseItem, WalletEvent};
use uuid::Uuid;

use super::{History, account};

impl History {
    pub(super) fn grant(&mut self, number: u8, amount: i64) {
        let at = self.now();
        let debt_paid = self.pay_debt(number, amount);
        self.balances[usize::from(number)] += amount - debt_paid;
        let grant_id = GrantId(Uuid::from_u128(self.id()));
        let (balance_micro, held_micro) = self.amounts(number);
        self.push_wallet(
            number,
            WalletEvent::CreditGranted {
                grant_id,
                source: GrantSource::TopUp,
                amount_micro: MicroUsd(amount),
                expires_at: (amount % 2 == 0).then(|| at.plus_secs(86_400)),
                debt_paid_micro: MicroUsd(debt_paid),
                balance_micro,
                held_micro,
                at,
            },
        );
    }

    fn pay_debt(&mut self, number: u8, amount: i64) -> i64 {
        let debt = &mut self.debts[usize::from(number)];
        let paid = amount.min(*debt);
        *debt -= paid;
        paid
    }

    /// A purchase or an adjustment.
    pub(super) fn take(&mut self, number: u8, amount: i64, purchase: bool) {
        let at = self.now();
        let amount = amount.min(self.balances[usize::from(number)]);
        self.balances[usize::from(number)] -= amount;
        let (balance_micro, held_micro) = self.amounts(number);
        let (id, amount_micro) = (Uuid::from_u128(self.id()), MicroUsd(amount));
        let event = if purchase {
            let (purchase_id, item, from) = (PurchaseId(id), PurchaseItem::ProjectSlot, vec![]);
            WalletEvent::PurchaseMade { purchase_id, item, amount_micro, from, balance_micro, held_micro, at }
        } else {
            let (adjustment_id, reason, from) = (AdjustmentId(id), AdjustmentReason::Abuse, vec![]);
            WalletEvent::CreditAdjusted {
                adjustment_id,
                reason,
                amount_micro,
                from,
                balance_micro,
                held_micro,
                at,
            }
        };
        self.push_wallet(number, event);
    }

    pub(super) fn take_back_payment(&mut self, number: u8, amount: i64) {
        let at = self.now();
        let taken = amount.min(self.balances[usize::from(number)]);
        self.balances[usize::from(number)] -= taken;
        self.debts[usize::from(number)] += amount - taken;
        self.taken_back[usize::from(number)] += amount;
        let (balance_micro, held_micro) = self.amounts(number);
        let event = WalletEvent::PaymentReversed {
            payment_id: GrantId(account(number).0),
            amount_micro: MicroUsd(amount),
            from: vec![],
            debt_added_micro: MicroUsd(amount - taken),
            debt_micro: MicroUsd(self.debts[usize::from(number)]),
            balance_micro,
            held_micro,
            at,
        };
        self.push_wallet(number, event);
    }

    pub(super) fn reinstate_payment(&mut self, number: u8) {
        let at = self.now();
        let amount = std::mem::take(&mut self.taken_back[usize::from(number)]);
        let debt_paid = self.pay_debt(number, amount);
        self.balances[usize::from(number)] += amount - debt_paid;
        let (balance_micro, held_micro) = self.amounts(number);
        let event = WalletEvent::PaymentReinstated {
            payment_id: GrantId(account(number).0),
            amount_micro: MicroUsd(amount),
            debt_paid_micro: MicroUsd(debt_paid),
            grant: None,
            debt_micro: MicroUsd(self.debts[usize::from(number)]),
            balance_micro,
            held_micro,
            at,
        };
        self.push_wallet(number, event);
    }
}
