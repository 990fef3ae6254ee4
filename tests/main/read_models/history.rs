//! Histories for read models: events as the rules would make them, from a few random steps.

use codexapi_aggregates::account::{AccountEvent, KeyKind, KeyLimits, RevocationReason, SuspensionReason};
use codexapi_aggregates::cash::{CashAction, CashCommand, CashEvent, CashWallet, TokenOrder};
use codexapi_aggregates::event::{AnyEvent, Metadata, RecordedEvent};
use codexapi_aggregates::gumroad::{self, DenialReason, DoubtReason, GumroadLicence, SignUp, Verdict};
use codexapi_aggregates::ids::{
    AccountId, AdjustmentId, CommissionId, GenerationId, GrantId, KeyId, NodeIncarnation, PaymentId,
    PersonId, PurchaseId,
};
use codexapi_aggregates::money::{MicroUsd, PicoUsd};
use codexapi_aggregates::payment::PaymentEvent;
use codexapi_aggregates::pricing::tariff::{Mode, Quote, Tariff};
use codexapi_aggregates::referral::{
    self, Referral, ReferralAction, ReferralCommand, ReferralEvent, RejectionReason, Review,
};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{
    Attempt, AttemptResult, BillingPolicy, ClientFamily, GenerationSettled, Outcome, Payer, Protocol,
    Timings, Usage, UsageEvent, UsageSource,
};
use codexapi_aggregates::wallet::events::{
    AdjustmentReason, ExpiryReason, GrantSource, PurchaseItem, ReleaseReason, ReversalReason, WalletEvent,
};
use codexapi_aggregates::wallet::{Wallet, WalletTerms};
use cqrs_es::Aggregate;
use uuid::Uuid;

