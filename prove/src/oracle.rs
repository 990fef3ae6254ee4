//! What must be so: judged from the provider's bills, Stripe's payments and what clients were told, and held against
//! what the log, the aggregates and the read tables say.

use std::collections::BTreeMap;
use std::fmt;

use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::{GenerationSettled, Outcome, UsageSource};
use serde::Deserialize;

use crate::books::{Books, Card, Hold};
use crate::driver::{Came, Record};
use crate::plan::{Act, Fault, Generate, Line, Plan, Provider, Rates};
use crate::told::Told;

/// What "starter" costs, in cents, and the credit that it buys.
pub const PLAN_CENTS: i64 = 500;
const PLAN_CREDIT_MICRO: i64 = 30_000_000;

/// How long a revocation or a price may take to reach every node, as promised where NATS is down.
const REACHES_ALL_MICROS: i64 = 5_000_000;

const PICO_PER_MICRO: i128 = 1_000_000;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The step it is about, where it is about one.
    pub step: Option<u32>,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(formatter, "step {step}: {}", self.what),
            None => write!(formatter, "{}", self.what),
        }
    }
}

/// What the provider counted for one answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Bill {
    pub id: String,
    pub model: String,
    pub status: String,
    pub uncached_input_tokens: i64,
    pub cached_tokens: i64,
    pub cache_write_5m: i64,
    pub cache_write_1h: i64,
    pub output_tokens: i64,
    pub web_search_calls: i64,
    pub tag: Option<String>,
}

impl Bill {
    pub fn step(&self) -> Option<u32> {
        self.tag.as_ref()?.parse().ok()
    }

    /// Whether the provider has told all of it.
    fn is_whole(&self) -> bool {
        self.status == "completed" || self.status == "incomplete"
    }

    /// Micro-USD at a card, rounded once, half to even. A kind of input without a rate is priced as input.
    pub fn cost(&self, rates: Rates) -> i64 {
        let times = |tokens: i64, rate: i64| i128::from(tokens) * i128::from(rate);
        let input = self.uncached_input_tokens + self.cache_write_5m + self.cache_write_1h;
        let pico = times(input, rates.input)
            + times(self.cached_tokens, rates.cached_input)
            + times(self.output_tokens, rates.output);
        half_even(pico)
    }
}

fn half_even(pico: i128) -> i64 {
    let (whole, rest) = (pico / PICO_PER_MICRO, pico % PICO_PER_MICRO);
    let half = PICO_PER_MICRO / 2;
    let up = rest > half || (rest == half && whole % 2 == 1);
    i64::try_from(whole + i128::from(up)).expect("no bill of a test is so large")
}

/// A payment at Stripe.
#[derive(Clone, Debug)]
pub struct Payment {
    pub customer: usize,
    pub refunded_cents: i64,
}

impl Payment {
    /// The credit that should remain.
    fn credit(&self) -> i64 {
        PLAN_CREDIT_MICRO * (PLAN_CENTS - self.refunded_cents) / PLAN_CENTS
    }
}

/// What one account has by each of the three ways, besides the oracle's.
#[derive(Clone, Debug)]
pub struct Balance {
    pub way: String,
    pub customer: usize,
    /// Less debt.
    pub net_micro: i64,
    pub held_micro: i64,
}

/// Everything there is to judge by.
pub struct Evidence<'a> {
    pub plan: &'a Plan,
    pub records: &'a [Record],
    pub bills: &'a [Bill],
    pub payments: &'a [Payment],
    pub books: &'a Books,
    /// By customer: the account, and what it had to begin with.
    pub accounts: &'a [(String, i64)],
    pub balances: &'a [Balance],
    /// By customer: the API key.
    pub keys: &'a [codexapi_aggregates::ids::KeyId],
}

/// Every rule; empty where all hold.
pub fn judge(evidence: &Evidence) -> Vec<Finding> {
    let mut judge = Judge { evidence, bills: BTreeMap::new(), steps: BTreeMap::new(), findings: Vec::new() };
    judge.log_is_sound();
    judge.every_bill_is_one();
    judge.every_generation_has_its_step();
    for record in evidence.records {
        judge.record(record);
    }
    judge.charges_have_their_bills();
    judge.prices_were_asked_for();
    judge.money_is_the_same_each_way();
    judge.findings
}

struct Judge<'a> {
    evidence: &'a Evidence<'a>,
    bills: BTreeMap<&'a str, &'a Bill>,
    /// Which step led to a generation; none is known where its client heard nothing and nobody billed.
    steps: BTreeMap<GenerationId, u32>,
    findings: Vec<Finding>,
}

impl<'a> Judge<'a> {
    fn find(&mut self, step: Option<u32>, what: String) {
        self.findings.push(Finding { step, what });
    }

