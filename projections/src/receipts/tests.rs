use chrono::{DateTime, Utc};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::Channel;
use proptest::prelude::*;
use uuid::Uuid;

use super::issuing::{Book, Fact, Turn, What};
use super::{DocumentNumber, NoteReason, PaidFor, Reversal, Series, Standing};
use crate::payments::PaymentKind;

fn payment(number: u8) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

fn at(year: i32) -> DateTime<Utc> {
    format!("{year}-06-01T00:00:00Z").parse().expect("a moment")
}

fn started(number: u8, livemode: bool) -> What {
    What::Started(PaidFor {
        payment_id: payment(number),
        account_id: payment(99),
        livemode,
        channel: Channel::Checkout,
        kind: PaymentKind::TokenCredit,
        plan_id: None,
        quantity: 1,
        paid_micro: MicroUsd::dollars(10),
        credit_micro: Some(MicroUsd::dollars(25)),
    })
}

fn refund(id: &str, dollars: i64, turn: Turn) -> What {
    reversed(id, NoteReason::Refund, dollars, turn)
}

fn reversed(id: &str, reason: NoteReason, dollars: i64, turn: Turn) -> What {
    What::Reversed { reversal_id: id.into(), reason, amount_micro: MicroUsd::dollars(dollars), turn }
}

/// The book once all of it happened, in this order.
fn book(facts: Vec<(u8, i32, What)>) -> Book {
    let mut book = Book::default();
    for (position, (number, year, what)) in (1..).zip(facts) {
        let fact = Fact { payment_id: payment(number), at: at(year), position, what };
        book.take(fact).expect("of payments that were started");
    }
    book
}

fn receipt(book: &Book, number: u8) -> Option<(i32, i64)> {
    book.paid[&payment(number)].issue.as_ref().map(|issue| (issue.year, issue.number))
}

fn note<'a>(book: &'a Book, number: u8, id: &str) -> &'a Reversal {
    &book.reversals[&(payment(number), id.to_owned())]
}

#[test]
fn receipts_are_numbered_as_payments_are_credited_year_by_year() {
    let book = book(vec![
        (1, 2026, started(1, true)),
        (2, 2026, started(2, true)),
        (3, 2026, started(3, true)),
        (2, 2026, What::Credited),
        (3, 2027, What::Credited),
        (1, 2027, What::Credited),
    ]);
    assert_eq!([1, 2, 3].map(|n| receipt(&book, n)), [Some((2027, 2)), Some((2026, 1)), Some((2027, 1))]);
}

#[test]
fn what_is_not_credited_has_no_receipt_and_test_mode_takes_no_number_of_real_money() {
    let book = book(vec![
        (1, 2026, started(1, true)),
        (2, 2026, started(2, false)),
        (3, 2026, started(3, true)),
        (2, 2026, What::Credited),
        (3, 2026, What::Credited),
    ]);
    assert_eq!([1, 2, 3].map(|n| receipt(&book, n)), [None, Some((2026, 1)), Some((2026, 1))]);
}

#[test]
fn each_refund_is_a_credit_note_and_one_that_failed_is_void_and_keeps_its_number() {
    let book = book(vec![
        (1, 2026, started(1, true)),
        (1, 2026, What::Credited),
        (1, 2026, refund("re_1", 2, Turn::WentBack)),
        (1, 2026, refund("re_2", 3, Turn::WentBack)),
        (1, 2026, refund("re_1", 2, Turn::CameAgain)),
    ]);
    let (first, second) = (note(&book, 1, "re_1"), note(&book, 1, "re_2"));
    assert_eq!(first.number().expect("a credit note").to_string(), "CN-2026-000001");
    assert_eq!((first.standing, first.void_at), (Standing::Void, Some(at(2026))));
    assert_eq!(second.number().expect("a credit note").to_string(), "CN-2026-000002");
    assert_eq!((second.standing, second.before_micro), (Standing::Holds, MicroUsd::dollars(2)));
}

