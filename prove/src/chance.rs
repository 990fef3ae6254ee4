//! Plans drawn from a seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::plan::{Abort, Act, Dialect, Fault, Generate, LINES, Line, Model, Plan, Provider, Rates, Step};

/// How much, in which time.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub nodes: usize,
    pub customers: usize,
    /// Everything but faults.
    pub operations: u32,
    pub faults: u32,
    pub span_ms: u64,
    /// A fault lasts at most so long.
    pub fault_ms: u64,
}

/// No generation is asked to be longer than this.
const MOST_DELTAS: u64 = 24;

/// Dollars a million tokens, as whole millions of micro-USD; what is drawn is between these and a fraction more.
const INPUT_DOLLARS: std::ops::Range<i64> = 1..9;
const OUTPUT_DOLLARS: std::ops::Range<i64> = 10..40;

impl Plan {
    /// The same seed and size give the same plan.
    pub fn drawn(seed: u64, size: Size) -> Self {
        let mut dice = Dice { random: StdRng::seed_from_u64(seed), size };
        let operations = (0..size.operations).map(|_| false);
        let faults = (0..size.faults).map(|_| true);
        let mut acts: Vec<(u64, Act)> = operations
            .chain(faults)
            .map(|is_fault| {
                (dice.below(size.span_ms), if is_fault { Act::Fault(dice.fault()) } else { dice.operation() })
            })
            .collect();
        acts.sort_by_key(|(at_ms, _)| *at_ms);
        let step = |(id, (at_ms, act))| Step { id, at_ms, act };
        Self {
            seed,
            nodes: size.nodes,
            customers: size.customers,
            steps: (1..).zip(acts).map(step).collect(),
        }
    }

    /// One fault of each kind, one after the other, under the load of `seed`.
    pub fn of_each_fault(seed: u64, size: Size) -> Self {
        let every = Self::each_fault(size);
        let gap = size.span_ms / u64::try_from(every.len()).expect("few");
        let mut plan = Self::drawn(seed, Size { faults: 0, ..size });
        let first = u32::try_from(plan.steps.len()).expect("few") + 1;
        let faults = (first..).zip(1..).zip(every);
        plan.steps.extend(faults.map(|((id, place), fault)| Step {
            id,
            at_ms: place * gap,
            act: Act::Fault(fault),
        }));
        plan.steps.sort_by_key(|step| step.at_ms);
        plan
    }

    fn each_fault(size: Size) -> Vec<Fault> {
        let (ms, node, other) = (size.fault_ms / 2, 0, size.nodes - 1);
        vec![
            Fault::KillNode { node, ms },
            Fault::Cut { node: other, line: Line::Postgres, ms },
            Fault::WipeNats { ms },
            Fault::PauseNode { node: other, ms: size.fault_ms },
            Fault::Cut { node, line: Line::Provider, ms },
            Fault::KillPostgres { ms },
            Fault::Slow { node, line: Line::Clients, delay_ms: 20, ms },
            Fault::FillDisk { ms },
            Fault::Hang { node: other, line: Line::Stripe, ms },
            Fault::PausePostgres { ms: size.fault_ms },
            Fault::KillNode { node: other, ms },
            Fault::Cut { node, line: Line::Clients, ms },
            Fault::Hang { node, line: Line::Nodes, ms },
        ]
    }
}

