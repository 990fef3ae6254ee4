//! Random lives of one account with everything that money can do to it at once: payments of every kind with their
//! refunds and disputes, both wallets, plans and their windows, generations that either pays for. After every step each
//! aggregate is compared with its oracle, and what came in with what is there.

mod paying;
mod steps;

use std::collections::BTreeMap;
use std::fmt::Debug;

use cqrs_es::Aggregate;
use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

use crate::cash::{CashEvent, CashRefusal, CashWallet, PurchaseRefusal, TokenOrder, buy_tokens};
use crate::examples::{MODEL, generation, grant_id, micro, node, second};
use crate::ids::AccountId;
use crate::payment::{
    Channel, Currency, DisputeStatus, FailureReason, ObservedPayment, ObservedReversal, Payment,
    PaymentAction, PaymentCommand, Purpose, RefundStatus, Reversal, Standing, StartPayment, confirm,
    confirm_cash, reverse, reverse_cash,
};
use crate::usage::ClientFamily;
use crate::wallet::tests::builders::{release, request};
use crate::wallet::tests::plan_oracle::{Fate, Oracle as Plans, OracleHold, PLANS, Payer};
use crate::wallet::tests::plans::{plan, switch, terms};
use crate::wallet::tests::properties::{Life as WalletLife, Step as WalletStep};
use crate::wallet::{
    PlaceHold, ProviderFailure, ReversalReason, SettleHold, Wallet, WalletAction, WalletEvent, WalletRefusal,
};
use paying::{Buys, PRICE_CENTS, Paying, cents, micro_of};
use steps::{Step, steps};

/// A node that never dies, for what plans pay.
const PLANS_NODE: u128 = 9;

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
