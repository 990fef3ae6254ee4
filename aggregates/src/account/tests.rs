use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{
    Account, AccountCommand, AccountEvent, AccountRefusal, KeyKind, MAX_ACTIVE_KEYS, MAX_KEYS, RevealReason,
    RevocationReason,
};
use crate::examples::{key, second};
use crate::ids::{AccountId, PersonId};

const EVERY_KIND: [KeyKind; 4] = [KeyKind::SystemToken, KeyKind::Api, KeyKind::Operator, KeyKind::Admin];

fn registered() -> AccountEvent {
    AccountEvent::CustomerRegistered {
        account_id: AccountId(Uuid::from_u128(1)),
        person_id: PersonId(Uuid::from_u128(2)),
        at: second(0),
    }
}

fn register() -> AccountCommand {
    AccountCommand::RegisterCustomer {
        account_id: AccountId(Uuid::from_u128(1)),
        person_id: PersonId(Uuid::from_u128(2)),
        now: second(0),
    }
}

fn issue(number: u128, kind: KeyKind) -> AccountCommand {
    let (digest, prefix) = (format!("digest-{number}"), format!("g2g-{number}"));
    AccountCommand::IssueKey { key_id: key(number), kind, digest, prefix, now: second(1) }
}

fn issued(number: u128, kind: KeyKind) -> AccountEvent {
    let (digest, prefix) = (format!("digest-{number}"), format!("g2g-{number}"));
    AccountEvent::KeyIssued { key_id: key(number), kind, digest, prefix, at: second(1) }
}

fn revoke(number: u128, reason: RevocationReason) -> AccountCommand {
    AccountCommand::RevokeKey { key_id: key(number), reason, now: second(1) }
}

fn revoked(number: u128, reason: RevocationReason) -> AccountEvent {
    AccountEvent::KeyRevoked { key_id: key(number), reason, at: second(1) }
}

fn reveal(number: u128) -> AccountCommand {
    AccountCommand::RevealToken { key_id: key(number), reason: RevealReason::Support, now: second(1) }
}

async fn expect(
    given: Vec<AccountEvent>,
    when: AccountCommand,
    then: Result<Vec<AccountEvent>, AccountRefusal>,
) {
    let outcome = TestFramework::<Account>::with(()).given(given).when_async(when).await;
    assert_eq!(outcome.inspect_result(), then);
}

#[tokio::test]
async fn a_customer_is_registered_once() {
    expect(vec![], register(), Ok(vec![registered()])).await;
    expect(vec![registered()], register(), Err(AccountRefusal::AlreadyRegistered)).await;
}

#[tokio::test]
async fn a_customers_keys_need_a_customer() {
    for kind in [KeyKind::SystemToken, KeyKind::Api] {
        expect(vec![], issue(1, kind), Err(AccountRefusal::NotRegistered)).await;
        expect(vec![registered()], issue(1, kind), Ok(vec![issued(1, kind)])).await;
    }
}

#[tokio::test]
async fn operator_and_admin_keys_belong_to_no_customer() {
    for kind in [KeyKind::Operator, KeyKind::Admin] {
        expect(vec![registered()], issue(1, kind), Err(AccountRefusal::WrongKindOfKey { kind })).await;
        expect(vec![], issue(1, kind), Ok(vec![issued(1, kind)])).await;
    }
}

#[tokio::test]
async fn a_new_system_token_replaces_the_one_before_in_one_append() {
    let given = vec![registered(), issued(1, KeyKind::SystemToken), issued(2, KeyKind::Api)];
    let then = vec![revoked(1, RevocationReason::Rotated), issued(3, KeyKind::SystemToken)];
    expect(given, issue(3, KeyKind::SystemToken), Ok(then)).await;
}

