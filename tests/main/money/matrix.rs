//! Every report of usage × every end of an answer × every dialect, streamed or not: what is charged
//! (money.md § 4; § 10, row 4). The provider's dialect is the client's here; routing's table crosses them.

use std::sync::Arc;

use codexapi_aggregates::usage::{Outcome, Protocol, UsageSource};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::asking::{Ask, PROTOCOLS, Told};
use super::ledger::Ledger;
use super::{Customer, Deployment, INPUT_RATE, MODEL, OUTPUT_RATE};

const BALANCE: i64 = 1_000_000;
const AT_A_TIME: usize = 6;

/// What the provider reports; it delivers `DELTAS` tokens of text, whatever it says.
const INPUT: i64 = 321;
const OUTPUT: i64 = 40;
const DELTAS: i64 = 12;

/// How much slower than usual an answer is that its client leaves: a busy machine may want it slower than an idle one.
const PACES: [u64; 3] = [1, 8, 40];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Present,
    Zero,
    Absent,
    Garbage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Completed,
    Incomplete,
    ContentFilter,
    Refused,
    ClientLeft,
    FailedBeforeOutput,
    FailedMidStream,
    ErrorInSuccess,
    Truncated,
    EndedEarly,
}

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub usage: Usage,
    pub end: End,
    /// The client's.
    pub protocol: Protocol,
    /// The provider's.
    pub upstream: Protocol,
    pub stream: bool,
}

/// All of the client's and the provider's dialect.
pub fn cases(protocol: Protocol, upstream: Protocol) -> impl Iterator<Item = Case> {
    let usages = [Usage::Present, Usage::Zero, Usage::Absent, Usage::Garbage];
    let ends = [
        End::Completed,
        End::Incomplete,
        End::ContentFilter,
        End::Refused,
        End::ClientLeft,
        End::FailedBeforeOutput,
        End::FailedMidStream,
        End::ErrorInSuccess,
        End::Truncated,
        End::EndedEarly,
    ];
    let all = usages.into_iter().flat_map(move |usage| ends.map(|end| (usage, end)));
    let all = all.flat_map(move |(usage, end)| {
        [true, false].map(|stream| Case { usage, end, protocol, upstream, stream })
    });
    // A body that comes whole has no middle in which to say that it failed.
    all.filter(|case| case.stream || case.end != End::FailedMidStream)
}

impl Case {
    /// The request, told to end in this way.
    async fn ask(self, deployment: &Deployment, model: &str, customer: &Customer, pace: u64) -> Ask {
        let tag = customer.account_id.to_string();
        let mut told =
            json!({"input_tokens": INPUT, "output_tokens": OUTPUT, "delta_count": DELTAS, "tag": tag});
        match self.usage {
            Usage::Present => {}
            Usage::Zero => told["usage"] = "zero".into(),
            Usage::Absent => told["usage"] = "absent".into(),
            Usage::Garbage => told["usage"] = "garbage".into(),
        }
        match self.end {
            End::Completed => {}
            End::Incomplete => told["finish"] = "length".into(),
            End::ContentFilter => told["finish"] = "content_filter".into(),
            End::Refused => told["finish"] = "refusal".into(),
            End::ClientLeft if self.stream => told["chunk_delay_ms"] = (30 * pace).into(),
            End::ClientLeft => told["header_delay_ms"] = (1_000 * pace).into(),
            End::FailedBeforeOutput => told["error"] = json!({"status": 500}),
            End::FailedMidStream => told["mid_stream_error"] = json!({"after": 5}),
            End::ErrorInSuccess => told["error_in_200"] = json!({"message": "no"}),
            End::Truncated => told["cut_at_byte"] = self.middle(deployment, &told).await.into(),
            End::EndedEarly => told["clean_end_at_byte"] = self.middle(deployment, &told).await.into(),
        }
        Ask::new(self.protocol, self.stream, 64, &told).of(model)
    }

    /// Runs it for a customer of its own and compares what is charged with the table.
    pub async fn runs(self, deployment: &Deployment, model: &str) {
        println!("{self:?}");
        if self.end == End::ClientLeft {
            return self.is_left(deployment, model).await;
        }
        let customer = deployment.customer(BALANCE).await;
        let ask = self.ask(deployment, model, &customer, 1).await;
        let told = ask.run(deployment, &customer).await;
        let ledger = deployment.ledger(customer.account_id).await;
        self.check(&ask, &told, &ledger);
        check_balance(deployment, &customer, &ledger).await;
    }

