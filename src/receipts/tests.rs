use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::receipts::{Receipt, Reversal};
use lopdf::Document;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::latin::{is_printed, legible, wrapped};
use super::{drawn, vat};
use crate::accounts::persons::Person;
use crate::config::CompanySettings;
use crate::config::company::Company;

fn settings() -> CompanySettings {
    CompanySettings {
        company_name: Some("Beispiel & Söhne GmbH".into()),
        company_address: Some("Hauptstraße 1|10115 Berlin".parse().expect("an address")),
        company_country: Some("DE".into()),
        company_email: Some("billing@example.com".into()),
        company_vat_id: Some("DE123456789".into()),
        company_vat_basis_points: Some("1900,2027-01-01=2000".parse().expect("rates")),
        receipt_note: Some("Thank you.".into()),
    }
}

fn receipt(reversals: &[serde_json::Value]) -> Receipt {
    let row = json!({
        "payment_id": Uuid::from_u128(1), "account_id": Uuid::from_u128(2), "livemode": true,
        "channel": "checkout", "kind": "token_credit", "plan_id": "titan", "quantity": 1,
        "paid_micro": 119_990_000, "credit_micro": 1_250_000_000,
        "year": 2026, "number": 42, "issued_at": "2026-12-31T23:59:59Z", "position": 7,
    });
    let mut receipt: Receipt = serde_json::from_value(row).expect("a receipt");
    let reversal = |row: &serde_json::Value| serde_json::from_value::<Reversal>(row.clone()).expect("one");
    receipt.reversals = reversals.iter().map(reversal).collect();
    receipt
}

fn refund(number: i64, amount: i64, before: i64, void_at: Option<&str>) -> serde_json::Value {
    json!({
        "payment_id": Uuid::from_u128(1), "reversal_id": format!("re_{number}"), "livemode": true,
        "reason": "refund", "amount_micro": amount, "before_micro": before, "void_at": void_at,
        "standing": if void_at.is_some() { "void" } else { "holds" },
        "year": 2027, "number": number, "issued_at": "2027-01-02T00:00:00Z", "position": 8,
    })
}

fn ada() -> Person {
    Person {
        person_id: Uuid::from_u128(3),
        name: Some("Ада Лавлейс".into()),
        email: Some("ada@example.com".into()),
        country: Some("GB".into()),
        mobile: None,
    }
}

