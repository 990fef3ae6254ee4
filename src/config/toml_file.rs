//! TOML files that settings name: read, and what is wrong with them told by its line.
//!
//! The parser's own error repeats the line itself. That may hold a key which somebody has written into the wrong file,
//! and what is told here ends up in a log.

use serde::de::DeserializeOwned;

/// Reads the file at `path`.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))
}

/// Parses the text of a file.
///
/// # Errors
/// What is wrong and on which line.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        at(text, offset, error.message())
    })
}

/// A problem with what begins at `offset`.
pub(super) fn at(text: &str, offset: usize, problem: &str) -> String {
    let line = text[..offset].matches('\n').count() + 1;
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
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_its_text() {
        let canary = "sk-canary-0123456789";
        for (text, told) in [
            (format!("name = \"a\"\napi_key = \"{canary}\"\n"), "line 2: unknown field `api_key`"),
            (format!("\n\nname = \"{canary}\n"), "line 3: "),
            (format!("\nname {canary}\n"), "line 2: "),
        ] {
            let error = parse::<File>(&text).expect_err("refused");
            assert!(error.starts_with(told) && error.len() > told.len(), "{error}");
            assert!(!error.contains(canary), "{error}");
        }
    }
}
