//! What operators do with customers, keys, credit and prices.

use codexapi::accounts::{
    self, AdjustCredit, AdjustRefusal, CreditChange, GrantCredit, NewCustomer, RevealError,
};
use codexapi::commands::CommandError;
use codexapi::config::prices::PriceList;
use codexapi::pricing_seed;
use codexapi_aggregates::account::{AccountRefusal, RevealReason};
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::events::GrantSource;

use super::{Service, operator};

const SEALING_KEY: (&str, &str) =
    ("CODEXAPI_SEALING_KEY", "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b");

fn grant(account_id: AccountId, dollars: i64) -> GrantCredit {
    GrantCredit {
        account_id,
        source: GrantSource::Admin,
        amount_micro: MicroUsd::dollars(dollars),
        expires_at: None,
        idempotency_key: "invoice-7".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_is_granted_once_per_idempotency_key() {
    let service = Service::start().await;
    let account_id = service.customer().await.account_id;
    let (log, terms) = (&service.app.log, service.app.config.wallet.terms());
    let first =
        accounts::grant_credit(log, &terms, &operator(), grant(account_id, 5)).await.expect("granted");
    let again =
        accounts::grant_credit(log, &terms, &operator(), grant(account_id, 5)).await.expect("replayed");
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!((first.movement_id, first.balance_micro), (again.movement_id, again.balance_micro));
    let other = accounts::grant_credit(log, &terms, &operator(), grant(account_id, 6)).await;
    assert!(matches!(other, Err(CommandError::IdempotencyMismatch { .. })), "{other:?}");

    // HTTP's way of moving credit knows the command line's keys.
    let up = |dollars: i64| AdjustCredit {
        account_id,
        change: CreditChange::Up {
            amount_micro: MicroUsd::dollars(dollars),
            source: GrantSource::Admin,
            expires_at: None,
        },
        note: None,
        idempotency_key: "invoice-7".into(),
    };
    let over_http = accounts::adjust_credit(log, &terms, &operator(), up(5)).await.expect("replayed");
    assert!(over_http.replayed);
    assert_eq!(over_http.movement_id, first.movement_id);
    let other = accounts::adjust_credit(log, &terms, &operator(), up(6)).await;
    assert!(matches!(other, Err(CommandError::IdempotencyMismatch { .. })), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_grants_that_were_kept_by_themselves_go_on_counting() {
    let service = Service::start().await;
    let (log, terms) = (&service.app.log, service.app.config.wallet.terms());
    let account_id = service.customer().await.account_id;
    let expiring = |dollars: i64| {
        let expires_at = Some(Timestamp(4_000_000_000_000_000));
        GrantCredit { expires_at, idempotency_key: "invoice-8".into(), ..grant(account_id, dollars) }
    };
    accounts::grant_credit(log, &terms, &operator(), grant(account_id, 5)).await.expect("granted");
    accounts::grant_credit(log, &terms, &operator(), expiring(3)).await.expect("granted");
    let pool = &service.app.pool;
    sqlx::query("UPDATE idempotency_keys SET command = 'grant_credit', inputs_digest = sha256('before')")
        .execute(pool)
        .await
        .expect("as it was kept before");
    let migration =
        include_str!("../../../migrations/20261129040001_keep_keys_of_grants_with_those_of_adjustments.sql");
    sqlx::raw_sql(migration).execute(pool).await.expect("migrated");
    for again in [grant(account_id, 5), expiring(3)] {
        let again = accounts::grant_credit(log, &terms, &operator(), again).await.expect("replayed");
        assert!(again.replayed);
    }
    let other = accounts::grant_credit(log, &terms, &operator(), expiring(4)).await;
    assert!(matches!(other, Err(CommandError::IdempotencyMismatch { .. })), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_unregistered_gets_credit() {
    let service = Service::start().await;
    let stranger = AccountId(uuid::Uuid::from_u128(7));
    let terms = service.app.config.wallet.terms();
    let refused = accounts::grant_credit(&service.app.log, &terms, &operator(), grant(stranger, 5)).await;
    let expected = AdjustRefusal::Account(AccountRefusal::NotRegistered).to_string();
    assert!(
        matches!(&refused, Err(CommandError::Refused(why)) if why.to_string() == expected),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_registered_once_and_a_refused_one_leaves_nothing() {
    let service = Service::start_with(&[SEALING_KEY]).await;
    let (log, credentials) = (&service.app.log, &service.app.config.credentials);
    let account_id = service.customer().await.account_id;
    let again = NewCustomer { account_id: Some(account_id), ..NewCustomer::default() };
    let refused = accounts::create_customer(log, credentials, &operator(), again).await;
    assert!(matches!(refused, Err(CommandError::Refused(AccountRefusal::AlreadyRegistered))));
    let left: (i64, i64) =
        sqlx::query_as("select (select count(*) from persons), (select count(*) from sealed_tokens)")
            .fetch_one(&service.app.pool)
            .await
            .expect("counted");
    assert_eq!(left, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn showing_a_token_again_leaves_an_event() {
    let service = Service::start_with(&[SEALING_KEY]).await;
    let (log, credentials) = (&service.app.log, &service.app.config.credentials);
    let customer = service.customer().await;
    let (account, key) = (Some(customer.account_id), customer.system_token.key_id);
    let shown = accounts::reveal_token(log, credentials, &operator(), account, key, RevealReason::Support)
        .await
        .expect("shown");
    assert_eq!(shown, customer.system_token.token);
    let actor: String = sqlx::query_scalar(
        "select metadata->>'actor' from events where event_type = 'account.token_revealed'",
    )
    .fetch_one(&service.app.pool)
    .await
    .expect("one event");
    assert_eq!(actor, "operator:test");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sealing_key_no_token_is_shown_again() {
    let service = Service::start().await;
    let customer = service.customer().await;
    let (log, credentials) = (&service.app.log, &service.app.config.credentials);
    let (account, key) = (Some(customer.account_id), customer.system_token.key_id);
    let refused =
        accounts::reveal_token(log, credentials, &operator(), account, key, RevealReason::Support).await;
    assert!(matches!(refused, Err(RevealError::NoSealingKey)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_fills_an_empty_price_book_and_never_reprices() {
    let service = Service::start().await;
    let dearer = include_str!("../../../config/prices.toml").replace("\"5.00\"", "\"6.00\"");
    let dearer = PriceList::parse(&dearer).expect("good");
    let log = &service.app.log;
    let at_start = pricing_seed::fill_empty_book(log, &dearer).await.expect("looked");
    assert!(at_start.is_empty());
    let published = pricing_seed::publish(log, &operator(), &dearer, None).await.expect("published");
    assert_eq!(published.len(), 3);
    assert!(published.iter().all(|card| card.version == 2));
    let again = pricing_seed::publish(log, &operator(), &dearer, None).await.expect("unchanged");
    assert!(again.is_empty());
}
