//! Stripe's API, as much of it as we ask: a few typed objects over one HTTP client.
//!
//! Not `async-stripe`: its generated types are a third of a million lines, of which we read about forty
//! fields, it brings an HTTP stack of its own beside ours, and its 1.0 is a release candidate. The
//! version of the API is pinned in every request, so what an account is set to does not matter.
//!
//! Nothing of a request or response is logged: an error names what was asked and Stripe's own code of
//! what was wrong, no key, no body, no id.

mod client;
mod form;
mod objects;
mod requests;

pub use client::{Stripe, StripeError};
pub use objects::{
    Charge, CheckoutSession, Dispute, HappenedObject, Happening, Invoice, InvoicePayment, List, Listed,
    Metadata, PaymentIntent, Reference, Refund, StripeSubscription, currency_of, micro_of_cents,
};
pub use requests::{ACCOUNT_ID, NewCheckout, PAYMENT_ID, SavedCardCharge, Since};

/// The version of the API that these types are read from.
pub const API_VERSION: &str = "2026-10-28.endive";
