use cqrs_es::test::TestFramework;

use super::builders::{Book, dearer, publish};
use crate::examples::{MODEL, flat, micro, second};
use crate::money::Rate;
use crate::pricing::tariff::{Mode, Quote, Rates, Tariff, Tier};
use crate::pricing::{
    KEPT_CARDS, MAX_MODELS, MAX_MODELS_EVER, MAX_RATE, PriceBook, PricingCommand, PricingEvent,
    PricingRefusal, PublishRateCard, RateCard,
};
use crate::time::Timestamp;

#[tokio::test]
async fn a_card_is_published_as_version_one() {
    let PublishRateCard {
        model,
        effective_at,
        display,
        surge,
        reduced,
        internal,
        cost,
        context_tokens,
        max_output_tokens,
        now,
    } = publish(MODEL, 1);
    let card = RateCard {
        model,
        version: 1,
        effective_at,
        display,
        surge,
        reduced,
        internal,
        cost,
        context_tokens,
        max_output_tokens,
    };
    TestFramework::<PriceBook>::with(())
        .given_no_previous_events()
        .when_async(PricingCommand::Publish(Box::new(publish(MODEL, 1))))
        .await
        .then_expect_events(vec![PricingEvent::RateCardPublished { card: Box::new(card), at: now }]);
}

#[test]
fn a_price_is_right_at_the_very_second_a_card_takes_effect() {
    let mut book = Book::default().with(publish(MODEL, 10));
    book.publish(PublishRateCard { now: second(10), ..dearer(MODEL, 100, 6_000_000) }).unwrap();
    assert_eq!(book.input_rate(second(9)), None);
    assert_eq!(book.input_rate(second(10)), Some(5_000_000));
    assert_eq!(book.input_rate(Timestamp(second(100).0 - 1)), Some(5_000_000));
    assert_eq!(book.input_rate(second(100)), Some(6_000_000));
    assert_eq!(book.0.cards_in_force(second(99)).map(|card| card.version).collect::<Vec<_>>(), [1]);
}

#[test]
fn the_same_card_published_again_changes_nothing() {
    let mut book = Book::default().with(publish(MODEL, 10));
    assert_eq!(book.publish(publish(MODEL, 10)), Ok(vec![]));
    assert_eq!(book.publish(publish(MODEL, 500)), Ok(vec![]));
}

#[test]
fn any_difference_makes_a_new_version() {
    let same = || publish(MODEL, 10);
    let different = [
        dearer(MODEL, 10, 6_000_000),
        PublishRateCard { surge: Some(flat(6_000_000, 32_000_000)), ..same() },
        PublishRateCard { reduced: Some(flat(4_500_000, 27_000_000)), ..same() },
        PublishRateCard { internal: Some(flat(8_000_000, 45_000_000)), ..same() },
        PublishRateCard { cost: flat(1, 1), ..same() },
        PublishRateCard { context_tokens: 1, ..same() },
        PublishRateCard { max_output_tokens: 1, ..same() },
    ];
    for card in different {
        let mut book = Book::default().with(same());
        let events = book.publish(card).unwrap();
        assert!(matches!(&events[0], PricingEvent::RateCardPublished { card, .. } if card.version == 2));
    }
}

#[test]
fn cards_take_effect_in_the_order_they_are_published() {
    let mut book = Book::default().with(publish(MODEL, 10));
    let refusal = PricingRefusal::EffectiveBeforeLatest {
        model: MODEL.into(),
        latest: second(10),
        effective_at: second(9),
    };
    assert_eq!(book.publish(dearer(MODEL, 9, 1)), Err(refusal.clone()));
    assert_eq!(book.publish(publish(MODEL, 9)), Err(refusal), "not even the same card earlier");
    book.publish(dearer(MODEL, 10, 6_000_000)).unwrap();
    assert_eq!(book.input_rate(second(10)), Some(6_000_000), "at the same second the later version counts");
}

