//! Child processes that never outlive this one.
//!
//! Three things make it so. The kernel signals a child when its parent dies (`PR_SET_PDEATHSIG`), even by kill -9.
//! Each child leads a process group of its own, so that Ctrl-C in a terminal reaches only us and we stop the
//! children in order. And a handle that is dropped, as by a panicking test, ends its child first.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

use super::folder::LogFile;

const POLL: Duration = Duration::from_millis(25);
/// How long a dropped child may take to end before it is killed outright.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// A running child. It has a name for messages and a log file for its output.
#[derive(Debug)]
pub(super) struct ChildProcess {
    name: &'static str,
    child: Child,
    log: LogFile,
    last_signal: Signal,
}

impl ChildProcess {
    /// Starts the command with its output going to `log`. `last_signal` is what the child gets when we die or drop
    /// it: something that ends it quickly and leaves nothing behind.
    pub fn spawn(
        name: &'static str,
        mut command: Command,
        log: &LogFile,
        last_signal: Signal,
    ) -> anyhow::Result<Self> {
        let output = log.rotate()?;
        let errors = output.try_clone().context("cannot share the log file")?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        die_with_parent(&mut command, last_signal);
        let child = spawn_from_lasting_thread(command).with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log: log.clone(), last_signal })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `Some` once it has ended.
    pub fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))
    }

    /// An error with the end of its log if it is no longer running.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        match self.exit_status()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status}); {}", self.name, self.log.tail()),
        }
    }

    /// Probes until the answer is `Ok`. An error if the child ends first or is not ready by the deadline.
    pub async fn ready<T, P, F>(&mut self, deadline: Duration, mut probe: P) -> anyhow::Result<T>
    where
        P: FnMut() -> F,
        F: Future<Output = anyhow::Result<T>>,
    {
        let started = Instant::now();
        loop {
            self.check_running()?;
            match probe().await {
                Ok(answer) => return Ok(answer),
                Err(error) if started.elapsed() >= deadline => {
                    bail!("{} is not ready after {deadline:?} ({error:#}); {}", self.name, self.log.tail())
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Sends each signal in turn, giving the child that long to end, and kills it if all of them fail.
    pub async fn stop(mut self, signals: &[(Signal, Duration)]) -> anyhow::Result<()> {
        for &(signal, patience) in signals {
            self.signal(signal)?;
            if self.ended_within(patience).await? {
                return Ok(());
            }
        }
        self.kill9()
    }

    /// SIGKILL, as in a crash: the child gets no chance to tidy up.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.child.wait().map(drop).with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits for a program that ends by itself.
    pub async fn completed(&mut self, deadline: Duration) -> anyhow::Result<()> {
        if !self.ended_within(deadline).await? {
            bail!("{} has not ended after {deadline:?}; {}", self.name, self.log.tail());
        }
        match self.exit_status()? {
            Some(status) if status.success() => Ok(()),
            status => bail!("{} failed ({status:?}); {}", self.name, self.log.tail()),
        }
    }

    async fn ended_within(&mut self, patience: Duration) -> anyhow::Result<bool> {
        let started = Instant::now();
        while self.exit_status()?.is_none() {
            if started.elapsed() >= patience {
                return Ok(false);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(true)
    }

    /// Nothing happens to a child that has ended: its id is not reused before we have asked after it, and once we
    /// have, no signal is sent.
    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let mut end = || -> anyhow::Result<()> {
            self.signal(self.last_signal)?;
            let started = Instant::now();
            while self.exit_status()?.is_none() && started.elapsed() < DROP_DEADLINE {
                thread::sleep(POLL);
            }
            self.kill9()
        };
        if let Err(error) = end() {
            tracing::error!(
                child = self.name,
                error = format!("{error:#}"),
                "a child process could not be ended"
            );
        }
    }
}

fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = getpid();
    let in_child = move || -> io::Result<()> {
        set_parent_process_death_signal(Some(signal))?;
        // The parent may have died between the fork and the line above; then no signal will ever come.
        if getppid() != Some(parent) {
            return Err(io::Error::other("the parent process has died"));
        }
        Ok(())
    };
    // SAFETY: between fork and exec of a threaded process only async-signal-safe calls are allowed. The closure
    // makes two system calls; it allocates only if the parent is dead, where hanging in the allocator harms nobody.
    // std runs it after the change of user, which would have cleared the death signal.
    unsafe {
        command.pre_exec(in_child);
    }
}

type SpawnRequest = (Command, mpsc::SyncSender<io::Result<Child>>);

/// The death signal comes when the *thread* that forked ends, and runtimes end worker threads at will. So one
/// thread, which lives as long as the process, forks every child.
fn spawn_from_lasting_thread(command: Command) -> anyhow::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<SpawnRequest>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, inbox) = mpsc::channel::<SpawnRequest>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // The caller waits for the answer, so it is there to take it.
                let _gone = answer.send(command.spawn());
            }
        });
        requests
    });
    let (answer, spawned) = mpsc::sync_channel(1);
    spawner.send((command, answer)).context("the thread that starts children has ended")?;
    Ok(spawned.recv().context("the thread that starts children has ended")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str, folder: &tempfile::TempDir) -> ChildProcess {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let log = LogFile::in_folder(folder.path(), "sh.log");
        ChildProcess::spawn("sh", command, &log, Signal::KILL).expect("started")
    }

    async fn said(child: &mut ChildProcess, word: &'static str) {
        let log = child.log.clone();
        let probe = || std::future::ready(log.text().contains(word).then_some(()).context("not yet"));
        child.ready(LONG, probe).await.expect("said so");
    }

    #[tokio::test]
    async fn a_child_that_ends_before_it_is_ready_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut child = shell("echo no such option >&2; exit 3", &folder);
        let never = || std::future::ready(Err::<(), _>(anyhow::anyhow!("not yet")));
        let error = child.ready(LONG, never).await.expect_err("it ended").to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("no such option"), "{error}");
    }

    #[tokio::test]
    async fn a_child_that_ignores_polite_signals_is_killed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut child = shell("trap '' TERM; echo deaf; while :; do sleep 0.05; done", &folder);
        said(&mut child, "deaf").await;
        let pid = child.pid();
        child.stop(&[(Signal::TERM, Duration::from_millis(100))]).await.expect("stopped");
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn a_dropped_child_is_gone() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let child = shell("sleep 1000", &folder);
        let pid = child.pid();
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn a_child_survives_the_end_of_the_thread_that_asked_for_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut child = thread::scope(|scope| {
            scope
                .spawn(|| shell("echo started; sleep 0.3; echo alive; sleep 1000", &folder))
                .join()
                .expect("no panic")
        });
        said(&mut child, "alive").await;
    }

    #[tokio::test]
    async fn a_child_leads_its_own_process_group_so_that_ctrl_c_does_not_reach_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let child = shell("sleep 1000", &folder);
        let pid = Pid::from_child(&child.child);
        assert_eq!(rustix::process::getpgid(Some(pid)).expect("alive"), pid);
    }
}
