mod cash;
mod confirming;
mod entitlement;
mod properties;
mod reversing;
mod starting;

use cqrs_es::Aggregate;
use uuid::Uuid;

use super::{
    Channel, Currency, DisputeStatus, ObservedPayment, ObservedReversal, Payment, PaymentEvent, Purpose,
    RefundStatus, Reversal, StartPayment,
};
use crate::ids::{AccountId, PaymentId};
use crate::money::MicroUsd;
use crate::wallet::{Wallet, WalletEvent};

fn payment_id() -> PaymentId {
    PaymentId(Uuid::from_u128(1))
}

fn account() -> AccountId {
    AccountId(Uuid::from_u128(7))
}

/// $10 buy $25 of credit.
fn start() -> StartPayment {
    StartPayment {
        payment_id: payment_id(),
        account_id: account(),
        channel: Channel::Checkout,
        purpose: Purpose::TokenCredit { credit_micro: MicroUsd::dollars(25) },
        plan_id: Some("starter".into()),
        quantity: 1,
        price_micro: MicroUsd::dollars(10),
        currency: Currency::Usd,
        livemode: false,
    }
}

/// What the payment provider says of it once it is paid.
fn paid() -> ObservedPayment {
    ObservedPayment {
        payment_id: payment_id(),
        account_id: account(),
        session_id: Some("cs_1".into()),
        payment_intent_id: Some("pi_1".into()),
        paid: true,
        amount_micro: MicroUsd::dollars(10),
        currency: Some(Currency::Usd),
        livemode: false,
        period: None,
    }
}

fn refund(id: &str, amount_micro: MicroUsd, status: RefundStatus) -> ObservedReversal {
    observed(Reversal::Refund { refund_id: id.into(), status }, amount_micro)
}

fn dispute(id: &str, amount_micro: MicroUsd, status: DisputeStatus) -> ObservedReversal {
    observed(Reversal::Dispute { dispute_id: id.into(), status }, amount_micro)
}

fn observed(reversal: Reversal, amount_micro: MicroUsd) -> ObservedReversal {
    let currency = Some(Currency::Usd);
    ObservedReversal { payment_id: payment_id(), reversal, amount_micro, currency, livemode: false }
}

/// A payment and its payer's wallet, and what both were told.
#[derive(Clone, Default)]
struct Both {
    payment: Payment,
    wallet: Wallet,
}

impl Both {
    fn apply(&mut self, (payment, wallet): (Vec<PaymentEvent>, Vec<WalletEvent>)) {
        payment.into_iter().for_each(|event| self.payment.apply(event));
        wallet.into_iter().for_each(|event| self.wallet.apply(event));
    }
}
