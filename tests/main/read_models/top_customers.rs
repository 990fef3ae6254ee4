//! Who was charged most, in any zone's days: the same as a count over the events themselves.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate};
use chrono_tz::Tz;
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};
use codexapi_aggregates::usage::{Payer, UsageEvent};
use codexapi_projections::apply::apply;
use codexapi_projections::customer_usage::top_customers;
use codexapi_projections::read_model;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use super::history::{ACCOUNTS, History, MODELS, Step};
use super::zones::ZONES;
use super::{clear, database, entries};

const CASES: u32 = 24;

/// What is asked, of days counted from the first of October.
#[derive(Clone, Debug)]
struct Question {
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
    models: Vec<String>,
    limit: u32,
}

fn questions() -> impl Strategy<Value = Vec<Question>> {
    let day = |days: u64| NaiveDate::from_ymd_opt(2026, 10, 1).expect("a day") + Days::new(days);
    let models = prop::sample::subsequence(MODELS.map(str::to_owned).to_vec(), 1..=MODELS.len());
    let question = (prop::sample::select(ZONES.to_vec()), 0..40_u64, 0..8_u64, models, 1..=3_u32).prop_map(
        move |(zone, from, more, models, limit)| {
            // Most ranges are short ones, whose ends are all there is.
            let (from, to) = (day(from), day(from + more * more));
            Question { zone, from, to, models, limit }
        },
    );
    prop::collection::vec(question, 40)
}

/// Generations day and night for some weeks, and reversals of some.
fn generations() -> impl Strategy<Value = Vec<Step>> {
    let one = (0..ACCOUNTS, 1..200_u16, 0..500_u16, 0..8_u8);
    prop::collection::vec(one, 1..160).prop_map(|all| {
        let grants = (0..ACCOUNTS).map(|account| Step { kind: 0, account, amount: u16::MAX, minutes: 0 });
        let generations = all.into_iter().flat_map(|(account, amount, minutes, what)| {
            let hold = Step { kind: 1, account, amount, minutes };
            let settle = Step { kind: 4, minutes: minutes / 9, ..hold };
            let reverse = Step { kind: 8, minutes: 0, ..hold };
            [hold, settle].into_iter().chain((what == 0).then_some(reverse))
        });
        grants.chain(generations).collect()
    })
}

/// Requests, output tokens, charged and reversed.
type Counted = (i64, i64, i64, i64);

fn counted(events: &[RecordedEvent], question: &Question) -> Vec<(Uuid, Counted)> {
    let mut settled = BTreeMap::new();
    let mut customers: BTreeMap<Uuid, Counted> = BTreeMap::new();
    for event in events {
        match &event.event {
            AnyEvent::Usage(UsageEvent::GenerationSettled(of)) => {
                let Payer::Wallet { account_id } = of.payer else { continue };
                let at = DateTime::from_timestamp_micros(of.at.0).expect("a time");
                let day = at.with_timezone(&question.zone).date_naive();
                let asked = (question.from..=question.to).contains(&day);
                if asked && question.models.contains(&of.billed_model) {
                    settled.insert(of.generation_id, account_id.0);
                    let sums = customers.entry(account_id.0).or_default();
                    sums.0 += 1;
                    sums.1 += i64::try_from(of.usage.output).expect("few");
                    sums.2 += of.charged_micro.0;
                }
            }
            AnyEvent::Usage(UsageEvent::ChargeReversed { generation_id, amount_micro, .. }) => {
                if let Some(account) = settled.get(generation_id) {
                    customers.entry(*account).or_default().3 += amount_micro.0;
                }
            }
            _ => {}
        }
    }
    let mut customers: Vec<_> = customers.into_iter().collect();
    customers.sort_by_key(|(account, sums)| (Reverse(sums.2 - sums.3), *account));
    customers.truncate(question.limit as usize);
    customers
}

#[tokio::test(flavor = "multi_thread")]
async fn the_customers_who_were_charged_most_are_the_events_own_in_every_zone_and_range() {
    let (_database, pool) = database().await;
    let handle = tokio::runtime::Handle::current();
    let model = read_model("customer_spans").expect("a read model");
    let check = move || {
        let mut runner =
            TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        runner.run(&(generations(), questions()), |(steps, questions)| {
            let events = History::of(&steps).events;
            handle.block_on(async {
                clear(&pool).await;
                apply(&pool, model, &entries(&events), 0).await.expect("applied");
            });
            for question in questions {
                let Question { zone, from, to, models, limit } = &question;
                let top = handle.block_on(top_customers(&pool, *zone, *from, *to, models, *limit));
                let read: Vec<(Uuid, Counted)> = top
                    .expect("read")
                    .into_iter()
                    .map(|customer| {
                        let sums = customer.sums;
                        let micro = (sums.charged_micro.0, sums.reversed_micro.0);
                        (customer.account_id, (sums.requests, sums.output_tokens, micro.0, micro.1))
                    })
                    .collect();
                prop_assert_eq!(read, counted(&events, &question), "{:?}", question);
            }
            Ok(())
        })
    };
    tokio::task::spawn_blocking(check).await.expect("no panic").expect("the same customers");
}
