//! What a customer reads about money.

pub mod auto_topup;
pub mod cash_wallet;
pub mod checkout;
pub mod email_discount;
pub mod generations;
pub mod payments;
pub mod plan_settings;
pub mod plan_usage;
pub mod receipts;
pub mod referral;
mod refusal;
pub mod share_credit;
pub mod statement;
pub mod stripe;
pub mod subscription;
pub mod token_purchase;
pub mod token_usage;
pub mod topup_discount;
pub mod wallet_checkout;
pub mod wallet_status;
