//! Whose receipts they are. Without a company nothing is printed; the numbers go on all the same.
//!
//! A receipt is printed anew whenever it is asked for, so a VAT rate says from which day on it holds: a new one does
//! not change what was paid before.

use std::str::FromStr;

use chrono::NaiveDate;
use clap::Args;

use super::SettingError;
use crate::receipts::latin;

/// The highest rate, in basis points.
const MAX_RATE: u32 = 3_000;

/// What stands on receipts besides the payment.
#[derive(Clone, Debug, Args)]
pub struct CompanySettings {
    /// The company's name as it stands on receipts; without it receipts are listed but not printed
    #[arg(long, env = "CODEXAPI_COMPANY_NAME", value_name = "NAME", value_parser = line)]
    pub company_name: Option<String>,
    /// The company's address, 1 to 5 lines with | between them; wanted with the name
    #[arg(long, env = "CODEXAPI_COMPANY_ADDRESS", value_name = "LINE|LINE…")]
    pub company_address: Option<Address>,
    /// The company's country, two capital letters such as DE; wanted with the name
    #[arg(long, env = "CODEXAPI_COMPANY_COUNTRY", value_name = "CC", value_parser = country)]
    pub company_country: Option<String>,
    /// Where customers ask about receipts; wanted with the name
    #[arg(long, env = "CODEXAPI_COMPANY_EMAIL", value_name = "ADDRESS", value_parser = email)]
    pub company_email: Option<String>,
    /// The company's VAT id; without it receipts have no VAT line
    #[arg(long, env = "CODEXAPI_COMPANY_VAT_ID", value_name = "ID", value_parser = line)]
    pub company_vat_id: Option<String>,
    /// VAT that prices include, in basis points from 0 to 3000 (1900 is 19 %), wanted with the VAT id; later rates
    /// follow with their first day (UTC), as 1900,2027-01-01=2000
    #[arg(long, env = "CODEXAPI_COMPANY_VAT_BASIS_POINTS", value_name = "RATE[,DAY=RATE…]")]
    pub company_vat_basis_points: Option<VatRates>,
    /// A line at the foot of receipts, such as why no VAT is charged
    #[arg(long, env = "CODEXAPI_RECEIPT_NOTE", value_name = "TEXT", value_parser = line)]
    pub receipt_note: Option<String>,
}

/// A company that can be printed.
#[derive(Clone, Copy, Debug)]
pub struct Company<'a> {
    pub name: &'a str,
    pub address: &'a [String],
    pub country: &'a str,
    pub email: &'a str,
    pub vat: Option<(&'a str, &'a VatRates)>,
    pub note: Option<&'a str>,
}

/// Lines of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Vec<String>);

/// Rates by the day from which on they hold; the first one holds from the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VatRates(Vec<(NaiveDate, u32)>);

impl CompanySettings {
    /// Absent where receipts are not printed.
    pub fn company(&self) -> Option<Company<'_>> {
        let vat_id = self.company_vat_id.as_deref();
        Some(Company {
            name: self.company_name.as_deref()?,
            address: &self.company_address.as_ref()?.0,
            country: self.company_country.as_deref()?,
            email: self.company_email.as_deref()?,
            vat: vat_id.zip(self.company_vat_basis_points.as_ref()),
            note: self.receipt_note.as_deref(),
        })
    }

    /// # Errors
    /// A company of which only a part is known, or a VAT id without a rate, or a rate without an id.
    pub fn check(&self) -> Result<(), SettingError> {
        let parts = [
            ("CODEXAPI_COMPANY_NAME", self.company_name.is_some()),
            ("CODEXAPI_COMPANY_ADDRESS", self.company_address.is_some()),
            ("CODEXAPI_COMPANY_COUNTRY", self.company_country.is_some()),
            ("CODEXAPI_COMPANY_EMAIL", self.company_email.is_some()),
        ];
        together(&parts)?;
        let vat = [
            ("CODEXAPI_COMPANY_VAT_ID", self.company_vat_id.is_some()),
            ("CODEXAPI_COMPANY_VAT_BASIS_POINTS", self.company_vat_basis_points.is_some()),
        ];
        together(&vat)?;
        if self.company_vat_id.is_some() {
            let [name, ..] = parts;
            together(&[name, ("CODEXAPI_COMPANY_VAT_ID", true)])?;
        }
        Ok(())
    }
}

