//! What is written on the command line: words that name variants of events (`top-up` or `top_up` is
//! `GrantSource::TopUp`), and dollars.

use codexapi_aggregates::money::MicroUsd;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a variant's stored name. A refusal lists names as we write them, with dashes.
pub fn variant<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let name = text.replace('-', "_");
    serde_json::from_value(Value::String(name)).map_err(|error| error.to_string().replace('_', "-"))
}

/// Reads an amount. The commands say by their names which way it goes, so none has a sign.
pub fn dollars(text: &str) -> Result<MicroUsd, String> {
    if text.starts_with('-') {
        return Err("an amount is never negative: say how many dollars, such as 12.50".into());
    }
    text.parse().map_err(|error| format!("{error}"))
}

/// An error and its causes in one line, each said once: some errors name their cause themselves.
pub fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::wallet::events::GrantSource;

    use super::*;
    use crate::accounts::TakingReason;

    #[test]
    fn a_variant_is_named_as_it_is_stored() {
        assert_eq!(variant::<GrantSource>("top-up"), Ok(GrantSource::TopUp));
        assert_eq!(variant::<GrantSource>("top_up"), Ok(GrantSource::TopUp));
        assert!(variant::<GrantSource>("gift").expect_err("unknown").contains("promo"));
    }

    #[test]
    fn a_refusal_lists_what_is_taken_as_it_is_written() {
        let refusal = variant::<TakingReason>("nonsense").expect_err("unknown");
        assert!(refusal.contains("granted-in-error") && !refusal.contains('_'), "{refusal}");
        assert!(!refusal.contains("balance-set"), "a balance is set by another command: {refusal}");
        assert_eq!(variant("granted-in-error"), Ok(TakingReason::GrantedInError));
    }

    #[test]
    fn a_cause_is_said_once() {
        let refused = || std::io::Error::other("refused");
        let names_its_cause =
            anyhow::Error::new(sqlx::Error::Io(refused())).context("connecting to Postgres");
        let told_of = "connecting to Postgres: error communicating with database: refused";
        assert_eq!(told(&names_its_cause), told_of);
        assert_eq!(told(&anyhow::Error::new(refused()).context("reading")), "reading: refused");
    }

    #[test]
    fn an_amount_has_no_sign() {
        assert_eq!(dollars("2.50"), Ok(MicroUsd(2_500_000)));
        assert!(dollars("-5").expect_err("negative").contains("never negative"));
        assert!(dollars("five").expect_err("no number").contains("decimal dollars"));
    }
}