struct Dice {
    random: StdRng,
    size: Size,
}

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.random.random_range(0..end)
    }

    fn node(&mut self) -> usize {
        self.random.random_range(0..self.size.nodes)
    }

    fn customer(&mut self) -> usize {
        self.random.random_range(0..self.size.customers)
    }

    /// One in so many.
    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.random_range(0..choices.len())]
    }

    fn operation(&mut self) -> Act {
        match self.below(100) {
            0..86 => Act::Generate(Box::new(self.generation())),
            86..90 => Act::Credit {
                customer: self.customer(),
                node: self.node(),
                amount_micro: self.random.random_range(1..5_000_000),
            },
            90..94 => Act::TopUp {
                customer: self.customer(),
                node: self.node(),
                refund_cents: if self.one_in(3) { self.random.random_range(1..=500) } else { 0 },
            },
            94..96 => Act::Webhooks {
                copies: self.random.random_range(1..=3),
                jitter_ms: self.below(1_500),
                lost: self.one_in(3),
            },
            96..99 => Act::SetPrice { node: self.node(), model: self.model(), rates: self.rates() },
            _ => Act::RevokeKey { customer: self.customer() },
        }
    }

    fn model(&mut self) -> Model {
        self.one_of(&[Model::Gpt, Model::Claude])
    }

    fn rates(&mut self) -> Rates {
        let mut dollars = |range: std::ops::Range<i64>| {
            self.random.random_range(range.start * 1_000_000..range.end * 1_000_000)
        };
        let (input, output) = (dollars(INPUT_DOLLARS), dollars(OUTPUT_DOLLARS));
        Rates { input, cached_input: input / 10, output }
    }

    fn generation(&mut self) -> Generate {
        let input_tokens = self.random.random_range(20..2_000);
        let deltas = self.random.random_range(1..=MOST_DELTAS);
        Generate {
            customer: self.customer(),
            with_key: self.one_in(3),
            node: self.node(),
            dialect: self.one_of(&[Dialect::Responses, Dialect::Chat, Dialect::Messages]),
            model: self.model(),
            stream: !self.one_in(3),
            input_tokens,
            cached_tokens: if self.one_in(3) { self.below(input_tokens) } else { 0 },
            output_tokens: self.random.random_range(deltas..200),
            deltas,
            first_byte_ms: self.below(300),
            chunk_ms: self.below(80),
            provider: self.provider(deltas),
            abort: if self.one_in(6) { Some(self.abort()) } else { None },
        }
    }

    fn provider(&mut self, deltas: u64) -> Provider {
        if !self.one_in(6) {
            return Provider::Answers;
        }
        match self.below(8) {
            0 => Provider::CutAtByte(self.below(4_000)),
            1 => Provider::EndsAtByte(self.below(4_000)),
            2 => Provider::Refuses(self.one_of(&[400, 401, 404, 429, 500, 503, 529])),
            3 => Provider::ErrorInSuccess,
            4 => Provider::FailsAfter(self.below(deltas)),
            5 => Provider::StallsAfter(self.below(deltas)),
            6 => Provider::ReportsNothing,
            _ => Provider::ReportsGarbage,
        }
    }

    fn abort(&mut self) -> Abort {
        if self.one_in(2) { Abort::AtByte(self.below(6_000)) } else { Abort::AfterMs(self.below(1_500)) }
    }

    fn fault(&mut self) -> Fault {
        let (node, line) = (self.node(), self.one_of(&LINES));
        let ms = self.random.random_range(50..self.size.fault_ms);
        match self.below(20) {
            0..4 => Fault::KillNode { node, ms },
            4..6 => Fault::PauseNode { node, ms },
            6 => Fault::StopNode { node, ms },
            7 => Fault::KillPostgres { ms },
            8 => Fault::RestartPostgres,
            9 => Fault::PausePostgres { ms },
            10 => Fault::FillDisk { ms },
            11 => Fault::KillNats { ms },
            12 => Fault::WipeNats { ms },
            13 => Fault::PauseNats { ms },
            14 => Fault::PauseProvider { ms },
            15 => Fault::PauseStripe { ms },
            16 | 17 => Fault::Cut { node, line, ms },
            18 => Fault::Hang { node, line, ms },
            _ => Fault::Slow { node, line, delay_ms: self.random.random_range(1..200), ms },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size =
        Size { nodes: 2, customers: 3, operations: 200, faults: 20, span_ms: 5_000, fault_ms: 1_000 };

    #[test]
    fn a_seed_gives_its_plan_again_and_another_seed_another() {
        let plan = Plan::drawn(7, SIZE);
        plan.check().expect("nodes, customers and order are right");
        assert_eq!(plan, Plan::drawn(7, SIZE));
        assert_ne!(plan.steps, Plan::drawn(8, SIZE).steps);
        let written = serde_json::to_string(&plan).expect("written");
        assert_eq!(serde_json::from_str::<Plan>(&written).expect("read"), plan);
    }

    #[test]
    fn the_fixed_plan_has_every_fault_with_one_node_and_with_three() {
        for nodes in [1, 3] {
            let plan = Plan::of_each_fault(1, Size { nodes, ..SIZE });
            plan.check().expect("nodes, customers and order are right");
            assert_eq!(plan.faults().count(), 13);
        }
    }
}
