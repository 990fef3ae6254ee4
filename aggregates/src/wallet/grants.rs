//! Credit: an ordered set of grants, spent soonest expiry first, then oldest, then by id.

use serde::{Deserialize, Serialize};

use super::entitlements::PlanUse;
use super::events::{ChargedBy, GrantPart, GrantSource, ReversalReason, WalletEvent};
use super::{Decision, Wallet, WalletRefusal};
use crate::ids::{GenerationId, GrantId};
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// The largest single grant: $1 000 000.
pub const MAX_GRANT: MicroUsd = MicroUsd::dollars(1_000_000);

/// Grants with something left that a wallet may have.
pub const MAX_LIVE_GRANTS: usize = 1_000;

/// Exhausted grants kept so that a reversal can still reach them.
pub(super) const EXHAUSTED_GRANTS_KEPT: usize = 100;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    pub grant_id: GrantId,
    pub source: GrantSource,
    pub amount_micro: MicroUsd,
    pub remaining_micro: MicroUsd,
    pub expires_at: Option<Timestamp>,
    pub granted_at: Timestamp,
    /// When it was last drawn on; the exhausted grant that has rested longest is forgotten first.
    pub spent_at: Timestamp,
    /// Its expiry is recorded; what remains is kept for holds placed before it.
    pub expired: bool,
}

impl Grant {
    /// Soonest expiry first, then oldest, then id: a total order.
    fn spend_order(&self) -> (Timestamp, Timestamp, GrantId) {
        (self.expires_at.unwrap_or(Timestamp(i64::MAX)), self.granted_at, self.grant_id)
    }

    /// Whether a hold placed at `placed_at` may spend it.
    pub(super) fn can_be_spent_by(&self, placed_at: Timestamp) -> bool {
        !self.expired || self.expires_at.is_none_or(|expires_at| placed_at < expires_at)
    }
}

impl Wallet {
    pub(super) fn add_grant(&mut self, grant: Grant) {
        let place = self.grants.partition_point(|other| other.spend_order() < grant.spend_order());
        self.grants.insert(place, grant);
        self.forget_oldest_exhausted();
    }

    pub(super) fn grant(&self, grant_id: GrantId) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.grant_id == grant_id)
    }

    pub(super) fn grant_mut(&mut self, grant_id: GrantId) -> Option<&mut Grant> {
        self.grants.iter_mut().find(|grant| grant.grant_id == grant_id)
    }

    /// What a hold placed at `placed_at` pays `cost` with, in spend order, as far as it goes.
    pub(super) fn parts_for(&self, cost: MicroUsd, placed_at: Timestamp) -> Vec<GrantPart> {
        let mut rest = cost;
        let mut parts = Vec::new();
        for grant in self.grants.iter().filter(|grant| grant.can_be_spent_by(placed_at)) {
            let amount_micro = grant.remaining_micro.min(rest);
            if amount_micro.is_positive() {
                rest -= amount_micro;
                parts.push(GrantPart { grant_id: grant.grant_id, amount_micro });
            }
        }
        parts
    }

    pub(super) fn take_from_grants(&mut self, parts: &[GrantPart], at: Timestamp) {
        for part in parts {
            if let Some(grant) = self.grant_mut(part.grant_id) {
                grant.remaining_micro -= part.amount_micro;
                grant.spent_at = at;
            }
        }
        self.forget_oldest_exhausted();
    }

    /// What of `amount` pays debt; the rest is the customer's to spend.
    pub(super) fn pays_debt(&self, amount: MicroUsd) -> MicroUsd {
        self.debt_micro.min(amount)
    }

    pub(super) fn give_back_to_grants(&mut self, parts: &[GrantPart]) {
        for part in parts {
            if let Some(grant) = self.grant_mut(part.grant_id) {
                grant.remaining_micro += part.amount_micro;
            }
        }
    }

    /// What of `parts` goes back to its grants: bought credit pays debt first, so that it makes no
    /// difference whether a charge or its payment was taken back before the other.
    fn left_by_debt(&self, parts: Vec<GrantPart>) -> Vec<GrantPart> {
        let mut debt = self.debt_micro;
        let pays = |part: &GrantPart| self.grant(part.grant_id).is_some_and(|grant| grant.source.is_paid());
        let left = parts.into_iter().map(|part| {
            let paid = if pays(&part) { debt.min(part.amount_micro) } else { MicroUsd::ZERO };
            debt -= paid;
            GrantPart { amount_micro: part.amount_micro - paid, ..part }
        });
        left.filter(|part| part.amount_micro.is_positive()).collect()
    }

    fn forget_oldest_exhausted(&mut self) {
        if self.grants.len() <= EXHAUSTED_GRANTS_KEPT {
            return;
        }
        let exhausted = self.grants.iter().filter(|grant| !grant.remaining_micro.is_positive());
        if exhausted.clone().count() <= EXHAUSTED_GRANTS_KEPT {
            return;
        }
        let oldest =
            exhausted.min_by_key(|grant| (grant.spent_at, grant.grant_id)).map(|grant| grant.grant_id);
        self.grants.retain(|grant| Some(grant.grant_id) != oldest);
    }
}

