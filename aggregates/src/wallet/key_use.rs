//! What each key uses of its limits, in the wallet itself: all nodes share it, and a budget reads the
//! same fold as the ledger.
//!
//! Windows are fixed and in UTC (minute, day, ISO week, month), and an event falls into the ones its
//! own `at` lies in, so that folding needs no clock. A window is one number that starts anew in the
//! next one; what is past is forgotten.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Hold, Wallet, WalletRefusal};
use crate::account::{KeyLimits, MAX_KEYS};
use crate::ids::KeyId;
use crate::money::MicroUsd;
use crate::time::Timestamp;

/// What a key may use; what is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldLimits {
    pub requests_per_minute: Option<u32>,
    /// Input at its estimate when the request begins, output when it is settled.
    pub tokens_per_minute: Option<u64>,
    pub parallel_requests: Option<u32>,
    pub daily_budget_micro: Option<MicroUsd>,
    pub monthly_budget_micro: Option<MicroUsd>,
}

impl From<&KeyLimits> for HoldLimits {
    /// Those of a key's limits that a wallet counts.
    fn from(limits: &KeyLimits) -> Self {
        Self {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            parallel_requests: limits.parallel_requests,
            daily_budget_micro: limits.daily_budget_micro,
            monthly_budget_micro: limits.monthly_budget_micro,
        }
    }
}

/// What a request asks of its key's limits.
pub(super) struct AskedOfKey {
    pub key_id: KeyId,
    pub input_tokens: u64,
    /// What the balance must cover, and the most it may have to pay; nothing where a plan pays.
    pub needed_micro: MicroUsd,
    pub worst_micro: MicroUsd,
}

/// What a key has used at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUseNow {
    pub requests_this_minute: u32,
    pub tokens_this_minute: u64,
    pub minute_ends_at: Timestamp,
    /// Requests running.
    pub open: usize,
    /// Charged this UTC day, ISO week and month; what open holds have set aside is not in it.
    pub spent_today_micro: MicroUsd,
    pub spent_week_micro: MicroUsd,
    pub spent_month_micro: MicroUsd,
}

/// One sum, over the window numbered `index`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Window<T> {
    index: i64,
    sum: T,
}

impl<T: Copy + Default> Window<T> {
    /// The sum in window `index`, to change; `None` where a later one has begun.
    fn sum_in(&mut self, index: i64) -> Option<&mut T> {
        if index > self.index {
            *self = Self { index, sum: T::default() };
        }
        (index == self.index).then_some(&mut self.sum)
    }

