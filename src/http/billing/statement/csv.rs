//! Comma-separated values as RFC 4180 has them, safe to open in a spreadsheet.

/// A row with its line end; each cell is quoted where it must be.
pub(super) fn row<const N: usize>(cells: &[String; N]) -> String {
    let quoted: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    quoted.join(",") + "\r\n"
}

/// Text that came from outside: a spreadsheet would run what looks like a formula, so such text begins with an
/// apostrophe. Amounts and names of ours are not text in this sense.
pub(super) fn text(text: &str) -> String {
    match text.trim_start().chars().next() {
        Some('=' | '+' | '-' | '@') => format!("'{text}"),
        _ if text.starts_with(['\t', '\r', '\n']) => format!("'{text}"),
        _ => text.to_owned(),
    }
}

fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) || cell.trim() != cell {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let cells = ["a", "b,c", "d\"e", "f\r\ng", " h", ""].map(str::to_owned);
        assert_eq!(row(&cells), "a,\"b,c\",\"d\"\"e\",\"f\r\ng\",\" h\",\r\n");
    }

    #[test]
    fn text_that_looks_like_a_formula_is_none() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "\n=1"] {
            assert_eq!(text(formula), format!("'{formula}"));
        }
        for plain in ["gpt-5.5", "", "a=b", "claude-opus-4-8 (beta)"] {
            assert_eq!(text(plain), plain);
        }
    }
}
