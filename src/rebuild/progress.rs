//! How a rebuild says how far it is: a bar on a terminal, else a line every few seconds.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Pause between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

const TEMPLATE: &str = "{bar:30} position {pos} of {len}, {msg}, {eta} left";

/// Tells of a rebuild on standard error, or nowhere.
pub struct Progress {
    shown: Shown,
    state: Mutex<State>,
}

enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

struct State {
    began: Instant,
    said: Instant,
    head: i64,
    events: u64,
}

impl Progress {
    pub fn on_stderr() -> Self {
        let style = ProgressStyle::with_template(TEMPLATE);
        Self::new(match style {
            Ok(style) if std::io::stderr().is_terminal() => Shown::Bar(ProgressBar::new(0).with_style(style)),
            _ => Shown::Lines,
        })
    }

    pub fn silent() -> Self {
        Self::new(Shown::Nothing)
    }

    fn new(shown: Shown) -> Self {
        let now = Instant::now();
        Self { shown, state: Mutex::new(State { began: now, said: now, head: 0, events: 0 }) }
    }

    /// The log ends at `head`.
    pub(super) fn begin(&self, head: i64) {
        let now = Instant::now();
        *self.state.lock().expect("no holder panics") = State { began: now, said: now, head, events: 0 };
        match &self.shown {
            Shown::Bar(bar) => bar.set_length(head.unsigned_abs()),
            Shown::Lines => eprintln!("rebuilding from a log of {head} positions"),
            Shown::Nothing => {}
        }
    }

    /// `more` events were folded, up to `position`.
    pub(super) fn at(&self, position: i64, more: u32) {
        let mut state = self.state.lock().expect("no holder panics");
        state.events += u64::from(more);
        let rate = rate(&state);
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_message(format!("{rate} events/s"));
                bar.set_position(position.unsigned_abs());
            }
            Shown::Lines if state.said.elapsed() >= LINE_EVERY => {
                eprintln!("position {position} of {}, {rate} events/s", state.head);
                state.said = Instant::now();
            }
            Shown::Lines | Shown::Nothing => {}
        }
    }

    pub(super) fn swapped(&self, name: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.println(format!("{name} is rebuilt")),
            Shown::Lines => eprintln!("{name} is rebuilt"),
            Shown::Nothing => {}
        }
    }

    pub(super) fn end(&self) {
        let state = self.state.lock().expect("no holder panics");
        let summary = format!("{} events at {} events/s", state.events, rate(&state));
        match &self.shown {
            Shown::Bar(bar) => bar.finish_with_message(summary),
            Shown::Lines => eprintln!("{summary}"),
            Shown::Nothing => {}
        }
    }
}

/// Events per second so far.
fn rate(state: &State) -> u128 {
    u128::from(state.events) * 1_000 / state.began.elapsed().as_millis().max(1)
}
