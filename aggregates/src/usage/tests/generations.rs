use cqrs_es::Aggregate;
use cqrs_es::test::TestFramework;

use crate::examples::{
    MODEL, attempt, conversation, customer, generation, key, micro, second, settle_generation,
};
use crate::money::PicoUsd;
use crate::usage::buckets::{MAX_CALLS, MAX_TOKENS};
use crate::usage::{
    AttemptResult, GenerationSettled, KEPT_OPEN, KEPT_SETTLED, Mark, Outcome, Payer, SettleGeneration,
    TokenUsage, Usage, UsageCommand, UsageEvent, UsageRefusal, UsageSource, WalletShare,
};
use crate::wallet::events::ReversalReason;

/// Paid in full by the wallet.
pub fn paid(cost: i64) -> WalletShare {
    WalletShare {
        cost_micro: micro(cost),
        charged_micro: micro(cost),
        balance_micro: Some(micro(1_000)),
        ..WalletShare::default()
    }
}

fn settled_event(command: &SettleGeneration) -> UsageEvent {
    let stream = TokenUsage::default();
    let rated = stream.rate(command);
    let share = paid(rated.cost_micro.0);
    stream.settle(command.clone(), rated, share).unwrap().remove(0)
}

fn operator(number: u128) -> SettleGeneration {
    SettleGeneration { payer: Payer::Operator, ..settle_generation(number) }
}

fn opened(number: u128) -> UsageEvent {
    UsageEvent::GenerationOpened {
        generation_id: generation(number),
        key_id: key(1),
        attempt: attempt(),
        at: second(1),
    }
}

fn open(number: u128) -> UsageCommand {
    UsageCommand::Open {
        generation_id: generation(number),
        key_id: key(1),
        attempt: attempt(),
        now: second(1),
    }
}

fn settle(command: SettleGeneration, share: WalletShare) -> UsageCommand {
    UsageCommand::Settle(Box::new(command), share)
}

fn reverse(number: u128) -> UsageCommand {
    UsageCommand::Reverse {
        generation_id: generation(number),
        reason: ReversalReason::ToldFailed,
        now: second(20),
    }
}

fn reversed(number: u128, payer: Payer, amount: i64) -> UsageEvent {
    UsageEvent::ChargeReversed {
        generation_id: generation(number),
        payer,
        reason: ReversalReason::ToldFailed,
        amount_micro: micro(amount),
        at: second(20),
    }
}

async fn expect(given: Vec<UsageEvent>, when: UsageCommand, then: Result<Vec<UsageEvent>, UsageRefusal>) {
    let outcome = TestFramework::<TokenUsage>::with(()).given(given).when_async(when).await;
    assert_eq!(outcome.inspect_result(), then);
}

#[tokio::test]
async fn an_operators_generation_is_on_record_before_it_is_dispatched() {
    expect(vec![], open(1), Ok(vec![opened(1)])).await;
}

#[tokio::test]
async fn a_generation_is_opened_once_and_never_after_it_is_settled() {
    let refusal = || Err(UsageRefusal::AlreadyOpen { generation_id: generation(1) });
    expect(vec![opened(1)], open(1), refusal()).await;
    expect(vec![opened(1), settled_event(&settle_generation(1))], open(1), refusal()).await;
}

#[tokio::test]
async fn an_operators_generation_that_was_never_opened_is_not_settled() {
    let refusal = Err(UsageRefusal::NotOpen { generation_id: generation(1) });
    expect(vec![opened(2)], settle(operator(1), WalletShare::default()), refusal).await;
}

#[tokio::test]
async fn an_operators_generation_charges_nobody_and_records_what_the_provider_charges() {
    let command = settle(operator(1), WalletShare::default());
    let outcome = TestFramework::<TokenUsage>::with(()).given(vec![opened(1)]).when_async(command).await;
    let events = outcome.inspect_result().unwrap();
    let [UsageEvent::GenerationSettled(settled)] = events.as_slice() else {
        panic!("one settle: {events:?}")
    };
    assert_eq!((settled.cost_micro, settled.charged_micro), (micro(0), micro(0)));
    assert_eq!((settled.provider_cost_micro, settled.balance_micro), (micro(120), None));
    assert_eq!(settled.mark, None);
}

#[tokio::test]
async fn settling_records_everything_that_is_known_of_the_generation() {
    let mut command = settle_generation(1);
    command.prefix = Some(conversation("a", 3, 40));
    command
        .attempts
        .insert(0, AttemptResult { provider_cost_micro: micro(3), ..command.attempts[0].clone() });
    let lines = TokenUsage::default().rate(&command).rated.lines;
    let mut attempts = command.attempts.clone();
    attempts[1].provider_cost_micro = micro(120);
    let expected = GenerationSettled {
        generation_id: generation(1),
        payer: customer(),
        key_id: key(1),
        family: command.family,
        protocol: command.protocol,
        model: "label".into(),
        billed_model: MODEL.into(),
        served_model: MODEL.into(),
        provider: "openai".into(),
        provider_response_id: Some("resp_1".into()),
        outcome: Outcome::Completed,
        usage_source: UsageSource::Reported,
        usage: command.usage,
        policy: command.policy,
        already_billed_tokens: 0,
        continues: None,
        card_version: 1,
        mode: command.quote.mode,
        internal_window: None,
        lines,
        remainder_pico: PicoUsd::ZERO,
        cost_micro: micro(120),
        charged_micro: micro(120),
        covered_by_plan_micro: micro(0),
        shortfall_micro: micro(0),
        insured_micro: micro(0),
        from: vec![],
        plan: None,
        provider_cost_micro: micro(123),
        attempts,
        mark: Some(Mark { items: 3, digest: "a-3".into(), input_tokens: 100, fixed_tokens: 40 }),
        timings: command.timings,
        balance_micro: Some(micro(1_000)),
        at: second(10),
    };
    let then = Ok(vec![UsageEvent::GenerationSettled(Box::new(expected))]);
    expect(vec![], settle(command, paid(120)), then).await;
}

