//! One TLS provider for the whole process: ring.
//!
//! Postgres and NATS already bring ring. A second provider would cost a minute of every cold build, and rustls
//! refuses to choose between two. reqwest takes whichever is installed and panics without one, so every HTTP
//! client is built from [`http_client_builder`].

/// A reqwest builder whose TLS works. Timeouts and limits are the caller's to set.
#[expect(clippy::disallowed_methods, reason = "this is the one place that installs the provider first")]
pub fn http_client_builder() -> reqwest::ClientBuilder {
    install_provider();
    reqwest::Client::builder()
}

/// Makes ring the process's TLS provider. Calling it again changes nothing.
pub fn install_provider() {
    // `Err` only says that a provider is installed already, which is what was asked for.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_https_client_can_be_built_any_number_of_times() {
        for _ in 0..2 {
            http_client_builder().https_only(true).build().expect("TLS is set up");
        }
    }
}
