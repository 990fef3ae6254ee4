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

/// A payment is on record; Stripe has not heard of it.
pub const PAYMENT_STARTED: &str = "payment_started";
/// Stripe has opened a checkout; its id is not on record.
pub const CHECKOUT_OPENED: &str = "checkout_opened";
/// A webhook is on record; nothing has been looked into.
pub const WEBHOOK_RECEIVED: &str = "webhook_received";
/// Stripe has told of a payment; nothing has come of it.
pub const PAYMENT_FETCHED: &str = "payment_fetched";
/// A payment is credited, or was before; nobody has been told.
pub const PAYMENT_CREDITED: &str = "payment_credited";
/// A reversal is on record, or was before; nobody has been told.
pub const PAYMENT_REVERSED: &str = "payment_reversed";

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
