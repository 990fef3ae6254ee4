//! Given what a conversation was billed for and what is reported, which events follow.

mod attempts;
mod delta;
mod generations;
mod settling_both_streams;
mod taken_back;
