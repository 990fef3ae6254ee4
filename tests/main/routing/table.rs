//! The table of what is charged when things go wrong, where the provider speaks another dialect than the client.

use futures::{StreamExt, stream};

use super::crossing::pairs;
use super::{World, name_of};
use crate::money::matrix;

const AT_A_TIME: usize = 6;

/// Every so many cases are run; `CODEXAPI_TEST_ALL` runs every one.
const SAMPLED: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn every_report_and_every_end_is_charged_alike_across_dialects() {
    let world = World::start(&[]).await;
    let step = if std::env::var_os("CODEXAPI_TEST_ALL").is_some() { 1 } else { SAMPLED };
    let mut cases = vec![];
    for (number, (client, upstream)) in pairs().filter(|(client, upstream)| client != upstream).enumerate() {
        let scene = world.scene(&[(name_of(upstream), &[])]).await;
        let sampled = matrix::cases(client, upstream).skip(number % step).step_by(step);
        cases.extend(sampled.map(|case| (case, scene.model.clone())));
    }
    stream::iter(cases)
        .for_each_concurrent(AT_A_TIME, async |(case, model)| case.runs(&world.deployment, &model).await)
        .await;
    world.deployment.verify().await;
}
