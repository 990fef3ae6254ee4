//! Random lives of some keys, compared with a list of everything that ever happened: each answer is
//! counted anew by filtering it.

use cqrs_es::Aggregate;
use proptest::prelude::*;
use proptest::sample::Index;

use super::builders::{Story, place, release, request, reverse_for, sweep};
use crate::examples::{generation, key, micro, second};
use crate::time::Timestamp;
use crate::wallet::{
    HoldLimits, PlaceHold, ProviderFailure, SettleHold, Wallet, WalletAction, WalletEvent, WalletRefusal,
};

const KEYS: u128 = 3;
const DAY: i64 = 86_400;

#[derive(Clone, Debug)]
enum Step {
    Ask { of: u128, tokens: u64, max_output: u64, limits: HoldLimits },
    Settle { which: Index, cost: i64, output: u64 },
    Release { which: Index },
    Reverse { which: Index },
    Sweep,
    Wait { seconds: i64 },
}

fn limits() -> impl Strategy<Value = HoldLimits> {
    let budget = || prop::option::of(prop_oneof![1..600_i64, 600..20_000_i64].prop_map(micro));
    let counts = (prop::option::of(1..4_u32), prop::option::of(1..200_u64), prop::option::of(1..4_u32));
    (counts, budget(), budget()).prop_map(
        |(
            (requests_per_minute, tokens_per_minute, parallel_requests),
            daily_budget_micro,
            monthly_budget_micro,
        )| {
            HoldLimits {
                requests_per_minute,
                tokens_per_minute,
                parallel_requests,
                daily_budget_micro,
                monthly_budget_micro,
            }
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<Index>;
    let max_output = prop_oneof![3 => Just(0), 2 => 0..400_u64, 1 => 4_000..9_000_u64];
    let wait = prop_oneof![0..90_i64, 0..3 * DAY, 0..20 * DAY];
    let step = prop_oneof![
        6 => (1..=KEYS, 0..120_u64, max_output, limits())
            .prop_map(|(of, tokens, max_output, limits)| Step::Ask { of, tokens, max_output, limits }),
        4 => (which(), 0..200_i64, 0..50_u64)
            .prop_map(|(which, cost, output)| Step::Settle { which, cost, output }),
        1 => which().prop_map(|which| Step::Release { which }),
        2 => which().prop_map(|which| Step::Reverse { which }),
        1 => Just(Step::Sweep),
        4 => wait.prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..100)
}

/// One request, never forgotten.
struct Asked {
    number: u128,
    of: u128,
    at: i64,
    input: u64,
    worst: i64,
    open: bool,
    /// When, what and how much output.
    charged: Option<(i64, i64, u64)>,
    reversed: bool,
}

#[derive(Default)]
struct Plain {
    asked: Vec<Asked>,
    now: i64,
}

impl Plain {
    fn of(&self, of: u128) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(move |asked| asked.of == of)
    }

    fn minute(at: i64) -> i64 {
        at.div_euclid(60)
    }

    fn requests(&self, of: u128) -> u32 {
        let recent = self.of(of).filter(|asked| Self::minute(asked.at) == Self::minute(self.now));
        u32::try_from(recent.count()).unwrap()
    }

    fn tokens(&self, of: u128) -> u64 {
        let now = Self::minute(self.now);
        let input = self.of(of).filter(|asked| Self::minute(asked.at) == now).map(|asked| asked.input);
        let settled = self.of(of).filter_map(|asked| asked.charged);
        let output = settled.filter(|(at, ..)| Self::minute(*at) == now).map(|(_, _, output)| output);
        input.chain(output).sum()
    }

    /// Charged and not given back, in the window that `index` tells.
    fn spent(&self, of: u128, index: fn(Timestamp) -> i64) -> i64 {
        let settled = self.of(of).filter(|asked| !asked.reversed).filter_map(|asked| asked.charged);
        settled
            .filter(|(at, ..)| index(second(*at)) == index(second(self.now)))
            .map(|(_, cost, _)| cost)
            .sum()
    }

    fn open(&self, of: u128) -> usize {
        self.of(of).filter(|asked| asked.open).count()
    }

    /// What the open ones cost at worst.
    fn worst(&self, of: u128) -> i64 {
        self.of(of).filter(|asked| asked.open).map(|asked| asked.worst).sum()
    }

    /// Whether no limit stands in the way of `tokens` and `max_output` more at a micro-USD each.
    fn is_within(&self, of: u128, tokens: u64, max_output: u64, limits: &HoldLimits) -> bool {
        let input = i64::try_from(tokens).unwrap();
        let max_output = i64::try_from(max_output).unwrap();
        // What can cost nothing waits for nobody.
        let asks = match (self.open(of), input + max_output) {
            (0, _) | (_, 0) => input + max_output.min(256),
            (_, worst) => worst + self.worst(of),
        };
        let fits = |budget: Option<crate::money::MicroUsd>, spent: i64| {
            budget.is_none_or(|budget| spent + asks <= budget.0)
        };
        limits.requests_per_minute.is_none_or(|limit| self.requests(of) < limit)
            && limits.tokens_per_minute.is_none_or(|limit| self.tokens(of) + tokens <= limit)
            && limits.parallel_requests.is_none_or(|limit| self.open(of) < limit as usize)
            && fits(limits.daily_budget_micro, self.spent(of, Timestamp::utc_day))
            && fits(limits.monthly_budget_micro, self.spent(of, Timestamp::utc_month))
    }
}

/// A rich wallet and the plain list, side by side.
struct Life {
    story: Story,
    plain: Plain,
}

impl Life {
    fn begin() -> Self {
        let mut story = Story::begin().granted(1, 1_000_000_000);
        story.terms.leak_floor_micro = micro(1_000_000);
        story.terms.hold_max_age_secs = 2 * DAY;
        Self { story, plain: Plain::default() }
    }

    fn step(&mut self, number: u128, step: &Step) {
        match step {
            Step::Ask { of, tokens, max_output, limits } => {
                self.ask(number, *of, (*tokens, *max_output), limits);
            }
            Step::Settle { which, cost, output } => self.settle(which, *cost, *output),
            Step::Release { which } => {
                let Some(picked) = self.pick(which) else { return };
                if self.story.act(release(self.plain.asked[picked].number)).is_ok() {
                    self.plain.asked[picked].open = false;
                }
            }
            Step::Reverse { which } => self.reverse(which),
            Step::Sweep => drop(self.story.act(sweep())),
            Step::Wait { seconds } => {
                self.plain.now += seconds;
                self.story.now = second(self.plain.now);
            }
        }
        // What the wallet expired on the way is open no longer.
        for asked in &mut self.plain.asked {
            let is_open = |open: &Wallet| open.open_holds().any(|(id, _)| *id == generation(asked.number));
            asked.open = asked.open && is_open(&self.story.wallet);
        }
        self.compare(&self.story.wallet);
    }

    fn ask(&mut self, number: u128, of: u128, (tokens, max_output): (u64, u64), limits: &HoldLimits) {
        // Ages holds first, as the command itself does.
        drop(self.story.act(sweep()));
        for asked in &mut self.plain.asked {
            asked.open = asked.open && asked.at + 2 * DAY > self.plain.now;
        }
        let mut asked = PlaceHold { key_id: key(of), limits: *limits, ..request(number, tokens, max_output) };
        // A model that nothing is known of is expected to answer at length.
        asked.quote.model = format!("model {number}");
        let is_within = self.plain.is_within(of, tokens, max_output, limits);
        match self.story.act(place(asked)) {
            Ok(events) => {
                assert!(is_within, "beyond {limits:?}");
                assert!(matches!(events.last(), Some(WalletEvent::HoldPlaced { .. })));
                self.plain.asked.push(Asked {
                    number,
                    of,
                    at: self.plain.now,
                    input: tokens,
                    worst: i64::try_from(tokens + max_output).unwrap(),
                    open: true,
                    charged: None,
                    reversed: false,
                });
            }
            Err(refusal) => {
                assert!(!is_within, "{refusal} although within {limits:?}");
                self.check(&refusal, of, (tokens, max_output), limits);
            }
        }
    }

    /// The numbers a refusal tells are those of the list.
    fn check(
        &self,
        refusal: &WalletRefusal,
        of: u128,
        (tokens, max_output): (u64, u64),
        limits: &HoldLimits,
    ) {
        let plain = &self.plain;
        let until_next_minute = u32::try_from(60 - plain.now.rem_euclid(60)).unwrap();
        match refusal {
            WalletRefusal::LargerThanTokensPerMinute { limit, requested } => {
                assert_eq!((Some(*limit), *requested), (limits.tokens_per_minute, tokens));
                assert!(tokens > *limit);
            }
            WalletRefusal::RequestsPerMinute { limit, retry_secs } => {
                assert_eq!((*limit, *retry_secs), (plain.requests(of).min(*limit), until_next_minute));
            }
            WalletRefusal::TokensPerMinute { limit, used, requested, retry_secs } => {
                assert_eq!((*used, *requested, *retry_secs), (plain.tokens(of), tokens, until_next_minute));
                assert!(used + requested > *limit);
            }
            WalletRefusal::ParallelRequests { limit } => assert!(plain.open(of) >= *limit as usize),
            WalletRefusal::DailyBudget { spent_micro, resets_at, .. } => {
                assert_eq!(spent_micro.0, plain.spent(of, Timestamp::utc_day));
                assert_eq!(resets_at.utc_day(), second(plain.now).utc_day() + 1);
                assert_eq!(resets_at.0 % (DAY * 1_000_000), 0);
            }
            WalletRefusal::MonthlyBudget { spent_micro, resets_at, .. } => {
                assert_eq!(spent_micro.0, plain.spent(of, Timestamp::utc_month));
                assert_eq!(resets_at.utc_month(), second(plain.now).utc_month() + 1);
                assert_eq!(resets_at.minus_secs(1).utc_month(), second(plain.now).utc_month());
            }
            WalletRefusal::BudgetMayBeSpent { running, worst_micro, left_micro } => {
                let worst = plain.worst(of) + i64::try_from(tokens + max_output).unwrap();
                assert_eq!((*running, worst_micro.0), (plain.open(of), worst));
                let left = |budget: Option<crate::money::MicroUsd>, spent: i64| budget.map(|it| it.0 - spent);
                let daily = left(limits.daily_budget_micro, plain.spent(of, Timestamp::utc_day));
                let monthly = left(limits.monthly_budget_micro, plain.spent(of, Timestamp::utc_month));
                assert_eq!(Some(left_micro.0), daily.into_iter().chain(monthly).min());
                assert!(worst > left_micro.0);
            }
            other => panic!("{other}"),
        }
    }

    fn pick(&self, which: &Index) -> Option<usize> {
        (!self.plain.asked.is_empty()).then(|| which.index(self.plain.asked.len()))
    }

    fn settle(&mut self, which: &Index, cost: i64, output: u64) {
        let Some(picked) = self.pick(which) else { return };
        let now = self.plain.now;
        let action = WalletAction::SettleHold(SettleHold {
            generation_id: generation(self.plain.asked[picked].number),
            cost_micro: micro(cost),
            new_input_tokens: 0,
            output_tokens: output,
            model: crate::examples::MODEL.into(),
            provider_failure: ProviderFailure::None,
        });
        if self.story.act(action).is_ok() {
            let asked = &mut self.plain.asked[picked];
            assert!(asked.charged.is_none());
            asked.charged = Some((now, cost, output));
            asked.open = false;
        }
    }

    fn reverse(&mut self, which: &Index) {
        let Some(picked) = self.pick(which) else { return };
        let asked = &mut self.plain.asked[picked];
        let Some((at, cost, _)) = asked.charged.filter(|(_, cost, _)| *cost > 0 && !asked.reversed) else {
            return;
        };
        asked.reversed = true;
        let reversal = reverse_for(asked.number, cost, asked.of, second(at));
        self.story.act(reversal).expect("its grant is known");
    }

    fn compare(&self, wallet: &Wallet) {
        for of in 1..=KEYS {
            let (used, plain) = (wallet.key_use(key(of), self.story.now), &self.plain);
            assert_eq!(used.requests_this_minute, plain.requests(of));
            assert_eq!(used.tokens_this_minute, plain.tokens(of));
            assert_eq!(used.open, plain.open(of));
            assert_eq!(used.spent_today_micro.0, plain.spent(of, Timestamp::utc_day));
            assert_eq!(used.spent_week_micro.0, plain.spent(of, Timestamp::iso_week));
            assert_eq!(used.spent_month_micro.0, plain.spent(of, Timestamp::utc_month));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_keys_use_is_what_a_recount_of_everything_gives(steps in steps(), cut in any::<Index>()) {
        let mut life = Life::begin();
        for (number, step) in (1..).zip(&steps) {
            life.step(number, step);
        }
        // A snapshot at any point, stored and read again, folds on to the same answers.
        let events = &life.story.events;
        let (before, after) = events.split_at(cut.index(events.len() + 1));
        let mut wallet = Wallet::default();
        before.iter().cloned().for_each(|event| wallet.apply(event));
        let stored = serde_json::to_string(&wallet).unwrap();
        let mut wallet: Wallet = serde_json::from_str(&stored).unwrap();
        after.iter().cloned().for_each(|event| wallet.apply(event));
        prop_assert_eq!(&wallet, &life.story.wallet);
        life.compare(&wallet);
    }
}

#[test]
fn keys_whose_windows_are_past_are_forgotten() {
    let mut story = Story::begin().granted(1, 1_000_000);
    for number in 0..50 {
        story = story.with(place(PlaceHold { key_id: key(number), ..request(number, 1, 0) }));
    }
    assert_eq!(story.wallet.keys.len(), 50);
    let asked = PlaceHold { key_id: key(99), ..request(99, 1, 0) };
    let story = story.at(40 * DAY).with(place(asked));
    assert_eq!(story.wallet.keys.len(), 1);
}
