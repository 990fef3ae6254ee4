//! What may go to a terminal, which obeys control characters, and before eyes, which do not see those that turn a text
//! around or take no room: they are printed as JSON writes them, `\u001b`.

/// A line without control or invisible characters. A JSON document has them within its strings alone, where it goes on
/// meaning the same.
pub fn printable(line: &str) -> String {
    line.chars().fold(String::with_capacity(line.len()), |mut tamed, character| {
        match character {
            '\n' => tamed.push_str("\\n"),
            hidden if hidden.is_control() || is_invisible(hidden) => {
                tamed.push_str(&format!("\\u{:04x}", u32::from(hidden)));
            }
            other => tamed.push(other),
        }
        tamed
    })
}

/// Marks of direction, fillers, tags, and blanks without width: they make a text look like another. The joiners that
/// Persian, Indic scripts and emoji are written with are not among them.
pub fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}
