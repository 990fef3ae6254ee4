//! Streams that break off anywhere, at the provider's end and at the client's, in one dialect and across two: no
//! truncated answer is told as success, nothing is settled twice, and a failure is told in the client's own words.

use std::ops::Range;

use codexapi_aggregates::usage::{Outcome, Protocol};
use futures::{StreamExt, stream};
use serde_json::json;

use super::heard::check_failure;
use super::{BALANCE, Scene, World, name_of};
use crate::harness::wait_for;
use crate::money::asking::{Ask, says_finished};
use crate::money::clients::hang_up_after;
use crate::money::{INPUT_RATE, OUTPUT_RATE};

const AT_A_TIME: usize = 6;

/// Offsets of each stream at which it is cut; `CODEXAPI_TEST_ALL` cuts at every byte.
const CUTS: usize = 8;

/// About what the answer's head and the framing of its pieces add.
const HEAD: usize = 1_500;

/// The client's and the provider's dialect.
const ROUTES: [(Protocol, Protocol); 8] = [
    (Protocol::Responses, Protocol::Responses),
    (Protocol::Chat, Protocol::Chat),
    (Protocol::Messages, Protocol::Messages),
    (Protocol::Messages, Protocol::Responses),
    (Protocol::Responses, Protocol::Messages),
    (Protocol::Chat, Protocol::Messages),
    (Protocol::Responses, Protocol::Chat),
    (Protocol::Completions, Protocol::Responses),
];

#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The connection breaks.
    Abrupt,
    /// The body ends as HTTP wants it, and too early.
    Clean,
}

fn ask(scene: &Scene, client: Protocol, cut: Option<(Cut, usize)>, tag: &str) -> Ask {
    let mut told = json!({"input_tokens": 100, "output_tokens": 6, "delta_count": 6, "tag": tag});
    match cut {
        None => {}
        Some((Cut::Abrupt, at)) => told["cut_at_byte"] = at.into(),
        Some((Cut::Clean, at)) => told["clean_end_at_byte"] = at.into(),
    }
    Ask::new(client, true, 64, &told).of(&scene.model)
}

fn sampled(range: Range<usize>, cuts: usize) -> impl Iterator<Item = usize> {
    let all = std::env::var_os("CODEXAPI_TEST_ALL").is_some();
    let step = if all { 1 } else { (range.len() / cuts).max(1) };
    range.step_by(step)
}

/// What the provider sends for such a request, and where the first frame that says *finished* ends in it.
async fn recorded(world: &World, scene: &Scene, client: Protocol, upstream: Protocol) -> (String, usize) {
    let customer = world.deployment.customer(BALANCE).await;
    let told = ask(scene, client, None, "recorded").run(&world.deployment, &customer).await;
    assert!(told.is_success(client, true), "{}", told.text);
    let recorded = world.front.replay(&world.front.seen(&scene.upstream)[0]).await;
    let ends = recorded.match_indices("\n\n").map(|(at, end)| at + end.len());
    let finished = ends.into_iter().find(|end| says_finished(upstream, &recorded[..*end]));
    let finished = finished.expect("a finished stream");
    (recorded, finished)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_off_anywhere_is_told_as_a_failure_in_the_clients_dialect() {
    let world = World::start(&[]).await;
    let mut cases = vec![];
    for (client, upstream) in ROUTES {
        let scene = world.scene(&[(name_of(upstream), &[])]).await;
        let (_, finished) = recorded(&world, &scene, client, upstream).await;
        // The last bytes each: there, a frame is nearly whole.
        let offsets = sampled(1..finished - 4, CUTS).chain(finished - 4..finished - 2);
        let cuts = offsets.flat_map(|at| [(Cut::Abrupt, at), (Cut::Clean, at)]);
        cases.extend(cuts.map(|cut| (scene.clone(), client, cut)));
    }
    stream::iter(cases).for_each_concurrent(AT_A_TIME, async |case| breaks_off(&world, case).await).await;
    world.deployment.verify().await;
}

async fn breaks_off(world: &World, (scene, client, cut): (Scene, Protocol, (Cut, usize))) {
    let deployment = &world.deployment;
    let customer = deployment.customer(BALANCE).await;
    let told = ask(&scene, client, Some(cut), "cut").run(deployment, &customer).await;
    println!("{client:?}, {} {cut:?}", scene.model);
    assert!(!told.is_success(client, true), "{cut:?}: {}", told.text);
    check_failure(client, &told);
    let ledger = deployment.ledger(customer.account_id).await;
    match ledger.settled.as_slice() {
        [] => ledger.assert_only_released(),
        [_] => {
            let settled = ledger.only_settlement();
            assert_eq!(settled.outcome, Outcome::UpstreamFailed, "{cut:?}");
            assert_eq!((settled.cost_micro.0, settled.charged_micro.0), (0, 0));
            assert!(settled.insured_micro.0 > 0);
        }
        more => panic!("settled {} times", more.len()),
    }
    assert_eq!(deployment.balance(customer.account_id).await, BALANCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_anywhere_settles_once_for_the_providers_amount() {
    let world = World::start(&[]).await;
    let mut cases = vec![];
    for (client, upstream) in ROUTES.into_iter().filter(|(client, upstream)| client != upstream) {
        let scene = world.scene(&[(name_of(upstream), &[])]).await;
        let customer = world.deployment.customer(BALANCE).await;
        let whole = ask(&scene, client, None, "whole").run(&world.deployment, &customer).await;
        let length = whole.text.len() + HEAD;
        cases.extend(sampled(1..length, CUTS).map(|at| (scene.clone(), client, at)));
    }
    stream::iter(cases).for_each_concurrent(AT_A_TIME, async |case| hangs_up(&world, case).await).await;
    world.deployment.verify().await;
}

async fn hangs_up(world: &World, (scene, client, at): (Scene, Protocol, usize)) {
    let deployment = &world.deployment;
    let customer = deployment.customer(BALANCE).await;
    let tag = format!("{}-{at}", scene.model);
    hang_up_after(deployment, &customer, &ask(&scene, client, None, &tag), at).await;
    let ledger = wait_for("a hold that is closed", async || {
        let ledger = deployment.ledger(customer.account_id).await;
        (ledger.holds() == 1 && ledger.charges() + ledger.releases() == 1).then_some(ledger)
    })
    .await;
    let bills = deployment.bills(&tag).await;
    assert_eq!(bills.len(), 1, "cut at {at}");
    let of = |field: &str| bills[0][field].as_i64().expect("a count");
    let billed = of("input_tokens") * INPUT_RATE + of("output_tokens") * OUTPUT_RATE;
    let settled = ledger.only_settlement();
    assert_eq!(settled.charged_micro.0, billed, "cut at {at}: {settled:#?}");
    assert!(matches!(settled.outcome, Outcome::Completed | Outcome::ClientLeft), "cut at {at}");
}
