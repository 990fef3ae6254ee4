//! Starts a private Postgres and nats-server in the folder given, prints one JSON line with their process ids and
//! addresses, and runs until its standard input is closed.
//!
//! `cargo run --example embedded_servers -- /var/lib/codexapi-example`
//!
//! The tests run it too: they kill it without warning and look at what it leaves.

use std::path::PathBuf;

use anyhow::Context;
use codexapi::embedded::{
    EmbeddedNats, EmbeddedNatsOptions, EmbeddedPostgres, EmbeddedPostgresOptions, FolderLock,
};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("usage: embedded_servers FOLDER")?);
    let _lock = FolderLock::acquire(&folder)?;
    let mut postgres = EmbeddedPostgres::start(EmbeddedPostgresOptions::new(folder.join("postgres"))).await?;
    let mut nats = EmbeddedNats::start(EmbeddedNatsOptions::new(folder.join("nats"))).await?;
    println!(
        "{}",
        serde_json::json!({
            "postgresPid": postgres.pid(),
            "natsPid": nats.pid(),
            "postgresPort": postgres.port(),
            "natsPort": nats.port(),
        })
    );
    let mut ignored = Vec::new();
    tokio::io::stdin().read_to_end(&mut ignored).await.context("cannot read standard input")?;
    nats.stop().await?;
    postgres.stop().await
}
