//! What accounts are given beyond what they pay for: for sharing, for referring, for coming back from a mail.

use clap::Args;
use codexapi_aggregates::money::MicroUsd;

#[derive(Clone, Debug, Args)]
pub struct BonusSettings {
    /// What a customer gets once for sharing the site, in dollars such as 10.00; 0 ends the offer
    #[arg(long, env = "CODEXAPI_SHARE_CREDIT_USD", value_name = "DOLLARS", default_value = "10.00")]
    pub share_credit_usd: MicroUsd,
    /// What a top-up brings more for a customer who came from a link in a mail, in basis points, from 0 to 10000; 0
    /// ends the offer
    #[arg(
        long,
        env = "CODEXAPI_EMAIL_DISCOUNT_BASIS_POINTS",
        value_name = "BASIS_POINTS",
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(0..=10_000)
    )]
    pub email_discount_basis_points: u32,
    /// Minutes for which such a customer has it, from 1 to 1440
    #[arg(
        long,
        env = "CODEXAPI_EMAIL_DISCOUNT_MINUTES",
        value_name = "MINUTES",
        default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..=1_440)
    )]
    pub email_discount_minutes: u32,
    /// Days for which a link in a mail begins such a time, from 1 to 90
    #[arg(
        long,
        env = "CODEXAPI_EMAIL_LINK_DAYS",
        value_name = "DAYS",
        default_value_t = 7,
        value_parser = clap::value_parser!(u32).range(1..=90)
    )]
    pub email_link_days: u32,
    /// What a customer earns of the confirmed purchases of those referred, in basis points, from 0 to 5000; 0 ends
    /// the club
    #[arg(
        long,
        env = "CODEXAPI_REFERRAL_BASIS_POINTS",
        value_name = "BASIS_POINTS",
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(0..=5_000)
    )]
    pub referral_basis_points: u32,
}
