use cqrs_es::test::TestFramework;

use super::builders::{Book, HOUR, MINUTE, internal, of_model, prices, publish, schedule, span, three_modes};
use crate::examples::{MODEL, flat, second};
use crate::pricing::events::{AdjustedWindow, InternalPlan, ModePlan, ModelTariff};
use crate::pricing::tariff::Mode;
use crate::pricing::timeline::{KEPT_PAST, MAX_AHEAD_SECS, MAX_WINDOW_SECS, MAX_WINDOWS, Window};
use crate::pricing::{
    MAX_BASIS_POINTS, MAX_RATE, MIN_BASIS_POINTS, PriceBook, PricingCommand, PricingEvent, PricingRefusal,
    WindowRefusal,
};

fn book() -> Book {
    Book::default().with(three_modes(MODEL, 0))
}

fn refused(book: &mut Book, command: PricingCommand) -> WindowRefusal {
    match book.act(command) {
        Err(PricingRefusal::Window(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_surge_is_scheduled_and_the_next_event_after_its_end_records_that_it_ended() {
    let published = Book::default().publish(three_modes(MODEL, 0)).unwrap();
    let plan = ModePlan { mode: Mode::Surge, landing: Mode::Standard };
    let window = Window { number: 1, start: second(10), end: second(70), plan };
    let scheduled = PricingEvent::ModeWindowScheduled { window, at: second(5) };
    TestFramework::<PriceBook>::with(())
        .given(published.clone())
        .when_async(schedule(Mode::Surge, 10, 70, 5))
        .await
        .then_expect_events(vec![scheduled.clone()]);
    let given = [published, vec![scheduled]].concat();
    let (number, landing) = (1, Mode::Standard);
    let ended = PricingEvent::ModeWindowEnded { number, end: second(70), landing, at: second(500) };
    let set = PricingEvent::PerCallPriceSet { amount_micro: crate::examples::micro(1), at: second(500) };
    TestFramework::<PriceBook>::with(())
        .given(given)
        .when_async(PricingCommand::SetPerCallPrice {
            amount_micro: crate::examples::micro(1),
            now: second(500),
        })
        .await
        .then_expect_events(vec![ended, set]);
}

#[test]
fn a_price_is_right_at_the_very_microsecond_a_window_begins_and_ends() {
    let mut book = book();
    book.act(schedule(Mode::Surge, 10, 70, 5)).unwrap();
    let just_before = |at: i64| crate::time::Timestamp(second(at).0 - 1);
    let mode_and_input = |at| (book.0.mode(at), prices(&book.0, at).0.0);
    assert_eq!(mode_and_input(just_before(10)), (Mode::Standard, 5_000_000));
    assert_eq!(mode_and_input(second(10)), (Mode::Surge, 6_000_000));
    assert_eq!(mode_and_input(just_before(70)), (Mode::Surge, 6_000_000));
    assert_eq!(mode_and_input(second(70)), (Mode::Standard, 5_000_000));
    assert_eq!(book.0.quote(MODEL, second(10)).unwrap().mode, Mode::Surge);
}

#[test]
fn a_window_lands_on_the_mode_it_names_until_another_begins() {
    let mut book = book();
    let plan = ModePlan { mode: Mode::Surge, landing: Mode::Reduced };
    book.act(PricingCommand::ScheduleMode { span: span(10, 70), plan, now: second(5) }).unwrap();
    book.act(schedule(Mode::Standard, 100, 160, 5)).unwrap();
    for (at, mode) in [(9, Mode::Standard), (10, Mode::Surge), (70, Mode::Reduced), (100, Mode::Standard)] {
        assert_eq!(book.0.mode(second(at)), mode, "at {at}");
    }
    book.publish(publish("another", 80)).unwrap();
    assert_eq!(book.0.mode(second(90)), Mode::Reduced, "on record, it is the same");
    assert_eq!(book.0.mode(second(160)), Mode::Standard);
}

#[test]
fn windows_of_one_timeline_never_overlap_and_the_refusal_names_both() {
    let mut book = book();
    book.act(schedule(Mode::Surge, 100, 200, 0)).unwrap();
    for (start, end) in [(50, 101), (199, 300), (120, 130), (50, 300), (100, 200)] {
        let refusal = refused(&mut book, schedule(Mode::Reduced, start, end, 0));
        let overlaps = WindowRefusal::Overlaps {
            start: second(start),
            end: second(end),
            number: 1,
            its_start: second(100),
            its_end: second(200),
        };
        assert_eq!(refusal, overlaps);
    }
    book.act(schedule(Mode::Reduced, 50, 100, 0)).unwrap();
    book.act(schedule(Mode::Reduced, 200, 250, 0)).unwrap();
    let beside = internal(flat(9, 9), flat(8, 8), 100, 200, 0);
    assert!(book.act(beside.clone()).is_ok(), "the other timeline is another one");
    assert!(matches!(refused(&mut book, beside), WindowRefusal::Overlaps { number: 1, .. }));
}

#[test]
fn a_window_begins_now_or_later_and_ends_after_it_begins() {
    let mut book = book();
    let past = WindowRefusal::BeginsInThePast { start: second(9), now: second(10) };
    assert_eq!(refused(&mut book, schedule(Mode::Surge, 9, 70, 10)), past);
    let far = 10 + MAX_AHEAD_SECS + 1;
    let ahead = WindowRefusal::TooFarAhead { start: second(far), most_secs: MAX_AHEAD_SECS };
    assert_eq!(refused(&mut book, schedule(Mode::Surge, far, far + 60, 10)), ahead);
    for end in [10, 9, 10 + MAX_WINDOW_SECS + 1] {
        let bad =
            WindowRefusal::BadLength { start: second(10), end: second(end), most_secs: MAX_WINDOW_SECS };
        assert_eq!(refused(&mut book, schedule(Mode::Surge, 10, end, 10)), bad);
    }
    assert!(book.act(schedule(Mode::Surge, 10, 10 + MAX_WINDOW_SECS, 10)).is_ok());
}

#[test]
fn a_mode_that_no_card_has_rates_of_is_no_window() {
    let mut book = Book::default().with(publish(MODEL, 0));
    let refusal = |mode| Err(PricingRefusal::NoRatesOfMode { mode });
    assert_eq!(book.act(schedule(Mode::Surge, 10, 70, 5)), refusal(Mode::Surge));
    assert_eq!(book.act(schedule(Mode::Reduced, 10, 70, 5)), refusal(Mode::Reduced));
    let plan = ModePlan { mode: Mode::Standard, landing: Mode::Reduced };
    let landing = PricingCommand::ScheduleMode { span: span(10, 70), plan, now: second(5) };
    assert_eq!(book.act(landing), refusal(Mode::Reduced));
    assert!(book.act(schedule(Mode::Standard, 10, 70, 5)).is_ok());
}

#[test]
fn a_window_that_has_not_begun_is_cancelled_one_that_is_on_is_ended() {
    let mut book = book();
    book.act(schedule(Mode::Surge, 100, 200, 0)).unwrap();
    let cancel = |number, now| PricingCommand::CancelMode { number, now: second(now) };
    let end = |number, now| PricingCommand::EndMode { number, now: second(now) };
    let early = WindowRefusal::HasNotBegun { number: 1, start: second(100) };
    assert_eq!(refused(&mut book, end(1, 99)), early);
    let late = WindowRefusal::HasBegun { number: 1, start: second(100) };
    assert_eq!(refused(&mut book, cancel(1, 100)), late);
    assert_eq!(refused(&mut book, end(2, 100)), WindowRefusal::Unknown { number: 2 });
    book.act(end(1, 150)).unwrap();
    assert_eq!(book.0.mode(second(150)), Mode::Standard);
    let over = |number, at| WindowRefusal::IsOver { number, end: second(at) };
    assert_eq!(refused(&mut book, end(1, 160)), over(1, 150));
    book.act(schedule(Mode::Surge, 160, 170, 160)).unwrap();
    assert_eq!(refused(&mut book, cancel(2, 170)), over(2, 170), "over by itself and not on record");
    book.act(schedule(Mode::Reduced, 300, 400, 180)).unwrap();
    book.act(cancel(3, 299)).unwrap();
    assert_eq!(book.0.mode(second(350)), Mode::Standard);
    assert_eq!(refused(&mut book, cancel(3, 299)), WindowRefusal::Unknown { number: 3 });
}

#[test]
fn windows_ahead_are_limited_and_so_are_those_remembered() {
    let mut book = book();
    let at = |place: usize| i64::try_from(place).unwrap() * 100;
    for place in 1..=MAX_WINDOWS {
        book.act(schedule(Mode::Surge, at(place), at(place) + 100, 0)).unwrap();
    }
    let next = at(MAX_WINDOWS + 1);
    let many = WindowRefusal::TooMany { most: MAX_WINDOWS };
    assert_eq!(refused(&mut book, schedule(Mode::Surge, next, next + 100, 0)), many);
    book.act(schedule(Mode::Surge, next, next + 100, 200)).unwrap();
    assert_eq!(book.0.modes().known().count(), MAX_WINDOWS + 1);
    book.publish(publish("another", next + 100)).unwrap();
    assert_eq!(book.0.modes().known().count(), KEPT_PAST);
}

#[test]
fn an_internal_window_names_models_of_the_book_once_with_rates_in_range() {
    let mut book = book();
    let plan = |rates, landing| PricingCommand::ScheduleInternal {
        span: span(10, 70),
        plan: InternalPlan { rates, landing },
        now: second(5),
    };
    let one = || of_model(flat(9, 9));
    let twice = || [one(), one()].concat();
    for (rates, landing) in [(vec![], one()), (one(), vec![]), (twice(), one()), (one(), twice())] {
        assert_eq!(book.act(plan(rates, landing)), Err(PricingRefusal::BadInternalRates));
    }
    let unknown = vec![ModelTariff { model: "unknown".into(), tariff: flat(1, 1) }];
    let refusal = PricingRefusal::UnknownModel { model: "unknown".into() };
    assert_eq!(book.act(plan(one(), unknown)), Err(refusal));
    let refusal = PricingRefusal::RateOutOfRange { amount: -1 };
    assert_eq!(book.act(plan(of_model(flat(-1, 1)), one())), Err(refusal));
}

#[test]
fn ending_an_internal_window_lands_at_once_and_cancelling_one_never_lands() {
    let mut book = book();
    book.act(internal(flat(9, 9), flat(8, 8), 10, 70, 5)).unwrap();
    book.act(PricingCommand::EndInternal { number: 1, now: second(20) }).unwrap();
    assert_eq!(prices(&book.0, second(20)), ((8, 8), (5_000_000, 30_000_000)));
    book.act(internal(flat(7, 7), flat(6, 6), 100, 170, 20)).unwrap();
    book.act(PricingCommand::CancelInternal { number: 2, now: second(30) }).unwrap();
    assert_eq!(prices(&book.0, second(200)).0, (8, 8));
}

#[test]
fn what_is_deducted_is_set_by_whatever_came_last() {
    let mut book = book();
    book.act(internal(flat(9, 9), flat(8, 8), 10, 70, 5)).unwrap();
    let card = |at, internal| {
        let card = three_modes(MODEL, at);
        crate::pricing::PublishRateCard { internal, ..card }
    };
    book.publish(card(30, Some(flat(7, 7)))).unwrap();
    assert_eq!(prices(&book.0, second(30)).0, (9, 9), "the window goes on");
    assert_eq!(prices(&book.0, second(70)).0, (8, 8), "its landing is later than the card");
    assert_eq!(
        book.publish(card(80, Some(flat(8, 8)))),
        Ok(vec![PricingEvent::InternalWindowEnded {
            number: 1,
            end: second(70),
            landing: of_model(flat(8, 8)),
            at: second(80),
        }]),
        "the card says what counts already"
    );
    book.publish(card(90, Some(flat(5, 5)))).unwrap();
    assert_eq!(prices(&book.0, second(90)).0, (5, 5));
    book.publish(card(95, None)).unwrap();
    assert_eq!(prices(&book.0, second(95)).0, (5_000_000, 30_000_000), "display rates again");
}

#[test]
fn a_percentage_moves_internal_rates_and_never_the_display() {
    let mut book = book();
    let adjust =
        |basis_points, now| PricingCommand::AdjustInternal { basis_points, models: vec![], now: second(now) };
    book.act(adjust(1_000, 10)).unwrap();
    assert_eq!(prices(&book.0, second(10)), ((5_500_000, 33_000_000), (5_000_000, 30_000_000)));
    book.act(internal(flat(9_000_000, 48_000_000), flat(8_000_000, 45_000_000), 20, HOUR, 15)).unwrap();
    let events = book.act(adjust(-5_000, 30)).unwrap();
    let plan = InternalPlan {
        rates: of_model(flat(4_500_000, 24_000_000)),
        landing: of_model(flat(4_000_000, 22_500_000)),
    };
    assert_eq!(
        events,
        [PricingEvent::InternalRatesAdjusted {
            basis_points: -5_000,
            base: of_model(flat(2_750_000, 16_500_000)),
            window: Some(AdjustedWindow { number: 1, plan }),
            at: second(30),
        }]
    );
    assert_eq!(prices(&book.0, second(30)).0, (4_500_000, 24_000_000));
    assert_eq!(prices(&book.0, second(HOUR)), ((4_000_000, 22_500_000), (5_000_000, 30_000_000)));
}

#[test]
fn an_adjustment_names_models_of_the_book_and_a_percentage_that_changes_something() {
    let mut book = book();
    let adjust = |basis_points, models: &[&str]| PricingCommand::AdjustInternal {
        basis_points,
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        now: second(10),
    };
    for basis_points in [0, MIN_BASIS_POINTS - 1, MAX_BASIS_POINTS + 1, i32::MIN, i32::MAX] {
        let refusal = PricingRefusal::AdjustmentOutOfRange { basis_points };
        assert_eq!(book.act(adjust(basis_points, &[])), Err(refusal));
    }
    let told = PricingRefusal::AdjustmentOutOfRange { basis_points: MIN_BASIS_POINTS - 1 }.to_string();
    assert_eq!(told, "-100 % is no adjustment: it is -99.99 to 1000 %, and not 0");
    let unknown = PricingRefusal::UnknownModel { model: "unknown".into() };
    assert_eq!(book.act(adjust(1, &[MODEL, "unknown"])), Err(unknown));
    assert_eq!(Book::default().act(adjust(1, &[])), Err(PricingRefusal::NothingToAdjust));
    let mut dear = Book::default()
        .with(crate::pricing::PublishRateCard { internal: Some(flat(1, MAX_RATE)), ..publish(MODEL, 0) });
    let refusal = PricingRefusal::RateOutOfRange { amount: MAX_RATE + MAX_RATE / 10_000 };
    assert_eq!(dear.act(adjust(1, &[MODEL])), Err(refusal));
    let mut two = Book::default().with(publish(MODEL, 0)).with(publish("b", 0));
    two.act(adjust(10_000, &["b"])).unwrap();
    assert_eq!(prices(&two.0, second(10)).0, (5_000_000, 25_000_000), "another model's");
}

#[test]
fn an_adjustment_does_not_take_a_model_out_of_the_mode_it_is_billed_by() {
    let mut book = book().with(publish("b", 0));
    book.act(schedule(Mode::Surge, 10, 70, 5)).unwrap();
    let adjust = |models: &[&str], at| PricingCommand::AdjustInternal {
        basis_points: 1_000,
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        now: second(at),
    };
    let refusal = PricingRefusal::BilledByMode { model: MODEL.into(), mode: Mode::Surge };
    assert_eq!(book.act(adjust(&[], 10)), Err(refusal.clone()));
    assert!(refusal.to_string().starts_with("the surge mode is on"), "{refusal}");
    book.act(adjust(&["b"], 10)).expect("it has no rates of a surge");
    book.act(adjust(&[], 70)).expect("the surge is over");
    assert_eq!(prices(&book.0, second(70)).0, (5_500_000, 33_000_000));
    book.act(schedule(Mode::Surge, 100, 170, 75)).unwrap();
    book.act(adjust(&[], 100)).expect("it has internal rates, which no mode changes");
    assert_eq!(prices(&book.0, second(100)).0, (6_050_000, 36_300_000));
}

#[test]
fn the_book_with_windows_survives_being_stored_and_an_older_book_is_read() {
    let mut book = book();
    book.act(schedule(Mode::Surge, 10, 10 + MINUTE, 5)).unwrap();
    book.act(internal(flat(9, 9), flat(8, 8), 10, 70, 5)).unwrap();
    book.publish(publish("b", 500)).unwrap();
    let stored = serde_json::to_value(&book.0).unwrap();
    assert_eq!(serde_json::from_value::<PriceBook>(stored.clone()).unwrap(), book.0);
    let older = serde_json::json!({ "cards": stored["cards"], "versions": stored["versions"] });
    let read: PriceBook = serde_json::from_value(older).unwrap();
    assert_eq!(prices(&read, second(500)).0, (5_000_000, 30_000_000));
}
