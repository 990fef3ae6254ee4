//! TOML files that settings name: read, and what is wrong with them told by its line.
//!
//! The parser's own error repeats the line itself, and at times the value. Either may be a key that somebody has written
//! into the wrong place, and what is told here ends up in a log.

use serde::de::DeserializeOwned;

use super::masked::without_keys;

/// Reads the file at `path`.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))
}

/// Parses the text of a file, and has `check` make of it what is needed.
///
/// # Errors
/// What is wrong, on which line where it cannot be parsed.
pub(super) fn parse<F: DeserializeOwned, T>(
    text: &str,
    check: impl FnOnce(F) -> Result<T, String>,
) -> Result<T, String> {
    let parsed = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        at(text, offset, error.message().trim_end())
    });
    parsed.and_then(check).map_err(|wrong| without_keys(&wrong))
}

/// A problem with what begins at `offset`.
pub(super) fn at(text: &str, offset: usize, problem: &str) -> String {
    let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    format!("line {line}: {problem}")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[expect(dead_code, reason = "it is never read")]
        name: Option<String>,
        #[expect(dead_code, reason = "it is never read")]
        hours: Option<u32>,
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_its_text() {
        let canary = "sk-canary-0123456789";
        for (text, told) in [
            (format!("name = \"a\"\napi_key = \"{canary}\"\n"), "line 2: unknown field `api_key`"),
            (format!("\n\nname = \"{canary}\n"), "line 3: "),
            (format!("\nname {canary}\n"), "line 2: "),
            (format!("hours = \"{canary}\"\n"), "line 1: invalid type: string \"…\", expected u32"),
            (format!("hours = 1\n{canary} = 1\n"), "line 2: unknown field `…`"),
            ("hours = \"five\"\n".to_owned(), "line 1: invalid type: string \"five\", expected u32"),
        ] {
            let error = parse(&text, Ok::<File, _>).expect_err("refused");
            assert!(error.starts_with(told) && !error.ends_with(": "), "{error}");
            assert!(!error.contains(canary), "{error}");
        }
    }
}
