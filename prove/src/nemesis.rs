//! Faults: each breaks one thing, waits, and mends it. Two that befall the same thing come one after the other.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use codexapi::embedded::EmbeddedPostgres;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::links::State;
use crate::plan::{Fault, Line};
use crate::world::World;

impl World<'_> {
    /// Errors: it could not be mended. What could not be done because its victim is down already is left undone.
    pub async fn strike(&self, fault: Fault) -> anyhow::Result<()> {
        let lasts = Duration::from_millis(fault.lasts_ms());
        match fault {
            Fault::KillNode { node, .. } => {
                let mut service = self.nodes[node].service.lock().await;
                service.kill9()?;
                sleep(lasts).await;
                service.start()
            }
            Fault::StopNode { node, .. } => {
                let mut service = self.nodes[node].service.lock().await;
                service.stop().await?;
                sleep(lasts).await;
                service.start()
            }
            Fault::PauseNode { node, .. } => {
                let service = self.nodes[node].service.lock().await;
                pause(service.pid().into_iter().collect(), lasts).await
            }
            Fault::KillPostgres { .. } => {
                let mut postgres = self.ground.postgres.lock().await;
                postgres.kill9()?;
                sleep(lasts).await;
                postgres.restart().await
            }
            Fault::RestartPostgres => self.ground.postgres.lock().await.restart().await,
            Fault::PausePostgres { .. } => {
                let postgres = self.ground.postgres.lock().await;
                pause(with_children(&postgres)?, lasts).await
            }
            Fault::FillDisk { .. } => self.fill_disk(lasts).await,
            Fault::KillNats { .. } => {
                let mut nats = self.nats.lock().await;
                nats.kill9()?;
                sleep(lasts).await;
                nats.restart().await
            }
            Fault::WipeNats { .. } => {
                let mut nats = self.nats.lock().await;
                nats.wipe()?;
                sleep(lasts).await;
                nats.restart().await
            }
            Fault::PauseNats { .. } => {
                let nats = self.nats.lock().await;
                pause(nats.pid().into_iter().collect(), lasts).await
            }
            Fault::PauseProvider { .. } => pause(self.simulator.pid().into_iter().collect(), lasts).await,
            Fault::PauseStripe { .. } => pause(self.stripe.pid().into_iter().collect(), lasts).await,
            Fault::Cut { node, line, .. } => self.hold_line(node, line, State::Cut, lasts).await,
            Fault::Hang { node, line, .. } => self.hold_line(node, line, State::Hung, lasts).await,
            Fault::Slow { node, line, delay_ms, .. } => {
                self.hold_line(node, line, State::Slow(Duration::from_millis(delay_ms)), lasts).await
            }
        }
    }

    /// Without a disk of its own nothing is done; that was said when the run began.
    async fn fill_disk(&self, lasts: Duration) -> anyhow::Result<()> {
        let Some(disk) = &self.ground.disk else { return Ok(()) };
        {
            let _untouched = self.ground.postgres.lock().await;
            disk.fill()?;
            sleep(lasts).await;
            disk.free()?;
        }
        // It may have given up.
        self.ground.heal().await
    }

    async fn hold_line(&self, node: usize, line: Line, state: State, lasts: Duration) -> anyhow::Result<()> {
        self.nodes[node].set(line, state);
        sleep(lasts).await;
        self.nodes[node].set(line, State::Open);
        Ok(())
    }
}

/// SIGSTOP, and SIGCONT after a while.
async fn pause(processes: Vec<u32>, lasts: Duration) -> anyhow::Result<()> {
    for process in &processes {
        signal(*process, Signal::STOP)?;
    }
    sleep(lasts).await;
    for process in processes {
        signal(process, Signal::CONT)?;
    }
    Ok(())
}

/// A process that has ended meanwhile needs no signal.
fn signal(process: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).context("a process id")?;
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {process}")),
    }
}

/// The postmaster, first, so that it starts no further ones, and every server process of its.
fn with_children(postgres: &EmbeddedPostgres) -> anyhow::Result<Vec<u32>> {
    let Some(postmaster) = postgres.pid() else { return Ok(Vec::new()) };
    let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"))
        .context("cannot list Postgres's processes")?;
    let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    Ok(std::iter::once(postmaster).chain(children).collect())
}
