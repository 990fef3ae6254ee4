//! A report for people, or as one line of JSON for programs.

use std::io::{self, Write};

use codexapi_aggregates::printable::printable;

use super::Report;

/// Writes a report for people.
pub fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    write!(out, "log       {} events in {} streams", report.events, report.streams)?;
    match u64::try_from(report.position).unwrap_or_default().saturating_sub(report.events) {
        0 => writeln!(out, ", to position {}", report.position)?,
        // A number is drawn before the commit, and Postgres draws some in advance.
        skipped => writeln!(
            out,
            ", to position {} (skipped by failed appends or a crash of Postgres: {skipped})",
            report.position
        )?,
    }
    writeln!(out, "seals     {}, to position {}", report.seals, report.sealed_up_to)?;
    writeln!(
        out,
        "money     {} wallets, {} generations, {} open holds, {} cash wallets",
        report.wallets, report.generations, report.open_holds, report.cash_wallets
    )?;
    for checked in &report.projections {
        let (name, rows, position) = (&checked.projection, checked.rows, checked.position);
        writeln!(out, "tables    {name}: {rows} rows, to position {position}")?;
    }
    match &report.difference {
        None => writeln!(out, "verified  everything agrees"),
        Some(difference) => writeln!(out, "WRONG     {}", printable(&difference.to_string())),
    }
}

/// Writes a report as one line of JSON; `difference.message` is the sentence for people.
pub fn print_json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut json = serde_json::to_value(report)?;
    if let Some(difference) = &report.difference {
        json["difference"]["message"] = difference.to_string().into();
    }
    writeln!(out, "{}", printable(&json.to_string()))
}
