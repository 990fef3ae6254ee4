use cqrs_es::Aggregate;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::examples::second;
use crate::ids::AccountId;
use crate::payment::{Payment, PaymentEvent};

const TERMS: AutoTopUpTerms = AutoTopUpTerms { cool_down_secs: 3_600, max_failures: 3 };
const PRICE: MicroUsd = MicroUsd::dollars(20);
const LOW: MicroUsd = MicroUsd::dollars(1);

fn payment(number: u128) -> PaymentId {
    PaymentId(Uuid::from_u128(number))
}

fn wish() -> AutoTopUpAction {
    let order = TopUpOrder {
        plan_id: Some("builder".into()),
        price_micro: PRICE,
        credit_micro: MicroUsd::dollars(150),
    };
    AutoTopUpAction::SwitchOn {
        order,
        threshold_micro: MicroUsd::dollars(5),
        monthly_limit_micro: MicroUsd::dollars(60),
    }
}

struct Tried(AutoTopUp);

impl Tried {
    fn on() -> Self {
        let mut tried = Self(AutoTopUp::default());
        tried.told(wish(), 0).expect("in range");
        tried
    }

    fn told(&mut self, action: AutoTopUpAction, at: i64) -> Result<Vec<AutoTopUpEvent>, AutoTopUpRefusal> {
        let events = self.0.decide(AutoTopUpCommand { action, terms: TERMS, now: second(at) })?;
        events.iter().for_each(|event| self.0.apply(event.clone()));
        Ok(events)
    }

    fn fires(&mut self, number: u128, balance: MicroUsd, at: i64) -> Result<u64, FiringRefusal> {
        let asked = Fire {
            account_id: AccountId(Uuid::from_u128(7)),
            payment_id: payment(number),
            balance_micro: balance,
            livemode: false,
        };
        let (events, started) = fire(&self.0, &Payment::default(), asked, second(at))?;
        assert!(matches!(started.as_slice(), [PaymentEvent::PaymentStarted { .. }]), "{started:?}");
        events.iter().for_each(|event| self.0.apply(event.clone()));
        Ok(self.0.attempt().expect("an attempt").arming)
    }

    fn credited(&mut self, number: u128, at: i64) {
        self.told(AutoTopUpAction::NoteCredited { payment_id: payment(number) }, at).expect("noted");
    }

    fn declined(&mut self, number: u128, at: i64) -> Vec<AutoTopUpEvent> {
        let (payment_id, reason) = (payment(number), AttemptFailure::Declined);
        self.told(AutoTopUpAction::NoteFailed { payment_id, reason }, at).expect("noted")
    }
}

fn refused(refusal: AutoTopUpRefusal) -> Result<u64, FiringRefusal> {
    Err(FiringRefusal::AutoTopUp(refusal))
}

#[test]
fn it_fires_once_below_the_threshold_and_again_when_that_is_credited() {
    let mut tried = Tried::on();
    let threshold = MicroUsd::dollars(5);
    let suffices = refused(AutoTopUpRefusal::BalanceSuffices { balance: threshold, threshold });
    assert_eq!(tried.fires(1, threshold, 1), suffices);
    assert_eq!(tried.fires(1, LOW, 2), Ok(1));
    assert_eq!(tried.fires(2, LOW, 3), refused(AutoTopUpRefusal::AttemptOpen { payment_id: payment(1) }));
    tried.credited(1, 4);
    // It was smaller than the gap.
    assert_eq!(tried.fires(2, LOW, 5), Ok(2));
}

#[test]
fn a_declined_card_is_asked_again_after_a_pause_and_a_few_times_in_a_row_at_most() {
    let mut tried = Tried::on();
    for number in 1..=2 {
        let at = i64::try_from(number).expect("few") * 3_600;
        assert_eq!(tried.fires(number, LOW, at), Ok(u64::try_from(number).expect("few")));
        assert_eq!(tried.declined(number, at + 10).len(), 1);
        let until = second(at + 10 + 3_600);
        assert_eq!(tried.fires(99, LOW, at + 3_000), refused(AutoTopUpRefusal::CoolingDown { until }));
        // Switching it off and on does not ask sooner.
        tried.told(AutoTopUpAction::SwitchOff { reason: OffReason::Asked }, at + 20).expect("off");
        assert_eq!(tried.fires(99, LOW, at + 21), refused(AutoTopUpRefusal::Off));
        tried.told(wish(), at + 22).expect("on");
        assert_eq!(tried.fires(99, LOW, at + 23), refused(AutoTopUpRefusal::CoolingDown { until }));
        // The clock of the loop is an hour behind the pause.
        tried.0.cools_until = Some(second(at + 3_600));
    }
    for number in 3..=5 {
        let at = i64::try_from(number).expect("few") * 10_000;
        tried.fires(number, LOW, at).expect("armed");
        tried.declined(number, at + 1);
    }
    assert_eq!(tried.0.off_reason(), Some(OffReason::Declined));
    assert_eq!(tried.fires(6, LOW, 100_000), refused(AutoTopUpRefusal::Off));
}