impl Decision<'_> {
    pub(super) fn grant_credit(
        &mut self,
        grant_id: GrantId,
        source: GrantSource,
        amount_micro: MicroUsd,
        expires_at: Option<Timestamp>,
    ) -> Result<(), WalletRefusal> {
        if !amount_micro.is_positive() || amount_micro > MAX_GRANT {
            return Err(WalletRefusal::AmountOutOfRange { amount: amount_micro, most: MAX_GRANT });
        }
        if expires_at.is_some_and(|expires_at| expires_at <= self.now) {
            return Err(WalletRefusal::ExpiresInThePast);
        }
        if self.wallet.grant(grant_id).is_some() {
            return Err(WalletRefusal::GrantExists { grant_id });
        }
        let live = self.wallet.grants.iter().filter(|grant| grant.remaining_micro.is_positive()).count();
        if live >= MAX_LIVE_GRANTS {
            return Err(WalletRefusal::TooManyGrants { most: MAX_LIVE_GRANTS });
        }
        let debt_paid_micro = self.wallet.pays_debt(amount_micro);
        let event = WalletEvent::CreditGranted {
            grant_id,
            source,
            amount_micro,
            expires_at,
            debt_paid_micro,
            balance_micro: self.wallet.balance() + amount_micro - debt_paid_micro,
            held_micro: self.wallet.held_micro,
            at: self.now,
        };
        self.emit_last(event);
        Ok(())
    }

    pub(super) fn reverse_charge(
        &mut self,
        generation_id: GenerationId,
        reason: ReversalReason,
        parts: Vec<GrantPart>,
        charged: Option<ChargedBy>,
        plan: Option<Box<PlanUse>>,
    ) -> Result<(), WalletRefusal> {
        if let Some(unknown) = parts.iter().find(|part| self.wallet.grant(part.grant_id).is_none()) {
            return Err(WalletRefusal::UnknownGrant { grant_id: unknown.grant_id });
        }
        let amount_micro: MicroUsd = parts.iter().map(|part| part.amount_micro).sum();
        let to = self.wallet.left_by_debt(parts);
        let returned_micro: MicroUsd = to.iter().map(|part| part.amount_micro).sum();
        let grant_ids: Vec<GrantId> = to.iter().map(|part| part.grant_id).collect();
        let event = WalletEvent::ChargeReversed {
            generation_id,
            reason,
            amount_micro,
            to,
            charged,
            debt_paid_micro: amount_micro - returned_micro,
            plan,
            balance_micro: self.wallet.balance() + returned_micro,
            held_micro: self.wallet.held_micro,
            at: self.now,
        };
        self.emit(event);
        self.expire_again(&grant_ids);
        Ok(())
    }
}
