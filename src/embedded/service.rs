//! `codexapi serve` as a child process, for those who break it: it is started and left alone, whether or not it can
//! be ready.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;

use super::binaries;
use super::children::ChildProcess;
use super::folder::LogFile;

const PROGRAM: &str = "codexapi";
const STOP_SIGNALS: [(Signal, Duration); 1] = [(Signal::TERM, Duration::from_secs(30))];

/// Where its log is, and its settings.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Holds the log. Created if missing.
    pub data_dir: PathBuf,
    /// Every setting: nothing is inherited.
    pub environment: Vec<(String, String)>,
}

/// A running (or stopped) service. Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    process: Option<ChildProcess>,
    options: ServiceOptions,
    program: PathBuf,
}

impl Service {
    /// One that is not started yet.
    ///
    /// # Errors
    /// When the program was not built (with the command that builds it).
    pub fn new(options: ServiceOptions) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("cannot create {}", options.data_dir.display()))?;
        Ok(Self { process: None, options, program: binaries::sibling_program(PROGRAM)? })
    }

    /// Starts it without waiting for anything. Starting what runs does nothing.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if self.process.is_none() {
            let process = ChildProcess::spawn(PROGRAM, self.command(&["serve"]), &self.log(), Signal::KILL)?;
            self.process = Some(process);
        }
        Ok(())
    }

    /// Another command of the same program with the same settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear();
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(ChildProcess::pid)
    }

    /// `Some` once, where it was started and has ended by itself; it can then be started again.
    pub fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let status = process.exit_status()?;
        if status.is_some() {
            self.process = None;
        }
        Ok(status)
    }

    /// It dies by SIGKILL: nothing runs after it.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill9())
    }

    /// As an operator stops it. Stopping what is stopped does nothing.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(process) => process.stop(&STOP_SIGNALS).await,
            None => Ok(()),
        }
    }

    /// What it has logged since its last start.
    pub fn logged(&self) -> String {
        self.log().text()
    }

    fn log(&self) -> LogFile {
        LogFile::in_folder(&self.options.data_dir, "service.log")
    }
}
