//! Where things are: Postgres, NATS, our own listeners, this node's name, the log.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use codexapi_aggregates::routing::Region;
use ipnet::IpNet;
use sqlx::postgres::PgConnectOptions;
use tracing_subscriber::EnvFilter;

/// Which Postgres holds the event log.
#[derive(Clone, Debug, Args)]
pub struct DatabaseSettings {
    /// The Postgres that holds the event log and the read tables, as postgres://user:password@host:port/database
    #[arg(
        id = "database_url",
        long = "database-url",
        env = "DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub url: DatabaseUrl,
    /// Connections to Postgres that this node's requests and reports share, from 4 to 500; the event log and the read
    /// models have up to ten of their own
    #[arg(
        long = "database-connections",
        env = "CODEXAPI_DATABASE_CONNECTIONS",
        value_name = "COUNT",
        default_value_t = 32,
        value_parser = clap::value_parser!(u32).range(4..=500)
    )]
    pub connections: u32,
}

/// Which NATS feeds the projections.
#[derive(Clone, Debug, Args)]
pub struct NatsSettings {
    /// The NATS server with JetStream, as nats://user:password@host:port; it may be away, Postgres is the truth
    #[arg(id = "nats_url", long = "nats-url", env = "NATS_URL", value_name = "URL", hide_env_values = true)]
    pub url: NatsUrl,
    /// What this deployment's stream and subjects begin with: 1 to 32 lower-case letters, digits, '-' or '_'
    #[arg(
        long = "nats-prefix",
        env = "CODEXAPI_NATS_PREFIX",
        value_name = "NAME",
        default_value = "codexapi"
    )]
    #[arg(value_parser = nats_prefix)]
    pub prefix: String,
}

/// Our own listeners.
#[derive(Clone, Debug, Args)]
pub struct HttpSettings {
    /// The address the service listens on, as address:port
    #[arg(long, env = "CODEXAPI_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// The address Prometheus scrapes, as address:port; it has no authentication, so keep it private
    #[arg(
        long,
        env = "CODEXAPI_METRICS_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:9464"
    )]
    pub metrics_listen: SocketAddr,
    /// The address customers reach the service by, as https://host without a path; by default the listening address
    #[arg(long, env = "CODEXAPI_PUBLIC_URL", value_name = "URL", value_parser = public_url)]
    pub public_url: Option<String>,
    /// Networks of the proxies in front of this service, as a comma-separated list such as 10.0.0.0/8. Only what they
    /// say of a client's address in X-Forwarded-For is believed
    #[arg(
        long,
        env = "CODEXAPI_TRUSTED_PROXIES",
        value_name = "NETWORKS",
        value_delimiter = ',',
        value_parser = network
    )]
    pub trusted_proxies: Vec<IpNet>,
    /// The largest request body, in bytes, from 65536 to 268435456
    #[arg(
        long,
        env = "CODEXAPI_BODY_LIMIT_BYTES",
        value_name = "BYTES",
        default_value_t = 32 * 1024 * 1024,
        value_parser = clap::value_parser!(u64).range(65_536..=268_435_456)
    )]
    pub body_limit_bytes: u64,
    /// Seconds a reading request may take before it is answered 503, from 1 to 300
    #[arg(
        long,
        env = "CODEXAPI_READ_TIMEOUT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=300)
    )]
    pub read_timeout_seconds: u64,
    /// Seconds that running requests may take to finish at shutdown, from 0 to 3600
    #[arg(
        long,
        env = "CODEXAPI_SHUTDOWN_SECONDS",
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(0..=3_600)
    )]
    pub shutdown_seconds: u64,
}

