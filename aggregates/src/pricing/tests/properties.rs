//! Any sequence of commands against a plain account of what was asked: a price is the oracle's at every moment,
//! windows never overlap, and a quote that was given stays what it was.

use proptest::prelude::*;

use super::builders::{Book, of_model, publish};
use crate::examples::{MODEL, flat};
use crate::money::Rate;
use crate::pricing::tariff::Mode;
use crate::pricing::{
    InternalPlan, ModePlan, PriceBook, PricingCommand, PricingEvent, PricingRefusal, PublishRateCard, Span,
    WindowRefusal, adjusted,
};
use crate::time::Timestamp;
use cqrs_es::Aggregate;

#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Publish { ahead: i64, rate: i64, internal: Option<i64> },
    Mode { ahead: i64, length: i64, mode: u8, landing: u8 },
    Internal { ahead: i64, length: i64, rate: i64, landing: i64 },
    CancelMode(u32),
    EndMode(u32),
    CancelInternal(u32),
    EndInternal(u32),
    Adjust(i32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Small numbers, so that starts, ends and cards meet at the same moment.
    let (ahead, length, rate) = (|| 0..6_i64, || 1..6_i64, || 1..40_i64);
    let number = || 1..8_u32;
    let step = prop_oneof![
        4 => (0..5_i64).prop_map(Step::Wait),
        2 => (ahead(), rate(), prop::option::of(rate()))
            .prop_map(|(ahead, rate, internal)| Step::Publish { ahead, rate, internal }),
        3 => (ahead(), length(), 0..3_u8, 0..3_u8)
            .prop_map(|(ahead, length, mode, landing)| Step::Mode { ahead, length, mode, landing }),
        3 => (ahead(), length(), rate(), rate())
            .prop_map(|(ahead, length, rate, landing)| Step::Internal { ahead, length, rate, landing }),
        1 => number().prop_map(Step::CancelMode),
        1 => number().prop_map(Step::EndMode),
        1 => number().prop_map(Step::CancelInternal),
        1 => number().prop_map(Step::EndInternal),
        2 => (-4_000..9_000_i32).prop_map(Step::Adjust),
    ];
    prop::collection::vec(step, 1..40)
}

const MODES: [Mode; 3] = [Mode::Standard, Mode::Surge, Mode::Reduced];

fn card(rate: i64, internal: Option<i64>) -> PublishRateCard {
    PublishRateCard {
        display: flat(rate, rate),
        surge: Some(flat(rate * 2, rate * 2)),
        reduced: Some(flat(rate * 3, rate * 3)),
        internal: internal.map(|rate| flat(rate, rate)),
        ..publish(MODEL, 0)
    }
}

/// A window as it was asked for; `landed` orders its landing among what was said at the same moment.
#[derive(Clone, Debug)]
struct Asked<P> {
    number: u32,
    start: Timestamp,
    end: Timestamp,
    plan: P,
    landed: i64,
}

/// Before anything that was said at the moment a window ended by itself.
const BY_ITSELF: i64 = -1_000;

#[derive(Default)]
struct Oracle {
    now: Timestamp,
    said: i64,
    /// From when, said when, in which order; rate and internal rate.
    cards: Vec<(Timestamp, Timestamp, i64, i64, Option<i64>)>,
    adjustments: Vec<(Timestamp, i64, i64)>,
    modes: Vec<Asked<(Mode, Mode)>>,
    mode_numbers: u32,
    internals: Vec<Asked<(i64, i64)>>,
    internal_numbers: u32,
}

impl Oracle {
    fn mode(&self, at: Timestamp) -> Mode {
        let on = self.modes.iter().find(|window| window.start <= at && at < window.end);
        let over = self.modes.iter().filter(|w| w.end <= at).max_by_key(|w| (w.end, w.landed, w.number));
        on.map(|window| window.plan.0).or(over.map(|window| window.plan.1)).unwrap_or(Mode::Standard)
    }

    fn display(&self, at: Timestamp) -> Option<i64> {
        let card = self.cards.iter().filter(|card| card.0 <= at).max_by_key(|card| (card.0, card.2))?;
        Some(match self.mode(at) {
            Mode::Standard => card.3,
            Mode::Surge => card.3 * 2,
            Mode::Reduced => card.3 * 3,
        })
    }

    fn base(&self, at: Timestamp) -> Option<i64> {
        let cards = self.cards.iter().map(|card| (card.0, card.1, card.2, card.4));
        let adjustments =
            self.adjustments.iter().map(|(when, order, rate)| (*when, *when, *order, Some(*rate)));
        let landings = self.internals.iter().map(|w| (w.end, w.end, w.landed, Some(w.plan.1)));
        let all = cards.chain(adjustments).chain(landings).filter(|statement| statement.0 <= at);
        all.max_by_key(|statement| (statement.0, statement.1, statement.2))?.3
    }

