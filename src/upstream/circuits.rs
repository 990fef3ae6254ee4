//! Which providers can be trusted with the next request: a circuit breaker per provider and model.
//!
//! A circuit opens after failures in a row and lets nothing through for a while; then one request probes it,
//! and its fate decides. While open, requests go to the next target of their route at once instead of waiting
//! for another failure. Each node judges for itself, by what it sees: a provider that only one node cannot
//! reach is only that node's to avoid.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// The longest a circuit stays open before it is probed, whatever a provider asks for.
const LONGEST_OPEN: Duration = Duration::from_secs(300);

/// How long it stays open the first time; doubled each time a probe fails.
const FIRST_OPEN: Duration = Duration::from_secs(5);

/// What the rates look back on.
const MINUTES_KEPT: usize = 15;

/// Circuits kept; an operator has a few providers of a few models.
const MOST_CIRCUITS: usize = 4_096;

/// A provider and its name of a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CircuitKey {
    pub provider: String,
    pub upstream_model: String,
}

/// How a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Requests pass.
    Closed,
    /// One request is on its way to find out.
    Probing,
    /// Nothing passes for so long yet; zero: the next request is the probe.
    Open { left: Duration },
}

/// What a circuit has seen in the last minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitReport {
    pub key: CircuitKey,
    pub standing: Standing,
    pub failures_in_a_row: u32,
    pub succeeded: u64,
    pub failed: u64,
    /// Mean time to the first byte of those that succeeded, in milliseconds.
    pub first_byte_ms: Option<u64>,
}

/// Every circuit of this node.
#[derive(Clone)]
pub struct Circuits {
    failures_to_open: Arc<std::sync::atomic::AtomicU32>,
    circuits: Arc<Mutex<HashMap<CircuitKey, Circuit>>>,
}

#[derive(Debug, Default)]
struct Circuit {
    failures_in_a_row: u32,
    open: Option<Open>,
    minutes: VecDeque<Minute>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    length: Duration,
    probing: bool,
}

#[derive(Debug)]
struct Minute {
    began: Instant,
    succeeded: u64,
    failed: u64,
    first_byte_ms: u64,
}

/// Leave to send one request. Dropped without a verdict, it says nothing about the provider.
#[must_use]
pub struct Pass {
    circuits: Circuits,
    key: CircuitKey,
    probe: bool,
    judged: bool,
}

impl Circuits {
    /// Open after so many failures in a row.
    pub fn new(failures_to_open: u32) -> Self {
        Self { failures_to_open: Arc::new(failures_to_open.into()), circuits: Arc::default() }
    }

    /// The operator has changed the threshold.
    pub fn open_after(&self, failures: u32) {
        self.failures_to_open.store(failures, std::sync::atomic::Ordering::Relaxed);
    }

    /// Leave to send to a target, or how long its circuit stays open.
    ///
    /// # Errors
    /// The time left until it is probed; at least a second.
    pub fn pass(&self, key: CircuitKey) -> Result<Pass, Duration> {
        let now = Instant::now();
        let mut circuits = self.lock();
        let mut probe = false;
        if let Some(open) = circuits.get_mut(&key).and_then(|circuit| circuit.open.as_mut()) {
            if open.probing || now < open.until {
                return Err(open.until.saturating_duration_since(now).max(Duration::from_secs(1)));
            }
            open.probing = true;
            probe = true;
        }
        drop(circuits);
        Ok(Pass { circuits: self.clone(), key, probe, judged: false })
    }

    /// Leave to send in any case: a check, whose fate closes an open circuit or prolongs it.
    pub fn probe(&self, key: CircuitKey) -> Pass {
        if let Some(open) = self.lock().get_mut(&key).and_then(|circuit| circuit.open.as_mut()) {
            open.probing = true;
        }
        Pass { circuits: self.clone(), key, probe: true, judged: false }
    }

    /// Whether a request would be let through now.
    pub fn would_pass(&self, key: &CircuitKey) -> bool {
        let circuits = self.lock();
        let open = circuits.get(key).and_then(|circuit| circuit.open.as_ref());
        open.is_none_or(|open| !open.probing && Instant::now() >= open.until)
    }

    /// Closes every circuit of a provider, or all: the operator says that it is well again.
    pub fn wake(&self, provider: Option<&str>) {
        let mut circuits = self.lock();
        let chosen = circuits.iter_mut().filter(|(key, _)| provider.is_none_or(|name| key.provider == name));
        for (_, circuit) in chosen {
            circuit.failures_in_a_row = 0;
            circuit.open = None;
        }
    }

