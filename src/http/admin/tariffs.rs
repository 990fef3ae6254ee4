//! Rates as operators write them: dollars per million tokens, as decimal text, read exactly.

use codexapi_aggregates::money::{MicroUsd, Rate};
use codexapi_aggregates::pricing::tariff::{Fees, Rates, Tariff, Tier};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::error::Problem;

/// A kind of input without a rate is priced as input.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TariffBody {
    /// Dollars per million tokens, such as "5.00".
    #[schema(example = "5.00")]
    input_usd: String,
    cached_input_usd: Option<String>,
    cache_write_5m_usd: Option<String>,
    cache_write_1h_usd: Option<String>,
    #[schema(example = "30.00")]
    output_usd: String,
    /// Dollars per search; as displayed where left out.
    web_search_usd: Option<String>,
    /// Dollars per generation; as displayed where left out.
    per_call_usd: Option<String>,
    /// Rates of long contexts, which reprice the whole request; by rising threshold.
    #[serde(default)]
    tiers: Vec<TierBody>,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TierBody {
    threshold_tokens: u64,
    /// Whether the threshold itself is in the tier.
    #[serde(default)]
    inclusive: bool,
    input_usd: String,
    cached_input_usd: Option<String>,
    cache_write_5m_usd: Option<String>,
    cache_write_1h_usd: Option<String>,
    output_usd: String,
}

impl TariffBody {
    /// The tariff; fees that are left out are those `displayed`.
    ///
    /// # Errors
    /// An amount that is no decimal text.
    pub fn tariff(&self, displayed: Fees) -> Result<Tariff, Problem> {
        let rates = Rates {
            input: rate(&self.input_usd)?,
            cached_input: optional(self.cached_input_usd.as_ref())?,
            cache_write_5m: optional(self.cache_write_5m_usd.as_ref())?,
            cache_write_1h: optional(self.cache_write_1h_usd.as_ref())?,
            output: rate(&self.output_usd)?,
        };
        let fee = |text: &Option<String>, displayed| text.as_deref().map_or(Ok(displayed), dollars);
        let fees = Fees {
            web_search_micro: fee(&self.web_search_usd, displayed.web_search_micro)?,
            per_call_micro: fee(&self.per_call_usd, displayed.per_call_micro)?,
        };
        let tiers = self.tiers.iter().map(TierBody::tier).collect::<Result<_, Problem>>()?;
        Ok(Tariff { rates, tiers, fees })
    }
}

impl TierBody {
    fn tier(&self) -> Result<Tier, Problem> {
        let rates = Rates {
            input: rate(&self.input_usd)?,
            cached_input: optional(self.cached_input_usd.as_ref())?,
            cache_write_5m: optional(self.cache_write_5m_usd.as_ref())?,
            cache_write_1h: optional(self.cache_write_1h_usd.as_ref())?,
            output: rate(&self.output_usd)?,
        };
        Ok(Tier { threshold_tokens: self.threshold_tokens, inclusive: self.inclusive, rates })
    }
}

/// Decimal dollars, exactly.
///
/// # Errors
/// The text is no such amount.
pub fn dollars(text: &str) -> Result<MicroUsd, Problem> {
    text.parse().map_err(|wrong| Problem::invalid("bad_amount", format!("{text:?}: {wrong}.")))
}

/// Dollars per million tokens are micro-USD per token: the same digits.
pub fn rate(text: &str) -> Result<Rate, Problem> {
    Ok(Rate(dollars(text)?.0))
}

fn optional(text: Option<&String>) -> Result<Option<Rate>, Problem> {
    text.map(|text| rate(text)).transpose()
}

/// A percentage with at most two decimals, as basis points: "-2.5" is -250.
///
/// # Errors
/// The text is no such percentage.
pub fn basis_points(text: &str) -> Result<i32, Problem> {
    parse_percent(text).ok_or_else(|| {
        Problem::invalid("bad_percentage", format!("{text:?} is no percentage such as \"10\" or \"-2.5\"."))
    })
}

/// As `basis_points`, for whoever words the refusal otherwise.
pub fn parse_percent(text: &str) -> Option<i32> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (_, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let MicroUsd(millionths) = digits.parse().ok().filter(|_| decimals.len() <= 2)?;
    i32::try_from(millionths / 10_000).ok().map(|points| sign * points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_read_exactly_or_not_at_all() {
        for (text, points) in [("10", 1_000), ("-2.5", -250), ("0.01", 1), ("100.25", 10_025), ("-0", 0)] {
            assert_eq!(parse_percent(text), Some(points), "{text}");
        }
        for bad in ["", "-", "+1", "1e3", "0.001", "--1", "1,5", "99999999999", "10%"] {
            assert_eq!(parse_percent(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_tariff_is_read_from_decimal_text_and_fees_left_out_are_those_displayed() {
        let displayed = Fees { web_search_micro: MicroUsd(10_000), ..Fees::default() };
        let body = serde_json::json!({ "inputUsd": "9", "cachedInputUsd": "0.90", "outputUsd": "48.00" });
        let tariff =
            serde_json::from_value::<TariffBody>(body).expect("known").tariff(displayed).expect("good");
        assert_eq!((tariff.rates.input, tariff.rates.output), (Rate(9_000_000), Rate(48_000_000)));
        assert_eq!((tariff.rates.cached_input, tariff.fees), (Some(Rate(900_000)), displayed));
        let body = serde_json::json!({ "inputUsd": "-9", "outputUsd": "48.00" });
        let refused = serde_json::from_value::<TariffBody>(body)
            .expect("known")
            .tariff(displayed)
            .expect_err("negative");
        assert_eq!(refused.code, "bad_amount");
    }
}
