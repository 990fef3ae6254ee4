//! A payment beside what it should come to, by hand.

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use uuid::Uuid;

use crate::examples::micro;
use crate::ids::PaymentId;
use crate::money::MicroUsd;
use crate::payment::{DisputeStatus, Payment, PaymentEvent, RefundStatus};

/// Of every payment.
pub const PRICE_CENTS: i64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Buys {
    Tokens { credit: i64 },
    Cash,
    Plan { which: usize, secs: u32, blocks: u32 },
}

/// A payment beside all that was ever told of it.
pub struct Paying {
    pub number: u128,
    pub buys: Buys,
    pub payment: Payment,
    pub events: Vec<PaymentEvent>,
    pub paid: bool,
    pub refunds: BTreeMap<u8, RefundStatus>,
    pub disputes: BTreeMap<u8, DisputeStatus>,
    /// What its wallet has come to have of it.
    pub followed: i64,
}

/// A refund's or dispute's amount is its own, however often it is told of; together they exceed the price.
pub fn cents(id: u8) -> i64 {
    [PRICE_CENTS, 333, 500][usize::from(id)]
}

pub fn micro_of(cents: i64) -> MicroUsd {
    micro(cents * 10_000)
}

impl Paying {
    pub fn payment_id(&self) -> PaymentId {
        PaymentId(Uuid::from_u128(self.number))
    }

    pub fn apply(&mut self, events: Vec<PaymentEvent>) {
        events.iter().for_each(|event| self.payment.apply(event.clone()));
        self.events.extend(events);
    }

    pub fn reversed_cents(&self) -> i64 {
        let made = self.refunds.iter().filter(|(_, status)| **status == RefundStatus::Made);
        let withheld = |status: &DisputeStatus| matches!(status, DisputeStatus::Open | DisputeStatus::Lost);
        let withheld = self.disputes.iter().filter(|(_, status)| withheld(status));
        made.map(|(id, _)| cents(*id)).chain(withheld.map(|(id, _)| cents(*id))).sum()
    }

    pub fn granted(&self) -> i64 {
        match self.buys {
            Buys::Tokens { credit } => credit,
            Buys::Cash => micro_of(PRICE_CENTS).0,
            Buys::Plan { .. } => 0,
        }
    }

    /// ⌊granted × (paid − reversed) ⁄ paid⌋, by hand.
    pub fn remains(&self) -> i64 {
        if !self.paid {
            return 0;
        }
        let exact = i128::from(self.granted()) * i128::from(PRICE_CENTS - self.reversed_cents());
        i64::try_from(exact.div_euclid(i128::from(PRICE_CENTS))).expect("small numbers")
    }

    pub fn plan_holds(&self) -> bool {
        self.paid && self.reversed_cents() < PRICE_CENTS
    }
}