    fn log_is_sound(&mut self) {
        for wrong in &self.evidence.books.wrong {
            self.find(None, wrong.clone());
        }
        for generation in &self.evidence.books.open_holds {
            self.find(None, format!("the hold of generation {generation} is still open"));
        }
    }

    fn every_bill_is_one(&mut self) {
        for bill in self.evidence.bills {
            if self.bills.insert(&bill.id, bill).is_some() {
                self.find(bill.step(), format!("the provider billed {} twice", bill.id));
            }
        }
    }

    /// By the request's id, or by the tag of the bill.
    fn every_generation_has_its_step(&mut self) {
        let by_request: BTreeMap<&str, u32> = self
            .evidence
            .records
            .iter()
            .filter_map(|record| match &record.came {
                Came::Told { request_id: Some(id), .. } => Some((id.as_str(), record.step)),
                _ => None,
            })
            .collect();
        for (generation, hold) in &self.evidence.books.holds {
            let by_request = hold.request_id.as_deref().and_then(|id| by_request.get(id).copied());
            let by_bill = self.bill_of(*generation).and_then(Bill::step);
            if let (Some(one), Some(other)) = (by_request, by_bill)
                && one != other
            {
                self.find(Some(one), format!("generation {generation} has the bill of step {other}"));
            }
            if let Some(step) = by_request.or(by_bill) {
                self.steps.insert(*generation, step);
            }
        }
    }

    fn generations_of(&self, step: u32) -> Vec<GenerationId> {
        self.steps.iter().filter(|(_, of)| **of == step).map(|(generation, _)| *generation).collect()
    }

