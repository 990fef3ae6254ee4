//! The letters that receipts are printed in: those of PDF's own fonts (Windows-1252), which every reader has.
//!
//! A company's own details are refused where they need others. A customer's name is written in Latin letters, sound by
//! sound; the account's id beside it says whose it is beyond doubt.

/// No line of so many letters leaves the page, however wide they are.
pub const LONGEST_LINE: usize = 60;

/// Windows-1252 from 0x80 to 0x9F; what has no letter there is a control character.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

fn code(letter: char) -> Option<u8> {
    match letter {
        ' '..='~' | '\u{A0}'..='ÿ' => u8::try_from(u32::from(letter)).ok(),
        _ if letter.is_control() => None,
        _ => (0x80_u8..).zip(HIGH).find(|(_, high)| *high == letter).map(|(code, _)| code),
    }
}

/// Whether a letter is printed as it is.
pub fn is_printed(letter: char) -> bool {
    code(letter).is_some()
}

/// The text in letters that are printed.
pub fn legible(text: &str) -> String {
    let mut legible = String::new();
    for letter in text.chars() {
        match letter {
            _ if is_printed(letter) => legible.push(letter),
            _ if letter.is_whitespace() => legible.push(' '),
            _ if letter.is_control() => {}
            _ => legible.push_str(deunicode::deunicode_char(letter).unwrap_or("?")),
        }
    }
    legible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The bytes of what is printed.
pub(super) fn encoded(text: &str) -> Vec<u8> {
    legible(text).chars().filter_map(code).collect()
}

/// Lines that fit the page, at most `most`.
pub(super) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let letters: Vec<char> = legible(text).chars().collect();
    letters.chunks(LONGEST_LINE).take(most).map(|line| line.iter().collect()).collect()
}
