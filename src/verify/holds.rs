//! No hold stays open more than two sweeps past the time it could first be expired.

use codexapi_aggregates::wallet::Wallet;

use super::wallets::WalletAudit;
use super::{Difference, HoldTerms};

const SWEEPS_ALLOWED: i64 = 2;
const MICROS_PER_SECOND: i64 = 1_000_000;

pub(super) fn check(
    stream: &str,
    audit: &WalletAudit,
    wallet: &Wallet,
    terms: &HoldTerms,
) -> Result<(), Difference> {
    for (generation_id, hold) in wallet.open_holds() {
        let by_age = hold.placed_at.plus_secs(terms.max_age_secs);
        let by_node = terms.lapsed_leases.get(&hold.node).map(|lapsed| (*lapsed).max(hold.placed_at));
        let expirable = by_node.map_or(by_age, |by_node| by_node.min(by_age));
        let deadline = expirable.plus_secs(SWEEPS_ALLOWED * terms.sweep_secs);
        if terms.now > deadline {
            return Err(Difference::HoldLeftBehind {
                stream: stream.into(),
                generation_id: generation_id.to_string(),
                position: audit.open_holds().get(generation_id).map_or(0, |hold| hold.position),
                overdue_secs: (terms.now.0 - expirable.0) / MICROS_PER_SECOND,
            });
        }
    }
    Ok(())
}
