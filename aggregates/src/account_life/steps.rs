//! What can happen to an account's money, in random order.

use proptest::prelude::*;
use proptest::sample::Index;

use super::paying::Buys;
use crate::payment::{DisputeStatus, RefundStatus};
use crate::wallet::tests::properties::Step as WalletStep;

#[derive(Clone, Debug)]
pub enum Step {
    Wallet(WalletStep),
    Start(Buys),
    Paid { which: Index },
    Failed { which: Index },
    Lapsed { which: Index },
    Refund { which: Index, id: u8, status: RefundStatus },
    Dispute { which: Index, id: u8, status: DisputeStatus },
    BuyTokens { price: i64, credit: i64 },
    Switch { outside_scope: bool, past_fair_use: bool },
    Hold { input: u64, max_output: u64, in_scope: bool, node: u128 },
    SettleCovered { which: Index, cost: i64, input: u64, output: u64, insured: bool },
    ReleaseCovered { which: Index },
    ReverseCovered { which: Index },
    Wait { seconds: i64 },
}

fn wallet_step() -> impl Strategy<Value = WalletStep> {
    let which = any::<Index>;
    prop_oneof![
        2 => (1..600_i64, prop::option::of(1..800_i64))
            .prop_map(|(amount, lifetime)| WalletStep::Grant { amount, paid: false, lifetime }),
        5 => (which(), 0..160_i64).prop_map(|(which, part)| WalletStep::Settle { which, part }),
        1 => which().prop_map(|which| WalletStep::Release { which }),
        1 => which().prop_map(|which| WalletStep::Reverse { which }),
        1 => (1..300_i64).prop_map(|amount| WalletStep::Purchase { amount }),
        1 => (1..300_i64).prop_map(|amount| WalletStep::AdjustDown { amount }),
        1 => (1..4_u128).prop_map(|node| WalletStep::NodeDies { node }),
        1 => Just(WalletStep::Sweep),
    ]
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<Index>;
    let buys = prop_oneof![
        3 => (1..600_i64).prop_map(|credit| Buys::Tokens { credit }),
        2 => Just(Buys::Cash),
        2 => (0..2_usize, 1..400_u32, 1..4_u32)
            .prop_map(|(which, secs, blocks)| Buys::Plan { which, secs, blocks }),
    ];
    let refund = prop_oneof![Just(RefundStatus::Made), Just(RefundStatus::Failed)];
    let dispute = prop_oneof![
        Just(DisputeStatus::Inquiry),
        Just(DisputeStatus::Open),
        Just(DisputeStatus::Lost),
        Just(DisputeStatus::Won),
    ];
    let step = prop_oneof![
        12 => wallet_step().prop_map(Step::Wallet),
        5 => buys.prop_map(Step::Start),
        8 => which().prop_map(|which| Step::Paid { which }),
        1 => which().prop_map(|which| Step::Failed { which }),
        1 => which().prop_map(|which| Step::Lapsed { which }),
        3 => (which(), 0..3_u8, refund).prop_map(|(which, id, status)| Step::Refund { which, id, status }),
        3 => (which(), 0..2_u8, dispute).prop_map(|(which, id, status)| Step::Dispute { which, id, status }),
        2 => (1..12_000_000_i64, 1..600_i64).prop_map(|(price, credit)| Step::BuyTokens { price, credit }),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(outside_scope, past_fair_use)| Step::Switch { outside_scope, past_fair_use }),
        12 => (0..150_u64, 0..150_u64, prop::bool::weighted(0.8), 1..4_u128).prop_map(
            |(input, max_output, in_scope, node)| Step::Hold { input, max_output, in_scope, node }
        ),
        5 => (which(), 0..300_i64, 0..400_u64, 0..50_u64, prop::bool::weighted(0.1)).prop_map(
            |(which, cost, input, output, insured)| Step::SettleCovered { which, cost, input, output, insured }
        ),
        1 => which().prop_map(|which| Step::ReleaseCovered { which }),
        1 => which().prop_map(|which| Step::ReverseCovered { which }),
        5 => (0..300_i64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..140)
}
