//! A stream that is cut at every single byte, by its client and by its provider (§ 10, row 3): one hold and one end
//! of it each; a client that hangs up pays what its provider bills, and a provider that breaks off is never told as
//! success and never paid.
//!
//! The stream is short, so that every byte can be tried. A customer has one cut after the other, many customers at a
//! time: what is drained at once is limited per wallet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::usage::{GenerationSettled, Outcome, Protocol, UsageSource};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::asking::{Ask, PROTOCOLS, says_finished};
use super::clients::{hang_up_after, request_of};
use super::ledger::Ledger;
use super::{Customer, Deployment, INPUT_RATE, OUTPUT_RATE};

const BALANCE: i64 = 100_000_000;
const CUSTOMERS: usize = 24;

const INPUT: i64 = 100;
const OUTPUT: i64 = 2;

/// How far the heads of two answers may differ in length.
const HEADS_DIFFER: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The connection breaks.
    Abrupt,
    /// The body ends as HTTP wants it, and too early.
    Clean,
}

fn ask(protocol: Protocol, tag: &str, more: &Value) -> Ask {
    let mut told = json!({"input_tokens": INPUT, "output_tokens": OUTPUT, "delta_count": OUTPUT, "tag": tag});
    for (field, value) in more.as_object().expect("fields") {
        told[field] = value.clone();
    }
    Ask::new(protocol, true, 64, &told)
}

/// Does this with every case: a customer takes the next one when it is done with one. What came of it, by customer.
async fn each<C: Copy, T>(
    deployment: &Deployment,
    cases: &[C],
    act: impl AsyncFn(&Customer, C) -> T,
) -> Vec<(Customer, Vec<T>)> {
    let customers = join_all((0..CUSTOMERS).map(|_| deployment.customer(BALANCE))).await;
    deployment.stop_projecting();
    let next = AtomicUsize::new(0);
    let in_turn = customers.into_iter().map(async |customer| {
        let mut done = vec![];
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(act(&customer, *case).await);
        }
        (customer, done)
    });
    join_all(in_turn).await
}

/// What the simulator has billed, by its response's id.
async fn billed(deployment: &Deployment, tag: &str) -> HashMap<String, i64> {
    let bills = deployment.bills(tag).await;
    let of = |bill: &Value, field: &str| bill[field].as_i64().expect("a count");
    let price =
        |bill: &Value| of(bill, "input_tokens") * INPUT_RATE + of(bill, "output_tokens") * OUTPUT_RATE;
    let by_id = bills.iter().map(|bill| (bill["id"].as_str().expect("an id").to_owned(), price(bill)));
    let by_id: HashMap<_, _> = by_id.collect();
    assert_eq!(by_id.len(), bills.len(), "an id was given twice");
    by_id
}

