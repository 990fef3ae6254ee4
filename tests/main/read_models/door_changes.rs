//! The mark by which doors know that nothing they go by has changed.

use codexapi::rebuild::{Progress, rebuild};
use codexapi_aggregates::event::AnyEvent;
use codexapi_projections::apply::{apply, apply_together};
use codexapi_projections::{READ_MODELS, door_changes};
use sqlx::PgPool;
use uuid::Uuid;

use super::folding::full_history;
use super::{apply_to_all, database, entries};

async fn mark(pool: &PgPool) -> Uuid {
    door_changes::mark(pool).await.expect("read")
}

async fn changes_with(pool: &PgPool, change: impl AsyncFnOnce()) -> bool {
    let before = mark(pool).await;
    change().await;
    mark(pool).await != before
}

#[tokio::test]
async fn events_of_accounts_and_keys_draw_another_mark_and_no_other_event_does() {
    let ((_first, together), (_second, alone)) = (database().await, database().await);
    let (mut previous, mut concerning) = (0, 0);
    for event in full_history() {
        let concerns_doors = matches!(event.event, AnyEvent::Account(_));
        concerning += u32::from(concerns_doors);
        let (position, one) = (event.position, [event]);
        let changed = changes_with(&together, async || {
            let applied = apply_together(&together, &READ_MODELS, &entries(&one), previous).await;
            applied.expect("applied");
        });
        assert_eq!(changed.await, concerns_doors, "{:?}", one[0].event);
        let each_alone = async || {
            for model in door_changes::READ_MODELS {
                apply(&alone, model, &entries(&one), previous).await.expect("applied");
            }
        };
        assert_eq!(changes_with(&alone, each_alone).await, concerns_doors, "{:?}", one[0].event);
        previous = position;
    }
    let again = async || drop(apply_to_all(&together, &full_history(), 0).await);
    assert!(!changes_with(&together, again).await, "what is delivered again brings nothing");
    assert!(concerning > 5, "the history has too little to say");
}

#[tokio::test]
async fn a_rebuild_of_what_doors_read_draws_another_mark() {
    let (_database, pool) = database().await;
    for model in READ_MODELS {
        let read_by_doors = ["accounts", "api_keys"].contains(&model.name);
        let rebuilt = async || rebuild(&pool, &[model], &Progress::silent()).await.expect("rebuilt");
        assert_eq!(changes_with(&pool, rebuilt).await, read_by_doors, "{}", model.name);
    }
}

#[tokio::test]
async fn networks_that_are_written_or_erased_by_hand_draw_another_mark() {
    let (_database, pool) = database().await;
    for statement in [
        "INSERT INTO key_networks (key_id, cidr) SELECT gen_random_uuid(), '192.0.2.0/24'",
        "UPDATE key_networks SET cidr = '198.51.100.0/24'",
        "DELETE FROM key_networks",
        "TRUNCATE key_networks",
    ] {
        let executed = async || {
            sqlx::query(statement).execute(&pool).await.expect(statement);
        };
        assert!(changes_with(&pool, executed).await, "{statement}");
    }
}