#[test]
fn a_dispute_is_a_credit_note_only_once_it_is_lost() {
    let turns = |turns: &[Turn]| {
        let disputed = turns.iter().map(|turn| (1, 2026, reversed("dp", NoteReason::Dispute, 10, *turn)));
        let credited = vec![(1, 2026, started(1, true)), (1, 2026, What::Credited)];
        let book = book(credited.into_iter().chain(disputed).collect());
        let note = note(&book, 1, "dp");
        (note.standing, note.issue.is_some())
    };
    assert_eq!(turns(&[Turn::Nothing]), (Standing::Nothing, false));
    assert_eq!(turns(&[Turn::Withheld]), (Standing::Withheld, false));
    assert_eq!(turns(&[Turn::Withheld, Turn::CameAgain]), (Standing::Nothing, false));
    assert_eq!(turns(&[Turn::Withheld, Turn::WentBack]), (Standing::Holds, true));
    assert_eq!(turns(&[Turn::WentBack, Turn::CameAgain]), (Standing::Void, true));
}

#[test]
fn what_went_back_before_the_payment_was_heard_of_is_a_credit_note_after_its_receipt() {
    let book = book(vec![
        (1, 2026, started(1, true)),
        (1, 2026, refund("re_1", 4, Turn::WentBack)),
        (1, 2026, refund("re_2", 3, Turn::WentBack)),
        (1, 2026, refund("re_2", 3, Turn::CameAgain)),
        (1, 2027, What::Credited),
    ]);
    assert_eq!(receipt(&book, 1), Some((2027, 1)));
    assert_eq!(note(&book, 1, "re_1").number().expect("a credit note").to_string(), "CN-2027-000001");
    assert_eq!(note(&book, 1, "re_2").number(), None);
}

#[test]
fn a_number_is_read_as_it_is_written_and_in_no_other_way() {
    let number =
        DocumentNumber { series: Series::CreditNote, livemode: false, year: 2026, number: 1_234_567 };
    assert_eq!(number.to_string(), "TEST-CN-2026-1234567");
    assert_eq!(number.to_string().parse(), Ok(number));
    for other in
        ["", "R", "R-2026", "R-2026-1", "r-2026-000001", "R-2026-000001-", "X-2026-000001", "R--2026-000001"]
    {
        assert!(other.parse::<DocumentNumber>().is_err(), "{other}");
    }
}

proptest! {
    #[test]
    fn numbers_have_no_gaps_whatever_happens(
        steps in prop::collection::vec((0..6_u8, 0..5_u8, 0..3_u8, 2026..2029_i32), 1..80)
    ) {
        let mut facts: Vec<_> = (0..6).map(|n| (n, 2026, started(n, n % 2 == 0))).collect();
        let mut credited = [false; 6];
        for (number, kind, id, year) in steps {
            let id = format!("re_{id}");
            facts.push((number, year, match kind {
                0 if !credited[usize::from(number)] => {
                    credited[usize::from(number)] = true;
                    What::Credited
                }
                1 => refund(&id, 1, Turn::Withheld),
                2 => refund(&id, 1, Turn::CameAgain),
                _ => refund(&id, 1, Turn::WentBack),
            }));
        }
        let book = book(facts);
        for ((series, livemode, year), last) in &book.last {
            let mut numbers: Vec<i64> = match series {
                Series::Receipt => book.paid.values().filter(|paid| paid.payment.livemode == *livemode)
                    .filter_map(|paid| paid.issue.as_ref()).filter(|issue| issue.year == *year)
                    .map(|issue| issue.number).collect(),
                Series::CreditNote => book.reversals.values().filter(|note| note.livemode == *livemode)
                    .filter_map(|note| note.issue.as_ref()).filter(|issue| issue.year == *year)
                    .map(|issue| issue.number).collect(),
            };
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (1..=*last).collect::<Vec<_>>());
        }
    }
}
