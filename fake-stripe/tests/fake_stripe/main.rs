//! What the fake promises beside what the real SDKs show of it (`tests/clients`, cases "stripe for …").

mod dependencies;
mod harness;
mod keeping;
mod refusals;
