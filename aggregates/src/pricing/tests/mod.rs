//! Given what was published and scheduled, which events follow, and what usage costs under them.

mod builders;
mod cards;
mod changelog;
mod properties;
mod rating;
mod terms;
mod windows;
