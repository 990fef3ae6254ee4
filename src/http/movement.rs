//! One movement of a wallet's credit, as statements and operators' lists show it.

use chrono::{DateTime, Utc};
use codexapi_aggregates::wallet::{GrantSource, PurchaseItem};
use codexapi_projections::movements::{Movement, MovementKind, MovementReason};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Amounts in micro-USD; $1 is 1 000 000. Balance and debt move side by side: of credit that paid debt only the rest
/// is in `amountMicro`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MovementLine {
    /// The event that says so.
    pub id: Uuid,
    pub at: DateTime<Utc>,
    /// `credit_granted`, `grant_expired`, `usage_charged`, `charge_reversed`, `purchase_made`, `credit_adjusted`,
    /// `payment_reversed` or `payment_reinstated`.
    #[schema(value_type = String)]
    pub kind: MovementKind,
    /// What it did to the balance; negative where credit was taken.
    pub amount_micro: i64,
    #[schema(example = "-0.012345")]
    pub amount_usd: String,
    /// The balance after it.
    pub balance_micro: i64,
    #[schema(example = "12.345678")]
    pub balance_usd: String,
    /// What it did to the debt; negative where it paid some.
    pub debt_change_micro: i64,
    pub generation_id: Option<Uuid>,
    pub model: Option<String>,
    /// The grant; of a payment, the payment.
    pub grant_id: Option<Uuid>,
    /// Where granted credit came from: `top_up`, `admin`, `share_credit`, `gumroad`, `referral` or `promo`.
    #[schema(value_type = Option<String>)]
    pub source: Option<GrantSource>,
    pub expires_at: Option<DateTime<Utc>>,
    /// What was bought: `project_slot` or `api_call`.
    #[schema(value_type = Option<String>)]
    pub item: Option<PurchaseItem>,
    pub purchase_id: Option<Uuid>,
    pub adjustment_id: Option<Uuid>,
    /// Why a charge was taken back, or credit away.
    #[schema(value_type = Option<String>)]
    pub reason: Option<MovementReason>,
}

impl From<&Movement> for MovementLine {
    fn from(movement: &Movement) -> Self {
        Self {
            id: movement.event_id,
            at: movement.at,
            kind: movement.kind,
            amount_micro: movement.amount_micro.0,
            amount_usd: movement.amount_micro.to_string(),
            balance_micro: movement.balance_micro.0,
            balance_usd: movement.balance_micro.to_string(),
            debt_change_micro: movement.debt_change_micro.0,
            generation_id: movement.generation_id,
            model: movement.model.clone(),
            grant_id: movement.grant_id,
            source: movement.source,
            expires_at: movement.expires_at,
            item: movement.item,
            purchase_id: movement.purchase_id,
            adjustment_id: movement.adjustment_id,
            reason: movement.reason,
        }
    }
}
