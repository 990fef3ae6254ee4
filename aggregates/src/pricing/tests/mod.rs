//! Given what was published, which cards follow, and what usage costs under them.

mod cards;
mod rating;
