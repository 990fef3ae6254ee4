//! A strict stand-in for the model vendors, for development and tests.
//!
//! It promises three things: it speaks the Responses, Chat Completions and
//! Messages protocols the way OpenAI and Anthropic do, it refuses what they
//! refuse, and it keeps its own count of what it billed. It shares no code with
//! the gateway, so that a mistake in the gateway's metering cannot hide behind
//! the same mistake here.

mod answer;
mod auth;
mod bills;
mod chat;
mod check;
mod control;
mod delivery;
mod directive;
mod messages;
mod models;
mod received;
mod refusal;
mod request;
mod requests;
mod responses;
mod script;
mod server;
mod sse;
mod tokens;
mod told_error;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

/// A strict simulator of the OpenAI and Anthropic APIs that bills what it serves.
///
/// Prints one JSON line when ready: {"ready":true,"baseUrl":"http://HOST:PORT"}.
/// Tell it what to do by a marker in the last user text ([[sim:{"output_tokens":7}]],
/// [[tool:NAME {"json":"args"}]]), by the header `x-simulator`, or ahead of time by
/// POST /_script. What it billed is at GET /_bills. The crate's README lists every directive.
#[derive(Parser)]
#[command(name = "codexapi-simulator", version)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: SocketAddr,

    /// Also append every bill to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    bills: Option<PathBuf>,

    /// Refuse requests that do not carry this key; without it any key will do
    #[arg(long, value_name = "KEY", env = "CODEXAPI_SIMULATOR_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

/// One thread serves everything: no lock is ever contended, and one core carries
/// far more than the tests ask for.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let ledger = bills::Ledger::new(arguments.bills.as_deref())?;
    let listener = tokio::net::TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let address = listener.local_addr().context("cannot read the listening address")?;
    let state = server::State::new(ledger, arguments.api_key);

    println!("{}", serde_json::json!({ "ready": true, "baseUrl": format!("http://{address}") }));
    tokio::select! {
        served = server::serve(listener, state) => served.context("the listener failed"),
        stopped = stop_signal() => stopped,
    }
}

/// Answers in flight are dropped, not awaited: each then bills what it had produced.
async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
