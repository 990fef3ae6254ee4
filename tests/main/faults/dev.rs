//! `codexapi dev` where something is wrong with what it kept.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use codexapi::app;
use codexapi::embedded::{EmbeddedPostgres, EmbeddedPostgresOptions};
use sqlx::PgPool;
use tokio::process::Command;

use crate::harness::PATIENCE;

#[tokio::test]
async fn a_service_that_is_not_ready_is_said_to_be_so_and_stopped() {
    // Open to the account that Postgres runs as when root runs the tests.
    let folder =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o711)).tempdir().expect("a folder");
    let options = EmbeddedPostgresOptions::new(folder.path().join("postgres"));
    let mut postgres = EmbeddedPostgres::start(options).await.expect("Postgres starts");
    postgres.create_database("codexapi").await.expect("a database");
    let pool = PgPool::connect(&postgres.database_url("codexapi")).await.expect("connected");
    app::prepare(&pool).await.expect("prepared");
    let refuse = "ALTER TABLE api_keys_1 ADD CHECK (false)";
    sqlx::query(refuse).execute(&pool).await.expect("the read table takes no row");
    pool.close().await;
    postgres.stop().await.expect("stopped");
    drop(postgres);

    let running = Command::new(env!("CARGO_BIN_EXE_codexapi"))
        .args(["dev", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(2 * PATIENCE, running).await.expect("it ends").expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing says that it is ready");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("codexapi: not ready within"), "{said}");
    assert!(last.contains("/ready says: not_ready: projection:api_keys stands still"), "{said}");
}
