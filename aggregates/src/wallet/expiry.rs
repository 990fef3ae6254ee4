//! What time does to a wallet: holds reach their hard age, credit runs out.
//!
//! Expiry takes only what is not held. A grant keeps what holds placed before its expiry may still
//! need; only they can spend it, and the rest goes in the append that closes the last of them.

use super::events::{ExpiryReason, WalletEvent};
use super::{Decision, Grant, Hold, Wallet};
use crate::ids::{GenerationId, GrantId, NodeIncarnation};
use crate::money::MicroUsd;
use crate::time::Timestamp;

impl Wallet {
    /// The moment from which some command would have something to expire: the earliest expiry of a grant
    /// or of a plan, or hard age of a hold. A sweeper needs no more than this.
    pub fn next_due(&self, hold_max_age_secs: i64) -> Option<Timestamp> {
        let grants = self
            .grants
            .iter()
            .filter(|grant| !grant.expired && grant.remaining_micro.is_positive())
            .filter_map(|grant| grant.expires_at);
        let holds = self.holds.values().map(|hold| hold.placed_at.plus_secs(hold_max_age_secs));
        grants.chain(holds).chain(self.entitlements.next_end()).min()
    }

    /// Whether some expired grant still keeps credit for older holds.
    pub(super) fn keeps_expired_credit(&self) -> bool {
        self.grants.iter().any(|grant| grant.expired && grant.remaining_micro.is_positive())
    }

    fn holds_past(&self, hold_max_age_secs: i64, now: Timestamp) -> Vec<GenerationId> {
        let too_old = |placed_at: Timestamp| placed_at.plus_secs(hold_max_age_secs) <= now;
        self.holds.iter().filter(|(_, hold)| too_old(hold.placed_at)).map(|(id, _)| *id).collect()
    }

    fn grants_past(&self, now: Timestamp) -> Vec<GrantId> {
        let due = |expires_at: Timestamp| expires_at <= now;
        self.grants
            .iter()
            .filter(|grant| !grant.expired && grant.remaining_micro.is_positive())
            .filter(|grant| grant.expires_at.is_some_and(due))
            .map(|grant| grant.grant_id)
            .collect()
    }

    /// What `grant_id`, at or past its expiry, keeps for the open holds placed before it.
    fn kept_of(&self, grant_id: GrantId) -> MicroUsd {
        let mut kept =
            self.kept_by_each(|grant| grant.expired || grant.grant_id == grant_id, |h| h.worst_micro);
        kept.find(|(grant, _)| grant.grant_id == grant_id).map_or(MicroUsd::ZERO, |(_, kept)| kept)
    }

    /// What expired grants keep for open holds together, each hold counted at `size`.
    pub(super) fn kept_by_all(&self, size: fn(&Hold) -> MicroUsd) -> MicroUsd {
        self.kept_by_each(|grant| grant.expired, size).map(|(_, kept)| kept).sum()
    }

    /// How much of each of the expiring grants open holds can take up, in spend order.
    ///
    /// A later expiry serves every hold that an earlier one serves, and more; so what earlier grants
    /// keep comes off the need of later ones, but never more of it than their own holds can use.
    fn kept_by_each(
        &self,
        is_expiring: impl Fn(&Grant) -> bool,
        size: fn(&Hold) -> MicroUsd,
    ) -> impl Iterator<Item = (&Grant, MicroUsd)> {
        let mut kept_so_far = MicroUsd::ZERO;
        let expiring = self.grants.iter().filter(|grant| grant.remaining_micro.is_positive());
        expiring.filter(move |grant| is_expiring(grant)).map(move |grant| {
            let is_served = |hold: &&Hold| grant.expires_at.is_some_and(|expiry| hold.pays_before(expiry));
            let need: MicroUsd = self.holds.values().filter(is_served).map(size).sum();
            let kept = grant.remaining_micro.min(need - kept_so_far);
            kept_so_far += kept;
            (grant, kept)
        })
    }
}

impl Decision<'_> {
    /// Holds past their hard age first, because an expired hold keeps no credit; then grants.
    pub(super) fn expire_what_is_due(&mut self) {
        for generation_id in self.wallet.holds_past(self.terms.hold_max_age_secs, self.now) {
            self.expire_hold(generation_id, ExpiryReason::Age);
        }
        for grant_id in self.wallet.grants_past(self.now) {
            self.expire_grant(grant_id);
        }
        self.expire_what_nothing_holds();
        self.expire_entitlements();
    }

    /// Expired credit that was kept for holds of which none is open any more.
    pub(super) fn expire_what_nothing_holds(&mut self) {
        if !self.wallet.keeps_expired_credit() {
            return;
        }
        let is_awaited =
            |expires_at: Timestamp| self.wallet.holds.values().any(|hold| hold.pays_before(expires_at));
        let unheld: Vec<GrantId> = self
            .wallet
            .grants
            .iter()
            .filter(|grant| grant.expired && grant.remaining_micro.is_positive())
            .filter(|grant| grant.expires_at.is_some_and(|expires_at| !is_awaited(expires_at)))
            .map(|grant| grant.grant_id)
            .collect();
        for grant_id in unheld {
            self.expire_grant(grant_id);
        }
    }

    pub(super) fn expire_holds_of(&mut self, dead_nodes: &[NodeIncarnation]) {
        let lost: Vec<GenerationId> = self
            .wallet
            .holds
            .iter()
            .filter(|(_, hold)| dead_nodes.contains(&hold.node))
            .map(|(generation_id, _)| *generation_id)
            .collect();
        for generation_id in lost {
            self.expire_hold(generation_id, ExpiryReason::NodeDead);
        }
        self.expire_what_nothing_holds();
    }

    /// Credit has come back to `grant_ids`: those past their expiry keep of it what is held, as ever.
    pub(super) fn expire_again(&mut self, grant_ids: &[GrantId]) {
        for grant_id in grant_ids {
            let wallet = self.wallet.as_ref();
            let surplus = wallet.grant(*grant_id).is_some_and(|grant| {
                grant.expires_at.is_some_and(|expires_at| expires_at <= self.now)
                    && (!grant.expired || grant.remaining_micro > wallet.kept_of(*grant_id))
            });
            if surplus {
                self.expire_grant(*grant_id);
            }
        }
    }

    fn expire_hold(&mut self, generation_id: GenerationId, reason: ExpiryReason) {
        let wallet = self.wallet.as_ref();
        let Some(hold) = wallet.holds.get(&generation_id) else { return };
        let event = WalletEvent::HoldExpired {
            generation_id,
            reason,
            attempt: Some(hold.attempt.clone()),
            amount_micro: hold.amount_micro,
            balance_micro: wallet.balance(),
            held_micro: wallet.held_micro - hold.amount_micro,
            at: self.now,
        };
        self.emit(event);
    }

    fn expire_grant(&mut self, grant_id: GrantId) {
        let wallet = self.wallet.as_ref();
        let Some(grant) = wallet.grant(grant_id) else { return };
        let kept_micro = wallet.kept_of(grant_id);
        let expired_micro = grant.remaining_micro - kept_micro;
        let event = WalletEvent::GrantExpired {
            grant_id,
            expired_micro,
            kept_micro,
            balance_micro: wallet.balance() - expired_micro,
            held_micro: wallet.held_micro,
            at: self.now,
        };
        self.emit(event);
    }
}
