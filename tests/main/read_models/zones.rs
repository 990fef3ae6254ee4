//! A day is the caller's day: sums of quarter-hours equal a count over the raw events, in zones off
//! by half and quarter hours, and on days of 23, 23½, 24½ and 25 hours.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::usage::{Payer, UsageEvent};
use codexapi_projections::usage::{Breakdown, daily};

use super::folding::full_history;
use super::history::{History, Step, account};
use super::{apply_to_all, database};

pub(super) const ZONES: [Tz; 8] = [
    Tz::UTC,
    Tz::Asia__Kolkata,
    Tz::Asia__Kathmandu,
    Tz::Australia__Lord_Howe,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    // Its clocks go back from 1:00 to 0:00, so that midnight comes twice.
    Tz::America__Havana,
    Tz::Pacific__Kiritimati,
];

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a day")
}

/// Requests and charge per day, counted from the events themselves.
fn counted(events: &[RecordedEvent], zone: Tz) -> BTreeMap<NaiveDate, (i64, i64)> {
    let mut days = BTreeMap::new();
    for event in events {
        let AnyEvent::Usage(UsageEvent::GenerationSettled(settled)) = &event.event else { continue };
        if settled.payer != (Payer::Wallet { account_id: account(0) }) {
            continue;
        }
        let at: DateTime<Utc> = DateTime::from_timestamp_micros(settled.at.0).expect("a time");
        let sums: &mut (i64, i64) = days.entry(at.with_timezone(&zone).date_naive()).or_default();
        sums.0 += 1;
        sums.1 += settled.charged_micro.0;
    }
    days
}

/// Generations all day from early October into November, over the changes of clocks.
fn autumn() -> Vec<RecordedEvent> {
    let grant = Step { kind: 0, account: 0, amount: u16::MAX, minutes: 0 };
    let hold = |n: u16| Step { kind: 1, account: 0, amount: 1 + n % 50, minutes: 0 };
    let settle = |n: u16| Step { kind: 4, account: 0, amount: n, minutes: 23 };
    let pairs = (0..1_900).flat_map(|n| [hold(n), settle(n)]);
    History::of(&std::iter::once(grant).chain(pairs).collect::<Vec<_>>()).events
}

#[tokio::test]
async fn a_days_usage_is_what_the_events_of_that_local_day_add_up_to() {
    for events in [full_history(), autumn()] {
        let (_database, pool) = database().await;
        apply_to_all(&pool, &events, 0).await;
        for zone in ZONES {
            let expected = counted(&events, zone);
            let (from, to) = (day("2026-10-01"), day("2026-12-31"));
            let days = daily(&pool, account(0).0, zone, from, to, Breakdown::Total).await.expect("read");
            let read: BTreeMap<NaiveDate, (i64, i64)> =
                days.iter().map(|day| (day.day, (day.sums.requests, day.sums.charged_micro.0))).collect();
            assert_eq!(read, expected, "{zone}");
            // A range of one day holds exactly that day.
            for (one, sums) in &expected {
                let alone =
                    daily(&pool, account(0).0, zone, *one, *one, Breakdown::Total).await.expect("read");
                assert_eq!(alone.len(), 1, "{one} in {zone}");
                assert_eq!((alone[0].sums.requests, alone[0].sums.charged_micro.0), *sums, "{one} in {zone}");
            }
        }
    }
}

#[tokio::test]
async fn a_days_parts_add_up_to_the_day() {
    let (_database, pool) = database().await;
    apply_to_all(&pool, &full_history(), 0).await;
    let (from, to, zone) = (day("2026-10-01"), day("2026-12-31"), Tz::Asia__Kathmandu);
    let whole = daily(&pool, account(1).0, zone, from, to, Breakdown::Total).await.expect("read");
    assert!(whole.len() > 1);
    for breakdown in [Breakdown::Family, Breakdown::BilledModel, Breakdown::Model, Breakdown::Key] {
        let parts = daily(&pool, account(1).0, zone, from, to, breakdown).await.expect("read");
        for day in &whole {
            let of_day = || parts.iter().filter(|part| part.day == day.day);
            assert!(of_day().all(|part| part.part.is_some()));
            assert_eq!(of_day().map(|part| part.sums.requests).sum::<i64>(), day.sums.requests);
            assert_eq!(of_day().map(|part| part.sums.charged_micro.0).sum::<i64>(), day.sums.charged_micro.0);
        }
    }
}
