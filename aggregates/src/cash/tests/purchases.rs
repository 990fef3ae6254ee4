//! Cash becomes token credit in both wallets, or in neither.

use cqrs_es::Aggregate;

use super::{after, take_back, top_up};
use crate::cash::{Bought, CashEvent, CashRefusal, PurchaseRefusal, TokenOrder, buy_tokens};
use crate::examples::{grant_id, micro, second};
use crate::wallet::{GrantSource, MAX_GRANT, Wallet, WalletEvent, WalletRefusal, WalletTerms};

fn order(price: i64, credit: i64) -> TokenOrder {
    TokenOrder {
        purchase_id: grant_id(9),
        plan_id: "titan".into(),
        quantity: 2,
        price_micro: micro(price),
        credit_micro: micro(credit),
    }
}

#[test]
fn a_package_moves_its_price_out_and_its_credit_in() {
    let (cash, _) = after([top_up(1, 300)]);
    let (terms, now) = (WalletTerms::default(), second(5));
    let (cash_events, wallet_events, bought) =
        buy_tokens(&cash, &Wallet::default(), &order(240, 2_500), &terms, now).expect("covered");
    let paid = CashEvent::TokensBought {
        purchase_id: grant_id(9),
        plan_id: "titan".into(),
        quantity: 2,
        amount_micro: micro(240),
        credit_micro: micro(2_500),
        balance_micro: micro(60),
        debt_micro: micro(0),
        at: now,
    };
    assert_eq!(cash_events, vec![paid]);
    let Some(WalletEvent::CreditGranted { grant_id: id, source, amount_micro, .. }) = wallet_events.last()
    else {
        panic!("credit is granted, not {wallet_events:?}")
    };
    assert_eq!((*id, *source, *amount_micro), (grant_id(9), GrantSource::TopUp, micro(2_500)));
    let left = Bought { cash_balance_micro: micro(60), token_balance_micro: micro(2_500) };
    assert_eq!(bought, left);
}

#[test]
fn a_package_that_either_wallet_refuses_moves_nothing() {
    let (terms, now) = (WalletTerms::default(), second(5));
    let (cash, _) = after([top_up(1, 300)]);
    let dear = buy_tokens(&cash, &Wallet::default(), &order(301, 1), &terms, now);
    let refusal = CashRefusal::InsufficientCash { available: micro(300), requested: micro(301) };
    assert_eq!(dear, Err(PurchaseRefusal::Cash(refusal)));

    let (_, granted, _) = buy_tokens(&cash, &Wallet::default(), &order(1, 1), &terms, now).expect("covered");
    let mut wallet = Wallet::default();
    granted.into_iter().for_each(|event| wallet.apply(event));
    let twice = buy_tokens(&cash, &wallet, &order(1, 1), &terms, now);
    let refusal = WalletRefusal::GrantExists { grant_id: grant_id(9) };
    assert_eq!(twice, Err(PurchaseRefusal::Wallet(refusal)));

    let large = buy_tokens(&cash, &Wallet::default(), &order(1, MAX_GRANT.0 + 1), &terms, now);
    let amount = micro(MAX_GRANT.0 + 1);
    let refusal = WalletRefusal::AmountOutOfRange { amount, most: MAX_GRANT };
    assert_eq!(large, Err(PurchaseRefusal::Wallet(refusal)));

    let (owing, _) = after([top_up(1, 300), take_back(1, 300), top_up(2, 5), take_back(2, 5)]);
    let broke = buy_tokens(&owing, &Wallet::default(), &order(1, 1), &terms, now);
    let refusal = CashRefusal::InsufficientCash { available: micro(0), requested: micro(1) };
    assert_eq!(broke, Err(PurchaseRefusal::Cash(refusal)));
}