#[tokio::test]
async fn settling_again_for_the_same_usage_changes_nothing() {
    let command = settle_generation(1);
    expect(vec![settled_event(&command)], settle(command, paid(120)), Ok(vec![])).await;
}

#[tokio::test]
async fn a_generation_cannot_be_settled_twice_for_different_usage() {
    let given = settle_generation(1);
    let other_usage = Usage { output: 21, ..given.usage };
    let others = [
        SettleGeneration { usage: other_usage, ..given.clone() },
        SettleGeneration { outcome: Outcome::ClientLeft, ..given.clone() },
        SettleGeneration { usage_source: UsageSource::Estimated, ..given.clone() },
    ];
    for other in others {
        let refusal = Err(UsageRefusal::SettledDifferently { generation_id: generation(1) });
        expect(vec![settled_event(&given)], settle(other, paid(121)), refusal).await;
    }
}

#[tokio::test]
async fn a_charge_is_reversed_whole_and_once() {
    let settled = settled_event(&settle_generation(1));
    let event = reversed(1, customer(), 120);
    expect(vec![settled.clone()], reverse(1), Ok(vec![event.clone()])).await;
    expect(vec![settled, event], reverse(1), Ok(vec![])).await;
}

#[tokio::test]
async fn a_reversed_generation_is_not_settled_again() {
    let given = vec![settled_event(&settle_generation(1)), reversed(1, customer(), 120)];
    let refusal = Err(UsageRefusal::AlreadyReversed { generation_id: generation(1) });
    expect(given, settle(settle_generation(1), paid(120)), refusal).await;
}

#[tokio::test]
async fn a_generation_that_was_not_settled_here_is_not_reversed() {
    let refusal = Err(UsageRefusal::UnknownGeneration { generation_id: generation(1) });
    expect(vec![opened(1)], reverse(1), refusal).await;
}

#[tokio::test]
async fn usage_that_no_model_could_report_is_refused() {
    let usage = settle_generation(1).usage;
    let absurd = [
        Usage { input: MAX_TOKENS + 1, ..usage },
        Usage { cached_input: u64::MAX, ..usage },
        Usage { cache_write_5m: u64::MAX, cache_write_1h: u64::MAX, ..usage },
        Usage { output: u64::MAX, ..usage },
        Usage { web_search_calls: MAX_CALLS + 1, ..usage },
    ];
    for usage in absurd {
        let command = SettleGeneration { usage, ..settle_generation(1) };
        let refusal = Err(UsageRefusal::AbsurdUsage { generation_id: generation(1) });
        expect(vec![], settle(command, paid(0)), refusal).await;
    }
}

#[test]
fn only_the_last_settled_generations_are_remembered() {
    let mut stream = TokenUsage::default();
    let last = KEPT_SETTLED as u128 + 1;
    for number in 1..=last {
        stream.apply(settled_event(&settle_generation(number)));
    }
    assert!(stream.settled(generation(1)).is_none());
    assert!(stream.settled(generation(2)).is_some() && stream.settled(generation(last)).is_some());
    let refusal = stream.reverse(generation(1), ReversalReason::BadGeneration, second(20)).unwrap_err();
    assert_eq!(refusal, UsageRefusal::UnknownGeneration { generation_id: generation(1) });
}

#[test]
fn only_so_many_operator_generations_are_open_at_a_time() {
    let mut stream = TokenUsage::default();
    for number in 0..=KEPT_OPEN as u128 {
        stream.apply(opened(number));
    }
    assert!(!stream.is_open(generation(0)) && stream.is_open(generation(1)));
    stream.apply(settled_event(&settle_generation(1)));
    assert!(!stream.is_open(generation(1)), "settling closes it");
}

#[test]
fn an_estimate_costs_at_most_the_worst_case_and_a_report_costs_what_it_costs() {
    let cost = |usage_source| {
        let command =
            SettleGeneration { usage_source, estimate_cap_micro: micro(70), ..settle_generation(1) };
        TokenUsage::default().rate(&command).cost_micro
    };
    assert_eq!(cost(UsageSource::Estimated), micro(70));
    assert_eq!(cost(UsageSource::Rejected), micro(70));
    assert_eq!(cost(UsageSource::Reported), micro(120));
}

#[test]
fn the_stream_survives_being_stored_mid_way() {
    let events: Vec<UsageEvent> = (1..=4)
        .map(|number| {
            let prefix = Some(conversation("a", number, 40));
            settled_event(&SettleGeneration { prefix, ..settle_generation(u128::from(number)) })
        })
        .chain([opened(9), reversed(2, customer(), 120)])
        .collect();
    let fold = |mut stream: TokenUsage, events: &[UsageEvent]| {
        events.iter().for_each(|event| stream.apply(event.clone()));
        stream
    };
    let whole = fold(TokenUsage::default(), &events);
    for cut in 0..=events.len() {
        let stored = serde_json::to_string(&fold(TokenUsage::default(), &events[..cut])).unwrap();
        assert_eq!(fold(serde_json::from_str(&stored).unwrap(), &events[cut..]), whole);
    }
}
