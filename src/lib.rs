//! codexapi: a hosted gateway that sells metered access to coding models, with event-sourced money.

pub mod clock;
pub mod dev;
pub mod embedded;
pub mod gateway;
pub mod tls;
