//! A provider's invoice as a CSV file: a header, then a line for each charge.
//!
//! Costs are read exactly, to the pico-dollar, summed by day and model, and rounded once. Whatever is not understood
//! is refused with its line: an invoice that is read half is worse than none.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use codexapi_aggregates::money::{MicroUsd, PicoUsd};
use codexapi_aggregates::printable::shows;

/// Lines of one invoice, the header not counted.
pub const MAX_LINES: usize = 20_000;

/// Days and models of one invoice.
pub const MAX_ROWS: usize = 5_000;

/// Decimals of an amount; a twelfth is a pico-dollar.
const MAX_DECIMALS: usize = 12;

/// Digits of whole dollars on one line. Sums of as many lines as there may be stay within micro-USD.
const MAX_DOLLAR_DIGITS: usize = 8;

const MAX_MODEL_CHARS: usize = 200;

/// Tokens of one line.
const MAX_TOKENS: i64 = 1_000_000_000_000;

/// What an invoice says, by day and model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invoice {
    pub rows: BTreeMap<(NaiveDate, String), InvoiceRow>,
    pub lines: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InvoiceRow {
    /// Absent where no line of it has any.
    pub tokens: Option<i64>,
    pub cost_micro: MicroUsd,
}

/// Why an invoice is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceRefusal {
    #[error(
        "line 1: the header names no column {column:?}; it wants day, model, cost_usd, and may have tokens"
    )]
    NoColumn { column: &'static str },
    #[error("line 1: the header names the column {column:?} twice")]
    ColumnTwice { column: String },
    #[error("line {line}: {got} fields, where the header has {wanted}")]
    Fields { line: usize, got: usize, wanted: usize },
    #[error("line {line}: a quoted field does not end, or something follows its end")]
    Quotes { line: usize },
    #[error("line {line}: {text:?} is no day such as 2026-11-30")]
    Day { line: usize, text: String },
    #[error("line {line}: a model has 1 to {MAX_MODEL_CHARS} characters and no control or invisible ones")]
    Model { line: usize },
    #[error("line {line}: {text:?} is no number of tokens")]
    Tokens { line: usize, text: String },
    #[error(
        "line {line}: {text:?} is no amount of dollars such as 12.50, with at most {MAX_DECIMALS} decimals"
    )]
    Cost { line: usize, text: String },
    #[error("the invoice has no lines")]
    Empty,
    #[error("an invoice has at most {MAX_LINES} lines")]
    TooManyLines,
    #[error("an invoice is about at most {MAX_ROWS} days and models")]
    TooManyRows,
}

/// Where the columns stand.
struct Columns {
    day: usize,
    model: usize,
    tokens: Option<usize>,
    cost: usize,
    count: usize,
}

/// Reads a whole invoice, or nothing of it.
pub fn parse(text: &str) -> Result<Invoice, InvoiceRefusal> {
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let (_, header) = lines.next().ok_or(InvoiceRefusal::Empty)?;
    let columns = columns(&fields(1, header)?)?;
    let mut invoice = Invoice::default();
    let mut costs: BTreeMap<(NaiveDate, String), PicoUsd> = BTreeMap::new();
    for (line, text) in lines.filter(|(_, text)| !text.trim().is_empty()) {
        invoice.lines += 1;
        if invoice.lines > MAX_LINES {
            return Err(InvoiceRefusal::TooManyLines);
        }
        let fields = fields(line, text)?;
        if fields.len() != columns.count {
            return Err(InvoiceRefusal::Fields { line, got: fields.len(), wanted: columns.count });
        }
        let key = (day(line, &fields[columns.day])?, model(line, &fields[columns.model])?);
        let tokens = columns.tokens.map(|column| tokens(line, &fields[column])).transpose()?.flatten();
        let cost = cost(line, &fields[columns.cost])?;
        let sum = costs.entry(key.clone()).or_default();
        *sum = *sum + cost;
        let row = invoice.rows.entry(key).or_default();
        row.tokens = match (row.tokens, tokens) {
            (Some(before), Some(more)) => Some(before + more),
            (before, more) => before.or(more),
        };
        if invoice.rows.len() > MAX_ROWS {
            return Err(InvoiceRefusal::TooManyRows);
        }
    }
    if invoice.lines == 0 {
        return Err(InvoiceRefusal::Empty);
    }
    for (key, cost) in costs {
        invoice.rows.entry(key).or_default().cost_micro = cost.round().0;
    }
    Ok(invoice)
}

/// Columns beyond the known ones are passed over: providers have many.
fn columns(header: &[String]) -> Result<Columns, InvoiceRefusal> {
    let names: Vec<String> = header.iter().map(|name| name.to_ascii_lowercase()).collect();
    let find = |column: &'static str| -> Result<Option<usize>, InvoiceRefusal> {
        let mut places = (0..names.len()).filter(|place| names[*place] == column);
        let place = places.next();
        if places.next().is_some() {
            return Err(InvoiceRefusal::ColumnTwice { column: column.into() });
        }
        Ok(place)
    };
    let wanted = |column| find(column).and_then(|place| place.ok_or(InvoiceRefusal::NoColumn { column }));
    Ok(Columns {
        day: wanted("day")?,
        model: wanted("model")?,
        tokens: find("tokens")?,
        cost: wanted("cost_usd")?,
        count: names.len(),
    })
}

/// The fields of one line; a field may stand in double quotes, doubled within. A line's end ends every field.
fn fields(line: usize, text: &str) -> Result<Vec<String>, InvoiceRefusal> {
    let (mut fields, mut rest) = (Vec::new(), text);
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
            Some(quoted) => quoted_field(quoted).ok_or(InvoiceRefusal::Quotes { line })?,
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(InvoiceRefusal::Quotes { line }),
        }
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let end = rest.find('"')?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field.trim().to_owned(), rest)),
        }
    }
}

