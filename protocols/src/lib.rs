//! The dialects clients and providers speak: enough of each to quote, meter, refuse and translate. Pure:
//! no IO, no clock.
//!
//! Where client and provider speak the same dialect, requests and streams are forwarded as bytes, so
//! fields, tool types and events that are unknown today survive byte for byte; what is changed
//! (model names, `stream_options.include_usage`) is cut in at its place.

pub mod assemble;
pub mod client;
pub mod conversation;
pub mod count;
pub mod errors;
pub mod headers;
pub mod json;
pub mod meter;
pub mod note;
pub mod notice;
pub mod relabel;
pub mod request;
pub mod restate;
pub mod sse;
pub mod translate;
pub mod usage;
