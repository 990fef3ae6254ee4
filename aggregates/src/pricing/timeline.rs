//! Stretches of time that never overlap: each with a start, an end, and what it plans for between and after.
//!
//! Nothing here waits for a timer. A window is over for whoever asks at or after its end; that it is over is put on
//! record by the next event of the book.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refusal::WindowRefusal;
use crate::time::Timestamp;

/// Windows of a timeline that are going on or yet to come.
pub const MAX_WINDOWS: usize = 64;

/// Windows that are over and still known; older ones stand in the log.
pub const KEPT_PAST: usize = 32;

/// The longest window, in seconds.
pub const MAX_WINDOW_SECS: i64 = 31 * 86_400;

/// How far ahead a window may begin, in seconds.
pub const MAX_AHEAD_SECS: i64 = 366 * 86_400;

/// From `start` to just before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Window<P> {
    /// Rises by one per timeline.
    pub number: u32,
    pub start: Timestamp,
    pub end: Timestamp,
    pub plan: P,
}

impl<P> Window<P> {
    pub fn is_on(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

/// When a window is to begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline<P> {
    /// Those whose end is not on record, by their start.
    windows: Vec<Window<P>>,
    /// Those that are over, oldest first.
    past: Vec<Window<P>>,
    last_number: u32,
}

impl<P> Default for Timeline<P> {
    fn default() -> Self {
        Self { windows: vec![], past: vec![], last_number: 0 }
    }
}

impl<P: Clone> Timeline<P> {
    /// The window going on at `at`.
    pub fn on(&self, at: Timestamp) -> Option<&Window<P>> {
        self.windows.iter().find(|window| window.is_on(at))
    }

    /// Windows that are over at `at` and not on record as such, the one that ended last first.
    pub fn over(&self, at: Timestamp) -> impl Iterator<Item = &Window<P>> {
        self.windows.iter().rev().filter(move |window| window.end <= at)
    }

    /// Windows that are going on or to come at `at`, by their start.
    pub fn ahead(&self, at: Timestamp) -> impl Iterator<Item = &Window<P>> {
        self.windows.iter().filter(move |window| window.end > at)
    }

    /// Every window that is known, oldest first.
    pub fn known(&self) -> impl Iterator<Item = &Window<P>> {
        self.past.iter().chain(&self.windows)
    }

    // Rules

    /// The next window, if it may begin and end then.
    pub(super) fn place(&self, span: Span, plan: P, now: Timestamp) -> Result<Window<P>, WindowRefusal> {
        let Span { start, end } = span;
        if start < now {
            return Err(WindowRefusal::BeginsInThePast { start, now });
        }
        if start > now.plus_secs(MAX_AHEAD_SECS) {
            return Err(WindowRefusal::TooFarAhead { start, most_secs: MAX_AHEAD_SECS });
        }
        if end <= start || end > start.plus_secs(MAX_WINDOW_SECS) {
            return Err(WindowRefusal::BadLength { start, end, most_secs: MAX_WINDOW_SECS });
        }
        if let Some(other) = self.ahead(now).find(|other| other.start < end && start < other.end) {
            return Err(WindowRefusal::Overlaps {
                start,
                end,
                number: other.number,
                its_start: other.start,
                its_end: other.end,
            });
        }
        if self.ahead(now).count() >= MAX_WINDOWS {
            return Err(WindowRefusal::TooMany { most: MAX_WINDOWS });
        }
        Ok(Window { number: self.last_number + 1, start, end, plan })
    }

    /// Whether the window can be called off: it must not have begun.
    pub(super) fn refuse_cancel(&self, number: u32, now: Timestamp) -> Result<(), WindowRefusal> {
        let window = self.unended(number, now)?;
        if window.start <= now {
            return Err(WindowRefusal::HasBegun { number, start: window.start });
        }
        Ok(())
    }

    /// The window, if it is going on and so can be ended.
    pub(super) fn to_end(&self, number: u32, now: Timestamp) -> Result<&Window<P>, WindowRefusal> {
        let window = self.unended(number, now)?;
        if window.start > now {
            return Err(WindowRefusal::HasNotBegun { number, start: window.start });
        }
        Ok(window)
    }

    fn unended(&self, number: u32, now: Timestamp) -> Result<&Window<P>, WindowRefusal> {
        let window = self.known().find(|window| window.number == number);
        let window = window.ok_or(WindowRefusal::Unknown { number })?;
        if window.end <= now {
            return Err(WindowRefusal::IsOver { number, end: window.end });
        }
        Ok(window)
    }

    // Folding

    pub(super) fn add(&mut self, window: Window<P>) {
        self.last_number = window.number;
        let place = self.windows.partition_point(|other| other.start < window.start);
        self.windows.insert(place, window);
    }

    pub(super) fn cancel(&mut self, number: u32) {
        self.windows.retain(|window| window.number != number);
    }

    pub(super) fn end(&mut self, number: u32, end: Timestamp) {
        let Some(place) = self.windows.iter().position(|window| window.number == number) else { return };
        let ended = Window { end, ..self.windows.remove(place) };
        self.past.push(ended);
        let surplus = self.past.len().saturating_sub(KEPT_PAST);
        self.past.drain(..surplus);
    }

    pub(super) fn replan(&mut self, number: u32, plan: P) {
        if let Some(window) = self.windows.iter_mut().find(|window| window.number == number) {
            window.plan = plan;
        }
    }
}
