//! Payments that were refunded or disputed, and those that were won back.
//!
//! Nothing here is clamped: what neither the payment's grant nor other bought credit can cover is
//! debt. Only what was taken back can be given back, so no order of refunds and disputes mints credit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::events::{GrantPart, GrantTerms, WalletEvent};
use super::takings::refuse_out_of_range;
use super::{Decision, Grant, Wallet, WalletRefusal};
use crate::ids::GrantId;
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// Payments with something taken back that a wallet remembers; of more, the oldest is final.
const REVERSED_PAYMENTS_KEPT: usize = 1_000;

/// A payment of which something is taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Reversed {
    amount_micro: MicroUsd,
    last_at: Timestamp,
}

/// What is taken back of each payment and not given back since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TakenBack(BTreeMap<GrantId, Reversed>);

impl TakenBack {
    fn of(&self, payment_id: GrantId) -> MicroUsd {
        self.0.get(&payment_id).map_or(MicroUsd::ZERO, |reversed| reversed.amount_micro)
    }

    fn add(&mut self, payment_id: GrantId, amount: MicroUsd, at: Timestamp) {
        let reversed = self.0.entry(payment_id).or_default();
        reversed.amount_micro += amount;
        reversed.last_at = at;
        if self.0.len() > REVERSED_PAYMENTS_KEPT {
            let oldest = self.0.iter().min_by_key(|(id, reversed)| (reversed.last_at, **id));
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.0.remove(&oldest);
            }
        }
    }

    fn subtract(&mut self, payment_id: GrantId, amount: MicroUsd) {
        if let Some(reversed) = self.0.get_mut(&payment_id) {
            reversed.amount_micro -= amount;
            if !reversed.amount_micro.is_positive() {
                self.0.remove(&payment_id);
            }
        }
    }
}

impl Wallet {
    /// The payment's own grant first, then other bought credit in spend order; both whether held or not.
    fn parts_for_reversal(&self, payment_id: GrantId, amount: MicroUsd) -> Vec<GrantPart> {
        let own = self.grant(payment_id);
        let is_other_paid =
            |grant: &&Grant| grant.grant_id != payment_id && grant.source.is_paid() && !grant.expired;
        let mut rest = amount;
        let mut parts = Vec::new();
        for grant in own.into_iter().chain(self.grants.iter().filter(is_other_paid)) {
            let amount_micro = grant.remaining_micro.min(rest);
            if amount_micro.is_positive() {
                rest -= amount_micro;
                parts.push(GrantPart { grant_id: grant.grant_id, amount_micro });
            }
        }
        parts
    }

    pub(super) fn payment_reversed(
        &mut self,
        payment_id: GrantId,
        amount: MicroUsd,
        from: &[GrantPart],
        at: Timestamp,
    ) {
        let paid_at = self.grant(payment_id).map_or(at, |grant| grant.granted_at);
        self.history.change_payment(paid_at, MicroUsd::ZERO - amount, at);
        self.taken_back.add(payment_id, amount, at);
        self.take_from_grants(from, at);
    }

    pub(super) fn payment_reinstated(
        &mut self,
        payment_id: GrantId,
        amount: MicroUsd,
        debt_paid: MicroUsd,
        recalled: Option<GrantTerms>,
        at: Timestamp,
    ) {
        let returned = amount - debt_paid;
        self.taken_back.subtract(payment_id, amount);
        match (self.grant_mut(payment_id), recalled) {
            (Some(grant), _) => {
                grant.remaining_micro += returned;
                let paid_at = grant.granted_at;
                self.history.change_payment(paid_at, amount, at);
            }
            (None, Some(terms)) => {
                self.history.change_payment(terms.granted_at, amount, at);
                self.add_grant(Grant {
                    grant_id: payment_id,
                    source: terms.source,
                    amount_micro: terms.amount_micro,
                    remaining_micro: returned,
                    expires_at: terms.expires_at,
                    granted_at: terms.granted_at,
                    spent_at: at,
                    expired: false,
                });
            }
            (None, None) => self.history.change_payment(at, amount, at),
        }
    }
}

impl Decision<'_> {
    pub(super) fn take_back_payment(
        &mut self,
        payment_id: GrantId,
        amount_micro: MicroUsd,
    ) -> Result<(), WalletRefusal> {
        refuse_out_of_range(amount_micro)?;
        let wallet = self.wallet.as_ref();
        let from = wallet.parts_for_reversal(payment_id, amount_micro);
        let taken_micro: MicroUsd = from.iter().map(|part| part.amount_micro).sum();
        let debt_added_micro = amount_micro - taken_micro;
        let event = WalletEvent::PaymentReversed {
            payment_id,
            amount_micro,
            from,
            debt_added_micro,
            debt_micro: wallet.debt_micro + debt_added_micro,
            balance_micro: wallet.balance() - taken_micro,
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit_last(event);
        Ok(())
    }

    pub(super) fn reinstate_payment(
        &mut self,
        payment_id: GrantId,
        amount_micro: MicroUsd,
        recalled: Option<GrantTerms>,
    ) -> Result<(), WalletRefusal> {
        refuse_out_of_range(amount_micro)?;
        let wallet = self.wallet.as_ref();
        let taken = wallet.taken_back.of(payment_id);
        if taken < amount_micro {
            return Err(WalletRefusal::MoreThanTakenBack { payment_id, taken, requested: amount_micro });
        }
        let debt_paid_micro = wallet.pays_debt(amount_micro);
        let returned_micro = amount_micro - debt_paid_micro;
        let has_left = wallet.grant(payment_id).is_none();
        if has_left && returned_micro.is_positive() && recalled.is_none() {
            return Err(WalletRefusal::UnknownGrant { grant_id: payment_id });
        }
        let event = WalletEvent::PaymentReinstated {
            payment_id,
            amount_micro,
            debt_paid_micro,
            grant: recalled.filter(|_| has_left && returned_micro.is_positive()),
            debt_micro: wallet.debt_micro - debt_paid_micro,
            balance_micro: wallet.balance() + returned_micro,
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit(event);
        if returned_micro.is_positive() {
            self.expire_again(&[payment_id]);
        }
        Ok(())
    }
}