#[tokio::test]
async fn a_key_is_issued_once_even_after_it_is_revoked() {
    let refusal = || Err(AccountRefusal::KeyExists { key_id: key(1) });
    let given = vec![registered(), issued(1, KeyKind::Api)];
    expect(given.clone(), issue(1, KeyKind::Api), refusal()).await;
    let given = [given, vec![revoked(1, RevocationReason::Requested)]].concat();
    expect(given, issue(1, KeyKind::Api), refusal()).await;
}

#[tokio::test]
async fn the_number_of_active_keys_is_limited_but_a_system_token_can_always_be_replaced() {
    let keys = (1..MAX_ACTIVE_KEYS as u128).map(|number| issued(number, KeyKind::Api));
    let given: Vec<_> = [registered(), issued(999, KeyKind::SystemToken)].into_iter().chain(keys).collect();
    expect(given.clone(), issue(1_000, KeyKind::Api), Err(AccountRefusal::TooManyActiveKeys)).await;
    let then = vec![revoked(999, RevocationReason::Rotated), issued(1_000, KeyKind::SystemToken)];
    expect(given.clone(), issue(1_000, KeyKind::SystemToken), Ok(then)).await;
    let given = [given, vec![revoked(1, RevocationReason::Requested)]].concat();
    expect(given, issue(1_000, KeyKind::Api), Ok(vec![issued(1_000, KeyKind::Api)])).await;
}

#[tokio::test]
async fn the_number_of_keys_an_account_ever_had_is_limited() {
    let mut given = vec![registered()];
    for number in 0..MAX_KEYS as u128 {
        given.extend([issued(number, KeyKind::Api), revoked(number, RevocationReason::Requested)]);
    }
    expect(given, issue(9_999, KeyKind::Api), Err(AccountRefusal::TooManyKeys)).await;
}

#[tokio::test]
async fn a_key_is_revoked_once_and_again_changes_nothing() {
    let given = vec![registered(), issued(1, KeyKind::Api)];
    let event = revoked(1, RevocationReason::Compromised);
    expect(given.clone(), revoke(1, RevocationReason::Compromised), Ok(vec![event.clone()])).await;
    expect([given, vec![event]].concat(), revoke(1, RevocationReason::Requested), Ok(vec![])).await;
}

#[tokio::test]
async fn a_customer_cannot_be_left_without_a_system_token_by_request() {
    let given = || vec![registered(), issued(1, KeyKind::SystemToken)];
    let refusal = Err(AccountRefusal::SystemTokenIsReplaced);
    expect(given(), revoke(1, RevocationReason::Requested), refusal).await;
    for reason in [RevocationReason::Compromised, RevocationReason::AccountClosed] {
        expect(given(), revoke(1, reason), Ok(vec![revoked(1, reason)])).await;
    }
}

#[tokio::test]
async fn a_key_of_another_account_is_not_known_here() {
    let refusal = || Err(AccountRefusal::UnknownKey { key_id: key(9) });
    let given = || vec![registered(), issued(1, KeyKind::Api)];
    expect(given(), revoke(9, RevocationReason::Requested), refusal()).await;
    expect(given(), reveal(9), refusal()).await;
}

#[tokio::test]
async fn showing_a_token_leaves_an_event_and_a_revoked_one_is_not_shown() {
    let given = vec![registered(), issued(1, KeyKind::Api)];
    let event = AccountEvent::TokenRevealed { key_id: key(1), reason: RevealReason::Support, at: second(1) };
    expect(given.clone(), reveal(1), Ok(vec![event])).await;
    let given = [given, vec![revoked(1, RevocationReason::Requested)]].concat();
    expect(given, reveal(1), Err(AccountRefusal::KeyRevoked { key_id: key(1) })).await;
}

#[test]
fn no_event_of_an_account_tells_more_of_a_token_than_its_digest_and_prefix() {
    for kind in EVERY_KIND {
        let json = serde_json::to_value(issued(1, kind)).unwrap();
        let fields: Vec<&String> = json["KeyIssued"].as_object().unwrap().keys().collect();
        assert_eq!(fields, ["at", "digest", "key_id", "kind", "prefix"]);
    }
}