    fn billed(&self, at: Timestamp) -> Option<i64> {
        let display = self.display(at)?;
        let on = self.internals.iter().find(|window| window.start <= at && at < window.end);
        Some(on.map(|window| window.plan.0).or(self.base(at)).unwrap_or(display))
    }

    fn take(&mut self, step: &Step, outcome: &Result<Vec<PricingEvent>, PricingRefusal>) {
        let now = self.now;
        self.said += 1;
        let free =
            |start: Timestamp, end: Timestamp, others: &mut dyn Iterator<Item = (Timestamp, Timestamp)>| {
                others.filter(|(_, other_end)| *other_end > now).all(|(s, e)| end <= s || e <= start)
            };
        let overlaps = |outcome: &Result<_, PricingRefusal>| {
            matches!(outcome, Err(PricingRefusal::Window(WindowRefusal::Overlaps { .. })))
        };
        match step {
            Step::Wait(_) => {}
            Step::Publish { ahead, rate, internal } => {
                let published = |events: &Vec<PricingEvent>| {
                    events.iter().any(|event| matches!(event, PricingEvent::RateCardPublished { .. }))
                };
                if outcome.as_ref().is_ok_and(published) {
                    self.cards.push((now.plus_secs(*ahead), now, self.said, *rate, *internal));
                } else if outcome.is_ok() {
                    let at = now.plus_secs(*ahead);
                    assert_eq!(self.base(at), *internal, "nothing is said anew");
                }
            }
            Step::Mode { ahead, length, mode, landing } => {
                let (start, end) = (now.plus_secs(*ahead), now.plus_secs(ahead + length));
                let fits = free(start, end, &mut self.modes.iter().map(|w| (w.start, w.end)));
                assert_eq!(fits, outcome.is_ok(), "{outcome:?}");
                assert_eq!(!fits, overlaps(outcome));
                if fits {
                    self.mode_numbers += 1;
                    let plan = (MODES[usize::from(*mode)], MODES[usize::from(*landing)]);
                    self.modes.push(Asked { number: self.mode_numbers, start, end, plan, landed: BY_ITSELF });
                }
            }
            Step::Internal { ahead, length, rate, landing } => {
                let (start, end) = (now.plus_secs(*ahead), now.plus_secs(ahead + length));
                let fits = free(start, end, &mut self.internals.iter().map(|w| (w.start, w.end)));
                assert_eq!(fits, outcome.is_ok(), "{outcome:?}");
                if fits {
                    self.internal_numbers += 1;
                    let (number, plan) = (self.internal_numbers, (*rate, *landing));
                    self.internals.push(Asked { number, start, end, plan, landed: BY_ITSELF });
                }
            }
            Step::CancelMode(number) => cancel(&mut self.modes, *number, now, outcome.is_ok()),
            Step::EndMode(number) => end(&mut self.modes, *number, now, self.said, outcome.is_ok()),
            Step::CancelInternal(number) => cancel(&mut self.internals, *number, now, outcome.is_ok()),
            Step::EndInternal(number) => end(&mut self.internals, *number, now, self.said, outcome.is_ok()),
            Step::Adjust(basis_points) => {
                let on = self.internals.iter().any(|window| window.start <= now && now < window.end);
                let by_mode = self.base(now).is_none() && !on && self.mode(now) != Mode::Standard;
                assert_eq!(outcome.is_ok(), *basis_points != 0 && !by_mode, "{outcome:?}");
                if outcome.is_err() {
                    return;
                }
                let scaled = |rate: i64| adjusted(&flat(rate, rate), *basis_points).rates.input.0;
                let standard =
                    self.cards.iter().filter(|c| c.0 <= now).max_by_key(|c| (c.0, c.2)).map(|c| c.3);
                let before = self.base(now).or(standard).expect("a card is in force");
                self.adjustments.push((now, self.said, scaled(before)));
                if let Some(on) = self.internals.iter_mut().find(|w| w.start <= now && now < w.end) {
                    on.plan = (scaled(on.plan.0), scaled(on.plan.1));
                }
            }
        }
    }
}

fn cancel<P>(windows: &mut Vec<Asked<P>>, number: u32, now: Timestamp, done: bool) {
    let may = windows.iter().any(|window| window.number == number && window.start > now);
    assert_eq!(may, done);
    windows.retain(|window| !may || window.number != number);
}

fn end<P>(windows: &mut [Asked<P>], number: u32, now: Timestamp, said: i64, done: bool) {
    let on = windows.iter_mut().find(|w| w.number == number && w.start <= now && now < w.end);
    assert_eq!(on.is_some(), done);
    if let Some(window) = on {
        window.end = now;
        window.landed = said;
    }
}

