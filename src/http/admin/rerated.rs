//! Usage priced twice, side by side: as it was charged and as it would have been.

use serde::Serialize;
use utoipa::ToSchema;

use crate::rerating::{Comparison, Earned, Rerated};

/// Sums by billed model, and of all.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComparedUsage {
    /// `false` where there was more usage than one request reads: the command line prices all of it.
    complete: bool,
    models: Vec<ComparedModel>,
    total: ComparedModel,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ComparedModel {
    /// `*` for all.
    model: String,
    generations: u64,
    input_tokens: u64,
    /// What of the input was billed; the rest had been billed before in its conversation.
    billed_input_tokens: u64,
    output_tokens: u64,
    as_charged: EarnedView,
    as_proposed: EarnedView,
    /// Margin as proposed less margin as charged.
    margin_change_micro: i64,
    margin_change_usd: String,
}

/// Micro-USD, and dollars.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EarnedView {
    /// What wallets were asked for, shortfalls included; plans are sold apart.
    revenue_micro: i64,
    revenue_usd: String,
    cost_micro: i64,
    cost_usd: String,
    margin_micro: i64,
    margin_usd: String,
}

pub fn compared(comparison: &Comparison) -> ComparedUsage {
    ComparedUsage {
        complete: comparison.complete,
        models: comparison.models.iter().map(|(model, rerated)| of_model(model, rerated)).collect(),
        total: of_model("*", &comparison.total()),
    }
}

fn of_model(model: &str, rerated: &Rerated) -> ComparedModel {
    let change = rerated.as_proposed.margin_micro() - rerated.as_charged.margin_micro();
    ComparedModel {
        model: model.to_owned(),
        generations: rerated.generations,
        input_tokens: rerated.input_tokens,
        billed_input_tokens: rerated.billed_input_tokens,
        output_tokens: rerated.output_tokens,
        as_charged: earned(rerated.as_charged),
        as_proposed: earned(rerated.as_proposed),
        margin_change_micro: change.0,
        margin_change_usd: change.to_string(),
    }
}

fn earned(earned: Earned) -> EarnedView {
    EarnedView {
        revenue_micro: earned.revenue_micro.0,
        revenue_usd: earned.revenue_micro.to_string(),
        cost_micro: earned.cost_micro.0,
        cost_usd: earned.cost_micro.to_string(),
        margin_micro: earned.margin_micro().0,
        margin_usd: earned.margin_micro().to_string(),
    }
}
