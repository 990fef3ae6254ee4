//! A program of this repository as a child process: it is told where to listen, and prints one line once it does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use serde::Deserialize;

use super::children::ChildProcess;
use super::folder::LogFile;
use super::{binaries, free_port};

const READY_DEADLINE: Duration = Duration::from_secs(20);
const PORT_ATTEMPTS: usize = 5;
const STOP_SIGNALS: [(Signal, Duration); 1] = [(Signal::TERM, Duration::from_secs(5))];

/// What is started, and how.
#[derive(Debug)]
pub(super) struct SiblingOptions {
    pub program: &'static str,
    /// In errors.
    pub called: &'static str,
    /// Holds the log. Created if missing.
    pub data_dir: PathBuf,
    pub log: &'static str,
    /// `None`: any free port. Kept over [`Sibling::restart`].
    pub port: Option<u16>,
    /// Besides the address.
    pub arguments: Vec<OsString>,
    pub environment: Vec<(&'static str, String)>,
}

/// A running (or stopped) program. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Sibling {
    server: Option<ChildProcess>,
    options: SiblingOptions,
    program: PathBuf,
    port: u16,
    base_url: String,
}

/// What the program prints, as one line, once it listens.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadyLine {
    ready: bool,
    base_url: String,
}

impl Sibling {
    pub async fn start(options: SiblingOptions) -> anyhow::Result<Self> {
        let program = binaries::sibling_program(options.program)?;
        std::fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("cannot create {}", options.data_dir.display()))?;
        let mut sibling = Self { server: None, options, program, port: 0, base_url: String::new() };
        let launched = sibling.launch_on_a_port().await;
        launched.with_context(|| format!("cannot start {}", sibling.options.called))?;
        Ok(sibling)
    }

    /// Without a trailing slash.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(ChildProcess::pid)
    }

    /// An error with the end of the log if it has ended by itself.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        self.server.as_mut().map_or(Ok(()), ChildProcess::check_running)
    }

    /// Stopping what is stopped does nothing.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(server) => server.stop(&STOP_SIGNALS).await,
            None => Ok(()),
        }
    }

    /// Stops it if it runs, and starts it on the same port.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.launch().await.with_context(|| format!("cannot restart {}", self.options.called))
    }

    pub fn kill9(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(mut server) => server.kill9(),
            None => Ok(()),
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
                Err(_) if self.log().text().to_lowercase().contains("address already in use") => {}
                outcome => return outcome,
            }
        }
        self.port = free_port()?;
        self.launch().await
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let SiblingOptions { program, arguments, environment, .. } = &self.options;
        let program = *program;
        let mut command = Command::new(&self.program);
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.port)).args(arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let log = self.log();
        let mut server = ChildProcess::spawn(program, command, &log, Signal::KILL)?;
        let probe = || std::future::ready(ready_line(&log.text()).context("no ready line yet"));
        self.base_url = server.ready(READY_DEADLINE, probe).await?.base_url.trim_end_matches('/').to_owned();
        self.server = Some(server);
        Ok(())
    }

    fn log(&self) -> LogFile {
        LogFile::in_folder(&self.options.data_dir, self.options.log)
    }
}

fn ready_line(output: &str) -> Option<ReadyLine> {
    output.lines().find_map(|line| serde_json::from_str::<ReadyLine>(line).ok().filter(|line| line.ready))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_found_among_log_lines_and_a_half_written_one_is_not_taken() {
        let output = "listening\n{\"ready\":false,\"baseUrl\":\"http://a\"}\n{\"ready\":true,\"baseUrl\":\"http://127.0.0.1:20001\"}\n";
        assert_eq!(ready_line(output).expect("found").base_url, "http://127.0.0.1:20001");
        assert!(ready_line("{\"ready\":true,\"baseUr").is_none());
    }
}