/// The customer's ledger, on which there is one hold for each cut, closed once, and what was charged is gone.
async fn checked(deployment: &Deployment, customer: &Customer, cuts: usize) -> Ledger {
    let ledger = deployment.ledger(customer.account_id).await;
    assert_eq!(ledger.holds(), cuts);
    assert_eq!(ledger.charges() + ledger.releases(), cuts, "{ledger:#?}");
    assert_eq!(ledger.charges(), ledger.settled.len());
    let charged: i64 = ledger.settled.iter().map(|settled| settled.charged_micro.0).sum();
    assert_eq!(deployment.balance(customer.account_id).await, BALANCE - charged);
    ledger
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_at_any_byte_settles_once_for_the_providers_amount() {
    let deployment = Deployment::start(&[]).await;
    // Slow enough that a client leaves in the middle of what is said.
    let slow = json!({"chunk_delay_ms": 10});
    let mut cuts = vec![];
    for protocol in PROTOCOLS {
        let length = answered(&deployment, &ask(protocol, "whole", &slow)).await + HEADS_DIFFER;
        cuts.extend((1..length).map(|at| (protocol, at)));
    }
    let done = each(&deployment, &cuts, async |customer, (protocol, at)| {
        hang_up_after(&deployment, customer, &ask(protocol, "cut", &slow), at).await;
    })
    .await;
    let mut bills = billed(&deployment, "cut").await;
    assert_eq!(bills.len(), cuts.len(), "each was asked for once");
    for (customer, cuts) in done {
        for settled in checked(&deployment, &customer, cuts.len()).await.settled {
            let bill = bills.remove(settled.provider_response_id.as_ref().expect("an id")).expect("one bill");
            assert_eq!(settled.charged_micro.0, bill, "{settled:#?}");
            assert!(matches!(settled.outcome, Outcome::Completed | Outcome::ClientLeft), "{settled:#?}");
        }
    }
    assert_eq!(bills.len(), 0, "every bill was settled");
    deployment.verify().await;
}

/// Bytes of the whole answer, its head included.
async fn answered(deployment: &Deployment, ask: &Ask) -> usize {
    let customer = deployment.customer(BALANCE).await;
    let mut answer = vec![];
    request_of(deployment, &customer, ask).await.read_to_end(&mut answer).await.expect("read");
    assert!(says_finished(ask.protocol, std::str::from_utf8(&answer).expect("text")));
    answer.len()
}

/// A stream that its provider cuts.
#[derive(Clone, Copy, Debug)]
struct Broken {
    protocol: Protocol,
    how: Cut,
    at: usize,
    /// Where the frame ends from which on the answer is one.
    finished: usize,
}

/// What its client was told.
struct Told {
    broken: Broken,
    generation: Option<GenerationId>,
    success: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_off_at_any_byte_before_its_end_is_never_success_and_never_charged() {
    // Each customer meets more failures than its insurance would pay.
    let deployment = Deployment::start(&[("CODEXAPI_INSURED_GENERATIONS_PER_DAY", "10000")]).await;
    let mut cuts = vec![];
    for protocol in PROTOCOLS {
        let recorded = ask(protocol, "recorded", &json!({})).record(&deployment).await.text;
        let finished = finished_at(protocol, &recorded);
        let offsets = (1..recorded.len()).flat_map(|at| ways(at, finished).map(move |how| (how, at)));
        cuts.extend(offsets.map(|(how, at)| Broken { protocol, how, at, finished }));
    }
    let done =
        each(&deployment, &cuts, async |customer, broken| breaks_off(&deployment, customer, broken).await)
            .await;
    let billed = billed(&deployment, "Abrupt").await.len() + billed(&deployment, "Clean").await.len();
    assert_eq!(billed, cuts.len(), "each was asked for once");
    for (customer, told) in done {
        let ledger = checked(&deployment, &customer, told.len()).await;
        let settled: HashMap<_, _> =
            ledger.settled.iter().map(|settled| (settled.generation_id, settled)).collect();
        let of = |told: &Told| told.generation.and_then(|id| settled.get(&id)).copied();
        told.iter().for_each(|told| check_told(told, of(told)));
    }
    deployment.verify().await;
}

/// By turns the one way and the other, and both where the answer is nearly finished; with `CODEXAPI_TEST_ALL` both
/// everywhere.
fn ways(at: usize, finished: usize) -> impl Iterator<Item = Cut> {
    let both = at + 8 >= finished || std::env::var_os("CODEXAPI_TEST_ALL").is_some();
    let turn = if at.is_multiple_of(2) { Cut::Abrupt } else { Cut::Clean };
    [Cut::Abrupt, Cut::Clean].into_iter().filter(move |how| both || *how == turn)
}

/// Where the first frame that says *finished* is complete: from there on the answer is one.
fn finished_at(protocol: Protocol, recorded: &str) -> usize {
    let ends = recorded.match_indices("\n\n").map(|(at, end)| at + end.len());
    ends.into_iter().find(|end| says_finished(protocol, &recorded[..*end])).expect("a finished stream")
}

async fn breaks_off(deployment: &Deployment, customer: &Customer, broken: Broken) -> Told {
    let Broken { protocol, how, at, .. } = broken;
    let cut = match how {
        Cut::Abrupt => json!({"cut_at_byte": at}),
        Cut::Clean => json!({"clean_end_at_byte": at}),
    };
    let told = ask(protocol, &format!("{how:?}"), &cut).run(deployment, customer).await;
    assert!(told.complete, "{broken:?}: a failure itself is told properly");
    let generation = told.headers.get("x-codexapi-generation-id");
    let generation = generation.map(|id| id.to_str().expect("text").parse().expect("an id"));
    Told { broken, generation, success: told.is_success(protocol, true) }
}

/// What was said is what was settled: a failure before the frame that says *finished*, and after it either.
fn check_told(told: &Told, settled: Option<&GenerationSettled>) {
    let Told { broken, success, .. } = *told;
    // A frame that lacks its empty line only may count.
    assert!(!success || broken.at >= broken.finished - 2, "{broken:?}");
    match settled {
        None => assert!(!success, "{broken:?}"),
        Some(settled) if success => {
            assert_eq!(settled.outcome, Outcome::Completed, "{broken:?}");
            let bill = INPUT * INPUT_RATE + OUTPUT * OUTPUT_RATE;
            let estimated = settled.usage_source == UsageSource::Estimated;
            assert!(settled.charged_micro.0 == bill || estimated, "{broken:?}: {settled:#?}");
        }
        Some(settled) => {
            assert_eq!(settled.outcome, Outcome::UpstreamFailed, "{broken:?}");
            assert_eq!((settled.cost_micro.0, settled.charged_micro.0), (0, 0), "{broken:?}");
            assert!(settled.insured_micro.0 > 0, "{broken:?}");
        }
    }
}
