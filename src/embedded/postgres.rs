//! A private Postgres cluster with the durability that money needs, as `serve` demands of any Postgres.
//!
//! Reached by password over loopback TCP only: other users of the machine can connect to the port, but not log in.
//! Settings are given on the command line, so that an old data folder never runs with old settings.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};

use super::children::ChildProcess;
use super::folder::{FolderLock, LogFile, kept_secret, write_private};
use super::user::ServerUser;
use super::{binaries, free_port};

const ROLE: &str = "codexapi";
const MAINTENANCE_DATABASE: &str = "postgres";
const INITDB_DEADLINE: Duration = Duration::from_secs(120);
/// Covers crash recovery over `max_wal_size` on a slow disk.
const READY_DEADLINE: Duration = Duration::from_secs(90);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server of an earlier run may take to leave the cluster.
const LEFTOVER_DEADLINE: Duration = Duration::from_secs(15);
const LEFTOVER_POLL: Duration = Duration::from_millis(100);
/// Only for a port taken between choosing it and listening on it.
const PORT_ATTEMPTS: usize = 5;
/// Fast shutdown (transactions rolled back, checkpoint), then immediate (recovery at the next start).
const STOP_SIGNALS: [(Signal, Duration); 2] =
    [(Signal::INT, Duration::from_secs(15)), (Signal::QUIT, Duration::from_secs(5))];

/// Where and how large.
#[derive(Clone, Debug)]
pub struct EmbeddedPostgresOptions {
    /// Holds the cluster, its password and its logs. Created if missing.
    pub data_dir: PathBuf,
    /// `None`: any free port. Kept over [`EmbeddedPostgres::restart`].
    pub port: Option<u16>,
    pub max_connections: u32,
    pub shared_buffers_mb: u32,
    pub max_wal_size_mb: u32,
    /// Further settings, each `name=value`; they overrule ours.
    pub settings: Vec<String>,
}

impl EmbeddedPostgresOptions {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: None,
            max_connections: 200,
            shared_buffers_mb: 256,
            max_wal_size_mb: 2_048,
            settings: Vec::new(),
        }
    }
}

/// A running (or, between `kill9` and `restart`, stopped) server. Dropping it stops it at once, losing nothing.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    // Before the lock: the folder is free only when the server is gone.
    server: Option<ChildProcess>,
    options: EmbeddedPostgresOptions,
    programs: PathBuf,
    user: Option<ServerUser>,
    port: u16,
    password: String,
    _lock: FolderLock,
}

impl EmbeddedPostgres {
    /// Makes the cluster if there is none, clears away what a crash left, and answers once queries are answered.
    ///
    /// # Errors
    /// When another process holds the folder (with its id), no Postgres is installed (with what to install), the
    /// server's account cannot reach the folder, or the server does not start (with the end of its log).
    pub async fn start(options: EmbeddedPostgresOptions) -> anyhow::Result<Self> {
        let programs = binaries::postgres_folder()?;
        let lock = FolderLock::acquire(&options.data_dir)?;
        let user = ServerUser::for_cluster(&cluster_folder(&options.data_dir))?;
        if let Some(user) = &user {
            // Our own folder: the server's account must walk through it, and reads nothing but its cluster there.
            fs::set_permissions(&options.data_dir, Permissions::from_mode(0o711))
                .with_context(|| format!("cannot open {} to Postgres", options.data_dir.display()))?;
            user.check_reach(&options.data_dir)?;
        }
        let password = kept_secret(&options.data_dir.join("password"), random_password)?;
        let mut postgres = Self { server: None, options, programs, user, port: 0, password, _lock: lock };
        postgres.make_cluster().await.context("cannot make a Postgres cluster")?;
        postgres.clear_leftovers().await?;
        postgres.launch_on_a_port().await.context("cannot start Postgres")?;
        Ok(postgres)
    }

