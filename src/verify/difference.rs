//! What can be wrong, each named as precisely as the evidence allows.

use std::fmt;

use codexapi_aggregates::money::MicroUsd;
use serde::Serialize;

use crate::event_log::read::StoredEvent;

/// An event, as people find it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventName {
    pub stream: String,
    pub sequence: i64,
    pub position: i64,
}

impl EventName {
    pub fn of(event: &StoredEvent) -> Self {
        let stream = stream_name(&event.aggregate_type, &event.aggregate_id);
        Self { stream, sequence: event.sequence, position: event.position }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} event {} (position {})", self.stream, self.sequence, self.position)
    }
}

/// `wallet 0192…`, as differences call a stream.
pub(super) fn stream_name(aggregate_type: &str, aggregate_id: &str) -> String {
    format!("{aggregate_type} {aggregate_id}")
}

/// The first thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Difference {
    #[error("{event}: payload was edited")]
    PayloadEdited { event: EventName },
    /// The payload's own digest agrees, the hash over the whole event does not.
    #[error("{event}: metadata was edited (or the event's id, version or time; its payload was not)")]
    MetadataEdited { event: EventName },
    #[error("{event}: its stored hash was edited")]
    HashEdited { event: EventName },
    #[error("{event}: it cannot be read: {reason}")]
    Unreadable { event: EventName, reason: String },
    #[error("{event}: the row says {row_type}, the payload is a {payload_type}")]
    WrongType { event: EventName, row_type: String, payload_type: String },
    #[error("events at positions {} and {} were swapped ({first}; {second})", first.position, second.position)]
    Swapped { first: EventName, second: EventName },
    #[error("event {sequence} of {stream} was removed (before position {before_position})")]
    EventRemoved { stream: String, sequence: i64, before_position: i64 },
    #[error("the last event of {stream} was removed (sealed at position {sealed_position})")]
    LastEventRemoved { stream: String, sealed_position: i64 },
    #[error("the last {count} events of {stream} were removed (sealed at position {sealed_position})")]
    LastEventsRemoved { stream: String, count: i64, sealed_position: i64 },
    #[error("stream {stream} was removed (its last sealed event stood at position {sealed_position})")]
    StreamRemoved { stream: String, sealed_position: i64 },
    #[error(
        "the events after position {after_position} up to {up_to_position} are not those that were sealed: {sealed} were, {found} are there"
    )]
    SealBroken { after_position: i64, up_to_position: i64, sealed: i64, found: i64 },
    #[error("{event}: the seal does not follow the one before it, which ended at position {expected_after}")]
    SealOutOfOrder { event: EventName, expected_after: i64 },
    #[error("{stream} folds to another state through stock postgres-es: {detail}")]
    IndependentFoldDiffers { stream: String, detail: String },
    #[error("{event}: {what} should be ${expected} and is ${found}")]
    Amount { event: EventName, what: String, expected: MicroUsd, found: MicroUsd },
    #[error("{event}: {what}")]
    Rule { event: EventName, what: String },
    #[error(
        "{stream}: grants − charges + reversals − purchases − adjustments − payment reversals − expiries = ${expected}, the balance less the debt is ${found}"
    )]
    BalanceDoesNotAddUp { stream: String, expected: MicroUsd, found: MicroUsd },
    #[error("{stream}: reversed payments less what paid them leave a debt of ${expected}, it is ${found}")]
    DebtDoesNotAddUp { stream: String, expected: MicroUsd, found: MicroUsd },
    #[error("{stream}: paid in − taken back − spent = ${expected}, the balance less the debt is ${found}")]
    CashDoesNotAddUp { stream: String, expected: MicroUsd, found: MicroUsd },
    #[error("account {account_id}, {id}: {what} (position {position})")]
    Given { account_id: String, id: String, what: String, position: i64 },
    #[error("generation {generation_id}: {what} (position {position})")]
    Settlement { generation_id: String, what: String, position: i64 },
    #[error("payment {payment_id}: {what} (position {position})")]
    Payment { payment_id: String, what: String, position: i64 },
    #[error(
        "{stream}: the hold of generation {generation_id} (position {position}) should have expired {overdue_secs} s ago"
    )]
    HoldLeftBehind { stream: String, generation_id: String, position: i64, overdue_secs: i64 },
    #[error("projection {projection} at position {position}: {table} row {row} differs: {detail}")]
    Projection { projection: String, position: i64, table: String, row: String, detail: String },
    #[error("projection {projection} cannot be checked: {reason}")]
    ProjectionStopped { projection: String, reason: String },
    #[error("usage_quarters sums to ${found}, the charges up to position {position} to ${expected}")]
    UsageSum { position: i64, expected: MicroUsd, found: MicroUsd },
}
