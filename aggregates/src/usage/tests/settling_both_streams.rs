//! A usage stream and a wallet, settled and reversed together.

use cqrs_es::Aggregate;
use proptest::prelude::*;

use crate::examples::{attempt, customer, generation, grant_id, key, micro, node, second, settle_generation};
use crate::pricing::PriceBook;
use crate::settlement::{SettlementRefusal, reverse, settle, settle_operator};
use crate::usage::{
    ClientFamily, Outcome, Payer, SettleGeneration, TokenUsage, Usage, UsageEvent, UsageRefusal, UsageSource,
};
use crate::wallet::{
    GrantSource, HoldLimits, PlaceHold, ReversalReason, Wallet, WalletAction, WalletCommand, WalletEvent,
    WalletRefusal, WalletTerms,
};

#[derive(Default)]
struct Both {
    usage: TokenUsage,
    wallet: Wallet,
}

impl Both {
    fn with_credit(amount: i64) -> Self {
        let mut both = Self::default();
        both.act(WalletAction::GrantCredit {
            grant_id: grant_id(1),
            source: GrantSource::Admin,
            amount_micro: micro(amount),
            expires_at: None,
        });
        both
    }

    fn act(&mut self, action: WalletAction) {
        let command = WalletCommand { action, terms: WalletTerms::default(), now: second(5) };
        for event in self.wallet.decide(command).unwrap() {
            self.wallet.apply(event);
        }
    }

    fn held(mut self, command: &SettleGeneration) -> Self {
        self.act(WalletAction::PlaceHold(Box::new(PlaceHold {
            generation_id: command.generation_id,
            key_id: key(1),
            family: ClientFamily::CodexCli,
            input_tokens: 10,
            already_billed_tokens: 0,
            policies: PriceBook::default().family_policies(ClientFamily::CodexCli),
            cached_tokens: 0,
            max_output_tokens: 10,
            quote: command.quote.clone(),
            cash_debt_micro: micro(0),
            limits: HoldLimits::default(),
            fair_use: std::sync::Arc::default(),
            attempt: attempt(),
            node: node(1),
        })));
        self
    }

    /// Settles and folds; returns the events of both streams.
    fn settle(
        &mut self,
        command: &SettleGeneration,
    ) -> Result<(Vec<UsageEvent>, Vec<WalletEvent>), SettlementRefusal> {
        let (usage, wallet, _) = settle(&self.usage, &self.wallet, command, &WalletTerms::default())?;
        usage.iter().cloned().for_each(|event| self.usage.apply(event));
        wallet.iter().cloned().for_each(|event| self.wallet.apply(event));
        Ok((usage, wallet))
    }

    fn reverse(&mut self, number: u128) -> Result<(Vec<UsageEvent>, Vec<WalletEvent>), SettlementRefusal> {
        let reason = ReversalReason::ToldFailed;
        let (usage, wallet, _) = reverse(
            &self.usage,
            &self.wallet,
            generation(number),
            reason,
            &WalletTerms::default(),
            second(30),
        )?;
        usage.iter().cloned().for_each(|event| self.usage.apply(event));
        wallet.iter().cloned().for_each(|event| self.wallet.apply(event));
        Ok((usage, wallet))
    }
}

fn recorded(events: &[UsageEvent]) -> &crate::usage::GenerationSettled {
    match events {
        [UsageEvent::GenerationSettled(settled)] => settled,
        other => panic!("one settled generation, not {other:?}"),
    }
}

#[test]
fn both_streams_tell_the_same_charge() {
    let command = settle_generation(1);
    let mut both = Both::with_credit(100).held(&command);
    let (usage, wallet) = both.settle(&command).unwrap();
    let settled = recorded(&usage);
    assert_eq!(
        (settled.cost_micro, settled.charged_micro, settled.shortfall_micro),
        (micro(120), micro(100), micro(20))
    );
    assert_eq!(settled.balance_micro, Some(micro(0)));
    let [WalletEvent::UsageCharged { cost_micro, charged_micro, shortfall_micro, from, .. }] =
        wallet.as_slice()
    else {
        panic!("one charge, not {wallet:?}")
    };
    assert_eq!((cost_micro, charged_micro, shortfall_micro), (&micro(120), &micro(100), &micro(20)));
    assert_eq!(from, &settled.from);
}

#[test]
fn settling_again_is_told_the_first_charge_and_appends_nothing() {
    let command = settle_generation(1);
    let mut both = Both::with_credit(500).held(&command);
    both.settle(&command).unwrap();
    let (usage, wallet, told) = settle(&both.usage, &both.wallet, &command, &WalletTerms::default()).unwrap();
    assert!(usage.is_empty() && wallet.is_empty() && told.repeated);
    assert_eq!((told.charged_micro, told.balance_micro), (micro(120), micro(380)));
}

#[test]
fn a_generation_without_a_hold_is_not_settled() {
    let refusal = Both::with_credit(500).settle(&settle_generation(1)).unwrap_err();
    assert_eq!(refusal, WalletRefusal::UnknownHold { generation_id: generation(1) }.into());
}

