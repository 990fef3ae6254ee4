//! A customer's prepaid credit: grants, holds and charges.

pub mod events;
