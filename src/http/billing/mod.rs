//! What a customer reads about money.

pub mod generations;
pub mod statement;
pub mod token_usage;
pub mod wallet_status;