    fn bill_of(&self, generation: GenerationId) -> Option<&'a Bill> {
        let settled = self.evidence.books.settled.get(&generation)?;
        self.bills.get(settled.provider_response_id.as_deref()?).copied()
    }

    fn record(&mut self, record: &Record) {
        match &record.came {
            Came::Told { told, .. } => self.told(record, told),
            Came::Unanswered { why } => {
                self.find(Some(record.step), format!("nobody answered though all was mended: {why}"));
            }
            Came::Revoked { at } => self.revoked(record.step, *at),
            Came::Done | Came::Paid { .. } | Came::Fault => {}
        }
    }

    fn told(&mut self, record: &Record, told: &Told) {
        let step = record.step;
        let generations = self.generations_of(step);
        if generations.len() > 1 {
            self.find(Some(step), format!("one request became {} generations", generations.len()));
        }
        let books = self.evidence.books;
        let settled: Vec<&GenerationSettled> =
            generations.iter().filter_map(|generation| books.settled.get(generation)).collect();
        let charged: i64 = generations.iter().filter_map(|generation| books.charged.get(generation)).sum();
        match told {
            Told::Complete { .. } => match settled.as_slice() {
                [settled] => self.complete(step, settled),
                _ => self.find(
                    Some(step),
                    format!("told finished, and settled {} times instead of once", settled.len()),
                ),
            },
            Told::Failed { .. } | Told::Refused { .. } => {
                if charged != 0 {
                    self.find(Some(step), format!("told that it failed, and charged {charged} µ$"));
                }
            }
            Told::Cut => self.cut(record, &settled),
        }
    }

    /// Told finished: charged exactly once, and exactly what the provider billed.
    fn complete(&mut self, step: u32, settled: &GenerationSettled) {
        let books = self.evidence.books;
        match settled.outcome {
            Outcome::Completed | Outcome::ClientLeft => {}
            Outcome::DrainLimit | Outcome::UpstreamFailed | Outcome::ToldFailed => {
                self.find(Some(step), format!("told finished, and settled as {:?}", settled.outcome));
            }
        }
        if !books.charged.contains_key(&settled.generation_id) {
            self.find(Some(step), "told finished, and the charge was given back".to_owned());
        }
        let may_estimate = match self.generate(step).map(|generate| generate.provider) {
            Some(Provider::Answers) => self.evidence.plan.faults().any(touches_provider),
            Some(_) | None => true,
        };
        if settled.usage_source != UsageSource::Reported && !may_estimate {
            self.find(Some(step), format!("the provider reported, and usage is {:?}", settled.usage_source));
        }
    }

    /// Gone before the end: charged what was billed, or what was received of it; nothing where the provider failed or
    /// the node died.
    fn cut(&mut self, record: &Record, settled: &[&GenerationSettled]) {
        if !settled.is_empty() || self.evidence.plan.faults().next().is_some() {
            return;
        }
        let answered =
            self.generate(record.step).is_some_and(|generate| generate.provider == Provider::Answers);
        let whole =
            self.evidence.bills.iter().any(|bill| bill.step() == Some(record.step) && bill.is_whole());
        if answered && whole {
            let what = "the client left, the provider billed all of it, and nothing was settled";
            self.find(Some(record.step), what.to_owned());
        }
    }

    fn generate(&self, step: u32) -> Option<&'a Generate> {
        let step = self.evidence.plan.steps.iter().find(|planned| planned.id == step)?;
        match &step.act {
            Act::Generate(generate) => Some(generate),
            _ => None,
        }
    }

    /// Nothing is admitted by a revoked key once that can be known everywhere.
    fn revoked(&mut self, step: u32, at: Timestamp) {
        let Some(Act::RevokeKey { customer }) =
            self.evidence.plan.steps.iter().find(|planned| planned.id == step).map(|planned| &planned.act)
        else {
            return;
        };
        let key = self.evidence.keys[*customer];
        let until = at.0 + REACHES_ALL_MICROS + self.longest_fault_micros();
        for (generation, hold) in &self.evidence.books.holds {
            if hold.key_id == key && hold.at.0 > until {
                let late = (hold.at.0 - at.0) / 1_000;
                self.find(
                    Some(step),
                    format!("generation {generation} was held {late} ms after its key was revoked"),
                );
            }
        }
    }

    /// A node that was held up acts on what it knew before.
    fn longest_fault_micros(&self) -> i64 {
        let longest = self.evidence.plan.faults().map(Fault::lasts_ms).max().unwrap_or(0);
        i64::try_from(longest).expect("seconds") * 1_000
    }

    /// What is charged on a provider's word is what that provider's bill comes to, at the card in force at the hold;
    /// each bill is charged once; an estimate is at most the worst case.
    fn charges_have_their_bills(&mut self) {
        let books = self.evidence.books;
        let mut charged_for: BTreeMap<&str, GenerationId> = BTreeMap::new();
        for (generation, charged) in &books.charged {
            let (Some(settled), Some(hold)) = (books.settled.get(generation), books.holds.get(generation))
            else {
                self.find(None, format!("generation {generation} was charged without hold or usage"));
                continue;
            };
            let owed = charged + settled.shortfall_micro.0;
            let step = self.steps.get(generation).copied();
            if settled.cost_micro.0 != owed + settled.covered_by_plan_micro.0 {
                self.find(step, format!("{generation}: cost is not charged + covered + shortfall"));
            }
            if let Some(response_id) = settled.provider_response_id.as_deref()
                && let Some(other) = charged_for.insert(response_id, *generation)
            {
                self.find(step, format!("{response_id} was charged as {generation} and as {other}"));
            }
            match settled.usage_source {
                UsageSource::Reported if owed > 0 => self.reported(*generation, settled, hold, owed),
                UsageSource::Reported => {}
                UsageSource::Estimated | UsageSource::Rejected => {
                    if owed > hold.worst_micro {
                        let what = format!("{generation} was estimated at {owed} µ$, beyond its worst case");
                        self.find(step, what);
                    }
                }
            }
        }
    }

    fn reported(&mut self, generation: GenerationId, settled: &GenerationSettled, hold: &Hold, owed: i64) {
        let step = self.steps.get(&generation).copied();
        let Some(bill) = self.bill_of(generation) else {
            let id = settled.provider_response_id.as_deref().unwrap_or("nothing");
            self.find(step, format!("{generation} was charged {owed} µ$ for {id}, which nobody billed"));
            return;
        };
        if !bill.is_whole() {
            self.find(
                step,
                format!("{generation} was charged for an answer that {} before its end", bill.status),
            );
        }
        if bill.web_search_calls != 0 {
            self.find(step, format!("{generation} searched, and nobody asked it to"));
        }
        let prices: Vec<i64> =
            self.cards_in_force(&bill.model, hold).map(|card| bill.cost(card.rates)).collect();
        if !prices.contains(&owed) {
            self.find(
                step,
                format!("{generation} was charged {owed} µ$ for what comes to {prices:?} µ$ by its bill"),
            );
        }
    }

    /// The card in force at the hold, and those that were until just before it: a node may not have heard yet.
    fn cards_in_force(&self, model: &str, hold: &Hold) -> impl Iterator<Item = &'a Card> {
        let since = hold.at.0 - REACHES_ALL_MICROS - self.longest_fault_micros();
        let cards: Vec<&Card> = self
            .evidence
            .books
            .cards
            .iter()
            .filter(|card| card.model == model && card.position < hold.position)
            .collect();
        let superseded_at = |place: usize| cards.get(place + 1).map_or(i64::MAX, |next| next.at.0);
        let in_force: Vec<&Card> = (0..cards.len())
            .filter(|place| superseded_at(*place) > since)
            .map(|place| cards[place])
            .collect();
        in_force.into_iter()
    }

    /// No card but those that were asked for; the first of each model is built in.
    fn prices_were_asked_for(&mut self) {
        let mut seen = Vec::new();
        for card in &self.evidence.books.cards {
            let asked = self.evidence.plan.steps.iter().any(|step| match &step.act {
                Act::SetPrice { model, rates, .. } => model.name() == card.model && *rates == card.rates,
                _ => false,
            });
            if seen.contains(&&card.model) && !asked {
                self.find(None, format!("{} got a price that nobody set: {:?}", card.model, card.rates));
            }
            seen.push(&card.model);
        }
    }

    /// Granted and paid, less charged: once by the oracle, then by each way there is to ask the service.
    fn money_is_the_same_each_way(&mut self) {
        for (customer, (account, begun_with)) in self.evidence.accounts.iter().enumerate() {
            let granted: i64 = self.credited(customer);
            let paid: i64 = self
                .evidence
                .payments
                .iter()
                .filter(|paid| paid.customer == customer)
                .map(Payment::credit)
                .sum();
            let bought = PLAN_CREDIT_MICRO
                * i64::try_from(
                    self.evidence.payments.iter().filter(|paid| paid.customer == customer).count(),
                )
                .expect("few");
            let in_log = self.evidence.books.granted.get(account).copied().unwrap_or(0);
            if in_log != begun_with + granted + bought {
                let what = format!(
                    "customer {customer} was granted {in_log} µ$, and should have been granted {} µ$",
                    begun_with + granted + bought
                );
                self.find(None, what);
            }
            let books = self.evidence.books;
            let of_account = |(generation, _): &(&GenerationId, &i64)| {
                books.holds.get(generation).is_some_and(|hold| hold.account == *account)
            };
            let charged: i64 = books.charged.iter().filter(of_account).map(|(_, charged)| charged).sum();
            let expected = begun_with + granted + paid - charged;
            for balance in self.evidence.balances.iter().filter(|balance| balance.customer == customer) {
                if balance.net_micro != expected {
                    let what = format!(
                        "customer {customer} has {} µ$ by {}, and {expected} µ$ by the oracle",
                        balance.net_micro, balance.way
                    );
                    self.find(None, what);
                }
                if balance.held_micro != 0 {
                    let what =
                        format!("customer {customer} has {} µ$ held by {}", balance.held_micro, balance.way);
                    self.find(None, what);
                }
            }
        }
    }

    /// What operators were told that they had granted.
    fn credited(&self, customer: usize) -> i64 {
        let done = |id: u32| {
            let record = self.evidence.records.iter().find(|record| record.step == id);
            record.is_some_and(|record| matches!(record.came, Came::Done))
        };
        self.evidence
            .plan
            .steps
            .iter()
            .filter_map(|step| match step.act {
                Act::Credit { customer: whose, amount_micro, .. } if whose == customer && done(step.id) => {
                    Some(amount_micro)
                }
                _ => None,
            })
            .sum()
    }
}