use super::paying::Paying;

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

    fn register(&mut self, number: u8) {
        let (at, id) = (self.now(), self.id());
        let stream = account(number).to_string();
        let event = AccountEvent::CustomerRegistered {
            account_id: account(number),
            person_id: PersonId(Uuid::from_u128(id)),
            at,
        };
        self.push(&stream, AnyEvent::Account(event));
        let key_id = KeyId(Uuid::from_u128(self.id()));
        self.keys.push(key_id);
        let issued = AccountEvent::KeyIssued {
            key_id,
            kind: KeyKind::SystemToken,
            digest: format!("digest-{number}"),
            prefix: "g2g-".into(),
            at,
        };
        self.push(&stream, AnyEvent::Account(issued));
        if number == 0 {
            let event = AccountEvent::KeyRevoked { key_id, reason: RevocationReason::Rotated, at };
            self.push(&stream, AnyEvent::Account(event));
        }
    }

    /// Whatever the Cash Wallet allows of it.
    fn move_cash(&mut self, number: u8, amount: u16) {
        let (id, now) = (Uuid::from_u128(self.id()), self.now());
        let amount_micro = MicroUsd(i64::from(amount) + 1);
        let paid = self.cash_payments.iter().rev().find(|(of, _)| *of == number).map(|(_, id)| *id);
        let action = match (amount % 5, paid) {
            (0, Some(payment_id)) => CashAction::TakeBack { payment_id, amount_micro },
            (1, Some(payment_id)) => CashAction::Reinstate { payment_id, amount_micro },
            (2, _) => CashAction::PayCommission { commission_id: CommissionId(id), amount_micro },
            (3, _) => CashAction::BuyTokens(TokenOrder {
                purchase_id: GrantId(id),
                plan_id: "pack".into(),
                quantity: 2,
                price_micro: amount_micro,
                credit_micro: amount_micro,
            }),
            _ => CashAction::TopUp { payment_id: GrantId(id), amount_micro },
        };
        if let CashAction::TopUp { payment_id, .. } = &action {
            self.cash_payments.push((number, *payment_id));
        }
        let cash = &mut self.cash[usize::from(number)];
        let Ok(events) = cash.decide(CashCommand { action, now }) else { return };
        events.iter().for_each(|event| cash.apply(event.clone()));
        for event in events {
            self.push(&account(number).to_string(), AnyEvent::Cash(event));
        }
    }

    /// A purchase of somebody this account referred, then what becomes of its commission.
    fn refer(&mut self, number: u8, amount: u16) {
        let (payment_id, now) = (GrantId(Uuid::from_u128(self.id())), self.now());
        let of = usize::from(number);
        let earn = ReferralAction::Earn {
            payment_id,
            referred_id: account(number + 1),
            purchase_micro: MicroUsd(i64::from(amount) + 100),
            basis_points: 1_000,
        };
        let earned = self.referrals[of].decide(ReferralCommand { action: earn, now }).expect("few wait");
        self.referred(number, earned, vec![]);
        let commission_id = CommissionId(payment_id.0);
        let what = match amount % 3 {
            0 => Review::Approve,
            1 => Review::Reject(RejectionReason::Abuse),
            _ => return,
        };
        let (referral, cash) = (&self.referrals[of], &self.cash[of]);
        let reviewed = referral::review(referral, cash, commission_id, what, now).expect("it waits");
        self.referred(number, reviewed.0, reviewed.1);
        let (referral, cash) = (&self.referrals[of], &self.cash[of]);
        let reversed = MicroUsd(i64::from(amount) / 2);
        let adjusted = referral::adjust(referral, cash, commission_id, reversed, now).expect("it is known");
        self.referred(number, adjusted.0, adjusted.1);
    }

    fn referred(&mut self, number: u8, referral_events: Vec<ReferralEvent>, cash_events: Vec<CashEvent>) {
        let stream = account(number).to_string();
        for event in referral_events {
            self.referrals[usize::from(number)].apply(event.clone());
            self.push(&stream, AnyEvent::Referral(event));
        }
        for event in cash_events {
            self.cash[usize::from(number)].apply(event.clone());
            self.push(&stream, AnyEvent::Cash(event));
        }
    }

    /// Somebody from Gumroad, and what an operator decides about them.
    fn sign_up(&mut self, number: u8, amount: u16) {
        let (id, now) = (Uuid::from_u128(self.id()), self.now());
        let ask = SignUp {
            account_id: AccountId(id),
            has_licence: amount.is_multiple_of(2),
            verified: amount.is_multiple_of(4),
            doubts: if number == 0 { vec![DoubtReason::RepeatedNetwork] } else { vec![] },
            amount_micro: MicroUsd::dollars(200),
            grant_id: GrantId(id),
        };
        let (wallet, terms, stream) = (Wallet::default(), WalletTerms::default(), format!("account-{id}"));
        let mut licence = GumroadLicence::default();
        let (events, _, _) = gumroad::sign_up(&licence, &wallet, &ask, &terms, now).expect("a new licence");
        events.iter().for_each(|event| licence.apply(event.clone()));
        let verdict = match amount % 5 {
            0 => Verdict::Grant { grant_id: GrantId(id) },
            _ => Verdict::Deny(DenialReason::Duplicate),
        };
        let reviewed = gumroad::review(&licence, &wallet, (AccountId(id), verdict), &terms, now);
        let reviewed = reviewed.map(|(events, _, _)| events).unwrap_or_default();
        for event in events.into_iter().chain(reviewed) {
            self.push(&stream, AnyEvent::Gumroad(event));
        }
    }

    /// What an operator does about an account and its key now and then.
    fn govern(&mut self, number: u8, amount: u16) {
        match amount % 4 {
            0 => self.suspend(number),
            1 => self.reinstate(number),
            2 => {
                let expires_at = (amount > 100).then(|| self.now().plus_secs(60));
                let requests_per_minute = Some(u32::from(amount));
                self.set_limits(
                    number,
                    KeyLimits { requests_per_minute, expires_at, ..KeyLimits::default() },
                );
            }
            _ => {}
        }
    }

    pub fn suspend(&mut self, number: u8) {
        let event = AccountEvent::AccountSuspended { reason: SuspensionReason::Abuse, at: self.now() };
        self.push(&account(number).to_string(), AnyEvent::Account(event));
    }

    pub fn reinstate(&mut self, number: u8) {
        let event = AccountEvent::AccountReinstated { at: self.now() };
        self.push(&account(number).to_string(), AnyEvent::Account(event));
    }

    pub fn set_limits(&mut self, number: u8, limits: KeyLimits) {
        let (key_id, limits) = (self.keys[usize::from(number)], Box::new(limits));
        let event = AccountEvent::KeyLimitsSet { key_id, limits, at: self.now() };
        self.push(&account(number).to_string(), AnyEvent::Account(event));
    }

    fn grant(&mut self, number: u8, amount: i64) {
        let at = self.now();
        let debt_paid = self.pay_debt(number, amount);
        self.balances[usize::from(number)] += amount - debt_paid;
        let grant_id = GrantId(Uuid::from_u128(self.id()));
        let (balance_micro, held_micro) = self.amounts(number);
        self.push_wallet(
            number,
            WalletEvent::CreditGranted {
                grant_id,
                source: GrantSource::TopUp,
                amount_micro: MicroUsd(amount),
                expires_at: (amount % 2 == 0).then(|| at.plus_secs(86_400)),
                debt_paid_micro: MicroUsd(debt_paid),
                balance_micro,
                held_micro,
                at,
            },
        );
    }

    fn hold(&mut self, number: u8, amount: i64) {
        let at = self.now();
        let generation = self.id();
        self.held[usize::from(number)] += amount;
        let (balance_micro, held_micro) = self.amounts(number);
        self.push_wallet(
            number,
            WalletEvent::HoldPlaced {
                generation_id: GenerationId(Uuid::from_u128(generation)),
                key_id: KeyId(Uuid::from_u128(7)),
                family: ClientFamily::CodexCli,
                amount_micro: MicroUsd(amount),
                worst_micro: MicroUsd(amount * 2),
                input_tokens: 0,
                quote: Box::new(Quote {
                    model: "gpt-5.5".into(),
                    card_version: 1,
                    mode: Mode::Standard,
                    internal_window: None,
                    billed: Tariff::default(),
                    display: None,
                    cost: Tariff::default(),
                }),
                attempt: attempt("openai"),
                node: NodeIncarnation(Uuid::from_u128(9)),
                plan: None,
                balance_micro,
                held_micro,
                at,
            },
        );
        self.open.push(Held { generation, account: number, amount });
    }

    fn expire_or_release(&mut self, hold: Held, expire: bool) {
        let at = self.now();
        self.held[usize::from(hold.account)] -= hold.amount;
        let (balance_micro, held_micro) = self.amounts(hold.account);
        let generation_id = GenerationId(Uuid::from_u128(hold.generation));
        let event = if expire {
            self.expired.push(hold);
            let (reason, amount_micro) = (ExpiryReason::NodeDead, MicroUsd(hold.amount));
            WalletEvent::HoldExpired { generation_id, reason, amount_micro, balance_micro, held_micro, at }
        } else {
            let (reason, attempts) = (ReleaseReason::NothingDelivered, vec![]);
            WalletEvent::HoldReleased { generation_id, reason, attempts, balance_micro, held_micro, at }
        };
        self.push_wallet(hold.account, event);
    }

    /// Costs as much as was held; what the balance cannot pay is shortfall.
    fn settle(&mut self, hold: Held, step: Step, late: bool) {
        let at = self.now();
        let charged = hold.amount.min(self.balances[usize::from(hold.account)]);
        self.balances[usize::from(hold.account)] -= charged;
        let (balance_micro, held_micro) = self.amounts(hold.account);
        let payer = Payer::Wallet { account_id: account(hold.account) };
        let settled = GenerationSettled {
            cost_micro: MicroUsd(hold.amount),
            charged_micro: MicroUsd(charged),
            shortfall_micro: MicroUsd(hold.amount - charged),
            balance_micro: Some(balance_micro),
            ..settled(hold.generation, payer, step, at)
        };
        let stream = format!("{}:{}", account(hold.account), hold.generation % 2);
        self.push(&stream, AnyEvent::Usage(UsageEvent::GenerationSettled(Box::new(settled))));
        self.push_wallet(
            hold.account,
            WalletEvent::UsageCharged {
                generation_id: GenerationId(Uuid::from_u128(hold.generation)),
                model: model(step).into(),
                output_tokens: 10,
                cost_micro: MicroUsd(hold.amount),
                charged_micro: MicroUsd(charged),
                covered_by_plan_micro: MicroUsd::ZERO,
                shortfall_micro: MicroUsd(hold.amount - charged),
                insured_micro: MicroUsd::ZERO,
                from: vec![],
                plan: None,
                late,
                balance_micro,
                held_micro,
                at,
            },
        );
        self.settled.push((Held { amount: charged, ..hold }, payer));
    }

    fn reverse(&mut self, hold: Held, payer: Payer) {
        let at = self.now();
        let generation_id = GenerationId(Uuid::from_u128(hold.generation));
        let (reason, amount_micro) = (ReversalReason::BadGeneration, MicroUsd(hold.amount));
        let reversed = UsageEvent::ChargeReversed { generation_id, payer, reason, amount_micro, at };
        self.push("operator:reversals", AnyEvent::Usage(reversed));
        if payer == Payer::Operator {
            return;
        }
        self.balances[usize::from(hold.account)] += hold.amount;
        let (balance_micro, held_micro) = self.amounts(hold.account);
        self.push_wallet(
            hold.account,
            WalletEvent::ChargeReversed {
                generation_id,
                reason,
                amount_micro,
                to: vec![],
                charged: None,
                debt_paid_micro: MicroUsd::ZERO,
                plan: None,
                balance_micro,
                held_micro,
                at,
            },
        );
    }

    fn pay_debt(&mut self, number: u8, amount: i64) -> i64 {
        let debt = &mut self.debts[usize::from(number)];
        let paid = amount.min(*debt);
        *debt -= paid;
        paid
    }

    /// A purchase or an adjustment.
    fn take(&mut self, number: u8, amount: i64, purchase: bool) {
        let at = self.now();
        let amount = amount.min(self.balances[usize::from(number)]);
        self.balances[usize::from(number)] -= amount;
        let (balance_micro, held_micro) = self.amounts(number);
        let (id, amount_micro) = (Uuid::from_u128(self.id()), MicroUsd(amount));
        let event = if purchase {
            let (purchase_id, item, from) = (PurchaseId(id), PurchaseItem::ProjectSlot, vec![]);
            WalletEvent::PurchaseMade { purchase_id, item, amount_micro, from, balance_micro, held_micro, at }
        } else {
            let (adjustment_id, reason, from) = (AdjustmentId(id), AdjustmentReason::Abuse, vec![]);
            WalletEvent::CreditAdjusted {
                adjustment_id,
                reason,
                amount_micro,
                from,
                balance_micro,
                held_micro,
                at,
            }
        };
        self.push_wallet(number, event);
    }

    fn take_back_payment(&mut self, number: u8, amount: i64) {
        let at = self.now();
        let taken = amount.min(self.balances[usize::from(number)]);
        self.balances[usize::from(number)] -= taken;
        self.debts[usize::from(number)] += amount - taken;
        self.taken_back[usize::from(number)] += amount;
        let (balance_micro, held_micro) = self.amounts(number);
        let event = WalletEvent::PaymentReversed {
            payment_id: GrantId(account(number).0),
            amount_micro: MicroUsd(amount),
            from: vec![],
            debt_added_micro: MicroUsd(amount - taken),
            debt_micro: MicroUsd(self.debts[usize::from(number)]),
            balance_micro,
            held_micro,
            at,
        };
        self.push_wallet(number, event);
    }

    fn reinstate_payment(&mut self, number: u8) {
        let at = self.now();
        let amount = std::mem::take(&mut self.taken_back[usize::from(number)]);
        let debt_paid = self.pay_debt(number, amount);
        self.balances[usize::from(number)] += amount - debt_paid;
        let (balance_micro, held_micro) = self.amounts(number);
        let event = WalletEvent::PaymentReinstated {
            payment_id: GrantId(account(number).0),
            amount_micro: MicroUsd(amount),
            debt_paid_micro: MicroUsd(debt_paid),
            grant: None,
            debt_micro: MicroUsd(self.debts[usize::from(number)]),
            balance_micro,
            held_micro,
            at,
        };
        self.push_wallet(number, event);
    }

    fn operator_generation(&mut self, step: Step) {
        let at = self.now();
        let generation = self.id();
        let settled = settled(generation, Payer::Operator, step, at);
        self.push("operator:x", AnyEvent::Usage(UsageEvent::GenerationSettled(Box::new(settled))));
        self.settled.push((Held { generation, account: 0, amount: 0 }, Payer::Operator));
    }

    fn start_payment(&mut self, number: u8, amount: u16) {
        let (payment_id, now) = (PaymentId(Uuid::from_u128(self.id())), self.now());
        let (paying, events) = Paying::start(payment_id, account(number), amount, now);
        self.payments.push((payment_id, paying));
        self.paid(payment_id, events);
    }

    fn go_on_paying(&mut self, pick: usize, amount: u16) {
        let (now, count) = (self.now(), self.payments.len());
        let (payment_id, paying) = &mut self.payments[pick / 3 % count];
        let (payment_id, events) = (*payment_id, paying.go_on(amount, now));
        self.paid(payment_id, events);
    }

    fn paid(&mut self, payment_id: PaymentId, events: Vec<PaymentEvent>) {
        for event in events {
            self.push(&payment_id.to_string(), AnyEvent::Payment(event));
        }
    }

    /// An operator releases a hold that expired, or leaves some of what the queue may have as it is.
    fn look_at(&mut self, pick: usize) {
        let at = self.now();
        if pick.is_multiple_of(3) && !self.expired.is_empty() {
            let hold = self.expired.swap_remove(pick % self.expired.len());
            let generation_id = GenerationId(Uuid::from_u128(hold.generation));
            let (balance_micro, held_micro) = self.amounts(hold.account);
            let (reason, attempts) = (ReleaseReason::ByOperator, vec![]);
            let released =
                WalletEvent::HoldReleased { generation_id, reason, attempts, balance_micro, held_micro, at };
            self.push_wallet(hold.account, released);
            return;
        }
        let seen = self.expired.iter().chain(self.settled.iter().map(|(hold, _)| hold));
        let seen: Vec<u128> = seen.map(|hold| hold.generation).skip(pick % 3).step_by(3).collect();
        for generation in seen {
            let generation_id = GenerationId(Uuid::from_u128(generation));
            self.push("operator:reviews", AnyEvent::Usage(UsageEvent::ReviewDismissed { generation_id, at }));
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

fn model(step: Step) -> &'static str {
    MODELS[usize::from(step.amount.is_multiple_of(5))]
}

fn attempt(provider: &str) -> Attempt {
    Attempt { number: 1, provider: provider.into(), upstream_model: "m".into() }
}

fn settled(generation: u128, payer: Payer, step: Step, at: Timestamp) -> GenerationSettled {
    let provider = if step.amount.is_multiple_of(3) { "anthropic" } else { "openai" };
    let provider_cost_micro = MicroUsd(i64::from(step.amount / 2));
    GenerationSettled {
        generation_id: GenerationId(Uuid::from_u128(generation)),
        payer,
        key_id: KeyId(Uuid::from_u128(7)),
        family: ClientFamily::ALL[usize::from(step.amount % 4)],
        protocol: Protocol::Responses,
        model: model(step).into(),
        billed_model: model(step).into(),
        served_model: format!("{}-0101", model(step)),
        provider: provider.into(),
        // Few enough that some come twice.
        provider_response_id: Some(format!("resp-{}", step.amount % 40)),
        outcome: Outcome::Completed,
        usage_source: if step.amount.is_multiple_of(7) {
            UsageSource::Rejected
        } else {
            UsageSource::Reported
        },
        usage: Usage { input: u64::from(step.amount), cached_input: 5, output: 10, ..Usage::default() },
        policy: BillingPolicy::Full,
        already_billed_tokens: 0,
        continues: None,
        card_version: 1,
        mode: Mode::Standard,
        internal_window: None,
        lines: vec![],
        remainder_pico: PicoUsd(-7),
        cost_micro: MicroUsd::ZERO,
        charged_micro: MicroUsd::ZERO,
        covered_by_plan_micro: MicroUsd::ZERO,
        shortfall_micro: MicroUsd::ZERO,
        insured_micro: MicroUsd::ZERO,
        from: vec![],
        plan: None,
        provider_cost_micro,
        attempts: vec![AttemptResult {
            attempt: attempt(provider),
            status: Some(200),
            ended: None,
            provider_cost_micro,
        }],
        mark: None,
        timings: Timings { held_ms: 1, first_byte_ms: Some(2), total_ms: 3 },
        balance_micro: None,
        at,
    }
}
