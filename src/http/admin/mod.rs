//! The operator's routes: one file per noun. Each is mounted under `/admin/api` and `/admin-api/v1` alike.
//!
//! What changes something is a command through the event log, with the admin's name as its actor; what reads shows no
//! key and no secret. Bodies are small, typed and read to the last field: a misspelt one is refused by name.

pub mod billing;
pub mod billing_settings;
pub mod body;
pub mod gumroad;
mod ids;
pub mod keys;
pub mod maintenance;
pub mod manage_models;
pub mod model_health;
pub mod model_provider;
pub mod model_usage;
pub mod models;
pub mod payments;
mod policy_change;
mod policy_view;
mod policy_warnings;
pub mod provider_health;
pub mod provider_invoices;
pub mod queue;
pub mod rate_changes;
pub mod rate_windows;
pub mod receipts;
pub mod referrals;
mod refusal;
mod rerated;
mod review;
pub mod serving_usage;
pub mod tariffs;
pub mod token_rates;
pub mod topup_codes;
pub mod unlimited;
pub mod users;
pub mod wallets;

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use chrono::{DateTime, Utc};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::time::Timestamp;
use http::request::Parts;

use super::auth::Principal;
use super::envelope::RequestId;

/// Who changes something, as it goes into the events.
pub struct Actor {
    pub metadata: Metadata,
    pub request_id: String,
}

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let principal = parts.extensions.get::<Principal>().expect("a route of admins has a principal");
        let request_id = parts.extensions.get::<RequestId>().expect("every request has an id");
        Ok(Self { metadata: principal.metadata(request_id), request_id: request_id.0.clone() })
    }
}

/// A moment of the calendar.
fn moment(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.0).unwrap_or_default()
}

/// Where the one event of a change stands; nowhere (0) where nothing changed.
fn of_change(position: i64) -> Vec<i64> {
    Some(position).filter(|position| *position > 0).into_iter().collect()
}

/// The positions of a command's events, of which the last stands at `last`; they follow one another.
fn positions(last: i64, events: usize) -> Vec<i64> {
    let count = i64::try_from(events).unwrap_or(i64::MAX);
    (last - count + 1..=last).collect()
}
