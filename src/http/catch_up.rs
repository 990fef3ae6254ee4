//! Reading what was written a moment ago: a read model that is behind is waited for, briefly.

use std::time::Duration;

use codexapi_projections::{ReadModel, checkpoint};

use super::error::Problem;
use crate::app::App;
use crate::event_log::SHARD;
use crate::event_log::read::head;

const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns when `model` is where the log ends now, or could not get there in time.
pub async fn catch_up(app: &App, model: &ReadModel) -> Result<(), Problem> {
    let unavailable = |error: sqlx::Error| Problem::unavailable(error.into());
    let head = head(&app.pool, SHARD).await.map_err(unavailable)?;
    checkpoint::wait_for(&app.pool, model.name, head, CATCH_UP_TIMEOUT).await.map_err(unavailable)?;
    Ok(())
}
