use cqrs_es::test::TestFramework;

use super::*;
use crate::examples::{micro, second};
use crate::money::Rate;
use crate::payment::{LEAST_PRICE, MOST_PRICE};
use crate::usage::ClientFamily;
use crate::wallet::entitlements::terms::Scope;

fn id(text: &str) -> PlanId {
    text.parse().expect("a plan's id")
}

fn credit(name: &str, price: i64, credit: i64) -> Plan {
    Plan {
        id: id(name),
        name: name.to_uppercase(),
        price_micro: MicroUsd::dollars(price),
        buys: PlanBuys::Credit { credit_micro: MicroUsd::dollars(credit) },
        visibility: Visibility::Public,
        sold: Sold::Once,
        max_quantity: 1,
    }
}

fn fair_use(limit: i64) -> FairUse {
    FairUse {
        rates: AssumedRates { input: Rate(5_000_000), output: Rate(30_000_000) },
        windows: vec![
            FairUseWindow { length_secs: 100, limit_micro: micro(limit) },
            FairUseWindow { length_secs: 1_000, limit_micro: micro(limit * 5) },
        ],
    }
}

fn time(name: &str, fair_use: FairUse) -> Plan {
    let scope = Scope { families: vec![ClientFamily::CodexCli], models: vec!["gpt-5.5".into()] };
    let buys = PlanBuys::Entitlement { scope, fair_use, block_secs: 10_000 };
    Plan { buys, max_quantity: 5, ..credit(name, 99, 1) }
}

fn publish(plan: Plan) -> CatalogCommand {
    CatalogCommand::Publish { plan: Box::new(plan), now: second(10) }
}

fn published(plan: Plan) -> CatalogEvent {
    CatalogEvent::PlanPublished { plan: Box::new(plan), at: second(10) }
}

fn withdraw(name: &str) -> CatalogCommand {
    CatalogCommand::Withdraw { plan_id: id(name), now: second(10) }
}

fn withdrawn(name: &str) -> CatalogEvent {
    CatalogEvent::PlanWithdrawn { plan_id: id(name), at: second(10) }
}

fn set(name: &str, FairUse { rates, windows }: FairUse) -> CatalogCommand {
    CatalogCommand::SetFairUse { plan_id: id(name), rates, windows, now: second(10) }
}

async fn expect(
    given: Vec<CatalogEvent>,
    when: CatalogCommand,
    then: Result<Vec<CatalogEvent>, CatalogRefusal>,
) {
    let outcome = TestFramework::<Catalog>::with(()).given(given).when_async(when).await;
    assert_eq!(outcome.inspect_result(), then);
}

fn catalog(events: Vec<CatalogEvent>) -> Catalog {
    let mut catalog = Catalog::default();
    events.into_iter().for_each(|event| catalog.apply(event));
    catalog
}

#[tokio::test]
async fn a_plan_is_published_changed_and_withdrawn_and_saying_it_twice_changes_nothing() {
    let (first, dearer) = (credit("titan", 120, 1_250), credit("titan", 130, 1_250));
    expect(vec![], publish(first.clone()), Ok(vec![published(first.clone())])).await;
    expect(vec![published(first.clone())], publish(first.clone()), Ok(vec![])).await;
    expect(vec![published(first.clone())], publish(dearer.clone()), Ok(vec![published(dearer)])).await;
    expect(vec![published(first.clone())], withdraw("titan"), Ok(vec![withdrawn("titan")])).await;
    let gone = vec![published(first.clone()), withdrawn("titan")];
    expect(gone.clone(), withdraw("titan"), Ok(vec![])).await;
    expect(gone, publish(first.clone()), Ok(vec![published(first)])).await;
}

#[test]
fn a_withdrawn_plan_is_not_on_sale_and_what_was_bought_of_it_goes_on() {
    let catalog = catalog(vec![
        published(time("promo", fair_use(10))),
        published(credit("titan", 120, 1_250)),
        published(credit("apex", 110, 1_000)),
        withdrawn("promo"),
    ]);
    assert_eq!(catalog.plan(&id("promo")), None);
    assert!(catalog.plan_ever(&id("promo")).is_some());
    assert_eq!(catalog.fair_use().get(&id("promo")), Some(&fair_use(10)));
    let on_sale: Vec<&str> = catalog.plans().iter().map(|plan| plan.id.as_str()).collect();
    assert_eq!(on_sale, ["apex", "titan"], "cheapest first");
}

#[tokio::test]
async fn fair_use_is_set_for_a_plan_that_has_some_on_sale_or_not() {
    let given = vec![published(time("promo", fair_use(10))), published(credit("titan", 120, 1_250))];
    let was_set = CatalogEvent::FairUseSet { plan_id: id("promo"), fair_use: fair_use(20), at: second(10) };
    expect(given.clone(), set("promo", fair_use(20)), Ok(vec![was_set.clone()])).await;
    expect(given.clone(), set("promo", fair_use(10)), Ok(vec![])).await;
    let unknown = CatalogRefusal::UnknownPlan { plan_id: id("other") };
    expect(given.clone(), set("other", fair_use(20)), Err(unknown.clone())).await;
    expect(given.clone(), CatalogCommand::Withdraw { plan_id: id("other"), now: second(1) }, Err(unknown))
        .await;
    let credit_has_none = CatalogRefusal::BuysCredit { plan_id: id("titan") };
    expect(given.clone(), set("titan", fair_use(20)), Err(credit_has_none)).await;
    let mut withdrawn_too = given;
    withdrawn_too.push(withdrawn("promo"));
    expect(withdrawn_too, set("promo", fair_use(20)), Ok(vec![was_set])).await;
}

