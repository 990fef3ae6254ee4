//! What a customer reads about money.

pub mod checkout;
pub mod generations;
pub mod payments;
pub mod stripe;
pub mod token_usage;
pub mod wallet_status;
