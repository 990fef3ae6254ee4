//! The operator's own tokens: nobody's wallet, and the provider's cost on record.

use codexapi_aggregates::usage::{Payer, UsageEvent};
use serde_json::json;

use super::asking::{Ask, PROTOCOLS, read};
use super::{Deployment, INPUT_COST, OPERATOR_TOKEN, OUTPUT_COST};

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_generation_has_no_wallet_and_its_cost_is_recorded() {
    let deployment = Deployment::start(&[]).await;
    for protocol in PROTOCOLS {
        for stream in [true, false] {
            let told = json!({"input_tokens": 100, "output_tokens": 20, "delta_count": 20});
            let ask = Ask::new(protocol, stream, 64, &told);
            let told = read(ask.send(&deployment, OPERATOR_TOKEN).await).await;
            assert!(told.is_success(protocol, stream), "{}", told.text);
        }
    }
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select aggregate_type, payload::text from events where aggregate_type in ('usage', 'wallet') \
         order by position",
    )
    .fetch_all(&deployment.app.pool)
    .await
    .expect("events");
    assert!(rows.iter().all(|(aggregate, _)| aggregate == "usage"), "a wallet was written: {rows:#?}");
    let settled =
        rows.iter().filter_map(|(_, payload)| match serde_json::from_str(payload).expect("an event") {
            UsageEvent::GenerationSettled(settled) => Some(*settled),
            UsageEvent::GenerationOpened { .. }
            | UsageEvent::AttemptStarted { .. }
            | UsageEvent::GenerationReleased { .. }
            | UsageEvent::ChargeReversed { .. }
            | UsageEvent::ReviewDismissed { .. } => None,
        });
    let settled: Vec<_> = settled.collect();
    assert_eq!((settled.len(), rows.len()), (6, 12));
    for generation in &settled {
        assert_eq!(generation.payer, Payer::Operator);
        assert_eq!(generation.provider_cost_micro.0, 100 * INPUT_COST + 20 * OUTPUT_COST);
        assert_eq!((generation.charged_micro.0, generation.balance_micro), (0, None));
    }
    deployment.verify().await;
}
