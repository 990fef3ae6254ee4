//! Why a payment is not started, credited or reversed, each with its numbers.

use crate::ids::{AccountId, PaymentId};
use crate::money::MicroUsd;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRefusal {
    #[error("payment {payment_id} was never started here")]
    NotStarted { payment_id: PaymentId },
    #[error("payment {payment_id} was started before")]
    AlreadyStarted { payment_id: PaymentId },
    #[error("a price is at least ${least} and at most ${most}; ${price} is not")]
    PriceOutOfRange { price: MicroUsd, least: MicroUsd, most: MicroUsd },
    #[error("a price is whole cents; ${price} is not")]
    NotWholeCents { price: MicroUsd },
    #[error("credit is more than $0 and at most ${most}; ${credit} is not")]
    CreditOutOfRange { credit: MicroUsd, most: MicroUsd },
    #[error("a quantity is 1 to {most}, not {quantity}")]
    QuantityOutOfRange { quantity: u32, most: u32 },
    #[error("an id of the payment provider's is 1 to {most} visible ASCII characters")]
    BadProviderId { most: usize },
    #[error("the payment was opened as {known}, not as {got}")]
    OtherSession { known: String, got: String },
    #[error("account {got} did not start this payment; {started_by} did")]
    OtherAccount { started_by: AccountId, got: AccountId },
    #[error("${expected} were to be paid, not ${got}")]
    AmountMismatch { expected: MicroUsd, got: MicroUsd },
    #[error("the amount is not in US dollars")]
    CurrencyMismatch,
    #[error("the payment was started with livemode {started}; this object has livemode {got}")]
    LivemodeMismatch { started: bool, got: bool },
    #[error("it is not paid")]
    NotPaid,
    #[error("this payment is not for {wanted}")]
    OtherPurpose { wanted: &'static str },
    #[error("{id} was recorded with ${recorded}, not ${got}")]
    ReversalAmountChanged { id: String, recorded: MicroUsd, got: MicroUsd },
    #[error("a reversal is of more than $0 and at most ${most}; ${amount} is not")]
    ReversalOutOfRange { amount: MicroUsd, most: MicroUsd },
    #[error("a payment has at most {most} refunds and disputes")]
    TooManyReversals { most: usize },
}
