use super::builders::{Book, publish};
use crate::examples::{MODEL, flat, micro, second};
use crate::money::Rate;
use crate::pricing::{
    MAX_POLICIES, MAX_RATE, PricingCommand, PricingEvent, PricingRefusal, PublishRateCard, ServingCost,
};
use crate::routing::ModelFamily;
use crate::usage::{BillingPolicy, ClientFamily};

fn per_call(amount: i64) -> PricingCommand {
    PricingCommand::SetPerCallPrice { amount_micro: micro(amount), now: second(10) }
}

fn policy(family: ClientFamily, plan: Option<&str>, policy: Option<BillingPolicy>) -> PricingCommand {
    PricingCommand::SetBillingPolicy { family, plan: plan.map(str::to_owned), policy, now: second(10) }
}

#[test]
fn the_price_of_a_call_comes_on_top_of_what_a_card_names_and_is_nothing_by_default() {
    let dear = PublishRateCard { internal: Some(flat(1, 1)), ..publish(MODEL, 0) };
    let mut book = Book::default().with(dear);
    let fees = |book: &Book| {
        let quote = book.0.quote(MODEL, second(10)).unwrap();
        (quote.billed.fees.per_call_micro, quote.display.unwrap().fees.per_call_micro)
    };
    assert_eq!(fees(&book), (micro(0), micro(0)));
    let set = PricingEvent::PerCallPriceSet { amount_micro: micro(250), at: second(10) };
    assert_eq!(book.act(per_call(250)), Ok(vec![set]));
    assert_eq!((fees(&book), book.0.per_call_micro()), ((micro(250), micro(250)), micro(250)));
    assert_eq!(book.act(per_call(250)), Ok(vec![]));
    for amount in [-1, MAX_RATE + 1] {
        assert_eq!(book.act(per_call(amount)), Err(PricingRefusal::RateOutOfRange { amount }));
    }
}

#[test]
fn a_policy_set_for_a_plan_counts_there_and_one_for_the_family_everywhere_else() {
    use BillingPolicy::{Delta, Full};
    use ClientFamily::{ClaudeCode, CodexCli};
    let mut book = Book::default();
    assert_eq!(book.0.billing_policy(CodexCli, None), Delta);
    assert!(
        ClientFamily::ALL.iter().filter(|f| **f != CodexCli).all(|f| book.0.billing_policy(*f, None) == Full)
    );
    book.act(policy(CodexCli, Some("unlimited"), Some(Full))).unwrap();
    assert_eq!(book.0.billing_policy(CodexCli, None), Delta);
    assert_eq!(book.0.billing_policy(CodexCli, Some("unlimited")), Full);
    assert_eq!(book.0.billing_policy(CodexCli, Some("promo")), Delta);
    book.act(policy(ClaudeCode, None, Some(Delta))).unwrap();
    assert_eq!(book.0.billing_policy(ClaudeCode, Some("promo")), Delta);
    assert_eq!(book.act(policy(ClaudeCode, None, Some(Delta))), Ok(vec![]));
    book.act(policy(ClaudeCode, None, None)).unwrap();
    assert_eq!(book.0.billing_policy(ClaudeCode, None), Full);
    assert_eq!(book.act(policy(ClaudeCode, None, None)), Ok(vec![]), "nothing was set");
    assert_eq!(book.0.billing_policies().count(), 1);
}

#[test]
fn policies_are_limited_and_plans_have_plain_names() {
    let mut book = Book::default();
    for plan in ["", "a b", "a:b", "a/b"] {
        let refusal = PricingRefusal::BadPlanId { got: plan.into() };
        assert_eq!(book.act(policy(ClientFamily::Other, Some(plan), None)), Err(refusal));
    }
    for number in 0..MAX_POLICIES {
        let plan = format!("plan-{number}");
        book.act(policy(ClientFamily::Other, Some(&plan), Some(BillingPolicy::Delta))).unwrap();
    }
    let one_more = policy(ClientFamily::Other, None, Some(BillingPolicy::Delta));
    assert_eq!(book.act(one_more), Err(PricingRefusal::TooManyPolicies));
    assert!(book.act(policy(ClientFamily::Other, Some("plan-0"), Some(BillingPolicy::Full))).is_ok());
}

#[test]
fn serving_is_reckoned_at_five_and_thirty_dollars_until_the_operator_says_otherwise() {
    let mut book = Book::default();
    let standard = ServingCost { input: Rate(5_000_000), output: Rate(30_000_000) };
    assert!(ModelFamily::ALL.iter().all(|family| book.0.serving_cost(*family) == standard));
    let set = |input| PricingCommand::SetServingCost {
        family: ModelFamily::Deepseek,
        cost: ServingCost { input: Rate(input), output: Rate(1_680_000) },
        now: second(10),
    };
    book.act(set(560_000)).unwrap();
    assert_eq!(book.act(set(560_000)), Ok(vec![]));
    assert_eq!(book.0.serving_cost(ModelFamily::Deepseek).input, Rate(560_000));
    assert_eq!(book.0.serving_cost(ModelFamily::Gpt), standard);
    assert_eq!(book.act(set(-1)), Err(PricingRefusal::RateOutOfRange { amount: -1 }));
}
