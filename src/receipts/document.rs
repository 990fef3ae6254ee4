//! What stands on a receipt or a credit note.

use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::Channel;
use codexapi_projections::payments::PaymentKind;
use codexapi_projections::receipts::{Issue, NoteReason, Receipt, Reversal, Standing};

use super::latin::wrapped;
use super::sheet::{Font, Sheet};
use super::vat;
use crate::accounts::persons::Person;
use crate::config::company::{Company, VatRates};

/// Lines of a customer's name, and credit notes that a receipt names, at most.
const NAME_LINES: usize = 3;
const NAMED_NOTES: usize = 12;

const SIZE: f32 = 9.0;

pub struct Document<'a> {
    pub company: Company<'a>,
    /// Absent where erased.
    pub customer: Option<&'a Person>,
    pub receipt: &'a Receipt,
    /// Present where it is a credit note.
    pub note: Option<&'a Reversal>,
}

impl Document<'_> {
    pub fn draw(&self) -> Vec<u8> {
        let mut sheet = Sheet::new();
        self.draw_company(&mut sheet);
        self.draw_title(&mut sheet);
        self.draw_customer(&mut sheet);
        self.draw_amounts(&mut sheet);
        self.draw_standing(&mut sheet);
        if let Some(note) = self.company.note {
            sheet.gap(12.0);
            sheet.line(Font::Plain, SIZE, note);
        }
        sheet.finish(&self.number(), self.issue().issued_at)
    }

    fn number(&self) -> String {
        let number = self.note.and_then(Reversal::number).unwrap_or_else(|| self.receipt.number());
        number.to_string()
    }

    fn issue(&self) -> &Issue {
        self.note.and_then(|note| note.issue.as_ref()).unwrap_or(&self.receipt.issue)
    }

    fn draw_company(&self, sheet: &mut Sheet) {
        let Company { name, address, country, email, vat, .. } = self.company;
        sheet.line(Font::Bold, 12.0, name);
        for line in address.iter().map(String::as_str).chain([country, email]) {
            sheet.line(Font::Plain, SIZE, line);
        }
        if let Some((id, _)) = vat {
            sheet.line(Font::Plain, SIZE, &format!("VAT id {id}"));
        }
    }

    fn draw_title(&self, sheet: &mut Sheet) {
        sheet.gap(24.0);
        let title = if self.note.is_some() { "Credit note" } else { "Receipt" };
        sheet.line(Font::Bold, 16.0, &format!("{title} {}", self.number()));
        sheet.gap(4.0);
        sheet.line(Font::Plain, SIZE, &format!("Date: {}", day(self.issue())));
        if self.note.is_some() {
            let receipt = self.receipt;
            let about = format!("For receipt {} of {}", receipt.number(), day(&receipt.issue));
            sheet.line(Font::Plain, SIZE, &about);
        }
        if !self.receipt.payment.livemode {
            sheet.line(Font::Bold, SIZE, "TEST: no money was moved");
        }
    }

    fn draw_customer(&self, sheet: &mut Sheet) {
        sheet.gap(18.0);
        sheet.line(Font::Bold, SIZE, "Customer");
        if let Some(Person { name, email, country, .. }) = self.customer {
            for line in wrapped(name.as_deref().unwrap_or_default(), NAME_LINES) {
                sheet.line(Font::Plain, SIZE, &line);
            }
            for text in [email, country].into_iter().flatten() {
                for line in wrapped(text, NAME_LINES) {
                    sheet.line(Font::Plain, SIZE, &line);
                }
            }
        }
        sheet.line(Font::Plain, SIZE, &format!("Account {}", self.receipt.payment.account_id));
    }

    fn draw_amounts(&self, sheet: &mut Sheet) {
        let (what, gross, before, total) = match self.note {
            Some(note) => (why(note.reason).to_owned(), note.amount_micro, note.before_micro, "Credited"),
            None => (self.bought(), self.receipt.payment.paid_micro, MicroUsd::ZERO, "Paid"),
        };
        sheet.gap(18.0);
        sheet.row(Font::Bold, SIZE, "For", "USD");
        sheet.rule();
        sheet.row(Font::Plain, SIZE, &what, &dollars(gross));
        sheet.rule();
        if let Some((_, rates)) = self.company.vat {
            let rate = self.rate(rates);
            let vat = vat::of_part(before, gross, rate);
            sheet.row(Font::Plain, SIZE, "Net", &dollars(gross - vat));
            sheet.row(Font::Plain, SIZE, &format!("VAT {}", percent(rate)), &dollars(vat));
        }
        sheet.row(Font::Bold, SIZE, total, &dollars(gross));
        sheet.gap(12.0);
        let payment = &self.receipt.payment;
        let how = match payment.channel {
            Channel::Checkout => "at checkout",
            Channel::OffSession => "by saved card",
            Channel::Invoice => "by subscription",
        };
        sheet.line(Font::Plain, SIZE, &format!("Paid {how}, payment {}", payment.payment_id));
    }

    /// The rate of the day that was paid on; a credit note has its receipt's.
    fn rate(&self, rates: &VatRates) -> u32 {
        rates.on(self.receipt.issue.issued_at.date_naive())
    }

    fn bought(&self) -> String {
        let payment = &self.receipt.payment;
        let plan = payment.plan_id.as_deref().map(|plan| format!(" ({plan} × {})", payment.quantity));
        let plan = plan.unwrap_or_default();
        match (payment.kind, payment.credit_micro) {
            (PaymentKind::TokenCredit, Some(credit)) => {
                format!("Token credit of USD {}{plan}", dollars(credit))
            }
            (PaymentKind::TokenCredit, None) => format!("Token credit{plan}"),
            (PaymentKind::CashTopUp, _) => format!("Cash Wallet top-up{plan}"),
            (PaymentKind::Entitlement, _) => format!("Time of a plan{plan}"),
        }
    }

    /// What became of the money since.
    fn draw_standing(&self, sheet: &mut Sheet) {
        sheet.gap(12.0);
        match self.note {
            Some(Reversal { void_at: Some(at), .. }) => {
                let void = format!("VOID since {}: the money came back", at.date_naive());
                sheet.line(Font::Bold, SIZE, &void);
            }
            Some(_) => {}
            None => self.draw_reversals(sheet),
        }
    }

    fn draw_reversals(&self, sheet: &mut Sheet) {
        let (paid, back) = (self.receipt.payment.paid_micro, self.receipt.credited_back());
        if back >= paid {
            sheet.line(Font::Bold, SIZE, &format!("REFUNDED: USD {}", dollars(back)));
        } else if back.is_positive() {
            let refunded = format!("PARTLY REFUNDED: USD {} of {}", dollars(back), dollars(paid));
            sheet.line(Font::Bold, SIZE, &refunded);
        }
        let withheld = self.receipt.withheld();
        if withheld.is_positive() {
            let disputed = format!("DISPUTED: the payer's bank withholds USD {}", dollars(withheld));
            sheet.line(Font::Bold, SIZE, &disputed);
        }
        let holding = |note: &&Reversal| note.standing == Standing::Holds;
        let notes: Vec<_> = self.receipt.reversals.iter().filter(holding).filter_map(named).collect();
        for note in notes.iter().take(NAMED_NOTES) {
            sheet.line(Font::Plain, SIZE, note);
        }
        if notes.len() > NAMED_NOTES {
            sheet.line(Font::Plain, SIZE, &format!("and {} more", notes.len() - NAMED_NOTES));
        }
    }
}

fn named(note: &Reversal) -> Option<String> {
    let (number, issue) = (note.number()?, note.issue.as_ref()?);
    Some(format!("Credit note {number} of {}: USD {}", day(issue), dollars(note.amount_micro)))
}

fn why(reason: NoteReason) -> &'static str {
    match reason {
        NoteReason::Refund => "Refund",
        NoteReason::Dispute => "Payment that the payer's bank took back",
    }
}

fn day(issue: &Issue) -> String {
    issue.issued_at.date_naive().to_string()
}

/// Whole cents where it is whole cents, which all that is paid is.
fn dollars(amount: MicroUsd) -> String {
    let text = amount.to_string();
    text.strip_suffix("0000").map(str::to_owned).unwrap_or(text)
}

fn percent(basis_points: u32) -> String {
    match (basis_points / 100, basis_points % 100) {
        (whole, 0) => format!("{whole} %"),
        (whole, part) => format!("{whole}.{part:02} %"),
    }
}
