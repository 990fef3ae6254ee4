//! One generation from request to settlement.

pub mod protocols;
