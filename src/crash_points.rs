//! Named steps at which a fault test can end the process, as a power cut would.
//!
//! `CODEXAPI_CRASH_AT=<name>:<n>` kills the process at the n-th passing of that step. Only debug
//! builds look at it.

/// Between the durable hold and its first answer.
pub const HOLD_COMMITTED: &str = "hold_committed";
/// A further attempt is on record and not dispatched.
pub const ATTEMPT_RECORDED: &str = "attempt_recorded";
/// The provider is done; nothing is settled.
pub const UPSTREAM_DONE: &str = "upstream_done";
/// Settled; the client has not been told.
pub const SETTLED_UNTOLD: &str = "settled_untold";
/// Published to JetStream; the relay's checkpoint has not moved.
pub const PUBLISHED: &str = "published";
/// Projected; the batch is not acknowledged.
pub const PROJECTED: &str = "projected";

/// Marks that step `name` is reached.
#[cfg(debug_assertions)]
pub fn reached(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CRASH_AT: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let crash_at = CRASH_AT.get_or_init(|| {
        let setting = std::env::var("CODEXAPI_CRASH_AT").ok()?;
        let (name, count) = setting.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    let Some((crash_name, count)) = crash_at else { return };
    if crash_name == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count {
        let this = rustix::process::getpid();
        // Nothing may run after this point: no destructor, no flush.
        let _unreachable = rustix::process::kill_process(this, rustix::process::Signal::KILL);
        std::process::abort();
    }
}

/// Marks that step `name` is reached.
#[cfg(not(debug_assertions))]
pub fn reached(_name: &str) {}
