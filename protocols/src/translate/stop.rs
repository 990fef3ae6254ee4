//! Ends an answer at the first of the client's stop texts, where the provider knows of none.
//!
//! The stop text that is complete first ends the answer, as it would have where the provider looked for it
//! while the model wrote; of several complete at the same place the longest does. What stands before it is
//! passed on as soon as it cannot be the beginning of one; the stop text and all after it are swallowed. Only
//! the answer's own text is looked at, part by part, never thinking, refusals or the input of tools. Usage
//! stays what the provider reports: the tokens were made and it charges for them.

use memchr::memmem;

use crate::conversation::{Answer, Event, OutputPart, PartKind, Stop, Untranslatable};

/// The most stop texts of one request, and bytes of one: each is looked for in every piece of the answer.
pub const MAX_STOPS: usize = 32;
pub const MAX_STOP_BYTES: usize = 256;

/// Refuses stop texts that would take longer to look for than the answer takes to make.
///
/// # Errors
/// `NotCarried` where there are more than [`MAX_STOPS`], or one is longer than [`MAX_STOP_BYTES`].
pub fn check(stops: &[String]) -> Result<(), Untranslatable> {
    if stops.len() > MAX_STOPS || stops.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
        return Err(Untranslatable::NotCarried {
            field: "stop".into(),
            reason: "it knows no stop texts, and the gateway looks for at most 32 of at most 256 bytes",
        });
    }
    Ok(())
}

/// Cuts one streamed answer.
#[derive(Debug)]
pub struct StopCutter {
    stops: Vec<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No text is open.
    Aside,
    /// In a text: how many bytes of it are passed on, and what is held back.
    InText { passed: usize, held: String },
    /// A stop text has come, so many bytes into a text that is still open.
    Cut { at: usize, stop: String },
    /// It has come and its text is closed: nothing follows but the end.
    Over { stop: String },
}

impl StopCutter {
    /// Stop texts that are empty stop nothing.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, state: State::Aside }
    }

    /// Appends to `out` what is left of `event`.
    pub fn cut(&mut self, event: Event, out: &mut Vec<Event>) {
        self.state = match std::mem::replace(&mut self.state, State::Aside) {
            State::Aside => {
                let in_text = matches!(event, Event::PartStarted(PartKind::Text));
                out.push(event);
                if in_text { State::InText { passed: 0, held: String::new() } } else { State::Aside }
            }
            State::InText { passed, held } => self.in_text(passed, held, event, out),
            State::Cut { at, stop } => match event {
                Event::PartEnded(OutputPart::Text(mut text)) => {
                    text.truncate(at);
                    out.push(Event::PartEnded(OutputPart::Text(text)));
                    State::Over { stop }
                }
                Event::Finished { usage, .. } => end(stop, usage, out),
                Event::Started { .. } | Event::PartStarted(_) | Event::Delta(_) | Event::PartEnded(_) => {
                    State::Cut { at, stop }
                }
            },
            State::Over { stop } => match event {
                Event::Finished { usage, .. } => end(stop, usage, out),
                Event::Started { .. } | Event::PartStarted(_) | Event::Delta(_) | Event::PartEnded(_) => {
                    State::Over { stop }
                }
            },
        };
    }

    fn in_text(&self, passed: usize, mut held: String, event: Event, out: &mut Vec<Event>) -> State {
        let Event::Delta(delta) = event else {
            if !held.is_empty() {
                out.push(Event::Delta(held));
            }
            out.push(event);
            return State::Aside;
        };
        held.push_str(&delta);
        if let Some((at, stop)) = first_stop(&held, &self.stops) {
            let stop = stop.to_owned();
            held.truncate(at);
            if !held.is_empty() {
                out.push(Event::Delta(held));
            }
            return State::Cut { at: passed + at, stop };
        }
        let sure = held.len() - possible_beginning(&held, &self.stops);
        let rest = held.split_off(sure);
        if !held.is_empty() {
            out.push(Event::Delta(held));
        }
        State::InText { passed: passed + sure, held: rest }
    }
}

/// The same for a whole answer.
pub fn cut_answer(answer: &mut Answer, stops: &[String]) {
    let stops: Vec<String> = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
    for nth in 0..answer.parts.len() {
        let OutputPart::Text(text) = &mut answer.parts[nth] else { continue };
        if let Some((at, stop)) = first_stop(text, &stops) {
            answer.stop = Stop::StopText(stop.to_owned());
            text.truncate(at);
            answer.parts.truncate(nth + 1);
            return;
        }
    }
}

fn end(stop: String, usage: Option<codexapi_aggregates::usage::Usage>, out: &mut Vec<Event>) -> State {
    out.push(Event::Finished { stop: Stop::StopText(stop), usage });
    State::Aside
}

/// Where the stop text begins that is complete first, and which it is.
fn first_stop<'a>(text: &str, stops: &'a [String]) -> Option<(usize, &'a str)> {
    stops
        .iter()
        .filter_map(|stop| memmem::find(text.as_bytes(), stop.as_bytes()).map(|at| (at, stop.as_str())))
        .min_by_key(|(at, stop)| (at + stop.len(), *at))
}

/// Bytes at the end of `text` that may be the beginning of a stop text.
fn possible_beginning(text: &str, stops: &[String]) -> usize {
    let longest = |stop: &String| {
        let most = text.len().min(stop.len() - 1);
        (1..=most).rev().find(|n| text.as_bytes().ends_with(&stop.as_bytes()[..*n])).unwrap_or(0)
    };
    stops.iter().map(longest).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
