//! Random lives of one account with everything that money can do to it at once: payments of every kind with their
//! refunds and disputes, both wallets, plans and their windows, generations that either pays for. After every step each
//! aggregate is compared with its oracle, and what came in with what is there.

use std::collections::BTreeMap;
use std::fmt::Debug;

use cqrs_es::Aggregate;
use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

use crate::cash::{CashEvent, CashRefusal, CashWallet, PurchaseRefusal, TokenOrder, buy_tokens};
use crate::examples::{MODEL, generation, grant_id, micro, node, second};
use crate::ids::{AccountId, PaymentId};
use crate::money::MicroUsd;
use crate::payment::{
    Channel, Currency, DisputeStatus, FailureReason, ObservedPayment, ObservedReversal, Payment,
    PaymentAction, PaymentCommand, PaymentEvent, Purpose, RefundStatus, Reversal, Standing, StartPayment,
    confirm, confirm_cash, reverse, reverse_cash,
};
use crate::usage::ClientFamily;
use crate::wallet::tests::builders::{release, request};
use crate::wallet::tests::plan_oracle::{Fate, Oracle as Plans, OracleHold, PLANS, Payer};
use crate::wallet::tests::plans::{plan, switch, terms};
use crate::wallet::tests::properties::{Life as WalletLife, Step as WalletStep};
use crate::wallet::{
    PlaceHold, ProviderFailure, ReversalReason, SettleHold, Wallet, WalletAction, WalletEvent, WalletRefusal,
};

/// Of every payment.
const PRICE_CENTS: i64 = 1_000;

/// A node that never dies, for what plans pay.
const PLANS_NODE: u128 = 9;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Buys {
    Tokens { credit: i64 },
    Cash,
    Plan { which: usize, secs: u32, blocks: u32 },
}

#[derive(Clone, Debug)]
enum Step {
    Wallet(WalletStep),
    Start(Buys),
    Paid { which: Index },
    Failed { which: Index },
    Lapsed { which: Index },
    Refund { which: Index, id: u8, status: RefundStatus },
    Dispute { which: Index, id: u8, status: DisputeStatus },
    BuyTokens { price: i64, credit: i64 },
    Switch { outside_scope: bool, past_fair_use: bool },
    Hold { input: u64, max_output: u64, in_scope: bool, node: u128 },
    SettleCovered { which: Index, cost: i64, input: u64, output: u64, insured: bool },
    ReleaseCovered { which: Index },
    ReverseCovered { which: Index },
    Wait { seconds: i64 },
}

