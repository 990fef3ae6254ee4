//! Stripe's objects: what calls make of them, and what they show.

pub mod charges;
pub mod checkout;
pub mod customers;
pub mod disputes;
pub mod events;
pub mod invoices;
pub mod payment_intents;
pub mod payment_methods;
pub mod prices;
pub mod refunds;
pub mod setup_intents;
pub mod subscriptions;

use crate::params::Params;

/// A call to an API method, after its key, form and idempotency key have been looked at.
pub struct Call {
    /// What stands for `{id}` in the path.
    pub id: String,
    pub params: Params,
}