#[test]
fn a_quote_freezes_what_is_deducted_and_shows_what_is_published() {
    let mut book = Book::default().with(publish(MODEL, 10));
    let quote = book.0.quote(MODEL, second(10)).unwrap();
    assert_eq!((quote.billed.clone(), quote.display.clone()), (flat(5_000_000, 25_000_000), None));
    assert_eq!(
        (quote.card_version, quote.mode, quote.cost.clone()),
        (1, Mode::Standard, flat(2_000_000, 10_000_000))
    );
    book.publish(PublishRateCard { internal: Some(flat(8_000_000, 45_000_000)), ..publish(MODEL, 20) })
        .unwrap();
    let dearer = book.0.quote(MODEL, second(20)).unwrap();
    assert_eq!(dearer.billed, flat(8_000_000, 45_000_000));
    assert_eq!(dearer.display, Some(flat(5_000_000, 25_000_000)));
    assert_eq!(book.0.quote(MODEL, second(10)), Some(quote));
    assert_eq!(book.0.quote("unknown", second(20)), None);
}

#[test]
fn a_models_name_is_short_and_plain() {
    let mut book = Book::default();
    for model in ["", "a b", "ä", "a\0", "a\"b", &"a".repeat(101)] {
        let refusal = PricingRefusal::BadModelName { model: model.into() };
        assert_eq!(book.publish(publish(model, 1)), Err(refusal));
    }
    for model in ["a", "claude-sonnet-4.5", "vendor/model:free_1", &"a".repeat(100)] {
        assert!(book.publish(publish(model, 1)).is_ok());
    }
}

#[test]
fn a_rate_or_fee_that_is_negative_or_absurd_is_refused_wherever_it_stands() {
    for amount in [-1, i64::MIN, MAX_RATE + 1] {
        let odd = Rate(amount);
        let base = Rates::default();
        let mut spoilt = vec![
            Tariff { rates: Rates { input: odd, ..base }, ..Tariff::default() },
            Tariff { rates: Rates { output: odd, ..base }, ..Tariff::default() },
            Tariff { rates: Rates { cached_input: Some(odd), ..base }, ..Tariff::default() },
            Tariff { rates: Rates { cache_write_5m: Some(odd), ..base }, ..Tariff::default() },
            Tariff { rates: Rates { cache_write_1h: Some(odd), ..base }, ..Tariff::default() },
        ];
        let tier = Tier { threshold_tokens: 1, inclusive: false, rates: Rates { output: odd, ..base } };
        spoilt.push(Tariff { tiers: vec![tier], ..Tariff::default() });
        let mut fees = Tariff::default();
        fees.fees.per_call_micro = micro(amount);
        spoilt.push(fees);
        let mut fees = Tariff::default();
        fees.fees.web_search_micro = micro(amount);
        spoilt.push(fees);
        for tariff in spoilt {
            let cards = [
                PublishRateCard { display: tariff.clone(), ..publish(MODEL, 1) },
                PublishRateCard { surge: Some(tariff.clone()), ..publish(MODEL, 1) },
                PublishRateCard { reduced: Some(tariff.clone()), ..publish(MODEL, 1) },
                PublishRateCard { internal: Some(tariff.clone()), ..publish(MODEL, 1) },
                PublishRateCard { cost: tariff, ..publish(MODEL, 1) },
            ];
            for card in cards {
                assert_eq!(Book::default().publish(card), Err(PricingRefusal::RateOutOfRange { amount }));
            }
        }
    }
    Book::default().with(PublishRateCard { display: flat(0, MAX_RATE), ..publish(MODEL, 1) });
}

#[test]
fn tiers_must_rise() {
    let tier = |threshold_tokens| Tier { threshold_tokens, inclusive: false, rates: Rates::default() };
    let tiered = |thresholds: &[u64]| {
        let tiers = thresholds.iter().map(|threshold| tier(*threshold)).collect();
        PublishRateCard { display: Tariff { tiers, ..flat(1, 1) }, ..publish(MODEL, 1) }
    };
    let refusal = PricingRefusal::TiersOutOfOrder { model: MODEL.into() };
    assert_eq!(Book::default().publish(tiered(&[2, 1])), Err(refusal.clone()));
    assert_eq!(Book::default().publish(tiered(&[1, 1])), Err(refusal));
    assert!(Book::default().publish(tiered(&[1, 2])).is_ok());
}

#[test]
fn a_model_has_a_context_and_an_output() {
    let refusal = PricingRefusal::NoContext { model: MODEL.into() };
    for (context_tokens, max_output_tokens) in [(0, 1), (1, 0)] {
        let card = PublishRateCard { context_tokens, max_output_tokens, ..publish(MODEL, 1) };
        assert_eq!(Book::default().publish(card), Err(refusal.clone()));
    }
}

