//! Refunds and disputes: each known by its id and its furthest status, so that any order and any
//! repetition comes to the same.

use super::{
    Currency, DisputeStatus, Payment, PaymentEvent, PaymentRefusal, RefundStatus, Standing, Started,
    check_provider_id,
};
use crate::ids::PaymentId;
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// Refunds and disputes of one payment, together.
pub const MAX_REVERSALS: usize = 200;

/// Money that went back, or is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reversal {
    Refund { refund_id: String, status: RefundStatus },
    Dispute { dispute_id: String, status: DisputeStatus },
}

/// A reversal as the provider has it, fetched from the provider itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedReversal {
    pub payment_id: PaymentId,
    pub reversal: Reversal,
    pub amount_micro: MicroUsd,
    /// Absent for any currency but ours.
    pub currency: Option<Currency>,
    pub livemode: bool,
}

impl Reversal {
    fn id(&self) -> &str {
        match self {
            Self::Refund { refund_id: id, .. } | Self::Dispute { dispute_id: id, .. } => id,
        }
    }
}

impl Payment {
    /// Refunds and disputes that hold now, together; they may exceed what was paid.
    pub fn reversed(&self) -> MicroUsd {
        let refunds = self.refunds.values().filter(|(_, status)| *status == RefundStatus::Made);
        let disputes = self.disputes.values().filter(|(_, status)| status.withholds());
        refunds.map(|(amount, _)| *amount).chain(disputes.map(|(amount, _)| *amount)).sum()
    }

    /// Whether as much was reversed as was paid.
    pub fn is_wholly_reversed(&self) -> bool {
        self.started.as_ref().is_some_and(|started| self.reversed() >= started.price_micro)
    }

    /// Whether a dispute waits to be decided.
    pub fn is_disputed(&self) -> bool {
        self.disputes.values().any(|(_, status)| *status == DisputeStatus::Open)
    }

    /// Whether a refund or dispute is on record as being this far, or further.
    pub fn knows(&self, reversal: &Reversal) -> bool {
        match reversal {
            Reversal::Refund { refund_id, status } => {
                self.refunds.get(refund_id).is_some_and(|(_, known)| known >= status)
            }
            Reversal::Dispute { dispute_id, status } => {
                self.disputes.get(dispute_id).is_some_and(|(_, known)| known >= status)
            }
        }
    }

    /// ⌊granted × (paid − reversed) ⁄ paid⌋, below 0 where more was reversed than paid: what the
    /// customer's credit should still be, were nothing spent. 0 for a payment never started.
    pub fn remaining(&self) -> MicroUsd {
        let Some(started) = &self.started else { return MicroUsd::ZERO };
        let (granted, paid) = (i128::from(started.granted().0), i128::from(started.price_micro.0));
        let kept = paid - i128::from(self.reversed().0);
        let remaining = (granted * kept).div_euclid(paid);
        MicroUsd(i64::try_from(remaining).expect("bounded by MAX_GRANT and MAX_REVERSALS"))
    }

    /// What the wallet has been told to keep.
    pub(super) fn remaining_told(&self) -> MicroUsd {
        if self.standing == Standing::Credited { self.remaining() } else { MicroUsd::ZERO }
    }

    /// A refund or dispute as it stands now. No event where it was known to be as far, or further.
    pub(super) fn reversed_by(
        &self,
        observed: &ObservedReversal,
        now: Timestamp,
    ) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        let ObservedReversal { payment_id, reversal, amount_micro: amount, currency, livemode } = observed;
        let most = self.wanted(*payment_id)?.price_micro;
        check_provider_id(reversal.id())?;
        self.check_mode(*currency, *livemode)?;
        if !amount.is_positive() || *amount > most {
            return Err(PaymentRefusal::ReversalOutOfRange { amount: *amount, most });
        }
        let recorded = match reversal {
            Reversal::Refund { refund_id, .. } => self.refunds.get(refund_id).map(|(amount, _)| *amount),
            Reversal::Dispute { dispute_id, .. } => self.disputes.get(dispute_id).map(|(amount, _)| *amount),
        };
        match recorded {
            Some(recorded) if recorded != *amount => {
                let id = reversal.id().to_owned();
                return Err(PaymentRefusal::ReversalAmountChanged { id, recorded, got: *amount });
            }
            None if self.refunds.len() + self.disputes.len() >= MAX_REVERSALS => {
                return Err(PaymentRefusal::TooManyReversals { most: MAX_REVERSALS });
            }
            Some(_) | None => {}
        }
        if self.knows(reversal) {
            return Ok(vec![]);
        }
        Ok(vec![self.with_sums(*payment_id, reversal, *amount, now)])
    }

    /// The event, with the sums as they are after it.
    fn with_sums(
        &self,
        payment_id: PaymentId,
        reversal: &Reversal,
        amount_micro: MicroUsd,
        at: Timestamp,
    ) -> PaymentEvent {
        let mut after = self.clone();
        match reversal.clone() {
            Reversal::Refund { refund_id, status } => {
                after.refunds.insert(refund_id.clone(), (amount_micro, status));
                let (reversed_micro, remaining_micro) = (after.reversed(), after.remaining());
                PaymentEvent::RefundRecorded {
                    payment_id,
                    refund_id,
                    amount_micro,
                    status,
                    reversed_micro,
                    remaining_micro,
                    at,
                }
            }
            Reversal::Dispute { dispute_id, status } => {
                after.disputes.insert(dispute_id.clone(), (amount_micro, status));
                let (reversed_micro, remaining_micro) = (after.reversed(), after.remaining());
                PaymentEvent::DisputeRecorded {
                    payment_id,
                    dispute_id,
                    amount_micro,
                    status,
                    reversed_micro,
                    remaining_micro,
                    at,
                }
            }
        }
    }

    /// This payment once `events` have happened.
    pub(super) fn after(&self, events: &[PaymentEvent]) -> Self {
        let mut after = self.clone();
        for event in events {
            after.evolve(event.clone());
        }
        after
    }

    /// How the credit bought changes from this state to `after`: more than 0 to reinstate, less to
    /// take back. The grant itself is not counted.
    pub(super) fn change_to(&self, after: &Self) -> MicroUsd {
        let becomes_credited = self.standing != Standing::Credited && after.standing == Standing::Credited;
        let granted = after.started.as_ref().filter(|_| becomes_credited).map(Started::granted);
        after.remaining_told() - self.remaining_told() - granted.unwrap_or(MicroUsd::ZERO)
    }
}

impl DisputeStatus {
    /// Whether the money is away.
    pub fn withholds(self) -> bool {
        match self {
            Self::Open | Self::Lost => true,
            Self::Inquiry | Self::Won => false,
        }
    }
}
