//! Holds every body to memory in proportion to its input: libFuzzer sees only what is far too much.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes for an input however small.
const FREE_BYTES: usize = 4 << 20;

/// Bytes for each byte of input.
const MOST_PER_BYTE: usize = 4_096;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

// SAFETY: everything is left to the system's allocator; only sizes are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs `body`.
///
/// # Panics
/// Where it held more memory at a time than an input of this size may need.
pub fn within_bounds(data: &[u8], body: fn(&[u8])) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    body(data);
    let held = PEAK.load(Relaxed).saturating_sub(before);
    assert!(held <= FREE_BYTES + MOST_PER_BYTE * data.len(), "{} bytes of input took {held}", data.len());
}
