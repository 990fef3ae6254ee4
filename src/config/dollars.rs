//! Dollars in the files a deployment writes.

use codexapi_aggregates::money::{MicroUsd, Rate};
use serde::{Deserialize, Deserializer, de};

/// An amount as decimal text; a number in the file would have been a float.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Dollars(pub MicroUsd);

impl Dollars {
    /// Dollars per million tokens are micro-USD per token: the same digits.
    pub fn rate(self) -> Rate {
        Rate(self.0.0)
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "dollars as decimal text, such as \"5.00\"";
        let text = String::deserialize(deserializer).map_err(|error| {
            de::Error::custom(format!("{}; expected {expected}", error.to_string().trim_end()))
        })?;
        text.parse().map(Self).map_err(|_| de::Error::custom(format!("{text:?} is not {expected}")))
    }
}
