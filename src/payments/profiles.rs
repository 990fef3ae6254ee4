//! Cards that may be charged again without the customer, by Stripe's ids of them. Erasable.

use anyhow::Context;
use codexapi_aggregates::ids::AccountId;
use codexapi_aggregates::time::Timestamp;
use sqlx::PgPool;

use crate::clock;

/// A saved card. `Debug` is for tests: never log one.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PaymentProfile {
    pub customer_id: String,
    pub payment_method_id: String,
    /// Of real money, not of the test mode.
    pub livemode: bool,
}

/// Keeps the card an account last let us charge again.
pub async fn save(pool: &PgPool, account_id: AccountId, profile: &PaymentProfile) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO payment_profiles (account_id, customer_id, payment_method_id, livemode, saved_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account_id) DO UPDATE SET \
         customer_id = excluded.customer_id, payment_method_id = excluded.payment_method_id, \
         livemode = excluded.livemode, saved_at = excluded.saved_at",
    )
    .bind(account_id.0)
    .bind(&profile.customer_id)
    .bind(&profile.payment_method_id)
    .bind(profile.livemode)
    .bind(moment(clock::now()))
    .execute(pool)
    .await
    .context("saving a payment profile")?;
    Ok(())
}

/// The card an account let us charge again, in this mode.
pub async fn get(
    pool: &PgPool,
    account_id: AccountId,
    livemode: bool,
) -> anyhow::Result<Option<PaymentProfile>> {
    sqlx::query_as(
        "SELECT customer_id, payment_method_id, livemode FROM payment_profiles \
         WHERE account_id = $1 AND livemode = $2",
    )
    .bind(account_id.0)
    .bind(livemode)
    .fetch_optional(pool)
    .await
    .context("reading a payment profile")
}

/// Erases it; Stripe keeps its own.
pub async fn forget(pool: &PgPool, account_id: AccountId) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM payment_profiles WHERE account_id = $1")
        .bind(account_id.0)
        .execute(pool)
        .await
        .context("erasing a payment profile")?;
    Ok(())
}

pub(super) fn moment(at: Timestamp) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_micros(at.0).unwrap_or_default()
}
