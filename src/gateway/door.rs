//! Who may come in: what is asked of every request before anything is quoted or held.
//!
//! The order is from what concerns everybody to what concerns this request: maintenance, the account, the key,
//! where it is used from, the model. Limits that count (requests, tokens, parallel streams, budgets) are the
//! wallet's to check, with the hold, because only there all nodes see one count.

use std::net::IpAddr;

use codexapi_aggregates::account::KeyLimits;
use codexapi_aggregates::service::{SERVICE_STREAM, Service};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::HoldLimits;
use ipnet::IpNet;

use super::refusal::GatewayError;
use super::{Gateway, Incoming};
use crate::clock;

/// What is known of the key a request was made with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyAccess {
    pub limits: KeyLimits,
    /// Where the key may be used from, if `limits` says that there is a list.
    pub networks: Vec<IpNet>,
    pub account_suspended: bool,
}

/// Why a key does not open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    Expired,
    NotFromHere,
}

impl KeyAccess {
    /// Whether the key may be used now and from there.
    ///
    /// # Errors
    /// It has expired, or is fenced in elsewhere.
    pub fn check_key(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), KeyRefusal> {
        if self.limits.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(KeyRefusal::Expired);
        }
        let inside = |address: IpAddr| self.networks.iter().any(|network| network.contains(&address));
        // Where the list was erased, nobody is inside.
        let fenced = self.limits.has_networks || !self.networks.is_empty();
        if fenced && !address.is_some_and(inside) {
            return Err(KeyRefusal::NotFromHere);
        }
        Ok(())
    }

    fn check(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), GatewayError> {
        if self.account_suspended {
            return Err(GatewayError::AccountSuspended);
        }
        self.check_key(address, now).map_err(|refusal| match refusal {
            KeyRefusal::Expired => GatewayError::KeyExpired,
            KeyRefusal::NotFromHere => GatewayError::KeyNotFromHere,
        })
    }

    /// The limits that are counted where the hold is placed.
    pub(super) fn hold_limits(&self) -> HoldLimits {
        let limits = &self.limits;
        HoldLimits {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            parallel_requests: limits.parallel_requests,
            daily_budget_micro: limits.daily_budget_micro,
            monthly_budget_micro: limits.monthly_budget_micro,
        }
    }

    /// Whether the key may ask for a model, by the client's label or by the name it means.
    pub(super) fn check_model(&self, label: &str, model: &str) -> Result<(), GatewayError> {
        let allowed = &self.limits.allowed_models;
        if allowed.is_empty() || allowed.iter().any(|name| name == label || name == model) {
            return Ok(());
        }
        Err(GatewayError::ModelNotAllowed { model: label.to_owned(), allowed: allowed.join(", ") })
    }
}

impl Gateway {
    /// Maintenance, account, key and address.
    pub(super) async fn door(&self, incoming: &Incoming) -> Result<(), GatewayError> {
        let now = clock::now();
        let maintenance = self.log.read(SERVICE_STREAM, |service: &Service| service.maintenance(now)).await;
        if let Some(maintenance) = maintenance.map_err(super::begin::unavailable)? {
            let retry_secs = maintenance.until.map(|_| maintenance.retry_secs);
            return Err(GatewayError::Maintenance { message: maintenance.message, retry_secs });
        }
        incoming.access.check(incoming.address, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(limits: KeyLimits, networks: &[&str]) -> KeyAccess {
        let networks = networks.iter().map(|network| network.parse().expect("a network")).collect();
        KeyAccess { limits, networks, account_suspended: false }
    }

    #[test]
    fn a_suspended_account_an_expired_key_and_a_foreign_address_are_each_told_apart() {
        let now = Timestamp(100);
        let here = Some("10.1.2.3".parse().expect("an address"));
        let suspended = KeyAccess { account_suspended: true, ..KeyAccess::default() };
        assert_eq!(suspended.check(here, now), Err(GatewayError::AccountSuspended));
        let until = |at| access(KeyLimits { expires_at: Some(Timestamp(at)), ..KeyLimits::default() }, &[]);
        assert_eq!(until(100).check(here, now), Err(GatewayError::KeyExpired));
        assert_eq!(until(101).check(here, now), Ok(()));
        let fenced = access(KeyLimits::default(), &["192.168.0.0/16", "10.0.0.0/8"]);
        assert_eq!(fenced.check(here, now), Ok(()));
        assert_eq!(fenced.check("8.8.8.8".parse().ok(), now), Err(GatewayError::KeyNotFromHere));
        assert_eq!(fenced.check(None, now), Err(GatewayError::KeyNotFromHere));
    }

    #[test]
    fn a_key_for_some_models_opens_those_by_label_or_by_name() {
        let limits = KeyLimits { allowed_models: vec!["gpt-5.5".into()], ..KeyLimits::default() };
        let access = access(limits, &[]);
        assert_eq!(access.check_model("gpt-5.5", "gpt-5.5"), Ok(()));
        assert_eq!(access.check_model("my-alias", "gpt-5.5"), Ok(()));
        let refused = access.check_model("claude-opus-4-8", "claude-opus-4-8");
        assert!(matches!(refused, Err(GatewayError::ModelNotAllowed { .. })));
    }
}
