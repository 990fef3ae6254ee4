//! A provider that breaks off anywhere is never told as success, and the customer pays nothing.

use std::sync::Arc;

use codexapi_aggregates::usage::{Outcome, Protocol};
use futures::{StreamExt, stream};
use serde_json::json;

use super::Deployment;
use super::asking::{Ask, PROTOCOLS, says_finished};

const BALANCE: i64 = 1_000_000;
const AT_A_TIME: usize = 8;

/// Offsets at which the provider breaks off, of each recorded stream.
const CUTS: usize = 40;

#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The connection breaks.
    Abrupt,
    /// The body ends as HTTP wants it, and too early.
    Clean,
}

fn cut(protocol: Protocol, how: Cut, at: Option<usize>) -> Ask {
    let mut told = json!({"input_tokens": 100, "output_tokens": 6, "delta_count": 6});
    match (how, at) {
        (_, None) => {}
        (Cut::Abrupt, Some(at)) => told["cut_at_byte"] = at.into(),
        (Cut::Clean, Some(at)) => told["clean_end_at_byte"] = at.into(),
    }
    Ask::new(protocol, true, 64, &told)
}

/// Where the first frame that says *finished* is complete: from there on the answer is one.
fn finished_at(protocol: Protocol, recorded: &str) -> usize {
    let ends = recorded.match_indices("\n\n").map(|(at, end)| at + end.len());
    ends.into_iter().find(|end| says_finished(protocol, &recorded[..*end])).expect("a finished stream")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_before_its_end_is_never_success_and_never_charged() {
    let deployment = Arc::new(Deployment::start(&[]).await);
    for protocol in PROTOCOLS {
        let recorded = cut(protocol, Cut::Clean, None).record(&deployment).await.text;
        let finished = finished_at(protocol, &recorded);
        let step = (finished / CUTS).max(1);
        // The last bytes each: there, a frame is nearly whole.
        let offsets = (1..finished - 8).step_by(step).chain(finished - 8..finished - 2);
        let cuts =
            stream::iter(offsets.flat_map(|at| [(at, Cut::Abrupt), (at, Cut::Clean)])).map(|(at, how)| {
                let deployment = Arc::clone(&deployment);
                async move {
                    let customer = deployment.customer(BALANCE).await;
                    let told = cut(protocol, how, Some(at)).run(&deployment, &customer).await;
                    assert!(!told.is_success(protocol, true), "{how:?} at {at}: {}", told.text);
                    assert!(told.complete, "{how:?} at {at}: the failure itself is told properly");
                    let ledger = deployment.ledger(customer.account_id).await;
                    assert_eq!(ledger.holds(), 1);
                    match ledger.settled.as_slice() {
                        [] => ledger.assert_only_released(),
                        [_] => {
                            let settled = ledger.only_settlement();
                            assert_eq!(settled.outcome, Outcome::UpstreamFailed, "{how:?} at {at}");
                            assert_eq!((settled.cost_micro.0, settled.charged_micro.0), (0, 0));
                            assert!(settled.insured_micro.0 > 0);
                        }
                        more => panic!("settled {} times", more.len()),
                    }
                    assert_eq!(deployment.balance(customer.account_id).await, BALANCE);
                }
            });
        cuts.buffer_unordered(AT_A_TIME).for_each(async |()| {}).await;
    }
    deployment.verify().await;
}