/// Whether a fault can keep a provider's report from arriving.
fn touches_provider(fault: Fault) -> bool {
    match fault {
        Fault::Cut { line, .. } | Fault::Hang { line, .. } | Fault::Slow { line, .. } => {
            line == Line::Provider
        }
        Fault::PauseProvider { .. } => true,
        Fault::KillNode { .. }
        | Fault::PauseNode { .. }
        | Fault::StopNode { .. }
        | Fault::KillPostgres { .. }
        | Fault::RestartPostgres
        | Fault::PausePostgres { .. }
        | Fault::FillDisk { .. }
        | Fault::KillNats { .. }
        | Fault::WipeNats { .. }
        | Fault::PauseNats { .. }
        | Fault::PauseStripe { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_is_rounded_once_half_to_even() {
        for (pico, micro) in
            [(0, 0), (500_000, 0), (500_001, 1), (1_500_000, 2), (2_500_000, 2), (2_500_001, 3)]
        {
            assert_eq!(half_even(pico), micro, "{pico}");
        }
        let bill = Bill {
            id: "r".into(),
            model: "gpt-5.5".into(),
            status: "completed".into(),
            uncached_input_tokens: 3,
            cached_tokens: 1,
            cache_write_5m: 1,
            cache_write_1h: 1,
            output_tokens: 2,
            web_search_calls: 0,
            tag: None,
        };
        // 5 × 5 + 0.5 + 2 × 30 = 85.5, half way, to the even side.
        let rates = Rates { input: 5_000_000, cached_input: 500_000, output: 30_000_000 };
        assert_eq!(bill.cost(rates), 86);
    }

    #[test]
    fn what_remains_of_a_payment_is_rounded_down() {
        let left = |refunded_cents| Payment { customer: 0, refunded_cents }.credit();
        assert_eq!((left(0), left(1), left(333), left(500)), (30_000_000, 29_940_000, 10_020_000, 0));
    }
}
