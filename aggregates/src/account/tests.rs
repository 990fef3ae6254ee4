use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{
    Account, AccountCommand, AccountEvent, AccountRefusal, KeyKind, KeyLimitName, KeyLimits, MAX_ACTIVE_KEYS,
    MAX_ALLOWED_MODELS, MAX_KEYS, RevealReason, RevocationReason, SuspensionReason, ToolboxChoice,
};
use crate::examples::{key, micro, second};
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

fn limit(number: u128, limits: KeyLimits) -> AccountCommand {
    AccountCommand::SetKeyLimits { key_id: key(number), limits, now: second(1) }
}

fn limited(number: u128, limits: KeyLimits) -> AccountEvent {
    AccountEvent::KeyLimitsSet { key_id: key(number), limits: Box::new(limits), at: second(1) }
}

/// One of every limit that only a customer's key can have, at `n`.
fn counted(n: i64) -> [(KeyLimitName, KeyLimits); 5] {
    let none = KeyLimits::default;
    let (count, tokens) = (u32::try_from(n).ok(), u64::try_from(n).ok());
    [
        (KeyLimitName::RequestsPerMinute, KeyLimits { requests_per_minute: count, ..none() }),
        (KeyLimitName::TokensPerMinute, KeyLimits { tokens_per_minute: tokens, ..none() }),
        (KeyLimitName::ParallelRequests, KeyLimits { parallel_requests: count, ..none() }),
        (KeyLimitName::DailyBudget, KeyLimits { daily_budget_micro: Some(micro(n)), ..none() }),
        (KeyLimitName::MonthlyBudget, KeyLimits { monthly_budget_micro: Some(micro(n)), ..none() }),
    ]
}

/// Limits that every kind of key may have.
fn free_of_wallets() -> KeyLimits {
    KeyLimits {
        allowed_models: vec!["claude-opus-4-8".into(), "gpt-5.5".into()],
        expires_at: Some(second(100)),
        has_networks: true,
        ..KeyLimits::default()
    }
}

#[tokio::test]
async fn limits_are_set_replaced_and_taken_away() {
    let given = vec![registered(), issued(1, KeyKind::Api)];
    let first = KeyLimits { requests_per_minute: Some(5), ..KeyLimits::default() };
    expect(given.clone(), limit(1, first.clone()), Ok(vec![limited(1, first.clone())])).await;
    let given = [given, vec![limited(1, first.clone())]].concat();
    expect(given.clone(), limit(1, first), Ok(vec![])).await;
    let none = KeyLimits::default();
    expect(given.clone(), limit(1, none.clone()), Ok(vec![limited(1, none.clone())])).await;
    expect([given, vec![limited(1, none.clone())]].concat(), limit(1, none), Ok(vec![])).await;
}

#[tokio::test]
async fn a_list_of_networks_may_have_changed_though_the_event_says_the_same() {
    let limits = KeyLimits { has_networks: true, ..KeyLimits::default() };
    let given = vec![registered(), issued(1, KeyKind::Api), limited(1, limits.clone())];
    expect(given, limit(1, limits.clone()), Ok(vec![limited(1, limits)])).await;
}

#[tokio::test]
async fn a_limit_of_nothing_is_refused_by_name() {
    let given = || vec![registered(), issued(1, KeyKind::Api)];
    for (name, nothing) in counted(0) {
        expect(given(), limit(1, nothing), Err(AccountRefusal::ZeroLimit { limit: name })).await;
    }
    for (_, least) in counted(1) {
        expect(given(), limit(1, least.clone()), Ok(vec![limited(1, least)])).await;
    }
    for (name, negative) in counted(-1).into_iter().skip(3) {
        let refusal = AccountRefusal::NegativeBudget { limit: name, amount: micro(-1) };
        expect(given(), limit(1, negative), Err(refusal)).await;
    }
}

#[tokio::test]
async fn what_a_wallet_counts_is_no_limit_of_a_key_without_one() {
    for kind in [KeyKind::Operator, KeyKind::Admin] {
        for (name, limits) in counted(1) {
            let refusal = AccountRefusal::NeedsAWallet { limit: name, kind };
            expect(vec![issued(1, kind)], limit(1, limits), Err(refusal)).await;
        }
        let then = Ok(vec![limited(1, free_of_wallets())]);
        expect(vec![issued(1, kind)], limit(1, free_of_wallets()), then).await;
    }
}

#[tokio::test]
async fn models_are_named_properly_each_once_and_at_most_a_hundred() {
    let given = || vec![registered(), issued(1, KeyKind::Api)];
    let allowing = |models: Vec<String>| KeyLimits { allowed_models: models, ..KeyLimits::default() };
    let many = |count: usize| (0..count).map(|n| format!("m{n:03}")).collect::<Vec<_>>();
    let most = MAX_ALLOWED_MODELS;
    let refusal = Err(AccountRefusal::TooManyModels { got: 101, most });
    expect(given(), limit(1, allowing(many(101))), refusal).await;
    expect(given(), limit(1, allowing(many(100))), Ok(vec![limited(1, allowing(many(100)))])).await;
    let refusal = Err(AccountRefusal::BadModelName { model: "gpt 5".into() });
    expect(given(), limit(1, allowing(vec!["gpt 5".into()])), refusal).await;
    let unordered = allowing(vec!["b".into(), "a".into(), "b".into()]);
    let ordered = allowing(vec!["a".into(), "b".into()]);
    expect(given(), limit(1, unordered), Ok(vec![limited(1, ordered)])).await;
}

