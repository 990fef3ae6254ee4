//! Given what happened to a wallet and what is asked, which events follow.

mod attempts;
mod builders;
mod expiring;
mod granting;
mod holding;
mod kept_credit;
mod key_use_properties;
mod limits;
mod oracle;
mod overrun;
mod payments;
mod plan_properties;
mod plans;
mod properties;
mod reversing;
mod settling;
mod stock_framework;
mod takings;
