mod moving;
mod properties;
mod purchases;

use uuid::Uuid;

use super::{CashAction, CashCommand, CashEvent, CashWallet};
use crate::examples::{grant_id, micro, second};
use crate::ids::CommissionId;

pub fn commission(number: u128) -> CommissionId {
    CommissionId(Uuid::from_u128(number))
}

pub fn top_up(number: u128, amount: i64) -> CashAction {
    CashAction::TopUp { payment_id: grant_id(number), amount_micro: micro(amount) }
}

pub fn take_back(number: u128, amount: i64) -> CashAction {
    CashAction::TakeBack { payment_id: grant_id(number), amount_micro: micro(amount) }
}

pub fn reinstate(number: u128, amount: i64) -> CashAction {
    CashAction::Reinstate { payment_id: grant_id(number), amount_micro: micro(amount) }
}

pub fn pay_commission(number: u128, amount: i64) -> CashAction {
    CashAction::PayCommission { commission_id: commission(number), amount_micro: micro(amount) }
}

pub fn at(action: CashAction, seconds: i64) -> CashCommand {
    CashCommand { action, now: second(seconds) }
}

/// A wallet after commands that must all be allowed, with their events.
pub fn after(actions: impl IntoIterator<Item = CashAction>) -> (CashWallet, Vec<CashEvent>) {
    let (mut wallet, mut all) = (CashWallet::default(), vec![]);
    for action in actions {
        let events = wallet.decide(at(action, 1)).expect("allowed");
        events.iter().for_each(|event| wallet.evolve(event));
        all.extend(events);
    }
    (wallet, all)
}
