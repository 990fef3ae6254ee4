//! A small, strict stand-in for Stripe, for development and tests.
//!
//! It promises three things: the real SDKs can drive it, it refuses what Stripe
//! refuses, and it does to its webhooks what networks do. It shares no code with
//! the service, so that a mistake in the service's reading of Stripe cannot hide
//! behind the same mistake here.

// Stripe's objects have many fields, and `json!` recurses over them.
#![recursion_limit = "512"]

mod cards;
mod control;
mod deliveries;
mod due;
mod expand;
mod faults;
mod form;
mod idempotency;
mod kept;
mod listing;
mod objects;
mod page;
mod params;
mod refusal;
mod routes;
mod server;
mod signature;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

/// A strict fake of the parts of Stripe that take money.
///
/// Prints one JSON line when ready: {"ready":true,"baseUrl":"http://HOST:PORT"}.
/// Anyone can pay a checkout session at its `url` by clicking; tests pay, dispute, renew, and spoil webhooks by
/// /_control. The crate's README lists it all.
#[derive(Parser)]
#[command(name = "codexapi-fake-stripe", version)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: SocketAddr,

    /// The secret key that callers must send
    #[arg(
        long,
        default_value = "sk_test_fake",
        value_name = "KEY",
        env = "CODEXAPI_FAKE_STRIPE_API_KEY",
        hide_env_values = true
    )]
    api_key: String,

    /// Keep all objects in this file, and begin with what it holds; without it all is forgotten at the end
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
}

/// One thread serves everything, so that every call sees and leaves a whole world.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let listener = tokio::net::TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let address = listener.local_addr().context("cannot read the listening address")?;
    let base_url = format!("http://{address}");
    let state = server::State::new(&base_url, arguments.api_key, arguments.keep)?;

    println!("{}", serde_json::json!({ "ready": true, "baseUrl": base_url }));
    tokio::select! {
        served = server::serve(listener, state) => served.context("the listener failed"),
        stopped = stop_signal() => stopped,
    }
}

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