fn command(step: &Step, now: Timestamp) -> Option<PricingCommand> {
    let span =
        |ahead: i64, length: i64| Span { start: now.plus_secs(ahead), end: now.plus_secs(ahead + length) };
    let mode = |place: u8| MODES[usize::from(place)];
    Some(match step.clone() {
        Step::Wait(_) => return None,
        Step::Publish { ahead, rate, internal } => {
            let effective_at = now.plus_secs(ahead);
            PricingCommand::Publish(Box::new(PublishRateCard { effective_at, now, ..card(rate, internal) }))
        }
        Step::Mode { ahead, length, mode: during, landing } => {
            let plan = ModePlan { mode: mode(during), landing: mode(landing) };
            PricingCommand::ScheduleMode { span: span(ahead, length), plan, now }
        }
        Step::Internal { ahead, length, rate, landing } => {
            let plan =
                InternalPlan { rates: of_model(flat(rate, rate)), landing: of_model(flat(landing, landing)) };
            PricingCommand::ScheduleInternal { span: span(ahead, length), plan, now }
        }
        Step::CancelMode(number) => PricingCommand::CancelMode { number, now },
        Step::EndMode(number) => PricingCommand::EndMode { number, now },
        Step::CancelInternal(number) => PricingCommand::CancelInternal { number, now },
        Step::EndInternal(number) => PricingCommand::EndInternal { number, now },
        Step::Adjust(basis_points) => PricingCommand::AdjustInternal { basis_points, models: vec![], now },
    })
}

fn seen(book: &PriceBook, at: Timestamp) -> (Mode, Option<i64>, Option<i64>) {
    let quote = book.quote(MODEL, at);
    let billed = quote.as_ref().map(|quote| quote.billed.rates.input);
    let display = quote.as_ref().map(|quote| quote.display.as_ref().unwrap_or(&quote.billed).rates.input);
    let rate = |rate: Option<Rate>| rate.map(|rate| rate.0);
    (book.mode(at), rate(billed), rate(display))
}

proptest! {
    #[test]
    fn a_price_is_the_oracles_at_every_moment(steps in steps()) {
        let mut book = Book::default();
        let mut oracle = Oracle::default();
        let mut all = book.publish(PublishRateCard {
            effective_at: Timestamp(0), now: Timestamp(0), ..card(7, None)
        }).unwrap();
        oracle.cards.push((Timestamp(0), Timestamp(0), 0, 7, None));
        for step in &steps {
            if let Step::Wait(secs) = step {
                oracle.now = oracle.now.plus_secs(*secs);
            }
            let before = book.0.clone();
            if let Some(command) = command(step, oracle.now) {
                let outcome = book.act(command);
                oracle.take(step, &outcome);
                match outcome {
                    Ok(events) => all.extend(events),
                    Err(_) => prop_assert_eq!(&book.0, &before, "a refusal leaves no trace"),
                }
            }
            for half_secs in 0..26 {
                let at = Timestamp(oracle.now.0 + half_secs * 500_000);
                let expected = (oracle.mode(at), oracle.billed(at), oracle.display(at));
                prop_assert_eq!(seen(&book.0, at), expected, "after {:?} at {:?}", step, at);
            }
            let known: Vec<_> = book.0.modes().ahead(oracle.now).map(|w| (w.start, w.end)).collect();
            prop_assert!(known.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{:?}", known);
            let known: Vec<_> = book.0.internals().ahead(oracle.now).map(|w| (w.start, w.end)).collect();
            prop_assert!(known.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{:?}", known);
        }
        let mut replayed = PriceBook::default();
        all.into_iter().for_each(|event| replayed.apply(event));
        prop_assert_eq!(replayed, book.0);
    }

    #[test]
    fn a_quote_that_was_given_is_never_changed(steps in steps()) {
        let mut book = Book::default();
        book.publish(PublishRateCard { effective_at: Timestamp(0), now: Timestamp(0), ..card(7, None) }).unwrap();
        let mut now = Timestamp(0);
        let mut given = Vec::new();
        for step in &steps {
            if let Step::Wait(secs) = step {
                now = now.plus_secs(*secs);
            }
            let quote = book.0.quote(MODEL, now).unwrap();
            // As a hold keeps it: in the log, not by reference to the book.
            given.push((serde_json::to_string(&quote).unwrap(), quote));
            if let Some(command) = command(step, now) {
                let _refused = book.act(command);
            }
        }
        for (stored, quote) in given {
            prop_assert_eq!(serde_json::from_str::<crate::pricing::tariff::Quote>(&stored).unwrap(), quote);
        }
    }
}
