//! Given what happened to a wallet and what is asked, which events follow.

mod attempts;
pub(crate) mod builders;
mod expiring;
mod granting;
mod holding;
mod kept_credit;
mod key_budget_properties;
mod key_use_properties;
mod limits;
mod oracle;
mod overrun;
mod payments;
pub(crate) mod plan_oracle;
mod plan_properties;
pub(crate) mod plans;
pub(crate) mod properties;
mod reversing;
mod settling;
mod stock_framework;
mod takings;
