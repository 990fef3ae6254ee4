//! Limits of clients' connections: what one that sends nothing, or takes nothing, may keep. Tests set the times to
//! seconds.

use clap::Args;

#[derive(Clone, Debug, Args)]
pub struct ConnectionSettings {
    /// Connections of clients this node keeps at most, from 16 to 1000000; further ones wait to be taken. Each may need
    /// two open files
    #[arg(
        long,
        env = "CODEXAPI_CLIENT_CONNECTIONS",
        value_name = "COUNT",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(16..=1_000_000)
    )]
    pub client_connections: u32,
    /// Connections from one address at most, from 1 to 1000000; further ones are closed. IPv6 is counted by /64;
    /// CODEXAPI_TRUSTED_PROXIES are not counted
    #[arg(
        long,
        env = "CODEXAPI_CLIENT_CONNECTIONS_PER_ADDRESS",
        value_name = "COUNT",
        default_value_t = 2_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub client_connections_per_address: u32,
    /// Seconds in which the head of a request must come whole, from 1 to 300
    #[arg(
        long,
        env = "CODEXAPI_CLIENT_HEAD_SECONDS",
        value_name = "SECONDS",
        default_value_t = 15,
        value_parser = clap::value_parser!(u32).range(1..=300)
    )]
    pub client_head_seconds: u32,
    /// Seconds in which the body of a request must come whole, and one more for each 8 KiB of it that came, from 1 to
    /// 3600
    #[arg(
        long,
        env = "CODEXAPI_CLIENT_BODY_SECONDS",
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=3_600)
    )]
    pub client_body_seconds: u32,
    /// Seconds a connection without a request is kept, from 1 to 3600: longer than the proxy in front keeps it
    #[arg(
        long,
        env = "CODEXAPI_CLIENT_IDLE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 75,
        value_parser = clap::value_parser!(u32).range(1..=3_600)
    )]
    pub client_idle_seconds: u32,
    /// Seconds after which a client that takes nothing of its answer is cut off, from 1 to 3600
    #[arg(
        long,
        env = "CODEXAPI_CLIENT_STALLED_SECONDS",
        value_name = "SECONDS",
        default_value_t = 120,
        value_parser = clap::value_parser!(u32).range(1..=3_600)
    )]
    pub client_stalled_seconds: u32,
}
