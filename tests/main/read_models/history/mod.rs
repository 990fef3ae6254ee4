//! Histories for read models: events as the rules would make them, from a few random steps.

mod accounts;
mod cash;
mod credit;
mod generations;
mod paying;

use codexapi_aggregates::cash::CashWallet;
use codexapi_aggregates::event::{AnyEvent, Metadata, RecordedEvent};
use codexapi_aggregates::ids::{AccountId, GrantId, KeyId, PaymentId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::referral::Referral;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::Payer;
use codexapi_aggregates::wallet::events::WalletEvent;
use uuid::Uuid;

use paying::Paying;

/// 2026-10-03T00:00:00Z: within a month of it the clocks change on Lord Howe, in Europe and in America.
const BEGINNING: Timestamp = Timestamp(1_790_985_600_000_000);

/// Accounts that a history has.
pub const ACCOUNTS: u8 = 3;

/// Kinds of steps.
pub const KINDS: u8 = 17;

/// Models that generations are billed as.
pub const MODELS: [&str; 2] = ["gpt-5.5", "claude-opus-4-8"];

/// One thing that happens; which numbers count depends on `kind`.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub kind: u8,
    pub account: u8,
    pub amount: u16,
    pub minutes: u16,
}

#[derive(Clone, Copy)]
struct Held {
    generation: u128,
    account: u8,
    amount: i64,
}

/// What has happened so far, and the state that later events depend on.
#[derive(Default)]
pub struct History {
    pub events: Vec<RecordedEvent>,
    balances: [i64; ACCOUNTS as usize],
    held: [i64; ACCOUNTS as usize],
    debts: [i64; ACCOUNTS as usize],
    /// Taken back from a payment that stands for all of an account's.
    taken_back: [i64; ACCOUNTS as usize],
    sequences: std::collections::BTreeMap<String, i64>,
    open: Vec<Held>,
    expired: Vec<Held>,
    settled: Vec<(Held, Payer)>,
    minutes: i64,
    ids: u128,
    /// Each account's first key.
    keys: Vec<KeyId>,
    cash: [CashWallet; ACCOUNTS as usize],
    referrals: [Referral; ACCOUNTS as usize],
    cash_payments: Vec<(u8, GrantId)>,
    payments: Vec<(PaymentId, Paying)>,
}

pub fn account(number: u8) -> AccountId {
    AccountId(Uuid::from_u128(1_000 + u128::from(number)))
}

impl History {
    /// The history that follows from `steps`.
    pub fn of(steps: &[Step]) -> Self {
        let mut history = Self::default();
        for number in 0..ACCOUNTS {
            history.register(number);
        }
        for step in steps {
            history.step(*step);
        }
        history
    }

    fn step(&mut self, step: Step) {
        self.minutes += i64::from(step.minutes);
        let number = step.account % ACCOUNTS;
        let pick = usize::from(step.amount);
        match step.kind % KINDS {
            0 => {
                self.grant(number, i64::from(step.amount) * 100);
                self.govern(number, step.amount);
                self.move_cash(number, step.amount);
                self.refer(number, step.amount);
                self.sign_up(number, step.amount);
            }
            1..=3 => self.hold(number, i64::from(step.amount)),
            4 | 5 if !self.open.is_empty() => {
                let hold = self.open.swap_remove(pick % self.open.len());
                self.held[usize::from(hold.account)] -= hold.amount;
                self.settle(hold, step, false);
            }
            6 if !self.open.is_empty() => {
                let hold = self.open.swap_remove(pick % self.open.len());
                self.expire_or_release(hold, step.amount.is_multiple_of(2));
            }
            7 if !self.expired.is_empty() => {
                let hold = self.expired.swap_remove(pick % self.expired.len());
                self.settle(hold, step, true);
            }
            8 if !self.settled.is_empty() => {
                let (hold, payer) = self.settled.swap_remove(pick % self.settled.len());
                self.reverse(hold, payer);
            }
            9 => self.operator_generation(step),
            10 if step.amount.is_multiple_of(3) => self.reinstate_payment(number),
            10 => self.take_back_payment(number, 1 + i64::from(step.amount) * 100),
            11 => self.take(number, i64::from(step.amount), step.amount.is_multiple_of(2)),
            13 => self.start_payment(number, step.amount),
            14 | 15 if !self.payments.is_empty() => self.go_on_paying(pick, step.amount),
            16 => self.look_at(pick),
            _ => self.grant(number, 1),
        }
    }

    fn push_wallet(&mut self, number: u8, event: WalletEvent) {
        self.push(&account(number).to_string(), AnyEvent::Wallet(event));
    }

    fn push(&mut self, stream: &str, event: AnyEvent) {
        let kind = std::mem::discriminant(&event);
        let sequence = self.sequences.entry(format!("{kind:?}{stream}")).or_default();
        *sequence += 1;
        // Holes are as possible here as in the log.
        let last = self.events.last().map_or(0, |event| event.position);
        let position = if last % 5 == 4 { last + 3 } else { last + 1 };
        self.events.push(RecordedEvent {
            position,
            event_id: Uuid::from_u128(u128::from(position.unsigned_abs())),
            aggregate_id: stream.into(),
            sequence: *sequence,
            recorded_at: BEGINNING,
            metadata: Metadata::process("test"),
            event,
        });
    }

    fn amounts(&self, number: u8) -> (MicroUsd, MicroUsd) {
        (MicroUsd(self.balances[usize::from(number)]), MicroUsd(self.held[usize::from(number)]))
    }

    fn now(&self) -> Timestamp {
        BEGINNING.plus_secs(self.minutes * 60)
    }

    fn id(&mut self) -> u128 {
        self.ids += 1;
        self.ids
    }
}
