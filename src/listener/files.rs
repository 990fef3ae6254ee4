//! How many files this process may have open: each connection of a client may need two.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files besides those of clients: Postgres, NATS, idle connections to providers.
const OTHERS: u64 = 1_024;

/// Raises what this process is given to what it may have, and says where that is less than the connections it keeps
/// may need.
pub fn allow(connections: u32) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let wanted = u64::from(connections) * 2 + OTHERS;
    if let Some(files) = getrlimit(Resource::Nofile).current.filter(|files| *files < wanted) {
        tracing::warn!(
            files,
            wanted,
            "fewer files may be open than CODEXAPI_CLIENT_CONNECTIONS may need; raise the limit (ulimit -n)"
        );
    }
}