fn day(line: usize, text: &str) -> Result<NaiveDate, InvoiceRefusal> {
    // The parser takes signs and blanks too.
    let is_plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day = is_plain.then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten();
    day.ok_or_else(|| InvoiceRefusal::Day { line, text: shown(text) })
}

fn model(line: usize, text: &str) -> Result<String, InvoiceRefusal> {
    let is_name = (1..=MAX_MODEL_CHARS).contains(&text.chars().count()) && shows(text);
    if is_name { Ok(text.to_owned()) } else { Err(InvoiceRefusal::Model { line }) }
}

fn tokens(line: usize, text: &str) -> Result<Option<i64>, InvoiceRefusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let tokens = text.parse().ok().filter(|tokens| is_number && *tokens <= MAX_TOKENS);
    tokens.map(Some).ok_or_else(|| InvoiceRefusal::Tokens { line, text: shown(text) })
}

/// A credit is negative.
fn cost(line: usize, text: &str) -> Result<PicoUsd, InvoiceRefusal> {
    let refusal = || InvoiceRefusal::Cost { line, text: shown(text) };
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let digits = digits.strip_prefix('$').unwrap_or(digits);
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !number(whole) || !number(decimals) || whole.len() > MAX_DOLLAR_DIGITS || decimals.len() > MAX_DECIMALS
    {
        return Err(refusal());
    }
    let pico: i128 = format!("{whole}{decimals:0<12}").parse().map_err(|_| refusal())?;
    Ok(PicoUsd(sign * pico))
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tokens: Option<i64>, micro: i64) -> InvoiceRow {
        InvoiceRow { tokens, cost_micro: MicroUsd(micro) }
    }

    #[test]
    fn lines_of_a_day_and_model_are_summed_exactly_and_rounded_once() {
        let text = "\u{feff}Day,Model,region,tokens,cost_usd\r\n\
                    2026-11-01,gpt-5.5,eu,100,0.0000004\r\n\
                    2026-11-01,\"gpt-5.5\",\"e,\"\"u\",5,0.0000004\n\
                    \n\
                    2026-11-01,gpt-5.5,eu,,0.0000007\n\
                    2026-11-02,claude-opus-4-8,eu,,-$12.50\n";
        let invoice = parse(text).expect("good");
        let key = |day: &str, model: &str| (day.parse().expect("a day"), model.to_owned());
        assert_eq!(invoice.lines, 4);
        assert_eq!(invoice.rows.len(), 2);
        assert_eq!(invoice.rows[&key("2026-11-01", "gpt-5.5")], row(Some(105), 2), "0.0000015 is even 2");
        assert_eq!(invoice.rows[&key("2026-11-02", "claude-opus-4-8")], row(None, -12_500_000));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        const HEADER: &str = "day,model,tokens,cost_usd\n";
        let refused = |text: &str| parse(text).expect_err(text).to_string();
        let line = |text: &str| refused(&format!("{HEADER}2026-11-01,m,1,1\n{text}"));
        assert!(refused("day,model,cost\n").contains("no column \"cost_usd\""));
        assert!(refused("day,day,model,cost_usd\n").contains("\"day\" twice"));
        assert_eq!(refused(""), "the invoice has no lines");
        assert_eq!(refused(HEADER), "the invoice has no lines");
        assert_eq!(line("2026-11-01,m,1"), "line 3: 3 fields, where the header has 4");
        assert!(line("2026-11-31,m,1,1").starts_with("line 3: \"2026-11-31\" is no day"));
        for day in ["01.11.2026", "+2026-11-01", "+026-11-01", "2026-11- 1", "2026-11-1"] {
            assert!(line(&format!("{day},m,1,1")).contains("is no day"), "{day}");
        }
        for model in ["", "m\u{7}", "m\u{200b}", "\u{202e}m"] {
            assert!(line(&format!("2026-11-01,{model},1,1")).starts_with("line 3: a model"), "{model:?}");
        }
        for tokens in ["-1", "1.5", "+1", "1e3", "1000000000001"] {
            assert!(line(&format!("2026-11-01,m,{tokens},1")).contains("is no number of tokens"), "{tokens}");
        }
        for cost in ["", "1e3", "1,5", ".5", "5.", "--1", "1.0000000000001", "123456789", "NaN", "EUR 5"] {
            let told = line(&format!("2026-11-01,m,1,\"{cost}\""));
            assert!(told.contains("is no amount of dollars"), "{cost}: {told}");
        }
        assert!(line("2026-11-01,\"m,1,1").contains("quoted field"));
        assert!(line("2026-11-01,\"m\"x,1,1").contains("quoted field"));
        let many = format!("{HEADER}{}", "2026-11-01,m,1,1\n".repeat(MAX_LINES + 1));
        assert_eq!(parse(&many), Err(InvoiceRefusal::TooManyLines));
        let models: String = (0..=MAX_ROWS).map(|model| format!("2026-11-01,m{model},1,1\n")).collect();
        assert_eq!(parse(&format!("{HEADER}{models}")), Err(InvoiceRefusal::TooManyRows));
    }

    #[test]
    fn the_dearest_invoice_there_can_be_stays_within_its_range() {
        let text =
            format!("day,model,cost_usd\n{}", "2026-11-01,m,99999999.999999999999\n".repeat(MAX_LINES));
        let invoice = parse(&text).expect("good");
        let cost = invoice.rows.values().next().expect("a row").cost_micro;
        assert_eq!(cost, MicroUsd(2_000_000_000_000_000_000));
    }
}