#[test]
fn a_month_costs_no_more_than_its_limit_and_what_was_declined_costs_nothing() {
    let mut tried = Tried::on();
    tried.fires(1, LOW, 0).expect("armed");
    tried.declined(1, 1);
    for number in 2..=4 {
        let at = 3_600 * i64::try_from(number).expect("few");
        tried.fires(number, LOW, at).expect("within the limit");
        tried.credited(number, at + 1);
    }
    let (spent, limit) = (MicroUsd::dollars(60), MicroUsd::dollars(60));
    let over = refused(AutoTopUpRefusal::MonthlyLimit { spent, price: PRICE, limit });
    assert_eq!(tried.fires(5, LOW, 20_000), over);
    assert_eq!(tried.fires(5, LOW, 32 * 86_400), Ok(5), "the next month");
}

#[test]
fn what_was_not_its_own_attempt_changes_nothing() {
    let mut tried = Tried::on();
    tried.fires(1, LOW, 0).expect("armed");
    let before = tried.0.clone();
    tried.credited(2, 1);
    assert!(tried.declined(2, 1).is_empty());
    assert_eq!(tried.0, before);
    tried.credited(1, 2);
    assert!(tried.declined(1, 3).is_empty(), "it was credited");
}

#[test]
fn wishes_out_of_range_are_refused_with_the_range() {
    let told = |change: fn(&mut MicroUsd, &mut MicroUsd, &mut MicroUsd)| {
        let AutoTopUpAction::SwitchOn { mut order, mut threshold_micro, mut monthly_limit_micro } = wish()
        else {
            unreachable!("a wish")
        };
        change(&mut order.price_micro, &mut threshold_micro, &mut monthly_limit_micro);
        let action = AutoTopUpAction::SwitchOn { order, threshold_micro, monthly_limit_micro };
        AutoTopUp::default().decide(AutoTopUpCommand { action, terms: TERMS, now: second(0) })
    };
    assert_eq!(
        told(|_, threshold, _| *threshold = MicroUsd::ZERO),
        Err(AutoTopUpRefusal::ThresholdOutOfRange { threshold: MicroUsd::ZERO, most: MAX_THRESHOLD })
    );
    assert_eq!(
        told(|price, _, _| *price = MicroUsd(1)),
        Err(AutoTopUpRefusal::PriceOutOfRange { price: MicroUsd(1), least: LEAST_PRICE, most: MOST_PRICE })
    );
    assert_eq!(
        told(|_, _, limit| *limit = MicroUsd::dollars(19)),
        Err(AutoTopUpRefusal::LimitOutOfRange {
            limit: MicroUsd::dollars(19),
            price: PRICE,
            most: MAX_MONTHLY_LIMIT
        })
    );
    assert!(told(|_, _, _| {}).is_ok());
}

proptest! {
    /// Beside an oracle of its own: at most one attempt is open, no month costs more than the limit, and every
    /// arming is used once.
    #[test]
    fn no_storm_whatever_happens(steps in prop::collection::vec((0..5_u8, 0..40_000_i64), 1..200)) {
        let mut tried = Tried::on();
        let (mut now, mut number, mut open) = (0, 0, None);
        let mut paid: std::collections::BTreeMap<i64, i64> = Default::default();
        let mut armings = std::collections::BTreeSet::new();
        for (what, wait) in steps {
            now += wait;
            match (what, open) {
                (0 | 1, _) => {
                    number += 1;
                    if let Ok(arming) = tried.fires(number, LOW, now) {
                        prop_assert_eq!(open, None);
                        prop_assert!(armings.insert(arming), "arming {} twice", arming);
                        open = Some((number, second(now).utc_month()));
                    }
                }
                (2, Some((attempt, month))) => {
                    tried.credited(attempt, now);
                    *paid.entry(month).or_default() += PRICE.0;
                    open = None;
                }
                (3, Some((attempt, _))) => {
                    tried.declined(attempt, now);
                    open = None;
                }
                (4, _) => drop(tried.told(wish(), now)),
                (_, _) => {}
            }
            prop_assert!(paid.values().all(|paid| *paid <= 60_000_000), "{:?}", paid);
        }
    }
}