/// All of them or none.
fn together(parts: &[(&str, bool)]) -> Result<(), SettingError> {
    let set = parts.iter().find(|(_, is_set)| *is_set);
    let missing = parts.iter().find(|(_, is_set)| !is_set);
    match (set, missing) {
        (Some((set, _)), Some((missing, _))) => {
            let problem = format!("is not set, but {set} is: receipts need both");
            Err(SettingError { setting: (*missing).into(), problem })
        }
        (Some(_), None) | (None, _) => Ok(()),
    }
}

impl VatRates {
    /// The rate that holds on a day, in basis points.
    pub fn on(&self, day: NaiveDate) -> u32 {
        self.0.iter().rev().find(|(from, _)| *from <= day).map_or(0, |(_, rate)| *rate)
    }
}

impl FromStr for VatRates {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pieces = text.split(',').map(str::trim);
        let first = pieces.next().ok_or("no rate")?;
        let mut rates = vec![(NaiveDate::MIN, rate(first)?)];
        for piece in pieces {
            let (day, later) = piece.split_once('=').ok_or("not a day and its rate, as 2027-01-01=2000")?;
            let day: NaiveDate = day.trim().parse().map_err(|_| "not a day such as 2027-01-01")?;
            if rates.last().is_some_and(|(before, _)| *before >= day) {
                return Err("days that are not in their order");
            }
            rates.push((day, rate(later.trim())?));
        }
        Ok(Self(rates))
    }
}

fn rate(text: &str) -> Result<u32, &'static str> {
    let rate = text.parse().ok().filter(|rate| *rate <= MAX_RATE);
    rate.ok_or("not a rate from 0 to 3000 basis points")
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lines = text.split('|').map(str::trim).map(line).collect::<Result<Vec<_>, _>>()?;
        if lines.len() <= 5 { Ok(Self(lines)) } else { Err("more than 5 lines") }
    }
}

fn line(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() || text.trim() != text || text.chars().count() > latin::LONGEST_LINE {
        return Err("not a text of 1 to 60 letters without spaces around it");
    }
    if !text.chars().all(latin::is_printed) {
        return Err("a letter that the receipts' font lacks: it has those of Western European languages");
    }
    Ok(text.into())
}

fn country(text: &str) -> Result<String, &'static str> {
    let fits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    if fits { Ok(text.into()) } else { Err("not two capital letters") }
}

fn email(text: &str) -> Result<String, &'static str> {
    let is_address = text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    let fits = is_address && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { line(text) } else { Err("not an e-mail address") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a day")
    }

    #[test]
    fn a_rate_holds_from_its_day_on() {
        let rates: VatRates = "1900,2027-01-01=2000, 2028-07-01 = 0".parse().expect("good");
        let on = |text| rates.on(day(text));
        assert_eq!((on("1970-01-01"), on("2026-12-31"), on("2027-01-01")), (1_900, 1_900, 2_000));
        assert_eq!((on("2028-06-30"), on("2028-07-01")), (2_000, 0));
    }

    #[test]
    fn rates_that_are_none_or_in_no_order_are_refused() {
        for bad in
            ["", "19%", "3001", "-1", "1900,2000", "1900,2027-02-30=1", "1900,2027-01-02=1,2027-01-01=2"]
        {
            assert!(bad.parse::<VatRates>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_printed_is_refused() {
        for bad in ["", " Acme", "Acme\n", "株式会社", "Ελλάς", &"a".repeat(61)] {
            assert!(line(bad).is_err(), "{bad:?}");
        }
        for good in ["Acme GmbH & Co. KG", "Société Générale – Zürich", "€uro"] {
            assert!(line(good).is_ok(), "{good}");
        }
        assert!("a|b|c|d|e|f".parse::<Address>().is_err());
        assert!("Main Street 1||Berlin".parse::<Address>().is_err());
        assert!(country("de").is_err() && country("DEU").is_err());
        assert!(email("a b@c.de").is_err() && email("@c.de").is_err() && email("a@localhost").is_err());
    }
}
