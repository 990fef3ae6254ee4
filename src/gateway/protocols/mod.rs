//! What the gateway must know of the three dialects it passes through: enough to quote, meter and
//! refuse, and nothing more. Pure: no IO, no clock.
//!
//! Requests and streams are forwarded as bytes. Nothing here rebuilds a body from parsed values, so
//! fields, tool types and events that are unknown today survive byte for byte; what is changed
//! (model names, `stream_options.include_usage`) is cut in at its place.

pub mod client;
pub mod count;
pub mod errors;
pub mod headers;
pub mod json;
pub mod meter;
pub mod relabel;
pub mod request;
pub mod sse;
pub mod usage;
