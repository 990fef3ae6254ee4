//! A balance is not overrun by parallel requests (money.md § 10, row 1).

use std::sync::Arc;

use codexapi_aggregates::usage::Protocol;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::asking::Ask;
use super::{Customer, Deployment, INPUT_RATE, OUTPUT_RATE};

const PARALLEL: usize = 1_000;

/// One such storm at a time: two at once would test the machine and not the rules.
static STORM: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Sends `asks` at once; the statuses in no order.
async fn all_at_once(deployment: &Arc<Deployment>, customer: &Customer, asks: Vec<Ask>) -> Vec<u16> {
    let _storm = STORM.lock().await;
    let sent = asks.into_iter().map(|ask| {
        let (deployment, customer) = (Arc::clone(deployment), customer.clone());
        tokio::spawn(async move {
            let told = ask.run(&deployment, &customer).await;
            assert!(matches!(told.status, 200 | 402 | 429), "{}: {}", told.status, told.text);
            told.status
        })
    });
    let sent: Vec<_> = sent.collect();
    stream::iter(sent).buffer_unordered(PARALLEL).map(|status| status.expect("no panic")).collect().await
}

/// A request of a conversation of its own whose input is billed as the gateway counts it.
fn one_conversation(number: usize, max_output: u64, output: u64) -> Ask {
    let named = |input_tokens: i64| {
        let told = json!({"input_tokens": input_tokens, "output_tokens": output, "tag": "overrun"});
        let mut ask = Ask::new(Protocol::Responses, false, max_output, &told);
        ask.body["prompt_cache_key"] = Value::String(format!("conversation {number}"));
        ask
    };
    // Counted with a number of as many digits, so that naming the count does not change it.
    let counted = named(10).estimated_input();
    assert!((10..100).contains(&counted), "{counted} has not two digits");
    named(counted)
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_as_many_of_a_thousand_parallel_requests_run_as_the_balance_pays() {
    const PAID: i64 = 100;
    const OUTPUT: u64 = 200;
    let settings = [("CODEXAPI_LEAK_FLOOR_USD", "0"), ("CODEXAPI_WAITING_PER_WALLET", "0")];
    let deployment = Arc::new(Deployment::start(&settings).await);
    let asks: Vec<Ask> = (0..PARALLEL).map(|number| one_conversation(number, OUTPUT, OUTPUT)).collect();
    let cost = asks[0].estimated_input() * INPUT_RATE + OUTPUT as i64 * OUTPUT_RATE;
    let customer = deployment.customer(PAID * cost + cost - 1).await;

    let statuses = all_at_once(&deployment, &customer, asks).await;

    let count = |wanted: &[u16]| statuses.iter().filter(|status| wanted.contains(status)).count();
    assert_eq!((count(&[200]), count(&[402, 429])), (PAID as usize, PARALLEL - PAID as usize));
    let ledger = deployment.ledger(customer.account_id).await;
    assert_eq!((ledger.holds(), ledger.charges(), ledger.releases()), (100, 100, 0));
    assert_eq!(ledger.shortfall(), 0);
    assert_eq!(deployment.balance(customer.account_id).await, cost - 1);
    assert_eq!(deployment.bills("overrun").await.len(), PAID as usize);
    deployment.verify().await;
}

/// Requests that train what the wallet is expected to ask for.
const TRAINING: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_known_for_short_answers_overruns_its_balance_by_the_leak_limit_at_most() {
    const SHORT: u64 = 8;
    const LONG: u64 = 64_000;
    const LEAK_LIMIT: i64 = 2_000_000;
    let settings = [("CODEXAPI_WAITING_PER_WALLET", "0")];
    let deployment = Arc::new(Deployment::start(&settings).await);
    let long = one_conversation(0, LONG, LONG);
    let worst = long.estimated_input() * INPUT_RATE + LONG as i64 * OUTPUT_RATE;
    let customer = deployment.customer(3 * worst).await;
    for number in 0..TRAINING {
        assert_eq!(one_conversation(number, LONG, SHORT).run(&deployment, &customer).await.status, 200);
    }

    let asks = (0..PARALLEL).map(|number| one_conversation(number + TRAINING, LONG, LONG)).collect();
    let statuses = all_at_once(&deployment, &customer, asks).await;

    let ran = statuses.iter().filter(|status| **status == 200).count();
    let ledger = deployment.ledger(customer.account_id).await;
    assert_eq!(ledger.charges(), TRAINING + ran);
    assert!(ran > 3, "the balance was spent: {ran}");
    let shortfall = ledger.shortfall();
    assert!(shortfall <= LEAK_LIMIT + worst, "{shortfall} micro-USD were leaked");
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_ones_that_run_on_its_balance_and_then_runs() {
    const WAITING: usize = 5;
    const OUTPUT: u64 = 50;
    let deployment = Arc::new(Deployment::start(&[("CODEXAPI_LEAK_FLOOR_USD", "0")]).await);
    let asks: Vec<Ask> = (0..WAITING).map(|number| one_conversation(number, 250, OUTPUT)).collect();
    let input = asks[0].estimated_input() * INPUT_RATE;
    let (worst, cost) = (input + 250 * OUTPUT_RATE, input + OUTPUT as i64 * OUTPUT_RATE);
    // Enough for the worst case of one after all the others were charged, and never for that of two.
    let customer = deployment.customer(worst + (WAITING as i64 - 1) * cost).await;
    assert!((WAITING as i64 - 1) * cost < worst);

    let statuses = all_at_once(&deployment, &customer, asks).await;

    assert_eq!(statuses, [200; WAITING]);
    assert_eq!(deployment.balance(customer.account_id).await, worst - cost);
    assert_eq!(deployment.ledger(customer.account_id).await.shortfall(), 0);
    deployment.verify().await;
}
