//! What may go to a terminal, which obeys control characters, and before eyes, which do not see those that turn a text
//! around or take no room: they are printed as JSON writes them, `\u001b`.

/// A line without control or invisible characters. A JSON document has them within its strings alone, where it goes on
/// meaning the same.
pub fn printable(line: &str) -> String {
    line.chars().fold(String::with_capacity(line.len()), |mut tamed, character| {
        match character {
            '\n' => tamed.push_str("\\n"),
            hidden if is_hidden(hidden) => {
                tamed.push_str(&format!("\\u{:04x}", u32::from(hidden)));
            }
            other => tamed.push(other),
        }
        tamed
    })
}

/// Whether all of it can be seen: a name with a mark of direction in it reads as another.
pub fn shows(text: &str) -> bool {
    !text.contains(is_hidden)
}

fn is_hidden(character: char) -> bool {
    character.is_control() || is_invisible(character)
}

/// Marks of direction, fillers, tags, and blanks without width: they make a text look like another. The joiners that
/// Persian, Indic scripts and emoji are written with are not among them.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}
