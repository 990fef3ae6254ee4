//! codexapi: a hosted gateway that sells metered access to coding models, with event-sourced money.

pub mod advisory_lock;
pub mod clock;
pub mod config;
pub mod crash_points;
pub mod dev;
pub mod embedded;
pub mod secrets;
pub mod commands;
pub mod crash_points;
pub mod dev;
pub mod embedded;
pub mod event_log;
pub mod migrate;
pub mod gateway;
pub mod projector;
pub mod rebuild;
pub mod tls;