/// What this node is called.
#[derive(Clone, Debug, Args)]
pub struct NodeSettings {
    /// This node's name: 1 to 63 letters, digits, '-', '_' or '.'. A restart under the same name takes over the
    /// lease of the run before; two nodes must not share one
    #[arg(long, env = "CODEXAPI_NODE_NAME", value_name = "NAME", default_value = "node-1", value_parser = node_name)]
    pub node_name: String,
    /// The region this node stands in, such as canada or chicago: routing rules for that region apply here
    #[arg(long, env = "CODEXAPI_REGION", value_name = "REGION")]
    pub region: Option<Region>,
    /// The private address this node takes other nodes' commands on, as address:port, so that each wallet is written
    /// by one node. For deployments of several nodes; off by default
    #[arg(long, env = "CODEXAPI_NODE_LISTEN", value_name = "ADDRESS:PORT")]
    pub node_listen: Option<SocketAddr>,
    /// Where other nodes reach that, as host:port; by default the address it listens on
    #[arg(
        long,
        env = "CODEXAPI_NODE_ADDRESS",
        value_name = "HOST:PORT",
        requires = "node_listen",
        value_parser = host_and_port
    )]
    pub node_address: Option<String>,
}

/// What is logged and how.
#[derive(Clone, Debug, Args)]
pub struct LogSettings {
    /// What is logged, as a tracing filter such as info or codexapi=debug,sqlx=warn
    #[arg(long = "log", env = "CODEXAPI_LOG", value_name = "FILTER", default_value = "info", value_parser = filter)]
    pub filter: String,
    /// How log lines are written: text or json
    #[arg(long = "log-format", env = "CODEXAPI_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// A checked Postgres URL; `Debug` shows no password.
#[derive(Clone)]
pub struct DatabaseUrl {
    text: String,
    options: PgConnectOptions,
}

impl DatabaseUrl {
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// The URL as given, password included, for those who must pass it on.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ours = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if !ours {
            return Err("not a postgres:// URL");
        }
        // The library's own error would quote parts of the URL.
        let options =
            text.parse().map_err(|_| "a postgres:// URL of which a part cannot be, such as its port")?;
        Ok(Self { text: text.into(), options })
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({}:{})", self.options.get_host(), self.options.get_port())
    }
}

/// A checked NATS URL; `Debug` shows no password.
#[derive(Clone)]
pub struct NatsUrl(async_nats::ServerAddr);

impl NatsUrl {
    pub fn address(&self) -> async_nats::ServerAddr {
        self.0.clone()
    }

    /// The URL as given, password included, for those who must pass it on.
    pub fn reveal(&self) -> &str {
        self.0.as_url_str()
    }
}

impl FromStr for NatsUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ours = text.starts_with("nats://") || text.starts_with("tls://");
        if !ours {
            return Err("not a nats:// or tls:// URL");
        }
        text.parse().map(Self).map_err(|_| "a URL of which a part cannot be, such as its port")
    }
}

impl fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NatsUrl({}:{})", self.0.host(), self.0.port())
    }
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    let text = text.trim();
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| single()).map_err(|_| "not a network such as 10.0.0.0/8")
}

fn nats_prefix(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let fits = (1..=32).contains(&text.len()) && text.bytes().all(allowed);
    if fits { Ok(text.into()) } else { Err("not such a name") }
}

fn node_name(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let fits = (1..=63).contains(&text.len()) && text.bytes().all(allowed);
    if fits { Ok(text.into()) } else { Err("not such a name") }
}

fn host_and_port(text: &str) -> Result<String, &'static str> {
    let parsed: Result<http::uri::Authority, _> = text.parse();
    let fits = parsed.is_ok_and(|authority| {
        !authority.host().is_empty() && authority.port_u16().is_some() && !text.contains('@')
    });
    if fits { Ok(text.into()) } else { Err("not such an address") }
}

/// An http(s) origin without a trailing slash.
fn public_url(text: &str) -> Result<String, &'static str> {
    let url: reqwest::Url = text.parse().map_err(|_| "not a URL")?;
    let plain = url.username().is_empty() && url.query().is_none() && url.path() == "/";
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if plain && web { Ok(url.origin().ascii_serialization()) } else { Err("not such an address") }
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.into()).map_err(|error| error.to_string())
}
