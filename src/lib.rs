pub mod dev;
pub mod embedded;
pub mod tls;