#[tokio::test]
async fn a_key_expires_in_the_future_and_other_limits_of_an_expired_key_may_still_change() {
    let expiring = |at: i64| KeyLimits { expires_at: Some(second(at)), ..KeyLimits::default() };
    let given = vec![registered(), issued(1, KeyKind::Api)];
    expect(given.clone(), limit(1, expiring(1)), Err(AccountRefusal::ExpiresInThePast)).await;
    expect(given.clone(), limit(1, expiring(2)), Ok(vec![limited(1, expiring(2))])).await;
    let given = [given, vec![limited(1, expiring(0))]].concat();
    let fewer = KeyLimits { parallel_requests: Some(1), ..expiring(0) };
    expect(given, limit(1, fewer.clone()), Ok(vec![limited(1, fewer)])).await;
}

#[tokio::test]
async fn only_a_key_that_works_has_limits() {
    let limits = || KeyLimits { parallel_requests: Some(1), ..KeyLimits::default() };
    let given = vec![registered(), issued(1, KeyKind::Api), revoked(1, RevocationReason::Requested)];
    expect(given, limit(1, limits()), Err(AccountRefusal::KeyRevoked { key_id: key(1) })).await;
    expect(vec![registered()], limit(9, limits()), Err(AccountRefusal::UnknownKey { key_id: key(9) })).await;
}

#[test]
fn an_account_tells_the_limits_of_the_keys_that_work() {
    let mut account = Account::default();
    let limits = KeyLimits { parallel_requests: Some(1), ..KeyLimits::default() };
    for event in [registered(), issued(1, KeyKind::Api), issued(2, KeyKind::Api), limited(1, limits.clone())]
    {
        account.evolve(event);
    }
    assert_eq!(account.key_limits(key(1)), Some(limits));
    assert_eq!(account.key_limits(key(2)), Some(KeyLimits::default()));
    account.evolve(revoked(1, RevocationReason::Requested));
    assert_eq!((account.key_limits(key(1)), account.key_limits(key(9))), (None, None));
}

#[tokio::test]
async fn an_account_is_suspended_and_reinstated_once_each() {
    let suspend = |reason| AccountCommand::SuspendAccount { reason, now: second(1) };
    let reinstate = || AccountCommand::ReinstateAccount { now: second(1) };
    let suspended = AccountEvent::AccountSuspended { reason: SuspensionReason::Abuse, at: second(1) };
    let reinstated = AccountEvent::AccountReinstated { at: second(1) };
    let (abuse, dispute) = (SuspensionReason::Abuse, SuspensionReason::PaymentDispute);
    expect(vec![registered()], suspend(abuse), Ok(vec![suspended.clone()])).await;
    expect(vec![registered()], reinstate(), Ok(vec![])).await;
    let given = vec![registered(), suspended];
    expect(given.clone(), suspend(dispute), Ok(vec![])).await;
    expect(given.clone(), reinstate(), Ok(vec![reinstated.clone()])).await;
    let given = [given, vec![reinstated]].concat();
    expect(given.clone(), reinstate(), Ok(vec![])).await;
    let again = AccountEvent::AccountSuspended { reason: dispute, at: second(1) };
    expect(given, suspend(dispute), Ok(vec![again])).await;
    expect(vec![], suspend(abuse), Err(AccountRefusal::NotRegistered)).await;
    expect(vec![], reinstate(), Err(AccountRefusal::NotRegistered)).await;
}

#[tokio::test]
async fn a_customer_chooses_what_is_done_during_surges_and_choosing_it_twice_changes_nothing() {
    let set = |choice| AccountCommand::SetToolbox { choice, now: second(10) };
    let was_set = |choice| AccountEvent::ToolboxSet { choice, at: second(10) };
    let stay = expect(vec![registered()], set(ToolboxChoice::Stay), Ok(vec![]));
    stay.await;
    let pause = Ok(vec![was_set(ToolboxChoice::Pause)]);
    expect(vec![registered()], set(ToolboxChoice::Pause), pause).await;
    let given = vec![registered(), was_set(ToolboxChoice::Deepseek)];
    expect(given.clone(), set(ToolboxChoice::Deepseek), Ok(vec![])).await;
    expect(given, set(ToolboxChoice::Stay), Ok(vec![was_set(ToolboxChoice::Stay)])).await;
    expect(vec![], set(ToolboxChoice::Pause), Err(AccountRefusal::NotRegistered)).await;
}
