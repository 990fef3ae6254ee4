//! Amounts and rates as whole numbers; there is no float anywhere near money.
//!
//! A rate is micro-USD per million tokens, so `tokens × rate` is an exact number of pico-USD.
//! Lines are summed in pico-USD and rounded once, half to even, which is the only rounding there is.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Pico-USD in one micro-USD.
pub const PICO_PER_MICRO: i128 = 1_000_000;

/// A whole number of micro-USD; $1 is 1 000 000.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct MicroUsd(pub i64);

impl MicroUsd {
    pub const ZERO: Self = Self(0);

    /// `dollars` whole US dollars.
    pub const fn dollars(dollars: i64) -> Self {
        Self(dollars * 1_000_000)
    }

    /// The sum, or `None` past the range of an i64.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// `self × basis_points ⁄ 10 000`, rounded towards zero.
    pub fn basis_points(self, basis_points: u32) -> Self {
        let scaled = i128::from(self.0) * i128::from(basis_points) / 10_000;
        Self(i64::try_from(scaled).unwrap_or(i64::MAX))
    }

    pub fn is_positive(self) -> bool {
        self.0 > 0
    }
}

/// The decimal for people: `MicroUsd(12_345_678)` is `12.345678`.
impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:06}", magnitude / 1_000_000, magnitude % 1_000_000)
    }
}

/// Text that is not an exact amount of dollars.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAmount {
    #[error("an amount is decimal dollars with at most six decimals, such as 12.50")]
    Form,
    #[error("an amount is at most ${}", MicroUsd(i64::MAX))]
    TooLarge,
}

/// Reads decimal dollars exactly: `12.5` is `MicroUsd(12_500_000)`. No sign, no exponent, no rounding.
impl FromStr for MicroUsd {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 6 {
            return Err(NotAnAmount::Form);
        }
        format!("{whole}{decimals:0<6}").parse().map(Self).map_err(|_| NotAnAmount::TooLarge)
    }
}

/// Arithmetic on amounts saturates nowhere: an overflow is a bug and panics in every profile.
impl Add for MicroUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.checked_add(other.0).expect("an amount beyond the range of micro-USD"))
    }
}

impl Sub for MicroUsd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.checked_sub(other.0).expect("an amount beyond the range of micro-USD"))
    }
}

impl AddAssign for MicroUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for MicroUsd {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// A whole number of pico-USD; a millionth of a micro-USD. A decimal string in JSON, because
/// readers of JSON lose integers beyond 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PicoUsd(pub i128);

impl PicoUsd {
    pub const ZERO: Self = Self(0);

    /// Rounds half to even; returns the amount and what rounding left over (`self − amount`).
    pub fn round(self) -> (MicroUsd, PicoUsd) {
        let floor = self.0.div_euclid(PICO_PER_MICRO);
        let rest = self.0.rem_euclid(PICO_PER_MICRO);
        let half = PICO_PER_MICRO / 2;
        let up = rest > half || (rest == half && floor.rem_euclid(2) == 1);
        let micro = if up { floor + 1 } else { floor };
        let amount = i64::try_from(micro).expect("an amount beyond the range of micro-USD");
        (MicroUsd(amount), PicoUsd(self.0 - micro * PICO_PER_MICRO))
    }
}

impl PicoUsd {
    /// The smallest amount that covers it; holds are rounded up, charges never are.
    pub fn ceil(self) -> MicroUsd {
        let micro = self.0.div_euclid(PICO_PER_MICRO) + i128::from(self.0.rem_euclid(PICO_PER_MICRO) != 0);
        MicroUsd(i64::try_from(micro).expect("an amount beyond the range of micro-USD"))
    }
}

impl From<MicroUsd> for PicoUsd {
    fn from(amount: MicroUsd) -> Self {
        Self(i128::from(amount.0) * PICO_PER_MICRO)
    }
}

impl Add for PicoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.checked_add(other.0).expect("an amount beyond the range of pico-USD"))
    }
}

impl Sum for PicoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for PicoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for PicoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PicoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PicoUsd {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PicoUsd".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^-?[0-9]+$" })
    }
}

/// Micro-USD per million tokens: $5.00 per million is 5 000 000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Rate(pub i64);

impl Rate {
    /// What `tokens` cost at this rate, exactly.
    pub fn of(self, tokens: u64) -> PicoUsd {
        PicoUsd(i128::from(self.0) * i128::from(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_goes_to_the_even_neighbour() {
        let rounded = |pico| PicoUsd(pico).round();
        assert_eq!(rounded(500_000), (MicroUsd(0), PicoUsd(500_000)));
        assert_eq!(rounded(1_500_000), (MicroUsd(2), PicoUsd(-500_000)));
        assert_eq!(rounded(1_500_001), (MicroUsd(2), PicoUsd(-499_999)));
        assert_eq!(rounded(2_499_999), (MicroUsd(2), PicoUsd(499_999)));
        assert_eq!(rounded(-500_000), (MicroUsd(0), PicoUsd(-500_000)));
        assert_eq!(rounded(-1_500_000), (MicroUsd(-2), PicoUsd(500_000)));
    }

    #[test]
    fn tokens_times_rate_is_exact_pico_usd() {
        assert_eq!(Rate(5_000_000).of(3), PicoUsd(15_000_000));
        assert_eq!(Rate(5_000_000).of(3).round(), (MicroUsd(15), PicoUsd(0)));
    }

    #[test]
    fn amounts_read_as_dollars() {
        assert_eq!(MicroUsd(12_345_678).to_string(), "12.345678");
        assert_eq!(MicroUsd(-1).to_string(), "-0.000001");
    }

    #[test]
    fn dollars_are_read_exactly_or_not_at_all() {
        let read = |text: &str| text.parse::<MicroUsd>();
        assert_eq!(read("5"), Ok(MicroUsd::dollars(5)));
        assert_eq!(read("4.50"), Ok(MicroUsd(4_500_000)));
        assert_eq!(read("0.000001"), Ok(MicroUsd(1)));
        for bad in ["", ".", "5.", ".5", "-1", "+1", "1e3", "0.0000001", "1,5"] {
            assert_eq!(read(bad), Err(NotAnAmount::Form), "{bad}");
        }
        assert_eq!(read("9223372036854.775807"), Ok(MicroUsd(i64::MAX)));
        let refusal = read("9223372036854.775808").expect_err("too large");
        assert_eq!(refusal.to_string(), "an amount is at most $9223372036854.775807");
    }

    #[test]
    fn pico_usd_is_a_decimal_string_in_json() {
        let large = PicoUsd(i128::from(i64::MAX) * 1_000_000);
        let json = serde_json::to_string(&large).unwrap();
        assert!(json.starts_with('"'));
        assert_eq!(serde_json::from_str::<PicoUsd>(&json).unwrap(), large);
    }
}
