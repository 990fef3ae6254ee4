//! Attempts of an operator's generation; a customer's stand in the wallet.

use cqrs_es::Aggregate;

use crate::examples::{attempt, generation, key, second};
use crate::money::MicroUsd;
use crate::usage::{Attempt, AttemptEnd, AttemptResult, MAX_ATTEMPTS, TokenUsage, UsageEvent, UsageRefusal};
use crate::wallet::ReleaseReason;

fn opened() -> TokenUsage {
    let mut stream = TokenUsage::default();
    let events = stream.open(generation(1), key(1), attempt(), second(0)).unwrap();
    events.into_iter().for_each(|event| stream.apply(event));
    stream
}

fn try_at(number: u32) -> Attempt {
    Attempt { number, provider: "second".into(), ..attempt() }
}

#[test]
fn a_further_attempt_is_on_record_once() {
    let mut stream = opened();
    let start = |stream: &TokenUsage| stream.start_attempt(generation(1), try_at(2), second(3));
    let event =
        UsageEvent::AttemptStarted { generation_id: generation(1), attempt: try_at(2), at: second(3) };
    assert_eq!(start(&stream), Ok(vec![event.clone()]));
    stream.apply(event);
    assert_eq!(start(&stream), Ok(vec![]));
    assert_eq!(opened().start_attempt(generation(1), attempt(), second(3)), Ok(vec![]), "the first is");
}

#[test]
fn attempts_come_one_after_the_other_and_only_of_an_open_generation() {
    let mut stream = opened();
    for got in [0, 1, 3] {
        let refusal = UsageRefusal::AttemptOutOfOrder { expected: 2, got };
        assert_eq!(stream.start_attempt(generation(1), try_at(got), second(3)), Err(refusal));
    }
    let refusal = UsageRefusal::NotOpen { generation_id: generation(2) };
    assert_eq!(stream.start_attempt(generation(2), try_at(2), second(3)), Err(refusal));
    for number in 2..=MAX_ATTEMPTS {
        let events = stream.start_attempt(generation(1), try_at(number), second(3)).unwrap();
        events.into_iter().for_each(|event| stream.apply(event));
    }
    let refusal = UsageRefusal::TooManyAttempts { most: 8 };
    assert_eq!(stream.start_attempt(generation(1), try_at(9), second(3)), Err(refusal));
}

#[test]
fn a_generation_that_came_to_nothing_is_closed_once_and_starts_no_more_attempts() {
    let mut stream = opened();
    let reason = ReleaseReason::NothingDelivered;
    let failed = AttemptResult {
        attempt: attempt(),
        status: Some(503),
        ended: Some(AttemptEnd::Overloaded),
        provider_cost_micro: MicroUsd::ZERO,
    };
    let attempts = vec![failed];
    let released = UsageEvent::GenerationReleased {
        generation_id: generation(1),
        reason,
        attempts: attempts.clone(),
        at: second(4),
    };
    assert_eq!(stream.release(generation(1), reason, attempts, second(4)), Ok(vec![released.clone()]));
    stream.apply(released);
    assert!(!stream.is_open(generation(1)));
    let refusal = UsageRefusal::NotOpen { generation_id: generation(1) };
    assert_eq!(stream.release(generation(1), reason, vec![], second(5)), Err(refusal.clone()));
    assert_eq!(stream.start_attempt(generation(1), try_at(2), second(5)), Err(refusal));
}