#[test]
fn fair_use_that_was_set_is_that_of_what_is_bought_next() {
    let was_set = CatalogEvent::FairUseSet { plan_id: id("promo"), fair_use: fair_use(20), at: second(10) };
    let catalog = catalog(vec![published(time("promo", fair_use(10))), was_set]);
    let bought = catalog.plan(&id("promo")).and_then(|plan| plan.entitlement(3)).expect("time");
    assert_eq!((bought.fair_use.clone(), bought.length_secs()), (fair_use(20), 30_000));
    assert_eq!(catalog.fair_use().get(&id("promo")), Some(&fair_use(20)));
}

#[tokio::test]
async fn every_plan_that_cannot_be_sold_is_refused_for_what_is_wrong_with_it() {
    use CatalogRefusal as R;
    let most = MAX_AMOUNT;
    let with = |windows| FairUse { windows, ..fair_use(10) };
    let window = |length_secs, limit: i64| FairUseWindow { length_secs, limit_micro: micro(limit) };
    let scoped = |scope: Scope| {
        let buys = PlanBuys::Entitlement { scope, fair_use: fair_use(10), block_secs: 10 };
        Plan { buys, ..time("promo", fair_use(10)) }
    };
    let lasting = |block_secs| {
        let scope = Scope { families: vec![ClientFamily::CodexCli], models: vec!["m".into()] };
        let buys = PlanBuys::Entitlement { scope, fair_use: fair_use(10), block_secs };
        Plan { buys, ..time("promo", fair_use(10)) }
    };
    let priced_at = |price| Plan { price_micro: micro(price), ..credit("a", 1, 1) };
    let not_payable =
        |price| R::PriceNotPayable { price: micro(price), least: LEAST_PRICE, most: MOST_PRICE };
    let priced = |input| {
        let rates = AssumedRates { input: Rate(input), output: Rate(0) };
        time("promo", FairUse { rates, ..fair_use(10) })
    };
    let long_name = Plan { name: "é".repeat(101), ..credit("a", 1, 1) };
    let many = |max_quantity| Plan { max_quantity, ..credit("a", 1, 1) };
    let models = |models: &[&str]| models.iter().map(|model| (*model).to_owned()).collect::<Vec<_>>();
    let families = vec![ClientFamily::CodexCli];
    let cases = [
        (long_name, R::NameLength { got: 101, most: 100 }),
        (Plan { name: " ".into(), ..credit("a", 1, 1) }, R::NameLength { got: 0, most: 100 }),
        (credit("a", 0, 1), R::AmountOutOfRange { amount: micro(0), most }),
        (priced_at(1_234_567), not_payable(1_234_567)),
        (priced_at(490_000), not_payable(490_000)),
        (priced_at(MOST_PRICE.0 + 10_000), not_payable(MOST_PRICE.0 + 10_000)),
        (credit("a", 1, -1), R::AmountOutOfRange { amount: MicroUsd::dollars(-1), most }),
        (many(0), R::QuantityOutOfRange { got: 0, most: MAX_BLOCKS }),
        (many(101), R::QuantityOutOfRange { got: 101, most: MAX_BLOCKS }),
        (Plan { max_quantity: 2, ..credit("a", 1, 900_000) }, R::QuantityBeyondAmounts { most: 2 }),
        (Plan { sold: Sold::Monthly, ..many(2) }, R::MonthlyBuysOne { got: 2 }),
        (
            scoped(Scope { families: vec![], models: models(&["m"]) }),
            R::ScopeSize { families: 0, models: 1, most: 50 },
        ),
        (
            scoped(Scope { families: families.clone(), models: vec![] }),
            R::ScopeSize { families: 1, models: 0, most: 50 },
        ),
        (scoped(Scope { families, models: models(&["m m"]) }), R::BadModelName { model: "m m".into() }),
        (lasting(0), R::LengthOutOfRange { got: 0, most: MAX_SECS }),
        (time("p", with(vec![])), R::WindowCount { got: 0, most: MAX_WINDOWS }),
        (time("p", with(vec![window(9, 9); 5])), R::WindowCount { got: 5, most: MAX_WINDOWS }),
        (time("p", with(vec![window(0, 9)])), R::LengthOutOfRange { got: 0, most: MAX_SECS }),
        (time("p", with(vec![window(9, 0)])), R::LimitOutOfRange { limit: micro(0), most }),
        (time("p", with(vec![window(9, 9), window(9, 9)])), R::WindowsOutOfOrder),
        (priced(-1), R::RateOutOfRange { amount: -1 }),
    ];
    for (plan, refusal) in cases {
        expect(vec![], publish(plan), Err(refusal)).await;
    }
    let turned = R::BuysSomethingElse { plan_id: id("a"), before: "credit", after: "an entitlement" };
    expect(vec![published(credit("a", 1, 1))], publish(time("a", fair_use(10))), Err(turned)).await;
}

#[tokio::test]
async fn a_catalogue_has_a_most() {
    let full: Vec<CatalogEvent> =
        (0..MAX_PLANS).map(|number| published(credit(&format!("plan-{number}"), 1, 1))).collect();
    let refusal = CatalogRefusal::CatalogFull { most: MAX_PLANS };
    expect(full.clone(), publish(credit("one-more", 1, 1)), Err(refusal)).await;
    let changed = credit("plan-7", 2, 2);
    expect(full, publish(changed.clone()), Ok(vec![published(changed)])).await;
}

#[test]
fn a_plans_id_is_a_word_of_few_letters() {
    assert!("unlimited-promo-2".parse::<PlanId>().is_ok());
    for bad in ["", "Titan", "a b", "a_b", &"a".repeat(41)] {
        assert!(bad.parse::<PlanId>().is_err(), "{bad}");
    }
    assert!(serde_json::from_str::<PlanId>("\"No\"").is_err());
}
