//! Ending a generation, streamed or not: from what was observed to the durable settlement.

use super::Gateway;
use super::generation::{Ended, Generation};
use super::refusal::GatewayError;
use super::told::Paid;
use super::verdict::{AnswerEnd, Observed, Report, Verdict, verdict};
use codexapi_protocols::meter::Metered;

impl Gateway {
    /// Settles or releases.
    ///
    /// # Errors
    /// Why the client may not be told that the answer is finished.
    pub(super) async fn conclude(
        &self,
        generation: &Generation,
        end: AnswerEnd,
        metered: &Metered,
        client_left: bool,
        status: Option<u16>,
        first_byte_ms: Option<u32>,
    ) -> Result<Paid, GatewayError> {
        let observed = observe(generation, end, metered, client_left);
        if end == AnswerEnd::Finished {
            self.traffic.finished(&generation.target, observed.report);
        }
        let (outcome, usage_source, usage) = match verdict(&observed) {
            Verdict::Settle { outcome, usage_source, usage } => (outcome, usage_source, usage),
            Verdict::Release(reason) => {
                self.release(generation, reason, generation.attempts_with_failed(status)).await;
                return Err(failure(end));
            }
        };
        let command = generation.settle(Ended {
            outcome,
            usage_source,
            usage,
            served_model: metered.served_model.clone(),
            provider_response_id: metered.response_id.clone(),
            status,
            first_byte_ms,
        });
        match self.settlements.settle(generation.ending(), command).await {
            Ok(settled) if end == AnswerEnd::Finished => Ok(Paid {
                charged_micro: settled.charged_micro,
                balance_micro: settled.balance_micro,
                by_plan: generation.by_plan,
            }),
            Ok(_) => Err(failure(end)),
            Err(_) => Err(GatewayError::SettlementTimedOut),
        }
    }
}

/// Why an answer that has not finished has not.
fn failure(end: AnswerEnd) -> GatewayError {
    match end {
        AnswerEnd::CutOff => GatewayError::CutOff,
        AnswerEnd::Finished | AnswerEnd::Failed | AnswerEnd::DrainLimit => GatewayError::ProviderFailed,
    }
}

fn observe(generation: &Generation, end: AnswerEnd, metered: &Metered, client_left: bool) -> Observed {
    let ceiling = generation.ceiling_tokens;
    let report = match metered.usage.as_ref().map(|report| report.check(ceiling)) {
        Some(Ok(usage)) => Report::Given(usage),
        Some(Err(rejected)) => {
            tracing::warn!(generation = %generation.id, %rejected, "a provider's usage is not believed");
            Report::Rejected
        }
        None => Report::Absent,
    };
    Observed {
        end,
        report,
        client_left,
        delivered: metered.output_started || metered.terminal.is_finished(),
        estimate: metered.estimated_usage(generation.input_tokens, ceiling),
    }
}
