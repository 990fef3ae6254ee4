//! What a document is called: `R-2026-000042` is the 42nd receipt of 2026, `CN-2026-000007` the 7th credit note, and
//! `TEST-R-2026-000001` a receipt of the payment provider's test mode, where no money moved.

use std::fmt;
use std::str::FromStr;

use super::Issue;

const TEST: &str = "TEST-";

/// Which documents are numbered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Series {
    Receipt,
    CreditNote,
}

/// One document's number. Real money and test mode are numbered apart, so that tests leave no gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentNumber {
    pub series: Series,
    pub livemode: bool,
    pub year: i32,
    pub number: i64,
}

/// Text that no document is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number is such as R-2026-000042 or CN-2026-000007")]
pub struct NotANumber;

impl Series {
    fn prefix(self) -> &'static str {
        match self {
            Self::Receipt => "R",
            Self::CreditNote => "CN",
        }
    }
}

impl DocumentNumber {
    pub(super) fn of(series: Series, livemode: bool, issue: &Issue) -> Self {
        Self { series, livemode, year: issue.year, number: issue.number }
    }
}

impl fmt::Display for DocumentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let test = if self.livemode { "" } else { TEST };
        write!(f, "{test}{}-{:04}-{:06}", self.series.prefix(), self.year, self.number)
    }
}

/// Reads what `Display` writes, and nothing else.
impl FromStr for DocumentNumber {
    type Err = NotANumber;

    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let (livemode, rest) = text.strip_prefix(TEST).map_or((true, text), |rest| (false, rest));
        let mut parts = rest.splitn(3, '-');
        let series = match parts.next() {
            Some("R") => Series::Receipt,
            Some("CN") => Series::CreditNote,
            Some(_) | None => return Err(NotANumber),
        };
        let year = parts.next().and_then(|year| year.parse().ok()).ok_or(NotANumber)?;
        let number = parts.next().and_then(|number| number.parse().ok()).ok_or(NotANumber)?;
        let read = Self { series, livemode, year, number };
        if read.to_string() == text { Ok(read) } else { Err(NotANumber) }
    }
}
