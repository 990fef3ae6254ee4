//! The same rules through stock cqrs-es: given, when, then.

use cqrs_es::test::TestFramework;

use super::builders::{grant, hold, settle, strict_terms};
use crate::examples::{generation, grant_id, micro, second};
use crate::wallet::{GrantSource, Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal};

fn command(action: WalletAction, seconds: i64) -> WalletCommand {
    WalletCommand { action, terms: strict_terms(), now: second(seconds) }
}

fn granted(expires_at: Option<i64>) -> WalletEvent {
    WalletEvent::CreditGranted {
        grant_id: grant_id(1),
        source: GrantSource::TopUp,
        amount_micro: micro(100),
        expires_at: expires_at.map(second),
        debt_paid_micro: micro(0),
        balance_micro: micro(100),
        held_micro: micro(0),
        at: second(0),
    }
}

#[tokio::test]
async fn given_nothing_when_credit_is_granted_then_it_is_granted() {
    TestFramework::<Wallet>::with(())
        .given_no_previous_events()
        .when_async(command(grant(1, 100, None), 0))
        .await
        .then_expect_events(vec![granted(None)]);
}

#[tokio::test]
async fn given_credit_when_more_is_asked_than_there_is_then_both_numbers_are_told() {
    TestFramework::<Wallet>::with(())
        .given(vec![granted(None)])
        .when_async(command(hold(1, 101), 0))
        .await
        .then_expect_error(WalletRefusal::InsufficientCredit {
            available: micro(100),
            requested: micro(101),
        });
}

#[tokio::test]
async fn given_credit_that_has_expired_when_a_hold_is_asked_then_it_is_refused() {
    TestFramework::<Wallet>::with(())
        .given(vec![granted(Some(10))])
        .when_async(command(hold(1, 1), 10))
        .await
        .then_expect_error(WalletRefusal::InsufficientCredit { available: micro(0), requested: micro(1) });
}

#[tokio::test]
async fn given_no_hold_when_usage_is_settled_then_it_is_refused() {
    TestFramework::<Wallet>::with(())
        .given(vec![granted(None)])
        .when_async(command(settle(1, 1), 0))
        .await
        .then_expect_error(WalletRefusal::UnknownHold { generation_id: generation(1) });
}
