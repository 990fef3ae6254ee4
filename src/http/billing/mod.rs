//! What a customer reads about money.

pub mod generations;
pub mod plan_settings;
pub mod plan_usage;
pub mod token_usage;
pub mod wallet_status;