    fn of(&self, index: i64) -> T {
        if index == self.index { self.sum } else { T::default() }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct KeyUse {
    requests: Window<u32>,
    tokens: Window<u64>,
    day: Window<MicroUsd>,
    week: Window<MicroUsd>,
    month: Window<MicroUsd>,
    used_at: Timestamp,
}

/// Every key used in the current week or month.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct KeyUses(BTreeMap<KeyId, KeyUse>);

impl KeyUses {
    pub fn count_request(&mut self, key_id: KeyId, input_tokens: u64, at: Timestamp) {
        let used = self.entry(key_id, at);
        if let Some(requests) = used.requests.sum_in(at.utc_minute()) {
            *requests = requests.saturating_add(1);
        }
        used.count_tokens(input_tokens, at);
    }

    pub fn count_charge(&mut self, key_id: KeyId, output_tokens: u64, charged: MicroUsd, at: Timestamp) {
        let used = self.entry(key_id, at);
        used.count_tokens(output_tokens, at);
        for (window, index) in used.budgets(at) {
            if let Some(spent) = window.sum_in(index) {
                *spent += charged;
            }
        }
    }

    /// Gives a charge made at `charged_at` back to the windows that still count it.
    pub fn give_back(&mut self, key_id: KeyId, amount: MicroUsd, charged_at: Timestamp) {
        let Some(used) = self.0.get_mut(&key_id) else { return };
        for (window, index) in used.budgets(charged_at) {
            if window.index == index {
                window.sum = (window.sum - amount).max(MicroUsd::ZERO);
            }
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn of(&self, key_id: KeyId) -> KeyUse {
        self.0.get(&key_id).copied().unwrap_or_default()
    }

    /// A key that is new here makes room: keys whose every window is past are forgotten.
    fn entry(&mut self, key_id: KeyId, at: Timestamp) -> &mut KeyUse {
        if !self.0.contains_key(&key_id) {
            let (week, month) = (at.iso_week(), at.utc_month());
            self.0.retain(|_, used| used.used_at.iso_week() >= week || used.used_at.utc_month() >= month);
            // An account never has more keys than this; a limit all the same.
            if self.0.len() >= MAX_KEYS {
                let oldest = self.0.iter().min_by_key(|(key_id, used)| (used.used_at, **key_id));
                if let Some(oldest) = oldest.map(|(key_id, _)| *key_id) {
                    self.0.remove(&oldest);
                }
            }
        }
        let used = self.0.entry(key_id).or_default();
        used.used_at = at.max(used.used_at);
        used
    }
}

impl KeyUse {
    fn count_tokens(&mut self, tokens: u64, at: Timestamp) {
        if let Some(used) = self.tokens.sum_in(at.utc_minute()) {
            *used = used.saturating_add(tokens);
        }
    }

    /// The windows that charges count in, and which of each `at` lies in.
    fn budgets(&mut self, at: Timestamp) -> [(&mut Window<MicroUsd>, i64); 3] {
        [(&mut self.day, at.utc_day()), (&mut self.week, at.iso_week()), (&mut self.month, at.utc_month())]
    }
}

impl Wallet {
    /// What a key has used of its limits at `now`.
    pub fn key_use(&self, key_id: KeyId, now: Timestamp) -> KeyUseNow {
        let used = self.keys.of(key_id);
        let minute = now.utc_minute();
        KeyUseNow {
            requests_this_minute: used.requests.of(minute),
            tokens_this_minute: used.tokens.of(minute),
            minute_ends_at: now.next_minute(),
            open: self.holds_of(key_id).count(),
            spent_today_micro: used.day.of(now.utc_day()),
            spent_week_micro: used.week.of(now.iso_week()),
            spent_month_micro: used.month.of(now.utc_month()),
        }
    }

    /// Refuses a request that would take its key beyond `limits`: first what no waiting helps
    /// against, then what is free again soonest.
    pub(super) fn refuse_beyond(
        &self,
        limits: &HoldLimits,
        asked: &AskedOfKey,
        now: Timestamp,
    ) -> Result<(), WalletRefusal> {
        if *limits == HoldLimits::default() {
            return Ok(());
        }
        let key_id = asked.key_id;
        let used = self.key_use(key_id, now);
        refuse_beyond_minute(limits, &used, asked.input_tokens, now)?;
        if let Some(limit) = limits.parallel_requests
            && used.open >= usize::try_from(limit).unwrap_or(usize::MAX)
        {
            return Err(WalletRefusal::ParallelRequests { limit });
        }
        self.refuse_beyond_budgets(limits, &used, asked, now)
    }

    /// Alone, a request needs its estimate of what is left of a budget; beside others of its key, the
    /// worst of all of them. So a budget is passed by what one request costs beyond its estimate at
    /// the most, however many are sent at once.
    fn refuse_beyond_budgets(
        &self,
        limits: &HoldLimits,
        used: &KeyUseNow,
        asked: &AskedOfKey,
        now: Timestamp,
    ) -> Result<(), WalletRefusal> {
        let (today, this_month) = (used.spent_today_micro, used.spent_month_micro);
        if let Some(limit_micro) = limits.daily_budget_micro
            && today + asked.needed_micro > limit_micro
        {
            let resets_at = now.next_day();
            return Err(WalletRefusal::DailyBudget { limit_micro, spent_micro: today, resets_at });
        }
        if let Some(limit_micro) = limits.monthly_budget_micro
            && this_month + asked.needed_micro > limit_micro
        {
            let resets_at = now.next_month();
            return Err(WalletRefusal::MonthlyBudget { limit_micro, spent_micro: this_month, resets_at });
        }
        let left_today = limits.daily_budget_micro.map(|limit| limit - today);
        let left_this_month = limits.monthly_budget_micro.map(|limit| limit - this_month);
        let Some(left_micro) = left_today.into_iter().chain(left_this_month).min() else { return Ok(()) };
        let (mut running, mut worst_micro) = (0, asked.worst_micro);
        for hold in self.holds_of(asked.key_id).filter(|hold| hold.plan.is_none()) {
            running += 1;
            worst_micro += hold.worst_micro;
        }
        if running == 0 || asked.worst_micro == MicroUsd::ZERO || worst_micro <= left_micro {
            return Ok(());
        }
        Err(WalletRefusal::BudgetMayBeSpent { running, worst_micro, left_micro })
    }

    fn holds_of(&self, key_id: KeyId) -> impl Iterator<Item = &Hold> {
        self.holds.values().filter(move |hold| hold.key_id == key_id)
    }
}

fn refuse_beyond_minute(
    limits: &HoldLimits,
    used: &KeyUseNow,
    requested: u64,
    now: Timestamp,
) -> Result<(), WalletRefusal> {
    let retry_secs = used.minute_ends_at.secs_after(now);
    if let Some(limit) = limits.tokens_per_minute
        && requested > limit
    {
        return Err(WalletRefusal::LargerThanTokensPerMinute { limit, requested });
    }
    if let Some(limit) = limits.requests_per_minute
        && used.requests_this_minute >= limit
    {
        return Err(WalletRefusal::RequestsPerMinute { limit, retry_secs });
    }
    let tokens = used.tokens_this_minute;
    if let Some(limit) = limits.tokens_per_minute
        && tokens.saturating_add(requested) > limit
    {
        return Err(WalletRefusal::TokensPerMinute { limit, used: tokens, requested, retry_secs });
    }
    Ok(())
}
