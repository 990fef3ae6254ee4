//! `codexapi dev` where something is wrong with what it kept, or with a server that it has started.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use codexapi::app;
use codexapi::embedded::{EmbeddedPostgres, EmbeddedPostgresOptions};
use rustix::process::Signal;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::service::signal_process;
use crate::harness::PATIENCE;

#[tokio::test]
async fn a_service_that_is_not_ready_is_said_to_be_so_and_stopped() {
    let folder = folder();
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

    let output = tokio::time::timeout(2 * PATIENCE, dev(folder.path()).output())
        .await
        .expect("it ends")
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing says that it is ready");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("codexapi: not ready within"), "{said}");
    assert!(last.contains("/ready says: not_ready: projection:api_keys stands still"), "{said}");
}

#[tokio::test]
async fn a_server_that_ends_by_itself_is_named_and_everything_is_stopped() {
    let folder = folder();
    let mut child = dev(folder.path())
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(child.stdout.take().expect("its output")).lines();
    let ready = tokio::time::timeout(2 * PATIENCE, said.next_line()).await.expect("in time").expect("text");
    assert!(ready.is_some_and(|line| line.contains(r#""ready":true"#)));
    let providers = std::fs::read_to_string(folder.path().join("providers.toml")).expect("a providers file");
    assert!(providers.contains(r#"model = "gpt-5.5""#), "{providers}");

    let pid = child.id().expect("it runs");
    signal_process(child_of(pid, "nats-server"), Signal::KILL);
    let output = tokio::time::timeout(2 * PATIENCE, child.wait_with_output()).await;
    let output = output.expect("it ends").expect("its output");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("nats-server has ended by itself, so everything is stopped"), "{said}");
    assert!(said.contains("codexapi: nats-server ended by itself (signal: 9 (SIGKILL))"), "{said}");
}

#[tokio::test]
async fn a_service_whose_log_nobody_reads_answers_and_stops_when_it_is_told() {
    codexapi::tls::install_provider();
    let folder = folder();
    let mut child = dev(folder.path())
        .args(["--json", "--log", "debug"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stderr.take());
    let mut said = BufReader::new(child.stdout.take().expect("its output")).lines();
    let ready = tokio::time::timeout(2 * PATIENCE, said.next_line()).await.expect("in time").expect("text");
    let ready: serde_json::Value = serde_json::from_str(&ready.expect("a line")).expect("JSON");
    let health = format!("{}/health", ready["baseUrl"].as_str().expect("an address"));
    for _ in 0..3 {
        let answer = tokio::time::timeout(PATIENCE, reqwest::get(&health)).await.expect("in time");
        assert_eq!(answer.expect("an answer").status(), 200);
    }
    signal_process(child.id(), Signal::TERM);
    let ended = tokio::time::timeout(2 * PATIENCE, child.wait()).await.expect("it ends").expect("its status");
    assert!(ended.success(), "{ended}");
}

/// Open to the account that Postgres runs as when root runs the tests.
fn folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o711)).tempdir().expect("a folder")
}

fn dev(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codexapi"));
    command.args(["dev", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The process id of a program that the process has started.
fn child_of(parent: u32, program: &str) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").expect("a Linux");
    processes.flatten().find_map(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        // "pid (program) state parent …"
        let (before, after) = stat.rsplit_once(") ")?;
        let (pid, name) = before.split_once(" (")?;
        let its_parent: u32 = after.split(' ').nth(1)?.parse().ok()?;
        (name == program && its_parent == parent).then(|| pid.parse().ok())?
    })
}