#[test]
fn a_generation_is_not_settled_again_through_another_conversation() {
    let command = settle_generation(1);
    let mut both = Both::with_credit(500).held(&command);
    both.settle(&command).unwrap();
    both.usage = TokenUsage::default();
    let refusal = both.settle(&command).unwrap_err();
    assert_eq!(refusal, WalletRefusal::UnknownHold { generation_id: generation(1) }.into());
}

#[test]
fn a_reversal_gives_the_charge_back_once_and_ends_the_generation() {
    let command = settle_generation(1);
    let mut both = Both::with_credit(500).held(&command);
    both.settle(&command).unwrap();
    let (usage, wallet) = both.reverse(1).unwrap();
    assert_eq!((usage.len(), wallet.len()), (1, 1));
    assert_eq!(both.wallet.balance(), micro(500));
    assert_eq!(both.reverse(1).unwrap(), (vec![], vec![]));
    let refusal = both.settle(&command).unwrap_err();
    assert_eq!(refusal, UsageRefusal::AlreadyReversed { generation_id: generation(1) }.into());
    assert_eq!(both.wallet.balance(), micro(500));
}

#[test]
fn a_reversal_of_what_the_provider_failure_made_free_gives_nothing_back() {
    let command = SettleGeneration { outcome: Outcome::UpstreamFailed, ..settle_generation(1) };
    let mut both = Both::with_credit(500).held(&command);
    let (usage, _) = both.settle(&command).unwrap();
    let settled = recorded(&usage);
    assert_eq!((settled.cost_micro, settled.insured_micro), (micro(0), micro(120)));
    let (usage, wallet) = both.reverse(1).unwrap();
    assert_eq!((usage.len(), wallet.len()), (1, 0));
    assert_eq!(both.wallet.balance(), micro(500));
}

#[test]
fn a_provider_that_fails_without_a_report_charges_nothing_whatever_is_estimated() {
    for usage_source in [UsageSource::Estimated, UsageSource::Rejected] {
        let command =
            SettleGeneration { outcome: Outcome::UpstreamFailed, usage_source, ..settle_generation(1) };
        let mut both = Both::with_credit(500).held(&command);
        let (usage, _) = both.settle(&command).unwrap();
        assert_eq!(recorded(&usage).insured_micro, micro(120));
        assert_eq!(both.wallet.balance(), micro(500));
    }
}

#[test]
fn an_absurd_report_is_refused_in_both_ways_of_settling() {
    let usage = Usage { output: u64::MAX, ..Usage::default() };
    let command = SettleGeneration { usage, ..settle_generation(1) };
    let refusal: SettlementRefusal = UsageRefusal::AbsurdUsage { generation_id: generation(1) }.into();
    assert_eq!(Both::with_credit(500).held(&command).settle(&command).unwrap_err(), refusal);
    let command = SettleGeneration { payer: Payer::Operator, ..command };
    assert_eq!(settle_operator(&TokenUsage::default(), &command).unwrap_err(), refusal);
}

fn tokens() -> impl Strategy<Value = u64> {
    prop_oneof![0..200_u64, 0..2_000_000_000_u64, any::<u64>(), Just(u64::MAX)]
}

fn any_usage() -> impl Strategy<Value = Usage> {
    let buckets = (tokens(), tokens(), tokens(), tokens(), tokens(), tokens(), tokens());
    buckets.prop_map(|(input, cached_input, cache_write_5m, cache_write_1h, output, reasoning, calls)| {
        Usage {
            input,
            cached_input,
            cache_write_5m,
            cache_write_1h,
            output,
            reasoning,
            web_search_calls: calls,
        }
    })
}

proptest! {
    #[test]
    fn garbage_usage_never_credits_and_never_overflows(
        usage in any_usage(),
        rate in prop_oneof![0..10_000_000_i64, Just(100_000_000_000)],
        outcome in prop_oneof![Just(Outcome::Completed), Just(Outcome::UpstreamFailed), Just(Outcome::ClientLeft)],
        usage_source in prop_oneof![Just(UsageSource::Reported), Just(UsageSource::Rejected)],
    ) {
        let mut command = SettleGeneration { usage, outcome, usage_source, ..settle_generation(1) };
        command.quote.billed = crate::examples::flat(rate, rate);
        command.quote.cost = command.quote.billed.clone();
        command.quote.billed.fees.web_search_micro = micro(rate);
        let hold = settle_generation(1);
        let mut both = Both::with_credit(500).held(&hold);
        match both.settle(&command) {
            Ok((usage, _)) => {
                let settled = recorded(&usage);
                prop_assert!(settled.charged_micro.0 >= 0 && settled.cost_micro.0 >= 0);
                prop_assert_eq!(settled.cost_micro, settled.charged_micro + settled.shortfall_micro);
            }
            Err(refusal) => {
                let absurd = UsageRefusal::AbsurdUsage { generation_id: generation(1) };
                prop_assert_eq!(refusal, SettlementRefusal::Usage(absurd));
            }
        }
        prop_assert!((0..=500).contains(&both.wallet.balance().0));
    }
}

#[test]
fn the_payer_stands_in_the_record() {
    let command = settle_generation(1);
    let (usage, _) = Both::with_credit(500).held(&command).settle(&command).unwrap();
    assert_eq!(recorded(&usage).payer, customer());
}