#[test]
fn a_withdrawn_model_is_not_sold() {
    let mut book = Book::default().with(publish(MODEL, 1));
    let event = PricingEvent::RateCardWithdrawn { model: MODEL.into(), at: second(2) };
    assert_eq!(book.withdraw(MODEL, 2), Ok(vec![event]));
    assert_eq!(book.0.quote(MODEL, second(2)), None);
    assert_eq!(book.withdraw(MODEL, 3), Err(PricingRefusal::UnknownModel { model: MODEL.into() }));
}

#[test]
fn a_model_that_returns_goes_on_from_its_last_version() {
    let mut book = Book::default().with(publish(MODEL, 1)).with(dearer(MODEL, 2, 6_000_000));
    book.withdraw(MODEL, 3).unwrap();
    let book = book.with(publish(MODEL, 4));
    assert_eq!(book.0.card(MODEL, second(4)).map(|card| card.version), Some(3));
}

#[test]
fn the_book_holds_a_limited_number_of_models() {
    let mut book = Book::default();
    for number in 0..MAX_MODELS {
        book = book.with(publish(&format!("model-{number}"), 1));
    }
    assert_eq!(book.publish(publish("another", 1)), Err(PricingRefusal::BookFull));
    assert!(book.publish(dearer("model-0", 2, 1)).is_ok(), "those it has may change");
    book.withdraw("model-0", 3).unwrap();
    assert!(book.publish(publish("another", 4)).is_ok());
}

#[test]
fn the_book_remembers_a_limited_number_of_models_that_were_ever_sold() {
    let mut book = Book::default();
    for number in 0..MAX_MODELS_EVER {
        let model = format!("model-{number}");
        book.publish(publish(&model, 1)).unwrap();
        book.withdraw(&model, 2).unwrap();
    }
    assert_eq!(book.publish(publish("another", 3)), Err(PricingRefusal::BookFull));
    assert!(book.publish(publish("model-0", 3)).is_ok());
}

#[test]
fn scheduled_cards_never_push_out_the_one_in_force() {
    let mut book = Book::default();
    for version in 0..50 {
        book = book.with(dearer(MODEL, version, 1_000 + version));
    }
    assert_eq!(book.input_rate(second(50)), Some(1_049));
    let schedule = |at: i64| PublishRateCard { now: second(50), ..dearer(MODEL, at, at) };
    let most = KEPT_CARDS - 1;
    for at in 1_000..1_000 + i64::try_from(most).unwrap() {
        book = book.with(schedule(at));
    }
    assert_eq!(book.input_rate(second(50)), Some(1_049));
    let refusal = PricingRefusal::TooManyScheduled { model: MODEL.into(), most };
    assert_eq!(book.publish(schedule(2_000)), Err(refusal));
    let later = PublishRateCard { now: second(1_000), ..schedule(2_000) };
    assert!(book.publish(later).is_ok());
    assert_eq!(book.input_rate(second(1_000)), Some(1_000));
}

#[test]
fn the_book_survives_being_stored() {
    let mut book = Book::default().with(publish(MODEL, 1)).with(dearer(MODEL, 2, 1)).with(publish("b", 1));
    book.withdraw("b", 3).unwrap();
    let stored = serde_json::to_string(&book.0).unwrap();
    assert_eq!(serde_json::from_str::<PriceBook>(&stored).unwrap(), book.0);
}

#[test]
fn a_model_served_by_another_is_billed_by_its_own_card_and_costs_what_the_other_costs() {
    let dear = PublishRateCard { cost: flat(9_000_000, 90_000_000), ..publish("opus", 1) };
    let discounted = PublishRateCard { internal: Some(flat(1, 2)), ..publish(MODEL, 1) };
    let book = Book::default().with(discounted).with(dear).0;
    let quote = book.quote_served(MODEL, "opus", second(1)).unwrap();
    assert_eq!(quote.cost, flat(9_000_000, 90_000_000));
    assert_eq!(Quote { cost: flat(2_000_000, 10_000_000), ..quote }, book.quote(MODEL, second(1)).unwrap());
    assert_eq!(book.quote_served(MODEL, MODEL, second(1)), book.quote(MODEL, second(1)));
    assert_eq!(book.cost_tariff("opus", second(1)), Some(&flat(9_000_000, 90_000_000)));
    for (billed, served) in [(MODEL, "unsold"), ("unsold", MODEL)] {
        assert_eq!(book.quote_served(billed, served, second(1)), None);
    }
    assert_eq!(book.quote_served(MODEL, "opus", second(0)), None, "not in force yet");
}
