//! What may go to a terminal, which obeys control characters: they are printed as JSON writes them, `\u001b`.

/// A line without control characters. A JSON document has them within its strings alone, where it goes on meaning the
/// same.
pub fn printable(line: &str) -> String {
    line.chars().fold(String::with_capacity(line.len()), |mut tamed, character| {
        match character {
            '\n' => tamed.push_str("\\n"),
            control if control.is_control() => tamed.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => tamed.push(other),
        }
        tamed
    })
}
