//! Homes that do not answer: the command is decided where it was made, and whatever ran twice comes out as one.

use std::time::Duration;

use codexapi::clock;
use codexapi::commands::CommandError;
use codexapi::nodes::command::NodeCommand;
use codexapi_aggregates::ids::NodeIncarnation;
use codexapi_aggregates::wallet::WalletRefusal;
use tokio::net::TcpListener;

use super::pair::Pair;

/// Short: these homes never answer.
const BRIEFLY: Duration = Duration::from_millis(20);

/// A listener that takes connections and says nothing.
async fn silence() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_home_is_decided_for_and_may_have_decided_too() {
    let pair = Pair::start(BRIEFLY).await;
    let (_silent, address) = silence().await;
    pair.reached_at([&pair.nodes[0].address, &address]);
    let ran = pair.nodes[0].homes.run(&pair.hold()).await;
    ran.outcome.expect("held here");
    assert!(ran.elsewhere_too, "what a silent home does is not known");
    assert_eq!(pair.nodes[0].homes.ran("instead_of_home"), 1);
    assert_eq!(pair.wallet_events().await, ["wallet.credit_granted", "wallet.hold_placed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_cannot_be_reached_has_not_decided() {
    let pair = Pair::start(BRIEFLY).await;
    let (gone, address) = silence().await;
    drop(gone);
    pair.reached_at([&pair.nodes[0].address, &address]);
    let ran = pair.nodes[0].homes.run(&pair.hold()).await;
    ran.outcome.expect("held here");
    assert!(!ran.elsewhere_too);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_which_the_homes_answer_was_lost_is_found_again() {
    let pair = Pair::start(BRIEFLY).await;
    let (_silent, address) = silence().await;
    pair.reached_at([&pair.nodes[0].address, &address]);
    let hold = pair.hold();
    let placed = hold.run(&pair.nodes[1].log, None).await.expect("held at home");
    let found = pair.nodes[0].homes.run(&hold).await.outcome.expect("held before");
    assert_eq!(found, placed);
    assert_eq!(pair.wallet_events().await, ["wallet.credit_granted", "wallet.hold_placed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_the_same_generation_by_another_node_is_not_ones_own() {
    let pair = Pair::start(BRIEFLY).await;
    let hold = pair.hold();
    hold.run(&pair.nodes[1].log, None).await.expect("held");
    let mut others = hold.clone();
    others.hold.node = NodeIncarnation(clock::new_id());
    let refused = others.run(&pair.nodes[0].log, None).await.expect_err("not its own");
    let generation_id = hold.hold.generation_id;
    match refused {
        CommandError::Refused(refusal) => assert_eq!(refusal, WalletRefusal::HoldExists { generation_id }),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_of_which_the_homes_answer_was_lost_charges_once() {
    let pair = Pair::start(BRIEFLY).await;
    let (_silent, address) = silence().await;
    pair.reached_at([&pair.nodes[0].address, &address]);
    let hold = pair.hold();
    hold.run(&pair.nodes[1].log, None).await.expect("held");
    let settle = pair.settle(&hold);
    let settled = settle.run(&pair.nodes[1].log, None).await.expect("settled at home");
    let again = pair.nodes[0].homes.run(&settle).await.outcome.expect("settled before");
    assert!(again.repeated);
    assert_eq!(again.charged_micro, settled.charged_micro);
    let events = pair.wallet_events().await;
    assert_eq!(events, ["wallet.credit_granted", "wallet.hold_placed", "wallet.usage_charged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_homes_of_two_views_run_the_same_commands_at_once_and_the_books_have_each_once() {
    let pair = Pair::start(BRIEFLY).await;
    for _ in 0..20 {
        let hold = pair.hold();
        let [here, there] = &pair.nodes;
        let both = tokio::join!(hold.run(&here.log, None), hold.run(&there.log, None));
        let (here_held, there_held) = (both.0.expect("held"), both.1.expect("held"));
        assert_eq!(here_held.worst_micro, there_held.worst_micro);
        let settle = pair.settle(&hold);
        let both = tokio::join!(settle.run(&here.log, None), settle.run(&there.log, None));
        let (here_settled, there_settled) = (both.0.expect("settled"), both.1.expect("settled"));
        assert_ne!(here_settled.repeated, there_settled.repeated, "one of them was first");
        assert_eq!(here_settled.charged_micro, there_settled.charged_micro);
    }
    assert_eq!(pair.wallet_events().await.len(), 1 + 20 * 2);
}