    /// Every circuit that has seen a request, by provider and model.
    pub fn report(&self) -> Vec<CircuitReport> {
        let now = Instant::now();
        let mut reports: Vec<_> =
            self.lock().iter_mut().map(|(key, circuit)| circuit.report(key, now)).collect();
        reports.sort_by(|a, b| a.key.cmp(&b.key));
        reports
    }

    fn judge(&self, key: &CircuitKey, verdict: Verdict, probe: bool) {
        let now = Instant::now();
        let threshold = self.failures_to_open.load(std::sync::atomic::Ordering::Relaxed).max(1);
        let mut circuits = self.lock();
        if circuits.len() >= MOST_CIRCUITS && !circuits.contains_key(key) {
            return;
        }
        let circuit = circuits.entry(key.clone()).or_default();
        match verdict {
            Verdict::Succeeded { first_byte } => circuit.succeeded(first_byte, now),
            Verdict::Failed { retry_after } => circuit.failed(threshold, retry_after, probe, now),
            Verdict::Unknown => {
                if let Some(open) = circuit.open.as_mut().filter(|_| probe) {
                    open.probing = false;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CircuitKey, Circuit>> {
        self.circuits.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

enum Verdict {
    Succeeded { first_byte: Duration },
    Failed { retry_after: Option<Duration> },
    Unknown,
}

impl Pass {
    /// It answered; `first_byte` since it was sent.
    pub fn succeeded(mut self, first_byte: Duration) {
        self.tell(Verdict::Succeeded { first_byte });
    }

    /// It was not reached, was overloaded, refused us, or failed.
    pub fn failed(mut self, retry_after: Option<Duration>) {
        self.tell(Verdict::Failed { retry_after });
    }

    /// Its answer has begun; the verdict waits for the end. A probe has found out: requests pass again, and one
    /// more failure closes the door.
    pub fn answering(&mut self) {
        if std::mem::take(&mut self.probe) {
            let mut circuits = self.circuits.lock();
            if let Some(circuit) = circuits.get_mut(&self.key) {
                circuit.open = None;
            }
        }
    }

    fn tell(&mut self, verdict: Verdict) {
        self.judged = true;
        self.circuits.judge(&self.key, verdict, self.probe);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.judged {
            self.tell(Verdict::Unknown);
        }
    }
}

impl Circuit {
    fn succeeded(&mut self, first_byte: Duration, now: Instant) {
        self.failures_in_a_row = 0;
        self.open = None;
        let minute = self.minute(now);
        minute.succeeded += 1;
        minute.first_byte_ms += u64::try_from(first_byte.as_millis()).unwrap_or(u64::MAX);
    }

    fn failed(&mut self, threshold: u32, retry_after: Option<Duration>, probe: bool, now: Instant) {
        self.minute(now).failed += 1;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let length = match &self.open {
            Some(open) if probe => open.length * 2,
            // Requests that were on their way when it opened say nothing new.
            Some(_) => return,
            None if self.failures_in_a_row < threshold => return,
            None => FIRST_OPEN,
        };
        let length = length.max(retry_after.unwrap_or_default()).min(LONGEST_OPEN);
        self.open = Some(Open { until: now + length, length, probing: false });
    }

    fn minute(&mut self, now: Instant) -> &mut Minute {
        self.forget(now);
        let current = self.minutes.back().is_some_and(|minute| now - minute.began < Duration::from_secs(60));
        if !current {
            self.minutes.push_back(Minute { began: now, succeeded: 0, failed: 0, first_byte_ms: 0 });
        }
        self.minutes.back_mut().expect("there is a current minute")
    }

    fn forget(&mut self, now: Instant) {
        let kept = Duration::from_secs(60 * MINUTES_KEPT as u64);
        while self.minutes.front().is_some_and(|minute| now - minute.began >= kept) {
            self.minutes.pop_front();
        }
    }

    fn report(&mut self, key: &CircuitKey, now: Instant) -> CircuitReport {
        self.forget(now);
        let succeeded: u64 = self.minutes.iter().map(|minute| minute.succeeded).sum();
        let total_ms: u64 = self.minutes.iter().map(|minute| minute.first_byte_ms).sum();
        CircuitReport {
            key: key.clone(),
            standing: match &self.open {
                None => Standing::Closed,
                Some(open) if open.probing => Standing::Probing,
                Some(open) => Standing::Open { left: open.until.saturating_duration_since(now) },
            },
            failures_in_a_row: self.failures_in_a_row,
            succeeded,
            failed: self.minutes.iter().map(|minute| minute.failed).sum(),
            first_byte_ms: total_ms.checked_div(succeeded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CircuitKey {
        CircuitKey { provider: "p".into(), upstream_model: "m".into() }
    }

    fn passed(circuits: &Circuits) -> Pass {
        circuits.pass(key()).unwrap_or_else(|left| panic!("open for {left:?}"))
    }

    fn fail(circuits: &Circuits, retry_after: Option<Duration>) {
        passed(circuits).failed(retry_after);
    }

    fn left(circuits: &Circuits) -> Duration {
        circuits.pass(key()).err().expect("open")
    }

    #[tokio::test(start_paused = true)]
    async fn a_circuit_opens_after_failures_in_a_row_and_a_success_counts_anew() {
        let circuits = Circuits::new(3);
        fail(&circuits, None);
        fail(&circuits, None);
        passed(&circuits).succeeded(Duration::from_millis(40));
        fail(&circuits, None);
        fail(&circuits, None);
        assert!(circuits.would_pass(&key()));
        fail(&circuits, None);
        assert!(!circuits.would_pass(&key()));
        assert_eq!(left(&circuits), FIRST_OPEN);
        let report = &circuits.report()[0];
        assert_eq!((report.succeeded, report.failed, report.first_byte_ms), (1, 5, Some(40)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_probes_and_its_failure_opens_the_circuit_for_longer() {
        let circuits = Circuits::new(1);
        fail(&circuits, None);
        tokio::time::advance(FIRST_OPEN).await;
        let probe = passed(&circuits);
        assert_eq!(circuits.report()[0].standing, Standing::Probing);
        assert!(circuits.pass(key()).is_err(), "a second request beside the probe");
        probe.failed(None);
        assert_eq!(left(&circuits), FIRST_OPEN * 2);
        tokio::time::advance(FIRST_OPEN * 2).await;
        passed(&circuits).succeeded(Duration::ZERO);
        assert_eq!(circuits.report()[0].standing, Standing::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_without_a_verdict_leaves_the_next_request_to_probe() {
        let circuits = Circuits::new(1);
        fail(&circuits, None);
        tokio::time::advance(FIRST_OPEN).await;
        drop(passed(&circuits));
        passed(&circuits).succeeded(Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_being_answered_lets_others_pass_and_its_failure_opens_again() {
        let circuits = Circuits::new(3);
        (0..3).for_each(|_| fail(&circuits, None));
        tokio::time::advance(FIRST_OPEN).await;
        let mut probe = passed(&circuits);
        probe.answering();
        assert!(circuits.would_pass(&key()));
        probe.failed(None);
        assert!(!circuits.would_pass(&key()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_is_left_alone_as_long_as_it_asks_within_reason() {
        let circuits = Circuits::new(1);
        fail(&circuits, Some(Duration::from_secs(60)));
        assert_eq!(left(&circuits), Duration::from_secs(60));
        circuits.wake(Some("p"));
        fail(&circuits, Some(Duration::from_secs(86_400)));
        assert_eq!(left(&circuits), LONGEST_OPEN);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_under_way_when_it_opened_does_not_prolong_it() {
        let circuits = Circuits::new(1);
        let (first, late) = (passed(&circuits), passed(&circuits));
        first.failed(None);
        tokio::time::advance(FIRST_OPEN / 2).await;
        late.failed(Some(Duration::from_secs(100)));
        assert_eq!(left(&circuits), FIRST_OPEN / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn waking_one_provider_leaves_the_others() {
        let circuits = Circuits::new(1);
        fail(&circuits, None);
        circuits.wake(Some("other"));
        assert!(!circuits.would_pass(&key()));
        circuits.wake(None);
        assert!(circuits.would_pass(&key()));
    }

    #[tokio::test(start_paused = true)]
    async fn rates_forget_what_is_old() {
        let circuits = Circuits::new(100);
        fail(&circuits, None);
        tokio::time::advance(Duration::from_secs(60 * 16)).await;
        assert_eq!(circuits.report()[0].failed, 0);
    }
}
