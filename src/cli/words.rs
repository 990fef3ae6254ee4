//! Words on the command line that name variants of events: `top-up` or `top_up` is `GrantSource::TopUp`.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a variant's stored name.
pub fn variant<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let name = text.replace('-', "_");
    serde_json::from_value(Value::String(name)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::wallet::events::GrantSource;

    use super::*;

    #[test]
    fn a_variant_is_named_as_it_is_stored() {
        assert_eq!(variant::<GrantSource>("top-up"), Ok(GrantSource::TopUp));
        assert_eq!(variant::<GrantSource>("top_up"), Ok(GrantSource::TopUp));
        assert!(variant::<GrantSource>("gift").expect_err("unknown").contains("promo"));
    }
}