    /// Its client leaves. Where the answer was over before that, it was too fast for this machine.
    async fn is_left(self, deployment: &Deployment, model: &str) {
        for pace in PACES {
            let customer = deployment.customer(BALANCE).await;
            let ask = self.ask(deployment, model, &customer, pace).await;
            self.leaves(&ask, deployment, &customer).await;
            let ledger = deployment.ledger(customer.account_id).await;
            let outcome = ledger.only_settlement().outcome;
            assert!(matches!(outcome, Outcome::ClientLeft | Outcome::Completed), "{ledger:#?}");
            self.check_charge(&ask, &ledger, outcome);
            check_balance(deployment, &customer, &ledger).await;
            if outcome == Outcome::ClientLeft {
                return;
            }
        }
        panic!("it was answered too soon, however slowly");
    }

    /// Asks, and hangs up on the third token or, where the answer comes whole, before it.
    async fn leaves(self, ask: &Ask, deployment: &Deployment, customer: &Customer) {
        if self.stream {
            let mut pieces = ask.send(deployment, &customer.token).await.bytes_stream();
            let mut seen = String::new();
            while seen.matches("tok ").count() < 3 {
                let piece = pieces.next().await.expect("more").expect("read");
                seen += std::str::from_utf8(&piece).expect("text");
            }
        } else {
            let tag = customer.account_id.to_string();
            tokio::select! {
                _ = ask.send(deployment, &customer.token) => {}
                // What is left before it is dispatched is another case.
                () = deployment.received(&tag) => {}
            }
        }
    }

    /// A byte of the provider's answer after five tokens and before the end.
    async fn middle(self, deployment: &Deployment, told: &Value) -> usize {
        let answer = Ask::new(self.upstream, self.stream, 64, told).record(deployment).await.text;
        let sixth = answer.match_indices("tok ").nth(5).expect("six tokens").0;
        if self.stream { sixth } else { answer.len() / 2 }
    }

    fn check(self, ask: &Ask, told: &Told, ledger: &Ledger) {
        match self.end {
            End::Completed | End::Incomplete | End::ContentFilter | End::Refused => {
                assert!(told.is_success(self.protocol, self.stream), "{}", told.text);
                self.check_charge(ask, ledger, Outcome::Completed);
            }
            End::FailedMidStream | End::Truncated | End::EndedEarly if self.stream => {
                assert!(!told.is_success(self.protocol, true), "{}", told.text);
                let settled = ledger.only_settlement();
                assert_eq!(settled.outcome, Outcome::UpstreamFailed);
                assert_eq!((settled.cost_micro.0, settled.charged_micro.0), (0, 0));
                assert!(settled.insured_micro.0 >= 4 * OUTPUT_RATE, "five tokens came: {settled:#?}");
            }
            End::ClientLeft => unreachable!("nobody heard it"),
            End::FailedBeforeOutput
            | End::FailedMidStream
            | End::ErrorInSuccess
            | End::Truncated
            | End::EndedEarly => {
                assert!(!told.is_success(self.protocol, self.stream), "{}", told.text);
                ledger.assert_only_released();
            }
        }
    }

    fn check_charge(self, ask: &Ask, ledger: &Ledger, outcome: Outcome) {
        let settled = ledger.only_settlement();
        let estimate = ask.estimated_input() * INPUT_RATE + DELTAS * OUTPUT_RATE;
        let (source, charge) = match self.usage {
            Usage::Present => (UsageSource::Reported, INPUT * INPUT_RATE + OUTPUT * OUTPUT_RATE),
            Usage::Zero => (UsageSource::Reported, 0),
            Usage::Absent => (UsageSource::Estimated, estimate),
            Usage::Garbage => (UsageSource::Rejected, estimate),
        };
        assert_eq!(settled.outcome, outcome);
        assert_eq!((settled.usage_source, settled.charged_micro.0), (source, charge), "{settled:#?}");
        assert_eq!(settled.shortfall_micro.0, 0);
    }
}

async fn check_balance(deployment: &Deployment, customer: &Customer, ledger: &Ledger) {
    let charged: i64 = ledger.settled.iter().map(|settled| settled.charged_micro.0).sum();
    assert_eq!(deployment.balance(customer.account_id).await, BALANCE - charged);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_report_and_every_end_is_charged_as_the_table_says() {
    let deployment = Arc::new(Deployment::start(&[]).await);
    let all = PROTOCOLS.into_iter().flat_map(|protocol| cases(protocol, protocol));
    let checked = stream::iter(all).map(|case| {
        let deployment = Arc::clone(&deployment);
        async move { case.runs(&deployment, MODEL).await }
    });
    checked.buffer_unordered(AT_A_TIME).for_each(async |()| {}).await;
    deployment.verify().await;
}
