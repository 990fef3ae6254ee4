//! When a change of accounts and keys counts: once the door of every node knows of it.
//!
//! Doors (`http/auth.rs`) read the read models, and believe what they have read for `BELIEVED_FOR`. So a change is in
//! force when the read models have it and that time has passed: then no request that begins is judged by what was
//! before, whichever node it comes to. Operators' commands wait for that, so that who has set a limit can rely on it.

use std::time::Duration;

use codexapi_projections::{checkpoint, door_changes};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::event_log::read::{self, SHARD};

/// How long a door believes what it has looked up.
pub const BELIEVED_FOR: Duration = Duration::from_millis(250);

/// How long a command waits for its change to be in force.
pub const WAIT: Duration = Duration::from_secs(5);

/// Waits until a change is in force. `position` is where it stands in the log; with 0 nothing was changed, and what
/// stood there before is waited for.
///
/// False: it was not within `WAIT`, as where the read models lag or no node runs. The change is made nevertheless and
/// counts as soon as they have caught up.
pub async fn wait_until_in_force(pool: &PgPool, position: i64) -> bool {
    match read_by_doors(pool, position).await {
        Ok(true) => {
            tokio::time::sleep(BELIEVED_FOR).await;
            true
        }
        Ok(false) => {
            tracing::warn!(
                position,
                "the read models of keys and accounts are behind: {WAIT:?} were not enough"
            );
            false
        }
        Err(error) => {
            tracing::warn!(position, %error, "whether doors know of a change cannot be asked");
            false
        }
    }
}

async fn read_by_doors(pool: &PgPool, position: i64) -> sqlx::Result<bool> {
    let deadline = Instant::now() + WAIT;
    let position = if position > 0 { position } else { read::head(pool, SHARD).await? };
    for read_model in door_changes::READ_MODELS {
        let left = deadline.saturating_duration_since(Instant::now());
        if !checkpoint::wait_for(pool, read_model.name, position, left).await? {
            return Ok(false);
        }
    }
    Ok(true)
}