fn wallet_step() -> impl Strategy<Value = WalletStep> {
    let which = any::<Index>;
    prop_oneof![
        2 => (1..600_i64, prop::option::of(1..800_i64))
            .prop_map(|(amount, lifetime)| WalletStep::Grant { amount, paid: false, lifetime }),
        5 => (which(), 0..160_i64).prop_map(|(which, part)| WalletStep::Settle { which, part }),
        1 => which().prop_map(|which| WalletStep::Release { which }),
        1 => which().prop_map(|which| WalletStep::Reverse { which }),
        1 => (1..300_i64).prop_map(|amount| WalletStep::Purchase { amount }),
        1 => (1..300_i64).prop_map(|amount| WalletStep::AdjustDown { amount }),
        1 => (1..4_u128).prop_map(|node| WalletStep::NodeDies { node }),
        1 => Just(WalletStep::Sweep),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<Index>;
    let buys = prop_oneof![
        3 => (1..600_i64).prop_map(|credit| Buys::Tokens { credit }),
        2 => Just(Buys::Cash),
        2 => (0..2_usize, 1..400_u32, 1..4_u32)
            .prop_map(|(which, secs, blocks)| Buys::Plan { which, secs, blocks }),
    ];
    let refund = prop_oneof![Just(RefundStatus::Made), Just(RefundStatus::Failed)];
    let dispute = prop_oneof![
        Just(DisputeStatus::Inquiry),
        Just(DisputeStatus::Open),
        Just(DisputeStatus::Lost),
        Just(DisputeStatus::Won),
    ];
    let step = prop_oneof![
        12 => wallet_step().prop_map(Step::Wallet),
        5 => buys.prop_map(Step::Start),
        8 => which().prop_map(|which| Step::Paid { which }),
        1 => which().prop_map(|which| Step::Failed { which }),
        1 => which().prop_map(|which| Step::Lapsed { which }),
        3 => (which(), 0..3_u8, refund).prop_map(|(which, id, status)| Step::Refund { which, id, status }),
        3 => (which(), 0..2_u8, dispute).prop_map(|(which, id, status)| Step::Dispute { which, id, status }),
        2 => (1..12_000_000_i64, 1..600_i64).prop_map(|(price, credit)| Step::BuyTokens { price, credit }),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(outside_scope, past_fair_use)| Step::Switch { outside_scope, past_fair_use }),
        12 => (0..150_u64, 0..150_u64, prop::bool::weighted(0.8), 1..4_u128).prop_map(
            |(input, max_output, in_scope, node)| Step::Hold { input, max_output, in_scope, node }
        ),
        5 => (which(), 0..300_i64, 0..400_u64, 0..50_u64, prop::bool::weighted(0.1)).prop_map(
            |(which, cost, input, output, insured)| Step::SettleCovered { which, cost, input, output, insured }
        ),
        1 => which().prop_map(|which| Step::ReleaseCovered { which }),
        1 => which().prop_map(|which| Step::ReverseCovered { which }),
        5 => (0..300_i64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..140)
}

/// A payment beside all that was ever told of it.
struct Paying {
    number: u128,
    buys: Buys,
    payment: Payment,
    events: Vec<PaymentEvent>,
    paid: bool,
    refunds: BTreeMap<u8, RefundStatus>,
    disputes: BTreeMap<u8, DisputeStatus>,
    /// What its wallet has come to have of it.
    followed: i64,
}

/// A refund's or dispute's amount is its own, however often it is told of; together they exceed the price.
fn cents(id: u8) -> i64 {
    [PRICE_CENTS, 333, 500][usize::from(id)]
}

fn micro_of(cents: i64) -> MicroUsd {
    micro(cents * 10_000)
}

impl Paying {
    fn payment_id(&self) -> PaymentId {
        PaymentId(Uuid::from_u128(self.number))
    }

    fn apply(&mut self, events: Vec<PaymentEvent>) {
        events.iter().for_each(|event| self.payment.apply(event.clone()));
        self.events.extend(events);
    }

    fn reversed_cents(&self) -> i64 {
        let made = self.refunds.iter().filter(|(_, status)| **status == RefundStatus::Made);
        let withheld = |status: &DisputeStatus| matches!(status, DisputeStatus::Open | DisputeStatus::Lost);
        let withheld = self.disputes.iter().filter(|(_, status)| withheld(status));
        made.map(|(id, _)| cents(*id)).chain(withheld.map(|(id, _)| cents(*id))).sum()
    }

    fn granted(&self) -> i64 {
        match self.buys {
            Buys::Tokens { credit } => credit,
            Buys::Cash => micro_of(PRICE_CENTS).0,
            Buys::Plan { .. } => 0,
        }
    }

    /// ⌊granted × (paid − reversed) ⁄ paid⌋, by hand.
    fn remains(&self) -> i64 {
        if !self.paid {
            return 0;
        }
        let exact = i128::from(self.granted()) * i128::from(PRICE_CENTS - self.reversed_cents());
        i64::try_from(exact.div_euclid(i128::from(PRICE_CENTS))).expect("small numbers")
    }

    fn plan_holds(&self) -> bool {
        self.paid && self.reversed_cents() < PRICE_CENTS
    }
}

enum News {
    Paid(ObservedPayment),
    Reversed(ObservedReversal),
}

struct Life {
    wallet: WalletLife,
    plans: Plans,
    cash: CashWallet,
    cash_events: Vec<CashEvent>,
    payments: Vec<Paying>,
    /// Paid in cash for token packages, and the credit of those.
    spent_cash: i64,
    bought_credit: i64,
    gifts: i64,
}

impl Life {
    fn begin() -> Self {
        Self {
            wallet: WalletLife::begin(),
            plans: Plans { outside_scope: true, ..Plans::default() },
            cash: CashWallet::default(),
            cash_events: vec![],
            payments: vec![],
            spent_cash: 0,
            bought_credit: 0,
            gifts: 0,
        }
    }

    fn step(&mut self, number: u128, step: &Step) {
        match step {
            Step::Wallet(step) => {
                if let WalletStep::Grant { amount, .. } = step {
                    self.gifts += amount;
                }
                self.wallet.step(number, step);
            }
            Step::Start(buys) => self.start(number, *buys),
            Step::Paid { which } => self.paid(which),
            Step::Failed { which } => {
                self.ended(which, &PaymentAction::FailPayment { reason: FailureReason::Declined });
            }
            Step::Lapsed { which } => self.ended(which, &PaymentAction::ExpirePayment),
            Step::Refund { which, id, status } => self.refunded(which, *id, *status),
            Step::Dispute { which, id, status } => self.disputed(which, *id, *status),
            Step::BuyTokens { price, credit } => self.buy_tokens(number, *price, *credit),
            Step::Switch { outside_scope, past_fair_use } => {
                self.wallet.act(switch(Some(*outside_scope), Some(*past_fair_use))).expect("never refused");
                (self.plans.outside_scope, self.plans.past_fair_use) = (*outside_scope, *past_fair_use);
            }
            Step::Hold { input, max_output, in_scope, node } => {
                self.hold(number, *input, *max_output, *in_scope, *node);
            }
            Step::SettleCovered { which, cost, input, output, insured } => {
                self.settle_covered(which, *cost, *input, *output, *insured);
            }
            Step::ReleaseCovered { which } => self.release_covered(which),
            Step::ReverseCovered { which } => self.reverse_covered(which),
            Step::Wait { seconds } => {
                self.plans.wait(*seconds);
                self.wallet.step(number, &WalletStep::Wait { seconds: *seconds });
            }
        }
        self.check();
    }

    // Payments

    fn start(&mut self, number: u128, buys: Buys) {
        let purpose = match buys {
            Buys::Tokens { credit } => Purpose::TokenCredit { credit_micro: micro(credit) },
            Buys::Cash => Purpose::CashTopUp,
            Buys::Plan { which, secs, blocks } => {
                Purpose::Entitlement { terms: Box::new(terms(PLANS[which], secs, blocks)) }
            }
        };
        let mut paying = Paying {
            number,
            buys,
            payment: Payment::default(),
            events: vec![],
            paid: false,
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
            followed: 0,
        };
        let payment_id = paying.payment_id();
        let action = PaymentAction::StartPayment(Box::new(StartPayment {
            payment_id,
            account_id: account(),
            channel: Channel::Checkout,
            purpose,
            plan_id: None,
            quantity: 1,
            price_micro: micro_of(PRICE_CENTS),
            currency: Currency::Usd,
            livemode: false,
        }));
        let command = PaymentCommand { payment_id, action, now: self.wallet.story.now };
        let events = paying.payment.decide(command).expect("such a payment may begin");
        paying.apply(events);
        self.payments.push(paying);
    }

    fn pick(&self, which: &Index) -> Option<usize> {
        (!self.payments.is_empty()).then(|| which.index(self.payments.len()))
    }

    fn ended(&mut self, which: &Index, action: &PaymentAction) {
        let Some(index) = self.pick(which) else { return };
        let now = self.wallet.story.now;
        let paying = &mut self.payments[index];
        let command = PaymentCommand { payment_id: paying.payment_id(), action: action.clone(), now };
        let events = paying.payment.decide(command).expect("agreed to");
        paying.apply(events);
    }

    fn paid(&mut self, which: &Index) {
        let Some(index) = self.pick(which) else { return };
        self.payments[index].paid = true;
        let observed = ObservedPayment {
            payment_id: self.payments[index].payment_id(),
            account_id: account(),
            session_id: None,
            payment_intent_id: None,
            paid: true,
            amount_micro: micro_of(PRICE_CENTS),
            currency: Some(Currency::Usd),
            livemode: false,
            period: None,
        };
        self.told(index, &News::Paid(observed));
    }

    fn refunded(&mut self, which: &Index, id: u8, status: RefundStatus) {
        let Some(index) = self.pick(which) else { return };
        let known = self.payments[index].refunds.entry(id).or_insert(status);
        *known = status.max(*known);
        let refund_id = format!("re_{id}");
        self.told_reversal(index, Reversal::Refund { refund_id, status }, id);
    }

    fn disputed(&mut self, which: &Index, id: u8, status: DisputeStatus) {
        let Some(index) = self.pick(which) else { return };
        let known = self.payments[index].disputes.entry(id).or_insert(status);
        *known = status.max(*known);
        let dispute_id = format!("dp_{id}");
        self.told_reversal(index, Reversal::Dispute { dispute_id, status }, id);
    }

    fn told_reversal(&mut self, index: usize, reversal: Reversal, id: u8) {
        let observed = ObservedReversal {
            payment_id: self.payments[index].payment_id(),
            reversal,
            amount_micro: micro_of(cents(id)),
            currency: Some(Currency::Usd),
            livemode: false,
        };
        self.told(index, &News::Reversed(observed));
    }

    fn told(&mut self, index: usize, news: &News) {
        let (wallet_terms, now) = (self.wallet.story.terms.clone(), self.wallet.story.now);
        let (paying, wallet) = (&self.payments[index], &self.wallet.story.wallet);
        let payment_events = if paying.buys == Buys::Cash {
            let decided = match news {
                News::Paid(observed) => confirm_cash(&paying.payment, &self.cash, observed, now),
                News::Reversed(observed) => reverse_cash(&paying.payment, &self.cash, observed, now),
            };
            let (payment, cash, _) = decided.expect("what the provider tells is true");
            self.absorb_cash(cash);
            payment
        } else {
            let decided = match news {
                News::Paid(observed) => confirm(&paying.payment, wallet, observed, &wallet_terms, now),
                News::Reversed(observed) => reverse(&paying.payment, wallet, observed, &wallet_terms, now),
            };
            let (payment, events, _) = decided.expect("what the provider tells is true");
            self.wallet.absorb(&events);
            payment
        };
        let was_credited = self.payments[index].payment.standing() == Standing::Credited;
        self.payments[index].apply(payment_events);
        self.follow(index, was_credited);
    }

    /// The oracles, told the same.
    fn follow(&mut self, index: usize, was_credited: bool) {
        let seconds = self.wallet.seconds;
        let paying = &mut self.payments[index];
        let (number, is_new, remains) = (paying.number, paying.paid && !was_credited, paying.remains());
        match paying.buys {
            Buys::Cash => {}
            Buys::Tokens { credit } => {
                let credit_oracle = &mut self.wallet.oracle;
                if is_new {
                    credit_oracle.grant(number, credit, true, None, seconds);
                    paying.followed = credit;
                }
                let change = remains - paying.followed;
                if change != 0 {
                    let grants = &credit_oracle.grants;
                    let at = grants.iter().position(|grant| grant.id == number).expect("it was granted");
                    match change < 0 {
                        true => credit_oracle.take_back(at, -change, seconds),
                        false => credit_oracle.reinstate(at, change, seconds),
                    }
                    credit_oracle.drop_unawaited(seconds);
                }
                paying.followed = remains;
            }
            Buys::Plan { which, secs, blocks } => {
                if is_new {
                    self.plans.left[which].push((number, i64::from(secs) * i64::from(blocks)));
                }
                let left = &mut self.plans.left[which];
                let at = left.iter().position(|(known, _)| *known == number);
                match (paying.plan_holds(), at) {
                    (false, Some(at)) => {
                        self.plans.taken.insert(number, (which, left.remove(at).1));
                    }
                    (true, _) => {
                        let given = self.plans.taken.remove(&number);
                        left.extend(given.map(|(_, secs)| (number, secs)));
                    }
                    (false, None) => {}
                }
            }
        }
    }

    // Cash

    fn absorb_cash(&mut self, events: Vec<CashEvent>) {
        for event in &events {
            let before = self.cash.balance() - self.cash.debt();
            self.cash.apply(event.clone());
            assert_eq!((event.balance(), event.debt()), (self.cash.balance(), self.cash.debt()));
            assert_eq!(self.cash.balance() - self.cash.debt(), before + event.change(), "conservation");
        }
        self.cash_events.extend(events);
    }

    fn cash_net(&self) -> i64 {
        let paid_in = self.payments.iter().filter(|paying| paying.buys == Buys::Cash);
        paid_in.map(Paying::remains).sum::<i64>() - self.spent_cash
    }

    fn buy_tokens(&mut self, number: u128, price: i64, credit: i64) {
        let order = TokenOrder {
            purchase_id: grant_id(number),
            plan_id: "pack".into(),
            quantity: 1,
            price_micro: micro(price),
            credit_micro: micro(credit),
        };
        let net = self.cash_net();
        let story = &self.wallet.story;
        match buy_tokens(&self.cash, &story.wallet, &order, &story.terms, story.now) {
            Ok((cash, wallet, _)) => {
                assert!(price <= net, "{net} bought for {price}");
                self.absorb_cash(cash);
                self.wallet.absorb(&wallet);
                self.wallet.oracle.grant(number, credit, true, None, self.wallet.seconds);
                self.spent_cash += price;
                self.bought_credit += credit;
            }
            Err(PurchaseRefusal::Cash(CashRefusal::InDebt { debt })) => assert_eq!(debt.0, -net),
            Err(PurchaseRefusal::Cash(CashRefusal::InsufficientCash { available, .. })) => {
                assert!(available.0 == net && net < price);
            }
            Err(other) => panic!("{other}"),
        }
    }

    // Generations

    fn hold(&mut self, number: u128, input: u64, max_output: u64, in_scope: bool, on: u128) {
        let (credit, seconds) = (&self.wallet.oracle, self.wallet.seconds);
        let spendable = |expires_at: Option<i64>| expires_at.is_none_or(|at| at > seconds);
        let paid = credit.grants.iter().filter(|grant| grant.paid && spendable(grant.expires_at));
        let payer = self.plans.payer(in_scope, paid.map(|grant| grant.left).sum::<i64>() > 0);
        let family = if in_scope { ClientFamily::CodexCli } else { ClientFamily::ClaudeCode };
        let cash_debt_micro = micro((-self.cash_net()).max(0));
        let asked =
            |on| PlaceHold { family, node: node(on), cash_debt_micro, ..request(number, input, max_output) };
        if payer == Payer::Wallet && cash_debt_micro.is_positive() && credit.debt == 0 {
            let refused = self.wallet.act(WalletAction::PlaceHold(Box::new(asked(on))));
            assert_eq!(refused, Err(WalletRefusal::CashInDebt { debt: cash_debt_micro }));
            return;
        }
        if payer == Payer::Wallet {
            if self.wallet.hold(number, asked(on), on) {
                self.wallet.check_state();
            }
            return;
        }
        let outcome = self.wallet.act(WalletAction::PlaceHold(Box::new(asked(PLANS_NODE))));
        match (payer, outcome) {
            (Payer::Plan(place), Ok(events)) => {
                let Some(WalletEvent::HoldPlaced { plan: Some(cover), amount_micro, .. }) = events.last()
                else {
                    panic!("plan {place} should pay: {events:?}")
                };
                assert_eq!((&cover.plan_id, *amount_micro), (&plan(PLANS[place]), micro(0)));
                self.plans.holds.push(OracleHold {
                    number,
                    plan: Some(place),
                    placed_at: self.plans.now,
                    estimate: cover.counted_micro.0,
                    used: 0,
                    fate: Fate::Open,
                    told: None,
                });
            }
            (Payer::Full { plan: place, resets_at }, Err(refusal)) => {
                let (plan_id, resets_at) = (plan(PLANS[place]), second(resets_at));
                assert_eq!(refusal, WalletRefusal::FairUseReached { plan_id, resets_at });
            }
            (
                Payer::Outside,
                Err(
                    WalletRefusal::OutsidePlanSwitchedOff { .. }
                    | WalletRefusal::OutsidePlanWithoutCredit { .. },
                ),
            ) => {}
            (payer, outcome) => panic!("{payer:?} was expected, not {outcome:?}"),
        }
    }

    fn settle_covered(&mut self, which: &Index, cost: i64, input: u64, output: u64, insured: bool) {
        let Some(hold) = self.plans.pick(which) else { return };
        let before = self.wallet.story.wallet.balance();
        let outcome = self.wallet.act(WalletAction::SettleHold(SettleHold {
            generation_id: generation(hold.number),
            cost_micro: micro(cost),
            new_input_tokens: input,
            output_tokens: output,
            model: MODEL.into(),
            provider_failure: if insured { ProviderFailure::Unreported } else { ProviderFailure::None },
        }));
        if hold.fate != Fate::Open {
            let generation_id = generation(hold.number);
            assert_eq!(outcome, Err(WalletRefusal::UnknownHold { generation_id }));
            return;
        }
        let events = outcome.expect("an open or expired hold can be settled");
        let used = events.iter().find_map(|event| match event {
            WalletEvent::UsageCharged { charged_micro, covered_by_plan_micro, plan, .. } => {
                assert_eq!(*charged_micro, micro(0), "a plan pays");
                assert_eq!(covered_by_plan_micro.0, if insured { 0 } else { cost });
                Some(plan.clone())
            }
            _ => None,
        });
        let expired: i64 = events
            .iter()
            .map(|event| match event {
                WalletEvent::GrantExpired { expired_micro, .. } => expired_micro.0,
                _ => 0,
            })
            .sum();
        assert_eq!(self.wallet.story.wallet.balance().0, before.0 - expired, "nothing but expiry took of it");
        hold.fate = Fate::Settled;
        hold.used = if insured { 0 } else { 2 * i64::try_from(input + output).expect("small numbers") };
        hold.told = used.expect("settling a hold always emits its charge");
    }

    fn release_covered(&mut self, which: &Index) {
        let Some(hold) = self.plans.pick(which) else { return };
        let released = self.wallet.act(release(hold.number)).is_ok();
        assert_eq!(released, hold.fate == Fate::Open);
        if released {
            hold.fate = Fate::Gone;
        }
    }

    fn reverse_covered(&mut self, which: &Index) {
        let Some(hold) = self.plans.pick(which) else { return };
        let Some(told) = hold.told.take() else { return };
        self.wallet
            .act(WalletAction::ReverseCharge {
                generation_id: generation(hold.number),
                reason: ReversalReason::BadGeneration,
                parts: vec![],
                charged: None,
                plan: Some(told),
            })
            .expect("a plan's use can always be given back");
        hold.used = 0;
    }

    // What must hold

    fn check(&self) {
        let credit = &self.wallet.oracle;
        let tokens = self.payments.iter().filter(|paying| matches!(paying.buys, Buys::Tokens { .. }));
        let came_in = self.gifts + self.bought_credit + tokens.map(Paying::remains).sum::<i64>();
        assert_eq!(credit.granted - credit.reversed, came_in, "credit comes from what came in alone");
        let gone = credit.charged - credit.given_back + credit.bought + credit.adjusted + credit.expired;
        let wallet = &self.wallet.story.wallet;
        assert_eq!(wallet.balance().0 - wallet.debt().0, came_in - gone, "and is where it went");
        let net = self.cash_net();
        assert_eq!((self.cash.balance().0, self.cash.debt().0), (net.max(0), (-net).max(0)));
        for paying in self.payments.iter().filter(|paying| paying.paid) {
            assert_eq!(paying.payment.standing(), Standing::Credited);
            assert_eq!(paying.payment.remaining().0, paying.remains());
        }
        self.plans.assert_shown(&self.wallet.story);
    }
}

fn account() -> AccountId {
    AccountId(Uuid::from_u128(7))
}

/// A stream replayed whole, and from a snapshot at `cut` that was stored and read again, ends where it was.
fn assert_replays<A>(events: &[A::Event], end: &A, cut: &Index)
where
    A: Aggregate + Clone + Debug + PartialEq + serde::Serialize + serde::de::DeserializeOwned,
{
    let fold = |mut state: A, events: &[A::Event]| {
        events.iter().for_each(|event| state.apply(event.clone()));
        state
    };
    assert_eq!(&fold(A::default(), events), end);
    let (before, after) = events.split_at(cut.index(events.len() + 1));
    let stored = serde_json::to_string(&fold(A::default(), before)).expect("stored");
    assert_eq!(&fold(serde_json::from_str(&stored).expect("read"), after), end);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, ..ProptestConfig::default() })]

    #[test]
    fn an_account_agrees_with_its_oracles_whatever_happens_to_its_money(
        steps in steps(),
        cut in any::<Index>(),
    ) {
        let mut life = Life::begin();
        for (number, step) in (1..).zip(&steps) {
            life.step(number, step);
        }
        assert_replays::<Wallet>(&life.wallet.story.events, &life.wallet.story.wallet, &cut);
        assert_replays::<CashWallet>(&life.cash_events, &life.cash, &cut);
        for paying in &life.payments {
            assert_replays::<Payment>(&paying.events, &paying.payment, &cut);
        }
    }
}
