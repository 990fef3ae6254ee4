//! Generations: held, ended one way or the other, reversed, looked at.

use codexapi_aggregates::event::AnyEvent;
use codexapi_aggregates::ids::{GenerationId, KeyId, NodeIncarnation};
use codexapi_aggregates::money::{MicroUsd, PicoUsd};
use codexapi_aggregates::pricing::tariff::{Mode, Quote, Tariff};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{
    Attempt, AttemptResult, BillingPolicy, ClientFamily, GenerationSettled, Outcome, Payer, Protocol,
    Timings, Usage, UsageEvent, UsageSource,
};
use codexapi_aggregates::wallet::events::{ExpiryReason, ReleaseReason, ReversalReason, WalletEvent};
use uuid::Uuid;

use super::{Held, History, MODELS, Step, account};

impl History {
    pub(super) fn hold(&mut self, number: u8, amount: i64) {
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

    pub(super) fn expire_or_release(&mut self, hold: Held, expire: bool) {
        let at = self.now();
        self.held[usize::from(hold.account)] -= hold.amount;
        let (balance_micro, held_micro) = self.amounts(hold.account);
        let generation_id = GenerationId(Uuid::from_u128(hold.generation));
        let event = if expire {
            self.expired.push(hold);
            WalletEvent::HoldExpired {
                generation_id,
                reason: ExpiryReason::NodeDead,
                attempt: Some(attempt("openai")),
                amount_micro: MicroUsd(hold.amount),
                balance_micro,
                held_micro,
                at,
            }
        } else {
            let (reason, attempts) = (ReleaseReason::NothingDelivered, vec![]);
            WalletEvent::HoldReleased { generation_id, reason, attempts, balance_micro, held_micro, at }
        };
        self.push_wallet(hold.account, event);
    }

    /// Costs as much as was held; what the balance cannot pay is shortfall.
    pub(super) fn settle(&mut self, hold: Held, step: Step, late: bool) {
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

    pub(super) fn reverse(&mut self, hold: Held, payer: Payer) {
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

    pub(super) fn operator_generation(&mut self, step: Step) {
        let at = self.now();
        let generation = self.id();
        let settled = settled(generation, Payer::Operator, step, at);
        self.push("operator:x", AnyEvent::Usage(UsageEvent::GenerationSettled(Box::new(settled))));
        self.settled.push((Held { generation, account: 0, amount: 0 }, Payer::Operator));
    }

    /// An operator releases a hold that expired, or leaves some of what the queue may have as it is.
    pub(super) fn look_at(&mut self, pick: usize) {
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
