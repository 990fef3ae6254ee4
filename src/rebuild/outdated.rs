//! Read models that an older build left in another form, brought to this build's before anything reads them.
//!
//! A new column in a read table is no migration: the table is made anew from the log. Without this an upgrade
//! would stop at the first query that wants the column, and nobody could sign in.

use std::time::Duration;

use anyhow::{Context, ensure};
use codexapi_projections::{READ_MODELS, ReadModel, versions};
use sqlx::PgPool;

use super::{BeingRebuilt, Progress, rebuild};

/// How long another node that has begun the same is waited for, in looks and the pause between them.
const LOOKS: u32 = 3_600;
const PAUSE: Duration = Duration::from_secs(1);

/// Rebuilds what is of another revision; a start without any changes nothing.
///
/// # Errors
/// A read model is of a newer build than this one, or rebuilding fails.
pub async fn rebuild_outdated(pool: &PgPool, progress: &Progress) -> anyhow::Result<()> {
    for _ in 0..LOOKS {
        let outdated = outdated(pool).await?;
        if outdated.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = outdated.iter().map(|model| model.name).collect();
        tracing::info!(read_models = names.join(", "), "made by another build; rebuilding from the log");
        match rebuild(pool, &outdated, progress).await {
            Err(error) if error.is::<BeingRebuilt>() => tokio::time::sleep(PAUSE).await,
            other => other.context("rebuilding what an older build left")?,
        }
    }
    anyhow::bail!("another node has been rebuilding read models for {:?}", PAUSE * LOOKS)
}

async fn outdated(pool: &PgPool) -> anyhow::Result<Vec<&'static ReadModel>> {
    let mut outdated = Vec::new();
    for model in READ_MODELS {
        let Some(active) = versions::active(pool, model).await? else { continue };
        ensure!(
            active.revision <= model.revision,
            "read model {} is of a newer build (revision {}, this one knows {}): start that one",
            model.name,
            active.revision,
            model.revision
        );
        if active.revision < model.revision {
            outdated.push(model);
        }
    }
    Ok(outdated)
}
