//! What operators decide about entries of their queue.

use std::str::FromStr;

use anyhow::ensure;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Desk;
use crate::queue::{self, QueueAction, QueueError, QueueResolved};

/// Entries and what becomes of them.
#[derive(Args)]
pub(super) struct ResolveArguments {
    /// The entry's id, as `queue` shows it; several with commas between them
    #[arg(value_name = "ENTRY")]
    entries: Entries,
    #[command(subcommand)]
    verb: ResolveVerb,
}

/// Ids with commas between them, in one word: a verb follows.
#[derive(Clone)]
struct Entries(Vec<i64>);

impl FromStr for Entries {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = |text: &str| text.parse().map_err(|error| format!("{text:?}: {error}"));
        text.split(',').map(str::trim).map(id).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Subcommand)]
enum ResolveVerb {
    /// Charge an expired hold for the tokens that the provider's records show, at most its worst case
    Settle {
        /// Input tokens, cached ones among them
        #[arg(long, value_name = "N")]
        input_tokens: u64,
        /// Output tokens, reasoning among them
        #[arg(long, value_name = "N")]
        output_tokens: u64,
    },
    /// Let an expired hold cost nothing, for ever
    Release,
    /// Give the whole charge back
    Reverse,
    /// Leave everything as it is
    Dismiss,
}

pub(super) async fn run(desk: &Desk, arguments: ResolveArguments) -> anyhow::Result<()> {
    let action = match arguments.verb {
        ResolveVerb::Settle { input_tokens, output_tokens } => {
            QueueAction::Settle { input_tokens, output_tokens }
        }
        ResolveVerb::Release => QueueAction::Release,
        ResolveVerb::Reverse => QueueAction::Reverse,
        ResolveVerb::Dismiss => QueueAction::Dismiss,
    };
    let terms = desk.wallet.terms();
    let Entries(entries) = arguments.entries;
    if let [entry] = entries[..] {
        let resolved = queue::resolve(&desk.log, &terms, &desk.metadata, entry, action).await?;
        desk.output.record(&told(entry, &resolved));
        return Ok(());
    }
    let settles = matches!(action, QueueAction::Settle { .. });
    ensure!(!settles, "tokens are of one generation: settle its entry alone");
    let decided = queue::resolve_many(&desk.log, &terms, &desk.metadata, &entries, action).await?;
    let refused = decided.iter().filter(|decided| decided.is_err()).count();
    let rows: Vec<_> = entries.iter().zip(&decided).map(|(&entry, decided)| row(entry, decided)).collect();
    desk.output.table(&rows);
    ensure!(refused == 0, "{refused} of {} entries are not resolved", rows.len());
    Ok(())
}

/// Of several: a table has the same columns in every row.
fn row(entry: i64, decided: &Result<QueueResolved, QueueError>) -> Value {
    let (mut row, refusal) = match decided {
        Ok(resolved) => (told(entry, resolved), None),
        Err(error) => {
            (json!({ "entry": entry, "resolution": null, "amountUsd": null, "replayed": null }), Some(error))
        }
    };
    row["refused"] = json!(refusal.map(ToString::to_string));
    row
}

fn told(entry: i64, resolved: &QueueResolved) -> Value {
    json!({
        "entry": entry,
        "resolution": resolved.resolution.name(),
        "amountUsd": resolved.amount_micro.to_string(),
        "replayed": resolved.replayed,
    })
}
