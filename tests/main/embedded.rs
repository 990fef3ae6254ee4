//! The private servers: durable, restartable, and gone when their parent is, however it goes.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use codexapi::embedded::{
    EmbeddedNats, EmbeddedNatsOptions, EmbeddedPostgres, EmbeddedPostgresOptions, FakeStripe,
    FakeStripeOptions, FolderLock, Simulator, SimulatorOptions,
};
use futures::StreamExt;
use serde::Deserialize;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

/// Far longer than anything waited for takes; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Open to the account that Postgres runs as when root runs the tests.
fn folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o711)).tempdir().expect("temporary folder")
}

fn postgres_options(folder: &TempDir) -> EmbeddedPostgresOptions {
    let mut options = EmbeddedPostgresOptions::new(folder.path().join("postgres"));
    options.shared_buffers_mb = 16;
    options
}

async fn setting(connection: &mut PgConnection, name: &str) -> String {
    sqlx::query_scalar("SELECT current_setting($1)")
        .bind(name)
        .fetch_one(connection)
        .await
        .expect("a setting")
}

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn postgres_runs_with_the_durability_that_money_needs() {
    let folder = folder();
    let mut postgres = EmbeddedPostgres::start(postgres_options(&folder)).await.expect("started");
    let mut connection = PgConnection::connect(&postgres.database_url("postgres")).await.expect("connected");
    for (name, value) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("listen_addresses", "127.0.0.1"),
        ("max_connections", "200"),
        ("server_encoding", "UTF8"),
    ] {
        assert_eq!(setting(&mut connection, name).await, value, "{name}");
    }
    postgres.stop().await.expect("stopped");
}

#[tokio::test]
async fn postgres_refuses_who_does_not_know_the_password() {
    let folder = folder();
    let postgres = EmbeddedPostgres::start(postgres_options(&folder)).await.expect("started");
    let stranger =
        format!("postgres://codexapi:guess@127.0.0.1:{}/postgres?sslmode=disable", postgres.port());
    let refusal = PgConnection::connect(&stranger).await.expect_err("a wrong password");
    let code = refusal.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    assert_eq!(code.as_deref(), Some("28P01"), "{refusal}");
}

#[tokio::test]
async fn what_was_committed_survives_a_stop_a_kill_and_a_restart_on_the_same_port() {
    let folder = folder();
    let mut postgres = EmbeddedPostgres::start(postgres_options(&folder)).await.expect("started");
    postgres.create_database("ledger").await.expect("created");
    postgres.create_database("ledger").await.expect("already there");
    let url = postgres.database_url("ledger");
    let mut connection = PgConnection::connect(&url).await.expect("connected");
    sqlx::query("CREATE TABLE kept (n int)").execute(&mut connection).await.expect("created");

    sqlx::query("INSERT INTO kept VALUES (1)").execute(&mut connection).await.expect("inserted");
    postgres.restart().await.expect("restarted");
    let mut connection = PgConnection::connect(&url).await.expect("connected on the same port");
    sqlx::query("INSERT INTO kept VALUES (2)").execute(&mut connection).await.expect("inserted");
    postgres.kill9().expect("killed");
    assert_eq!(postgres.pid(), None);
    postgres.restart().await.expect("recovered");

    let mut connection = PgConnection::connect(&url).await.expect("connected after recovery");
    let kept: Vec<i32> =
        sqlx::query_scalar("SELECT n FROM kept ORDER BY n").fetch_all(&mut connection).await.expect("read");
    assert_eq!(kept, [1, 2]);
}

#[tokio::test]
async fn a_database_name_that_would_need_quoting_is_refused() {
    let folder = folder();
    let postgres = EmbeddedPostgres::start(postgres_options(&folder)).await.expect("started");
    for name in ["", "Upper", "x\"; DROP DATABASE postgres; --"] {
        postgres.create_database(name).await.expect_err(name);
    }
}

#[tokio::test]
async fn a_second_start_on_the_same_folder_is_refused_with_the_holders_process_id() {
    let folder = folder();
    let _postgres = EmbeddedPostgres::start(postgres_options(&folder)).await.expect("started");
    let refusal = EmbeddedPostgres::start(postgres_options(&folder)).await.expect_err("held").to_string();
    assert!(refusal.contains(&format!("in use by process {}", std::process::id())), "{refusal}");
}

#[tokio::test]
async fn a_pid_file_whose_number_now_belongs_to_another_process_does_not_stop_a_start() {
    let folder = folder();
    let mut postgres = EmbeddedPostgres::start(postgres_options(&folder)).await.expect("started");
    let pid_file = folder.path().join("postgres/cluster/postmaster.pid");
    let stale = std::fs::read_to_string(&pid_file).expect("a pid file");
    postgres.kill9().expect("killed");
    drop(postgres);
    // Our own id is alive and is no Postgres.
    let (_, rest) = stale.split_once('\n').expect("lines");
    std::fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).expect("written");

    EmbeddedPostgres::start(postgres_options(&folder)).await.expect("started over the stale file");
}

#[tokio::test]
async fn a_half_made_cluster_of_a_killed_first_start_is_made_anew() {
    let folder = folder();
    let unfinished = folder.path().join("postgres/cluster.new");
    std::fs::create_dir_all(&unfinished).expect("folder");
    std::fs::write(unfinished.join("PG_VERSION"), "15").expect("file");
    EmbeddedPostgres::start(postgres_options(&folder)).await.expect("started");
}

