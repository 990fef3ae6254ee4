//! Every report of usage × every end of an answer × every dialect, streamed or not: what is charged
//! (money.md § 4; § 10, row 4).

use std::sync::Arc;

use codexapi_aggregates::usage::{Outcome, Protocol, UsageSource};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::asking::{Ask, PROTOCOLS, Told};
use super::ledger::Ledger;
use super::{Deployment, INPUT_RATE, OUTPUT_RATE};

const BALANCE: i64 = 1_000_000;
const AT_A_TIME: usize = 6;

/// What the provider reports; it delivers `DELTAS` tokens of text, whatever it says.
const INPUT: i64 = 321;
const OUTPUT: i64 = 40;
const DELTAS: i64 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    Present,
    Zero,
    Absent,
    Garbage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Completed,
    Incomplete,
    FailedBeforeOutput,
    FailedMidStream,
    ErrorInSuccess,
    Truncated,
    EndedEarly,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    usage: Usage,
    end: End,
    protocol: Protocol,
    stream: bool,
}

fn cases() -> impl Iterator<Item = Case> {
    let usages = [Usage::Present, Usage::Zero, Usage::Absent, Usage::Garbage];
    let ends = [
        End::Completed,
        End::Incomplete,
        End::FailedBeforeOutput,
        End::FailedMidStream,
        End::ErrorInSuccess,
        End::Truncated,
        End::EndedEarly,
    ];
    let all = usages.into_iter().flat_map(move |usage| ends.map(|end| (usage, end)));
    let all = all.flat_map(|(usage, end)| PROTOCOLS.map(|protocol| (usage, end, protocol)));
    let all = all
        .flat_map(|(usage, end, protocol)| [true, false].map(|stream| Case { usage, end, protocol, stream }));
    // A body that comes whole has no middle in which to say that it failed.
    all.filter(|case| case.stream || case.end != End::FailedMidStream)
}

impl Case {
    /// The request, told to end in this way.
    async fn ask(self, deployment: &Deployment) -> Ask {
        let mut told = json!({"input_tokens": INPUT, "output_tokens": OUTPUT, "delta_count": DELTAS});
        match self.usage {
            Usage::Present => {}
            Usage::Zero => told["usage"] = "zero".into(),
            Usage::Absent => told["usage"] = "absent".into(),
            Usage::Garbage => told["usage"] = "garbage".into(),
        }
        match self.end {
            End::Completed => {}
            End::Incomplete => told["finish"] = "length".into(),
            End::FailedBeforeOutput => told["error"] = json!({"status": 500}),
            End::FailedMidStream => told["mid_stream_error"] = json!({"after": 5}),
            End::ErrorInSuccess => told["error_in_200"] = json!({"message": "no"}),
            End::Truncated => told["cut_at_byte"] = self.middle(deployment, &told).await.into(),
            End::EndedEarly => told["clean_end_at_byte"] = self.middle(deployment, &told).await.into(),
        }
        Ask::new(self.protocol, self.stream, 64, &told)
    }

    /// A byte of the provider's answer after five tokens and before the end.
    async fn middle(self, deployment: &Deployment, told: &Value) -> usize {
        let answer = Ask::new(self.protocol, self.stream, 64, told).record(deployment).await.text;
        let sixth = answer.match_indices("tok ").nth(5).expect("six tokens").0;
        if self.stream { sixth } else { answer.len() / 2 }
    }

    fn check(self, ask: &Ask, told: &Told, ledger: &Ledger) {
        match self.end {
            End::Completed | End::Incomplete => {
                assert!(told.is_success(self.protocol, self.stream), "{}", told.text);
                self.check_charge(ask, ledger);
            }
            End::FailedMidStream | End::Truncated | End::EndedEarly if self.stream => {
                assert!(!told.is_success(self.protocol, true), "{}", told.text);
                let settled = ledger.only_settlement();
                assert_eq!(settled.outcome, Outcome::UpstreamFailed);
                assert_eq!((settled.cost_micro.0, settled.charged_micro.0), (0, 0));
                assert!(settled.insured_micro.0 >= 4 * OUTPUT_RATE, "five tokens came: {settled:#?}");
            }
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

    fn check_charge(self, ask: &Ask, ledger: &Ledger) {
        let settled = ledger.only_settlement();
        let estimate = ask.estimated_input() * INPUT_RATE + DELTAS * OUTPUT_RATE;
        let (source, charge) = match self.usage {
            Usage::Present => (UsageSource::Reported, INPUT * INPUT_RATE + OUTPUT * OUTPUT_RATE),
            Usage::Zero => (UsageSource::Reported, 0),
            Usage::Absent => (UsageSource::Estimated, estimate),
            Usage::Garbage => (UsageSource::Rejected, estimate),
        };
        assert_eq!(settled.outcome, Outcome::Completed);
        assert_eq!((settled.usage_source, settled.charged_micro.0), (source, charge), "{settled:#?}");
        assert_eq!(settled.shortfall_micro.0, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_report_and_every_end_is_charged_as_the_table_says() {
    let deployment = Arc::new(Deployment::start(&[]).await);
    let checked = stream::iter(cases()).map(|case| {
        let deployment = Arc::clone(&deployment);
        async move {
            let customer = deployment.customer(BALANCE).await;
            let ask = case.ask(&deployment).await;
            let told = ask.run(&deployment, &customer).await;
            let ledger = deployment.ledger(customer.account_id).await;
            println!("{case:?}");
            case.check(&ask, &told, &ledger);
            let charged: i64 = ledger.settled.iter().map(|settled| settled.charged_micro.0).sum();
            assert_eq!(deployment.balance(customer.account_id).await, BALANCE - charged);
        }
    });
    checked.buffer_unordered(AT_A_TIME).for_each(async |()| {}).await;
    deployment.verify().await;
}
