//! Lists: each row once, newest first, whatever the page size; and what authentication asks.

use chrono::{DateTime, Utc};
use codexapi_aggregates::account::{KeyLimits, SuspensionReason};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_projections::generations::{self, Filter};
use codexapi_projections::queue::{QueueReason, Resolution};
use codexapi_projections::{MAX_PAGE, api_keys, margin, movements, open_holds, queue};

use super::folding::full_history;
use super::history::{History, account};
use super::{apply_to_all, database};

#[tokio::test]
async fn pages_show_every_row_once_and_newest_first() {
    let (_database, pool) = database().await;
    apply_to_all(&pool, &full_history(), 0).await;
    let account = account(0).0;
    let all = movements::page(&pool, account, None, MAX_PAGE).await.expect("read").rows;
    assert!(all.len() > 20 && all.is_sorted_by(|a, b| a.position > b.position));
    let (mut paged, mut before) = (Vec::new(), None);
    loop {
        let page = movements::page(&pool, account, before, 7).await.expect("read");
        assert!(page.rows.len() <= 7);
        paged.extend(page.rows);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn a_customers_generations_are_paged_within_a_time() {
    let (_database, pool) = database().await;
    apply_to_all(&pool, &full_history(), 0).await;
    let account_id = account(1).0;
    let all =
        generations::page(&pool, account_id, Filter::default(), None, MAX_PAGE).await.expect("read").rows;
    let middle: DateTime<Utc> = all[all.len() / 2].settled_at;
    let filter = Filter { from: None, to: Some(middle) };
    let (mut paged, mut before) = (Vec::new(), None);
    loop {
        let page = generations::page(&pool, account_id, filter, before, 3).await.expect("read");
        paged.extend(page.rows);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let earlier: Vec<_> = all.iter().filter(|row| row.settled_at < middle).cloned().collect();
    assert!(!earlier.is_empty());
    assert_eq!(paged, earlier);

    let one = &all[0];
    let found = generations::get(&pool, account_id, one.generation_id).await.expect("read");
    assert_eq!(found.as_ref(), Some(one));
    let of_another = generations::get(&pool, account(2).0, one.generation_id).await.expect("read");
    assert_eq!(of_another, None);
}

#[tokio::test]
async fn the_queue_names_why_and_what_resolved_it() {
    let (_database, pool) = database().await;
    apply_to_all(&pool, &full_history(), 0).await;
    let entries = queue::page(&pool, false, None, MAX_PAGE).await.expect("read").rows;
    for reason in [QueueReason::HoldExpired, QueueReason::UsageRejected, QueueReason::ProviderIdRepeated] {
        assert!(entries.iter().any(|entry| entry.reasons.contains(&reason)), "{reason:?}");
    }
    for entry in &entries {
        let repeated = entry.reasons.contains(&QueueReason::ProviderIdRepeated);
        assert_eq!(entry.first_generation_id.is_some(), repeated);
        let late = entry.resolution == Some(Resolution::SettledLate);
        assert!(!late || entry.reasons == [QueueReason::HoldExpired]);
    }
    for resolution in [Resolution::SettledLate, Resolution::Reversed] {
        assert!(entries.iter().any(|entry| entry.resolution == Some(resolution)), "{resolution:?}");
    }
    let open = queue::page(&pool, true, None, MAX_PAGE).await.expect("read").rows;
    assert!(open.iter().all(|entry| entry.resolution.is_none()) && open.len() < entries.len());
    let counted = queue::open_count(&pool).await.expect("read");
    assert_eq!(usize::try_from(counted).expect("a count"), open.len());
}

#[tokio::test]
async fn a_key_is_found_by_its_digest_and_says_whether_it_is_revoked() {
    let (_database, pool) = database().await;
    apply_to_all(&pool, &full_history(), 0).await;
    let key = |digest: &'static str| api_keys::by_digest(&pool, digest);
    assert!(!key("digest-0").await.expect("read").expect("a key").key.is_active());
    let active = key("digest-1").await.expect("read").expect("a key").key;
    assert!(active.is_active());
    assert_eq!(active.account_id, Some(account(1).0));
    assert_eq!(key("digest-9").await.expect("read"), None);
    let listed = api_keys::of_account(&pool, account(1).0, None, 10).await.expect("read").rows;
    assert_eq!(listed, [active]);
}

#[tokio::test]
async fn a_presented_key_comes_with_its_limits_its_networks_and_its_accounts_standing() {
    let (_database, pool) = database().await;
    let mut history = History::of(&[]);
    let limits = |requests| KeyLimits {
        requests_per_minute: Some(requests),
        tokens_per_minute: Some(u64::MAX),
        daily_budget_micro: Some(MicroUsd::dollars(5)),
        allowed_models: vec!["gpt-5.5".into()],
        expires_at: Some(Timestamp::from_secs(2_000_000_000)),
        has_networks: true,
        ..KeyLimits::default()
    };
    history.set_limits(1, limits(5));
    history.set_limits(1, limits(7));
    history.suspend(1);
    history.suspend(2);
    history.reinstate(2);
    apply_to_all(&pool, &history.events, 0).await;
    let presented = |digest: &'static str| {
        let pool = pool.clone();
        async move { api_keys::by_digest(&pool, digest).await.expect("read").expect("a key") }
    };
    let erased = presented("digest-1").await;
    assert!(erased.key.limits.has_networks && erased.networks.is_empty());
    for network in ["2001:db8::/32", "192.0.2.7", "10.0.0.0/8"] {
        sqlx::query("INSERT INTO key_networks (key_id, cidr) VALUES ($1, $2::cidr)")
            .bind(erased.key.key_id)
            .bind(network)
            .execute(&pool)
            .await
            .expect("stored");
    }
    let limited = presented("digest-1").await;
    assert_eq!(limited.key.limits, limits(7));
    assert_eq!(limited.key.expires_at.map(|at| at.timestamp()), Some(2_000_000_000));
    assert_eq!(limited.networks, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
    assert!(limited.is_suspended());
    assert_eq!(limited.suspension_reason, Some(SuspensionReason::Abuse));
    let free = presented("digest-2").await;
    assert!(!free.is_suspended() && free.networks.is_empty());
    assert_eq!((free.key.limits, free.key.expires_at), (KeyLimits::default(), None));
}

#[tokio::test]
async fn lapsed_holds_are_those_that_are_old_or_of_a_dead_node() {
    let (_database, pool) = database().await;
    apply_to_all(&pool, &full_history(), 0).await;
    let open = open_holds::page(&pool, None, MAX_PAGE).await.expect("read").rows;
    let long_ago = DateTime::UNIX_EPOCH;
    let nodes = open_holds::nodes(&pool).await.expect("read");
    assert!(!open.is_empty() && nodes.len() == 1);
    let dead = open_holds::lapsed(&pool, long_ago, &nodes, MAX_PAGE).await.expect("read");
    assert_eq!(dead.len(), open.len());
    assert!(open_holds::lapsed(&pool, long_ago, &[], MAX_PAGE).await.expect("read").is_empty());
    let newest = open.iter().map(|hold| hold.placed_at).max().expect("a hold");
    let old = open_holds::lapsed(&pool, newest, &[], MAX_PAGE).await.expect("read");
    assert!(old.iter().all(|hold| hold.placed_at < newest) && old.len() < open.len());
}

#[tokio::test]
async fn the_margin_is_what_is_left_of_charges_after_reversals_and_providers() {
    let (_database, pool) = database().await;
    apply_to_all(&pool, &full_history(), 0).await;
    let day = |text: &str| text.parse().expect("a day");
    let days =
        margin::daily(&pool, chrono_tz::Tz::UTC, day("2026-10-01"), day("2026-12-31")).await.expect("read");
    let margin: i64 = days.iter().map(|day| day.sums.margin_micro().0).sum();
    let expected: i64 = sqlx::query_scalar(
        "SELECT sum(charged_micro - reversed_micro - provider_cost_micro)::bigint FROM generations",
    )
    .fetch_one(&pool)
    .await
    .expect("read");
    assert_eq!(margin, expected);
    assert!(days.iter().any(|day| day.sums.operator_cost_micro.is_positive()));
    assert!(days.iter().any(|day| day.sums.loss_micro() > day.sums.operator_cost_micro));
}