#[tokio::test]
async fn a_start_that_fails_shows_why_from_the_servers_log() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let options = EmbeddedPostgresOptions { port: Some(port), ..postgres_options(&folder) };
    let refusal = format!("{:#}", EmbeddedPostgres::start(options).await.expect_err("the port is taken"));
    assert!(refusal.contains("Address already in use") && refusal.contains("postgres.log"), "{refusal}");
}

#[tokio::test]
async fn nats_keeps_its_streams_over_a_crash_and_loses_them_when_wiped() {
    let folder = folder();
    let options = EmbeddedNatsOptions::new(folder.path().join("nats"));
    let mut nats = EmbeddedNats::start(options).await.expect("started");
    let url = nats.url();
    let context = || async {
        async_nats::jetstream::new(async_nats::connect(&url).await.expect("connected on the same port"))
    };
    let stream = async_nats::jetstream::stream::Config {
        name: "kept".to_owned(),
        subjects: vec!["kept.>".to_owned()],
        ..Default::default()
    };
    context().await.create_stream(stream).await.expect("created");

    nats.kill9().expect("killed");
    nats.restart().await.expect("restarted");
    assert_eq!(
        context().await.stream_names().map(|name| name.expect("a name")).collect::<Vec<_>>().await,
        ["kept"]
    );

    nats.wipe().expect("wiped");
    assert_eq!(nats.pid(), None);
    nats.restart().await.expect("restarted");
    assert_eq!(context().await.stream_names().count().await, 0);
    nats.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_server_that_ends_by_itself_is_noticed() {
    let folder = folder();
    let mut nats =
        EmbeddedNats::start(EmbeddedNatsOptions::new(folder.path().join("nats"))).await.expect("started");
    nats.check_running().expect("running");
    let pid = nats.pid().expect("running").to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill").success());
    wait_until("the death is noticed", || nats.check_running().is_err());
}

#[tokio::test]
async fn the_simulator_keeps_its_address_over_a_restart() {
    let folder = folder();
    let mut simulator = Simulator::start(SimulatorOptions::new(folder.path())).await.expect("started");
    let address = simulator.base_url().strip_prefix("http://").expect("an http URL").to_owned();
    TcpStream::connect(&address).expect("it listens");
    simulator.restart().await.expect("restarted");
    assert_eq!(simulator.base_url(), format!("http://{address}"));
    simulator.stop().await.expect("stopped");
    TcpStream::connect(&address).expect_err("nothing listens any more");
}

/// What `examples/embedded_servers.rs` prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Servers {
    postgres_pid: u32,
    nats_pid: u32,
}

/// A process of its own with both servers as its children, in a process group of its own as under a shell.
fn spawn_parent(folder: &Path) -> (Child, Servers) {
    let mut parent = Command::new(example("embedded_servers"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut line = String::new();
    BufReader::new(parent.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let servers =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("no servers ({error}): {line:?}"));
    (parent, servers)
}

fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    let built =
        this.parent().and_then(Path::parent).expect("target/<profile>/deps").join("examples").join(name);
    assert!(built.is_file(), "{} is missing: `cargo test --examples --no-run` builds it", built.display());
    built
}

#[test]
fn kill_9_of_the_parent_leaves_no_child_and_a_folder_that_starts_again() {
    let folder = folder();
    for _ in 0..2 {
        let (mut parent, servers) = spawn_parent(folder.path());
        assert!(alive(servers.postgres_pid) && alive(servers.nats_pid));
        parent.kill().expect("killed");
        parent.wait().expect("reaped");
        // Nobody waits for the old servers: the next round must cope with what still runs.
    }
    let (mut parent, servers) = spawn_parent(folder.path());
    parent.kill().expect("killed");
    parent.wait().expect("reaped");
    wait_until("both servers are gone", || !alive(servers.postgres_pid) && !alive(servers.nats_pid));
    FolderLock::acquire(folder.path()).expect("the folder is free");
}

#[test]
fn a_parent_that_ends_in_order_stops_its_servers_first() {
    let folder = folder();
    let (mut parent, servers) = spawn_parent(folder.path());
    drop(parent.stdin.take());
    assert!(parent.wait().expect("ended").success());
    assert!(!alive(servers.postgres_pid) && !alive(servers.nats_pid));
    let log = std::fs::read_to_string(folder.path().join("postgres/postgres.log")).expect("a log");
    assert!(
        log.contains("received fast shutdown request") && log.contains("database system is shut down"),
        "{log}"
    );
}

#[tokio::test]
async fn the_fake_stripe_keeps_its_address_and_its_objects_over_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = FakeStripeOptions::new(folder.path(), "sk_test_embedded");
    let mut fake = FakeStripe::start(options).await.expect("started");
    let base_url = fake.base_url().to_owned();
    // No connection outlives the crash.
    let client = codexapi::tls::http_client_builder().pool_max_idle_per_host(0).build().expect("a client");
    let customers = || client.get(format!("{base_url}/v1/customers")).bearer_auth("sk_test_embedded");
    let made = client.post(format!("{base_url}/v1/customers")).bearer_auth("sk_test_embedded").send().await;
    assert_eq!(made.expect("an answer").status(), 200);

    fake.kill9().expect("killed");
    fake.restart().await.expect("restarted");
    assert_eq!(fake.base_url(), base_url);
    let listed: serde_json::Value = customers().send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
    fake.stop().await.expect("stopped");
}
