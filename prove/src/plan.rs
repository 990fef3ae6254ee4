//! What will be done in one run, every choice made beforehand: it can be written down, done again, and made smaller.

use serde::{Deserialize, Serialize};

/// Between two steps of a plan that was made smaller, at most.
const CLOSED_UP_MS: u64 = 500;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub seed: u64,
    /// Services over one Postgres.
    pub nodes: usize,
    pub customers: usize,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Stays its own when steps are left out.
    pub id: u32,
    /// Since the run began; steps do not wait for each other.
    pub at_ms: u64,
    pub act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    Generate(Box<Generate>),
    /// An operator grants credit.
    Credit {
        customer: usize,
        node: usize,
        amount_micro: i64,
    },
    /// A customer buys the plan "starter" at Stripe, and perhaps gets a part of the money back.
    TopUp {
        customer: usize,
        node: usize,
        refund_cents: i64,
    },
    /// What becomes of Stripe's webhooks from now on.
    Webhooks {
        copies: u32,
        jitter_ms: u64,
        lost: bool,
    },
    /// In micro-USD per million tokens.
    SetPrice {
        node: usize,
        model: Model,
        rates: Rates,
    },
    /// The customer's API key; the System Token works on.
    RevokeKey {
        customer: usize,
    },
    Fault(Fault),
    /// Adds a micro-dollar to a read table behind everybody's back. Nothing draws it: it shows that what is wrong is
    /// found.
    Tamper {
        customer: usize,
    },
}

/// One request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    pub customer: usize,
    /// With the customer's API key, else with the System Token.
    pub with_key: bool,
    pub node: usize,
    pub dialect: Dialect,
    pub model: Model,
    pub stream: bool,
    pub input_tokens: u64,
    pub cached_tokens: u64,
    pub output_tokens: u64,
    pub deltas: u64,
    pub first_byte_ms: u64,
    pub chunk_ms: u64,
    pub provider: Provider,
    pub abort: Option<Abort>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    Responses,
    Chat,
    Messages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    Gpt,
    Claude,
}

impl Model {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt => "gpt-5.5",
            Self::Claude => "claude-opus-4-8",
        }
    }
}

/// Micro-USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    pub input: i64,
    pub cached_input: i64,
    pub output: i64,
}

/// What the provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    Answers,
    CutAtByte(u64),
    /// The body ends properly, but too early.
    EndsAtByte(u64),
    /// An error instead of an answer.
    Refuses(u16),
    ErrorInSuccess,
    /// After so many deltas.
    FailsAfter(u64),
    /// Nothing more after so many deltas.
    StallsAfter(u64),
    ReportsNothing,
    ReportsGarbage,
}

/// When the client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Abort {
    AtByte(u64),
    AfterMs(u64),
}

/// What is broken, and for how long: each fault mends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    KillNode {
        node: usize,
        ms: u64,
    },
    PauseNode {
        node: usize,
        ms: u64,
    },
    /// As an operator stops it.
    StopNode {
        node: usize,
        ms: u64,
    },
    KillPostgres {
        ms: u64,
    },
    RestartPostgres,
    PausePostgres {
        ms: u64,
    },
    /// Postgres finds no room for another byte.
    FillDisk {
        ms: u64,
    },
    KillNats {
        ms: u64,
    },
    WipeNats {
        ms: u64,
    },
    PauseNats {
        ms: u64,
    },
    PauseProvider {
        ms: u64,
    },
    PauseStripe {
        ms: u64,
    },
    Cut {
        node: usize,
        line: Line,
        ms: u64,
    },
    /// Nothing passes, and nobody is told.
    Hang {
        node: usize,
        line: Line,
        ms: u64,
    },
    Slow {
        node: usize,
        line: Line,
        delay_ms: u64,
        ms: u64,
    },
}

/// Between a node and whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Clients,
    Postgres,
    Nats,
    Provider,
    Stripe,
    /// Other nodes, which ask it for what is at home here.
    Nodes,
}

pub const LINES: [Line; 6] =
    [Line::Clients, Line::Postgres, Line::Nats, Line::Provider, Line::Stripe, Line::Nodes];

impl Fault {
    /// How long until it is mended.
    pub fn lasts_ms(self) -> u64 {
        match self {
            Self::RestartPostgres => 0,
            Self::KillNode { ms, .. }
            | Self::PauseNode { ms, .. }
            | Self::StopNode { ms, .. }
            | Self::KillPostgres { ms }
            | Self::PausePostgres { ms }
            | Self::FillDisk { ms }
            | Self::KillNats { ms }
            | Self::WipeNats { ms }
            | Self::PauseNats { ms }
            | Self::PauseProvider { ms }
            | Self::PauseStripe { ms }
            | Self::Cut { ms, .. }
            | Self::Hang { ms, .. }
            | Self::Slow { ms, .. } => ms,
        }
    }
}

impl Plan {
    pub fn faults(&self) -> impl Iterator<Item = Fault> {
        self.steps.iter().filter_map(|step| match step.act {
            Act::Fault(fault) => Some(fault),
            _ => None,
        })
    }

    /// The same steps in the same order without long waits between them.
    pub fn closed_up(&self) -> Self {
        let (mut last, mut now) = (0, 0);
        let mut steps = self.steps.clone();
        for step in &mut steps {
            now += (step.at_ms - last).min(CLOSED_UP_MS);
            last = step.at_ms;
            step.at_ms = now;
        }
        Self { steps, ..self.clone() }
    }

    /// Errors: a step names a node or a customer that there is not, or steps are out of order.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!((1..=9).contains(&self.nodes), "1 to 9 nodes, not {}", self.nodes);
        let mut last = 0;
        for step in &self.steps {
            anyhow::ensure!(step.at_ms >= last, "step {} comes before the one before it", step.id);
            last = step.at_ms;
            let (node, customer) = step.act.whom();
            anyhow::ensure!(node < self.nodes, "step {}: there is no node {node}", step.id);
            anyhow::ensure!(customer < self.customers, "step {}: there is no customer {customer}", step.id);
        }
        Ok(())
    }
}

impl Act {
    /// The node and the customer it names; 0 where it names none.
    fn whom(&self) -> (usize, usize) {
        match self {
            Self::Generate(generate) => (generate.node, generate.customer),
            Self::Credit { customer, node, .. } | Self::TopUp { customer, node, .. } => (*node, *customer),
            Self::SetPrice { node, .. } => (*node, 0),
            Self::RevokeKey { customer } | Self::Tamper { customer } => (0, *customer),
            Self::Webhooks { .. } => (0, 0),
            Self::Fault(fault) => match *fault {
                Fault::KillNode { node, .. }
                | Fault::PauseNode { node, .. }
                | Fault::StopNode { node, .. }
                | Fault::Cut { node, .. }
                | Fault::Hang { node, .. }
                | Fault::Slow { node, .. } => (node, 0),
                Fault::KillPostgres { .. }
                | Fault::RestartPostgres
                | Fault::PausePostgres { .. }
                | Fault::FillDisk { .. }
                | Fault::KillNats { .. }
                | Fault::WipeNats { .. }
                | Fault::PauseNats { .. }
                | Fault::PauseProvider { .. }
                | Fault::PauseStripe { .. } => (0, 0),
            },
        }
    }
}
