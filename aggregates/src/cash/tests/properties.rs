//! Random lives of a Cash Wallet beside an oracle that keeps every movement for ever and only adds.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{at, commission, pay_commission, reinstate, take_back, top_up};
use crate::cash::{CashAction, CashEvent, CashRefusal, CashWallet, TokenOrder};
use crate::examples::{grant_id, micro};

#[derive(Clone, Debug)]
enum Step {
    TopUp { which: u128, amount: i64 },
    TakeBack { which: u128, amount: i64 },
    Reinstate { which: u128, amount: i64 },
    PayCommission { which: u128, amount: i64 },
    TakeBackCommission { which: u128, amount: i64 },
    ReinstateCommission { which: u128, amount: i64 },
    Buy { price: i64 },
}

/// What came in, by id: the amount, and what of it was taken back.
type Known = BTreeMap<u128, (i64, i64)>;

#[derive(Default)]
struct Oracle {
    payments: Known,
    commissions: Known,
    spent: i64,
}

impl Oracle {
    /// All that came in less all that went out.
    fn net(&self) -> i64 {
        let kept = |known: &Known| known.values().map(|(amount, taken)| amount - taken).sum::<i64>();
        kept(&self.payments) + kept(&self.commissions) - self.spent
    }
}

fn pay_in(known: &mut Known, which: u128, amount: i64) -> bool {
    match known.get(&which) {
        Some((credited, _)) => *credited == amount,
        None => known.insert(which, (amount, 0)).is_none(),
    }
}

/// Whether `taken` may change by `by`; it never is less than nothing.
fn take(known: &mut Known, which: u128, by: i64) -> bool {
    let Some((_, taken)) = known.get_mut(&which) else { return false };
    let allowed = *taken + by >= 0;
    if allowed {
        *taken += by;
    }
    allowed
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = || (0..4_u128, 1..120_i64);
    let step = prop_oneof![
        3 => (0..4_u128, prop::sample::select(vec![50, 100])).prop_map(|(which, amount)| Step::TopUp { which, amount }),
        3 => some().prop_map(|(which, amount)| Step::TakeBack { which, amount }),
        2 => some().prop_map(|(which, amount)| Step::Reinstate { which, amount }),
        1 => some().prop_map(|(which, amount)| Step::PayCommission { which, amount }),
        1 => some().prop_map(|(which, amount)| Step::TakeBackCommission { which, amount }),
        1 => some().prop_map(|(which, amount)| Step::ReinstateCommission { which, amount }),
        3 => (1..120_i64).prop_map(|price| Step::Buy { price }),
    ];
    prop::collection::vec(step, 1..80)
}

/// The command of a step, and whether the oracle (which has taken it in) allows it.
fn ask(step: &Step, number: usize, oracle: &mut Oracle) -> (CashAction, bool) {
    match *step {
        Step::TopUp { which, amount } => (top_up(which, amount), pay_in(&mut oracle.payments, which, amount)),
        Step::TakeBack { which, amount } => {
            (take_back(which, amount), take(&mut oracle.payments, which, amount))
        }
        Step::Reinstate { which, amount } => {
            (reinstate(which, amount), take(&mut oracle.payments, which, -amount))
        }
        Step::PayCommission { which, amount } => {
            (pay_commission(which, amount), pay_in(&mut oracle.commissions, which, amount))
        }
        Step::TakeBackCommission { which, amount } => {
            let (commission_id, amount_micro) = (commission(which), micro(amount));
            let action = CashAction::TakeBackCommission { commission_id, amount_micro };
            (action, take(&mut oracle.commissions, which, amount))
        }
        Step::ReinstateCommission { which, amount } => {
            let (commission_id, amount_micro) = (commission(which), micro(amount));
            let action = CashAction::ReinstateCommission { commission_id, amount_micro };
            (action, take(&mut oracle.commissions, which, -amount))
        }
        Step::Buy { price } => {
            let order = TokenOrder {
                purchase_id: grant_id(1_000 + number as u128),
                plan_id: "pack".into(),
                quantity: 1,
                price_micro: micro(price),
                credit_micro: micro(price),
            };
            let allowed = price <= oracle.net();
            oracle.spent += if allowed { price } else { 0 };
            (CashAction::BuyTokens(order), allowed)
        }
    }
}

proptest! {
    #[test]
    fn balance_less_debt_is_all_that_came_in_less_all_that_went_out(steps in steps()) {
        let (mut wallet, mut oracle) = (CashWallet::default(), Oracle::default());
        let (mut moved, mut log) = (0, Vec::new());
        for (number, step) in steps.iter().enumerate() {
            let (action, allowed) = ask(step, number, &mut oracle);
            let decided = wallet.decide(at(action, i64::try_from(number).unwrap()));
            prop_assert_eq!(decided.is_ok(), allowed, "{:?}: {:?}", step, decided);
            if let Err(CashRefusal::InsufficientCash { available, .. }) = &decided {
                prop_assert_eq!(available.0, oracle.net());
            }
            for event in decided.unwrap_or_default() {
                wallet.evolve(&event);
                moved += event.change().0;
                prop_assert_eq!(event.balance().0 - event.debt().0, moved, "conservation");
                prop_assert_eq!((event.balance(), event.debt()), (wallet.balance(), wallet.debt()));
                log.push(event);
            }
            prop_assert_eq!(wallet.balance().0, oracle.net().max(0));
            prop_assert_eq!(wallet.debt().0, (-oracle.net()).max(0));
        }
        let mut replayed = CashWallet::default();
        log.iter().for_each(|event: &CashEvent| replayed.evolve(event));
        prop_assert_eq!(replayed, wallet);
    }

    /// Taking back and giving again in any order ends where the sum says, spent before or not.
    #[test]
    fn refunds_disputes_and_spending_commute(spent in 1..100_i64, first in 1..50_i64, second in 1..50_i64) {
        let buy = TokenOrder {
            purchase_id: grant_id(7),
            plan_id: "pack".into(),
            quantity: 1,
            price_micro: micro(spent),
            credit_micro: micro(spent),
        };
        let orders = [
            vec![take_back(1, first), take_back(1, second), reinstate(1, first)],
            vec![take_back(1, second), take_back(1, first), reinstate(1, first)],
            vec![take_back(1, first), reinstate(1, first), take_back(1, second)],
        ];
        for order in orders {
            let begin = [top_up(1, 100), CashAction::BuyTokens(buy.clone())];
            let (wallet, _) = super::after(begin.into_iter().chain(order));
            prop_assert_eq!(wallet.balance().0 - wallet.debt().0, 100 - spent - second);
        }
    }
}
