//! codexapi: a hosted gateway that sells metered access to coding models, with event-sourced money.

pub mod advisory_lock;
pub mod clock;
pub mod commands;
pub mod config;
pub mod crash_points;
pub mod dev;
pub mod embedded;
pub mod event_log;
pub mod feed;
pub mod history;
pub mod migrate;
pub mod nats;
pub mod projector;
pub mod rebuild;
pub mod relay;
pub mod secrets;
pub mod tls;
pub mod verify;