/// The lines of the page, as a reader of PDF that we did not write finds them.
fn lines(pdf: &[u8]) -> Vec<String> {
    let document = Document::load_mem(pdf).expect("a PDF");
    assert_eq!(document.get_pages().len(), 1);
    let text = document.extract_text(&[1]).expect("text");
    text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

fn receipt_lines(company: Company<'_>, customer: Option<&Person>, receipt: &Receipt) -> Vec<String> {
    lines(&drawn(company, customer, receipt, receipt.number()))
}

#[test]
fn a_receipt_says_who_was_paid_by_whom_for_what_and_the_vat_in_it() {
    let settings = settings();
    let company = settings.company().expect("a company");
    assert_eq!(
        receipt_lines(company, Some(&ada()), &receipt(&[])),
        [
            "Beispiel & Söhne GmbH",
            "Hauptstraße 1",
            "10115 Berlin",
            "DE",
            "billing@example.com",
            "VAT id DE123456789",
            "Receipt R-2026-000042",
            "Date: 2026-12-31",
            "Customer",
            "Ada Lavleis",
            "ada@example.com",
            "GB",
            "Account 00000000-0000-0000-0000-000000000002",
            "For",
            "USD",
            "Token credit of USD 1250.00 (titan × 1)",
            "119.99",
            "Net",
            "100.83",
            "VAT 19 %",
            "19.16",
            "Paid",
            "119.99",
            "Paid at checkout, payment 00000000-0000-0000-0000-000000000001",
            "Thank you.",
        ]
    );
}

#[test]
fn without_a_vat_id_there_is_no_vat_line_and_of_who_was_erased_the_account_remains() {
    let settings = CompanySettings { company_vat_id: None, company_vat_basis_points: None, ..settings() };
    let said = receipt_lines(settings.company().expect("a company"), None, &receipt(&[]));
    assert!(!said.iter().any(|line| line.contains("VAT") || line == "Net"), "{said:?}");
    let customer = said.iter().position(|line| line == "Customer").expect("its heading");
    assert_eq!(said[customer + 1], "Account 00000000-0000-0000-0000-000000000002");
}

#[test]
fn a_receipt_says_what_was_refunded_and_its_credit_notes_add_up_to_its_vat() {
    let settings = settings();
    let company = settings.company().expect("a company");
    let partly = receipt(&[refund(1, 19_990_000, 0, None)]);
    let said = receipt_lines(company, None, &partly);
    assert!(said.contains(&"PARTLY REFUNDED: USD 19.99 of 119.99".to_owned()), "{said:?}");
    assert!(said.contains(&"Credit note CN-2027-000001 of 2027-01-02: USD 19.99".to_owned()), "{said:?}");

    let wholly = receipt(&[refund(1, 19_990_000, 0, None), refund(2, 100_000_000, 19_990_000, None)]);
    let said = receipt_lines(company, None, &wholly);
    assert!(said.contains(&"REFUNDED: USD 119.99".to_owned()), "{said:?}");
    let notes = wholly.reversals.iter().map(|note| {
        let number = note.number().expect("a credit note");
        let said = lines(&drawn(company, None, &wholly, number));
        assert!(said.contains(&format!("Credit note {number}")), "{said:?}");
        assert!(said.contains(&"For receipt R-2026-000042 of 2026-12-31".to_owned()), "{said:?}");
        // The rate of the day that was paid on, not of the day of the refund.
        let vat = said.iter().position(|line| line == "VAT 19 %").expect("a VAT line");
        said[vat + 1].parse::<MicroUsd>().expect("an amount")
    });
    assert_eq!(notes.sum::<MicroUsd>(), MicroUsd(19_160_000));
}

#[test]
fn a_void_credit_note_says_so_and_refunds_nothing() {
    let settings = settings();
    let company = settings.company().expect("a company");
    let receipt = receipt(&[refund(1, 19_990_000, 0, Some("2027-01-05T00:00:00Z"))]);
    let number = receipt.reversals[0].number().expect("a credit note");
    let said = lines(&drawn(company, None, &receipt, number));
    assert!(said.contains(&"VOID since 2027-01-05: the money came back".to_owned()), "{said:?}");
    let said = receipt_lines(company, None, &receipt);
    assert!(!said.iter().any(|line| line.contains("REFUNDED")), "{said:?}");
}

#[test]
fn one_payment_gives_the_same_bytes_each_time() {
    let (settings, receipt, customer) = (settings(), receipt(&[]), ada());
    let company = settings.company().expect("a company");
    let once = drawn(company, Some(&customer), &receipt, receipt.number());
    assert_eq!(once, drawn(company, Some(&customer), &receipt, receipt.number()));
}

#[test]
fn names_in_other_letters_are_written_in_latin_ones() {
    for (name, written) in [
        ("Zoë Ångström", "Zoë Ångström"),
        ("Łukasz Żółć", "Lukasz Zólc"),
        ("李小龍", "Li Xiao Long"),
        ("Νίκος", "Nikos"),
        ("a\u{0}\nb", "a b"),
        ("e\u{301}", "e"),
    ] {
        assert_eq!(legible(name), written, "{name:?}");
    }
    assert_eq!(wrapped(&"W".repeat(200), 3).iter().map(String::len).collect::<Vec<_>>(), [60, 60, 60]);
}

proptest! {
    #[test]
    fn net_and_vat_are_what_was_paid_to_the_cent(cents in 0..10_000_000_i64, rate in 0..=3_000_u32) {
        let gross = MicroUsd(cents * 10_000);
        let vat = vat::included(gross, rate);
        let net = gross - vat;
        prop_assert!(vat.0 >= 0 && net.0 >= 0 && vat.0 % 10_000 == 0);
        // Half a cent, and no more, away from net × rate = VAT × 100 %.
        let off = (i128::from(gross.0) * i128::from(rate) - i128::from(vat.0) * i128::from(10_000 + rate)).abs();
        prop_assert!(2 * off <= i128::from(10_000 + rate) * 10_000);
    }

    #[test]
    fn parts_have_together_the_vat_of_the_whole(
        parts in prop::collection::vec(1..1_000_000_i64, 1..9), rate in 0..=3_000_u32
    ) {
        let (mut before, mut sum) = (MicroUsd::ZERO, MicroUsd::ZERO);
        for cents in parts {
            let part = MicroUsd(cents * 10_000);
            let vat = vat::of_part(before, part, rate);
            prop_assert!(vat.0 >= 0 && vat <= part);
            (before, sum) = (before + part, sum + vat);
        }
        prop_assert_eq!(sum, vat::included(before, rate));
    }

    #[test]
    fn whatever_a_name_is_it_can_be_printed(name in any::<String>()) {
        prop_assert!(legible(&name).chars().all(is_printed));
    }
}
