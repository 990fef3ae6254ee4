//! Setting a key's limits: what no key can have is refused by name.

use std::fmt;

use super::{Account, AccountEvent, AccountRefusal, KeyKind, KeyLimits};
use crate::ids::KeyId;
use crate::pricing::is_model_name;
use crate::time::Timestamp;

/// Models a key may be limited to.
pub const MAX_ALLOWED_MODELS: usize = 100;

/// A limit that is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLimitName {
    RequestsPerMinute,
    TokensPerMinute,
    ParallelRequests,
    DailyBudget,
    MonthlyBudget,
}

impl fmt::Display for KeyLimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RequestsPerMinute => "requests per minute",
            Self::TokensPerMinute => "tokens per minute",
            Self::ParallelRequests => "parallel requests",
            Self::DailyBudget => "the daily budget",
            Self::MonthlyBudget => "the monthly budget",
        })
    }
}

impl KeyLimits {
    /// Every limit that is set and is a number; budgets in micro-USD.
    fn numbers(&self) -> impl Iterator<Item = (KeyLimitName, i128)> {
        let counts = [
            (KeyLimitName::RequestsPerMinute, self.requests_per_minute.map(i128::from)),
            (KeyLimitName::TokensPerMinute, self.tokens_per_minute.map(i128::from)),
            (KeyLimitName::ParallelRequests, self.parallel_requests.map(i128::from)),
            (KeyLimitName::DailyBudget, self.daily_budget_micro.map(|budget| budget.0.into())),
            (KeyLimitName::MonthlyBudget, self.monthly_budget_micro.map(|budget| budget.0.into())),
        ];
        counts.into_iter().filter_map(|(name, number)| Some((name, number?)))
    }

    /// The same limits in the one form that is compared.
    fn in_order(mut self) -> Self {
        self.allowed_models.sort_unstable();
        self.allowed_models.dedup();
        self
    }
}

impl Account {
    /// Limits that are the same already leave no event, unless networks are among them: their list is
    /// kept elsewhere and may have changed.
    pub(super) fn set_limits(
        &self,
        key_id: KeyId,
        limits: KeyLimits,
        now: Timestamp,
    ) -> Result<Vec<AccountEvent>, AccountRefusal> {
        let key = self.key(key_id)?;
        if key.revoked {
            return Err(AccountRefusal::KeyRevoked { key_id });
        }
        refuse_numbers(&limits, key.kind)?;
        let limits = limits.in_order();
        if limits.allowed_models.len() > MAX_ALLOWED_MODELS {
            let got = limits.allowed_models.len();
            return Err(AccountRefusal::TooManyModels { got, most: MAX_ALLOWED_MODELS });
        }
        if let Some(model) = limits.allowed_models.iter().find(|model| !is_model_name(model)) {
            return Err(AccountRefusal::BadModelName { model: model.clone() });
        }
        let before = key.limits.as_deref().cloned().unwrap_or_default();
        if before == limits && !limits.has_networks {
            return Ok(vec![]);
        }
        let expires_anew = limits.expires_at != before.expires_at;
        if expires_anew && limits.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(AccountRefusal::ExpiresInThePast);
        }
        Ok(vec![AccountEvent::KeyLimitsSet { key_id, limits: Box::new(limits), at: now }])
    }
}

fn refuse_numbers(limits: &KeyLimits, kind: KeyKind) -> Result<(), AccountRefusal> {
    let has_wallet = match kind {
        KeyKind::SystemToken | KeyKind::Api => true,
        KeyKind::Operator | KeyKind::Admin => false,
    };
    for (limit, number) in limits.numbers() {
        if !has_wallet {
            return Err(AccountRefusal::NeedsAWallet { limit, kind });
        }
        if number == 0 {
            return Err(AccountRefusal::ZeroLimit { limit });
        }
    }
    let budgets = [
        (KeyLimitName::DailyBudget, limits.daily_budget_micro),
        (KeyLimitName::MonthlyBudget, limits.monthly_budget_micro),
    ];
    for (limit, amount) in budgets {
        if let Some(amount) = amount.filter(|amount| !amount.is_positive()) {
            return Err(AccountRefusal::NegativeBudget { limit, amount });
        }
    }
    Ok(())
}
