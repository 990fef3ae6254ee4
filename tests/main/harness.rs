//! What tests share: one private Postgres per run, and a database of its own for each test.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use codexapi::accounts;
use codexapi::app::App;
use codexapi::embedded::{EmbeddedPostgres, EmbeddedPostgresOptions};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Far longer than anything waited for takes; only a failure waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Several tests run at once on one server.
const CONNECTIONS_PER_POOL: u32 = 12;

/// A server of which the folder goes when it does.
pub struct TestServer {
    pub postgres: EmbeddedPostgres,
    _folder: TempDir,
}

impl TestServer {
    /// A server of the test's own, to be stopped and misconfigured at will.
    pub async fn start(settings: &[&str]) -> Self {
        // Open to the account that Postgres runs as when root runs the tests.
        let folder = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o711))
            .tempdir()
            .expect("a temporary folder");
        let mut options = EmbeddedPostgresOptions::new(folder.path().join("postgres"));
        options.shared_buffers_mb = 64;
        options.max_connections = 300;
        options.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let postgres = EmbeddedPostgres::start(options).await.expect("Postgres starts");
        Self { postgres, _folder: folder }
    }

    /// A new, empty, migrated database.
    pub async fn database(&self) -> PgPool {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.postgres.create_database(&name).await.expect("a database is made");
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_PER_POOL)
            .connect(&self.postgres.database_url(&name))
            .await
            .expect("connected");
        codexapi::migrate::migrate(&pool).await.expect("migrated");
        pool
    }
}

/// A database of the test's own on the server all tests of this run share.
#[derive(Clone)]
pub struct TestDatabase {
    pub pool: PgPool,
    _server: Arc<TestServer>,
}

impl TestDatabase {
    pub async fn new() -> Self {
        // Weak: the server stops, and its folder goes, when the last test that uses it ends.
        static SHARED: Mutex<Weak<TestServer>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        let server = match shared.upgrade() {
            Some(server) => server,
            None => {
                let server = Arc::new(TestServer::start(&[]).await);
                *shared = Arc::downgrade(&server);
                server
            }
        };
        drop(shared);
        Self { pool: server.database().await, _server: server }
    }
}

/// Waits until no door goes by what was before `position`, however long that takes on a busy machine.
pub async fn in_force(app: &App, position: i64) {
    wait_for("a change is in force", async || {
        accounts::wait_until_in_force(&app.pool, position).await.then_some(())
    })
    .await;
}

/// Waits until `holds` gives a value.
pub async fn wait_for<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = holds().await {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "not after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
