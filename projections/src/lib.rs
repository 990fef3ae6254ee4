//! Read models: tables that answer what customers and operators ask, folded from the event log.
//!
//! A read model promises to equal a fold of the log from its start to its checkpoint, however the
//! events were cut into batches, redelivered or rebuilt. Three rules give that: the checkpoint
//! moves in the transaction that writes the rows; a batch that does not continue from the
//! checkpoint is refused as a hole; and folding reads nothing but the events and the read model's
//! own tables (no clock, no other read model, which may be further on or further back).
//!
//! One file per read model: its rows, how it folds events, its queries.

pub mod accounts;
pub mod api_keys;
pub mod apply;
pub mod auto_topups;
pub mod balances;
pub mod cash_balances;
pub mod cash_movements;
pub mod checkpoint;
mod columns;
mod copy;
pub mod customer_usage;
pub mod door_changes;
pub mod entitlements;
pub mod expiring_grants;
pub mod generations;
pub mod gumroad_signups;
pub mod margin;
pub mod model_usage;
pub mod movements;
pub mod open_holds;
pub mod page;
pub mod payments;
pub mod provider_days;
pub mod queue;
pub mod receipts;
pub mod referral_commissions;
mod rows;
pub mod transaction;
pub mod usage;
pub mod versions;

use codexapi_aggregates::event::RecordedEvent;
use futures::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

pub use page::{MAX_PAGE, Page};
pub use rows::ReadError;

/// A read model: what it is called, where it lives, what it reads, how it folds.
pub struct ReadModel {
    /// The name of its checkpoint, of its metric label, and what `rebuild` calls it.
    pub name: &'static str,
    /// Raised with every change of its rows or its folding; the tables then want a rebuild.
    pub revision: i32,
    /// The aggregates whose events it reads; it moves past all others unread.
    pub aggregates: &'static [&'static str],
    pub tables: &'static [Table],
    /// An empty batch.
    pub batch: fn() -> Box<dyn Projection>,
}

/// One table of a read model; `<name>_<version>` holds the rows and the view `<name>` is what is read.
pub struct Table {
    pub name: &'static str,
    /// Columns and constraints, as in `create table`.
    pub columns: &'static str,
    /// Each further index, as after `create index on <table>`.
    pub indexes: &'static [&'static str],
}

/// Every read model there is.
pub static READ_MODELS: [&ReadModel; 16] = [
    &balances::READ_MODEL,
    &movements::READ_MODEL,
    &generations::READ_MODEL,
    &queue::READ_MODEL,
    &api_keys::READ_MODEL,
    &accounts::READ_MODEL,
    &open_holds::READ_MODEL,
    &payments::READ_MODEL,
    &receipts::READ_MODEL,
    &expiring_grants::READ_MODEL,
    &cash_balances::READ_MODEL,
    &cash_movements::READ_MODEL,
    &auto_topups::READ_MODEL,
    &gumroad_signups::READ_MODEL,
    &referral_commissions::READ_MODEL,
    &entitlements::READ_MODEL,
];

/// The read model called `name`, or that keeps a table called `name`.
pub fn read_model(name: &str) -> Option<&'static ReadModel> {
    let named = |model: &&&ReadModel| model.name == name || model.tables.iter().any(|t| t.name == name);
    READ_MODELS.iter().find(named).copied()
}

/// A batch of events folded in memory, on its way into the tables.
pub trait Projection: Send {
    /// Takes in one event; events come in the log's order.
    ///
    /// # Errors
    /// The event cannot be what it claims to be. The batch is as it was before.
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), FoldError>;

    /// Writes what was folded into the tables of `version`, in a few statements whatever the
    /// number of events. The caller's transaction also moves the checkpoint.
    fn write<'a>(
        self: Box<Self>,
        connection: &'a mut PgConnection,
        version: i32,
    ) -> BoxFuture<'a, Result<(), WriteError>>;
}

/// An event of the log on its way to the read models.
#[derive(Clone, Debug)]
pub enum Entry {
    Event(Box<RecordedEvent>),
    /// This build cannot decode it. It stops the read models of its aggregate and no other.
    Unreadable {
        position: i64,
        aggregate_type: String,
        error: String,
    },
}

impl Entry {
    pub fn position(&self) -> i64 {
        match self {
            Self::Event(event) => event.position,
            Self::Unreadable { position, .. } => *position,
        }
    }
}

impl From<RecordedEvent> for Entry {
    fn from(event: RecordedEvent) -> Self {
        Self::Event(Box::new(event))
    }
}

/// An event that cannot be folded; the read model stops before it, because going on would make
/// every later row wrong without a sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("event {position} stands in stream {stream:?}, which is not an account id")]
    NotAnAccount { position: i64, stream: String },
    #[error("event {position} counts {value} of {field}, which no generation can have")]
    OutOfRange { position: i64, field: &'static str, value: u64 },
    #[error("event {position} has the time {micros}, which is not a date")]
    NotATime { position: i64, micros: i64 },
    #[error("event {position} of {aggregate_type} cannot be decoded: {error}")]
    Unreadable { position: i64, aggregate_type: String, error: String },
}

/// Why a folded batch could not be written. Nothing of it is in the tables.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("a row cannot be put into JSON: {0}")]
    Row(#[from] serde_json::Error),
    #[error("{kind} of {} that the log has not told of before: {ids:?}", ids.len())]
    Unknown { kind: &'static str, ids: Vec<Uuid> },
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use super::*;

    fn form(model: &ReadModel) -> String {
        let mut form = String::new();
        for table in model.tables {
            writeln!(form, "CREATE TABLE {} ({});", table.name, table.columns).expect("written to memory");
            for index in table.indexes {
                writeln!(form, "CREATE INDEX ON {} {index};", table.name).expect("written to memory");
            }
        }
        form
    }

    /// Tables are made anew for another revision alone: under the same one, an older build's would stay as they are.
    #[test]
    fn tables_of_another_form_have_another_revision() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/read_models");
        for model in READ_MODELS {
            let (name, form) = (format!("{}.{}.sql", model.name, model.revision), form(model));
            match std::fs::read_to_string(folder.join(&name)) {
                Ok(noted) => assert_eq!(noted, form, "raise the revision of {}; {name} stays", model.name),
                Err(error) => {
                    panic!("schemas/read_models/{name}: {error}; write it anew, with this:\n{form}")
                }
            }
        }
        let noted = std::fs::read_dir(&folder).expect("a folder").count();
        assert_eq!(noted, READ_MODELS.len(), "files of revisions that no read model has any more go");
    }
}
