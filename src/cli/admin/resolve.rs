//! What operators decide about entries of their queue.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Desk;
use crate::queue::{self, QueueAction};

/// An entry and what becomes of it.
#[derive(Args)]
pub(super) struct ResolveArguments {
    /// The entry's id, as `queue` shows it
    entry: i64,
    #[command(subcommand)]
    verb: ResolveVerb,
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
    let resolved = queue::resolve(&desk.log, &terms, &desk.metadata, arguments.entry, action).await?;
    desk.output.record(&json!({
        "entry": arguments.entry,
        "resolution": resolved.resolution.name(),
        "amountUsd": resolved.amount_micro.to_string(),
        "replayed": resolved.replayed,
    }));
    Ok(())
}