    /// `postgres://…` with the password in it: never to be logged.
    pub fn database_url(&self, database: &str) -> String {
        format!("postgres://{ROLE}:{}@127.0.0.1:{}/{database}?sslmode=disable", self.password, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster's process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(ChildProcess::pid)
    }

    /// Makes the database if it does not exist. The name is of `a-z`, `0-9` and `_`.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<()> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        ensure!(!name.is_empty() && name.bytes().all(plain), "{name:?} is not a plain database name");
        let mut connection =
            self.connect_options(MAINTENANCE_DATABASE).connect().await.context("cannot connect")?;
        match sqlx::query(&format!("CREATE DATABASE \"{name}\"")).execute(&mut connection).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(refusal)) if refusal.code().as_deref() == Some("42P04") => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot create database {name}"));
            }
        }
        connection.close().await.context("cannot close the connection")
    }

    /// An error with the end of the log if the server has ended by itself.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        self.server.as_mut().map_or(Ok(()), ChildProcess::check_running)
    }

    /// Fast shutdown; more force as deadlines pass. Stopping what is stopped does nothing.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(server) => server.stop(&STOP_SIGNALS).await,
            None => Ok(()),
        }
    }

    /// Stops it if it runs, and starts it on the same port.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.clear_leftovers().await?;
        self.launch().await.context("cannot restart Postgres")
    }

    /// The postmaster dies by SIGKILL, as in a crash; its backends follow when they notice.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(mut server) => server.kill9(),
            None => Ok(()),
        }
    }

    /// Made aside and renamed, so that a crash on the way leaves no half a cluster.
    async fn make_cluster(&self) -> anyhow::Result<()> {
        let cluster = cluster_folder(&self.options.data_dir);
        if cluster.join("PG_VERSION").is_file() {
            let owner = fs::metadata(&cluster).context("cannot look at the cluster")?.uid();
            let runs_as = self.user.as_ref().map_or(rustix::process::geteuid().as_raw(), |user| user.uid);
            ensure!(
                owner == runs_as,
                "{} belongs to user id {owner}, not to us ({runs_as})",
                cluster.display()
            );
            return Ok(());
        }
        let unfinished = self.options.data_dir.join("cluster.new");
        remove_folder(&unfinished)?;
        fs::create_dir(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o700))
            .context("cannot close the cluster folder")?;
        self.give_to_server(&unfinished)?;
        let password_file = self.options.data_dir.join("initdb-password");
        write_private(&password_file, &self.password)?;
        self.give_to_server(&password_file)?;

        let mut initdb = self.command("initdb", &unfinished);
        // Plain byte order: no index depends on the machine's locale library.
        initdb.args(["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--username", ROLE]);
        initdb.arg("--pwfile").arg(&password_file).arg("--pgdata").arg(&unfinished);
        let log = LogFile::in_folder(&self.options.data_dir, "initdb.log");
        let outcome =
            ChildProcess::spawn("initdb", initdb, &log, Signal::KILL)?.completed(INITDB_DEADLINE).await;
        fs::remove_file(&password_file).context("cannot remove the password handed to initdb")?;
        outcome?;
        remove_folder(&cluster)?;
        fs::rename(&unfinished, &cluster).context("cannot put the new cluster in its place")
    }

    fn give_to_server(&self, path: &Path) -> anyhow::Result<()> {
        match &self.user {
            Some(user) => chown(path, Some(user.uid), Some(user.gid))
                .with_context(|| format!("cannot give {} to Postgres", path.display())),
            None => Ok(()),
        }
    }

    fn command(&self, program: &str, working_folder: &Path) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // No PG* variable of ours may steer it.
        command.env_clear().env("PATH", &self.programs).env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir(working_folder);
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Ends whatever an earlier run left in the cluster, which the lock makes ours to end. Backends outlive a killed
    /// postmaster for a moment; a second server among them would ruin the cluster.
    async fn clear_leftovers(&self) -> anyhow::Result<()> {
        let cluster =
            cluster_folder(&self.options.data_dir).canonicalize().context("cannot resolve the cluster")?;
        let started = Instant::now();
        loop {
            let leftovers = processes_in(&cluster)?;
            if leftovers.is_empty() {
                return self.remove_misleading_pid_file(&cluster);
            }
            let signal = match started.elapsed() {
                waited if waited > LEFTOVER_DEADLINE => {
                    bail!("processes of an earlier run do not end: {leftovers:?}")
                }
                waited if waited > LEFTOVER_DEADLINE / 2 => Signal::KILL,
                _ => Signal::QUIT,
            };
            for pid in leftovers {
                match kill_process(pid, signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(error) => {
                        return Err(error).context("cannot end a process of an earlier run");
                    }
                }
            }
            tokio::time::sleep(LEFTOVER_POLL).await;
        }
    }

    /// Postgres clears a stale pid file itself, unless another process has been given the id by now: then it would
    /// refuse to start for ever. Called only when nothing runs in the cluster.
    fn remove_misleading_pid_file(&self, cluster: &Path) -> anyhow::Result<()> {
        match fs::remove_file(cluster.join("postmaster.pid")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("cannot remove a stale postmaster.pid")
            }
            _ => Ok(()),
        }
    }

    async fn launch_on_a_port(&mut self) -> anyhow::Result<()> {
        if let Some(port) = self.options.port {
            self.port = port;
            return self.launch().await;
        }
        for _ in 1..PORT_ATTEMPTS {
            self.port = free_port()?;
            match self.launch().await {
                Err(_) if self.log().text().contains("could not bind") => {}
                outcome => return outcome,
            }
        }
        self.port = free_port()?;
        self.launch().await
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let cluster = cluster_folder(&self.options.data_dir);
        let mut command = self.command("postgres", &cluster);
        command.arg("-D").arg(&cluster).arg("-p").arg(self.port.to_string());
        for setting in self.settings().iter().chain(&self.options.settings) {
            command.arg("-c").arg(setting);
        }
        // SIGQUIT: the postmaster takes its backends with it and leaves at once; the log (WAL) has all that counts.
        let mut server = ChildProcess::spawn("Postgres", command, &self.log(), Signal::QUIT)?;
        let options = self.connect_options(MAINTENANCE_DATABASE);
        server.ready(READY_DEADLINE, || answers(options.clone())).await?;
        self.server = Some(server);
        Ok(())
    }

    fn settings(&self) -> Vec<String> {
        let EmbeddedPostgresOptions { max_connections, shared_buffers_mb, max_wal_size_mb, .. } =
            &self.options;
        vec![
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            "fsync=on".to_owned(),
            "full_page_writes=on".to_owned(),
            "synchronous_commit=on".to_owned(),
            // Our statements are short; compiling them costs more than it saves.
            "jit=off".to_owned(),
            format!("max_connections={max_connections}"),
            format!("shared_buffers={shared_buffers_mb}MB"),
            format!("max_wal_size={max_wal_size_mb}MB"),
        ]
    }

    fn connect_options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(ROLE)
            .password(&self.password)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging()
    }

    fn log(&self) -> LogFile {
        LogFile::in_folder(&self.options.data_dir, "postgres.log")
    }
}

fn cluster_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("cluster")
}

fn random_password() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Every process of a Postgres server works in its cluster's folder, and nothing else has reason to.
fn processes_in(folder: &Path) -> anyhow::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let process = entry.context("cannot read /proc")?;
        let Some(pid) =
            process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        // Unreadable: it has ended meanwhile, or is another user's, and so not in this folder.
        if fs::read_link(process.path().join("cwd")).is_ok_and(|working_folder| working_folder == folder) {
            found.push(pid);
        }
    }
    Ok(found)
}

async fn answers(options: PgConnectOptions) -> anyhow::Result<()> {
    let ask = async {
        let mut connection = options.connect().await?;
        sqlx::query("SELECT 1").execute(&mut connection).await?;
        connection.close().await
    };
    Ok(tokio::time::timeout(CONNECT_TIMEOUT, ask).await??)
}
