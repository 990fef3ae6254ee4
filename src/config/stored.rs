//! What customers may fetch again, and for how long.

use clap::Args;

/// Stored responses and completions, and responses generated in the background.
#[derive(Clone, Debug, Args)]
pub struct StoredSettings {
    /// Days that responses and completions are kept for their owner, from 0 to 3650; with 0 nothing is ever kept
    #[arg(
        long,
        env = "CODEXAPI_STORED_DAYS",
        value_name = "DAYS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(0..=3_650)
    )]
    pub stored_days: u32,
    /// The largest response or completion that is kept, with its input, in bytes, from 65536 to 67108864
    #[arg(
        long,
        env = "CODEXAPI_STORED_LIMIT_BYTES",
        value_name = "BYTES",
        default_value_t = 8 * 1024 * 1024,
        value_parser = clap::value_parser!(u32).range(65_536..=67_108_864)
    )]
    pub stored_limit_bytes: u32,
    /// Background responses generated on this node at a time, from 0 to 10000
    #[arg(
        long,
        env = "CODEXAPI_BACKGROUND_PER_NODE",
        value_name = "COUNT",
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(0..=10_000)
    )]
    pub background_per_node: u32,
    /// Background responses generated for one owner at a time on one node, from 0 to 1000
    #[arg(
        long,
        env = "CODEXAPI_BACKGROUND_PER_OWNER",
        value_name = "COUNT",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(0..=1_000)
    )]
    pub background_per_owner: u32,
}
