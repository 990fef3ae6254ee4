//! codexapi: a hosted gateway that sells metered access to coding models, with event-sourced money.

pub mod advisory_lock;
pub mod clock;
pub mod commands;
pub mod config;
pub mod crash_points;
pub mod dev;
pub mod embedded;
pub mod event_log;
pub mod migrate;
pub mod projector;
pub mod rebuild;
pub mod secrets;
pub mod tls;
