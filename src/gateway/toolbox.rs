//! What a customer's Toolbox makes of a request while a surge that customers see is on.
//!
//! `stay` changes nothing. `deepseek` puts the budget model, at its own card, in the place of a model that the surge
//! makes dearer. `pause` turns every new generation away until the surge ends.
//!
//! A customer of the budget model is told so in a header of every answer; and once in each conversation and surge in
//! the session itself, at the end of an answer that ends a turn, where a person reads along (see
//! `codexapi_protocols::notice`). What programs read is never changed.

use codexapi_aggregates::account::{Account, ToolboxChoice};
use codexapi_aggregates::pricing::tariff::{Mode, Quote};
use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook};
use codexapi_aggregates::routing::{Ask, POLICY_STREAM, Plan, RoutingPolicy};
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::usage::Payer;
use codexapi_protocols::client::has_a_reader;
use codexapi_protocols::notice::is_a_turn;

use super::begin::unavailable;
use super::refusal::GatewayError;
use super::{Gateway, Incoming};
use crate::clock;

/// The surge in force.
struct Surge {
    /// Unknown where the surge has no end by itself.
    end: Option<Timestamp>,
    /// Whether it makes the model asked for dearer.
    touches: bool,
}

/// What is said of a surge in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SurgeNotice {
    end: Option<Timestamp>,
    model: String,
}

impl SurgeNotice {
    /// The words, for headers and sessions alike: plain ASCII.
    pub fn text(&self, quote: &Quote) -> String {
        let rates = &quote.billed.rates;
        let (input, output) = (dollars(rates.input.0), dollars(rates.output.0));
        format!(
            "Surge Pricing is on{}. As your Toolbox says, this is answered by {} at ${input} / ${output} per million \
             tokens. Set the Toolbox to stay to go back to the model you asked for.",
            until(self.end),
            self.model
        )
    }

    /// Tells this surge from others.
    pub fn surge(&self) -> i64 {
        self.end.map_or(0, |end| end.0)
    }
}

/// What is said in one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// In a header.
    pub text: String,
    /// In the session, too: a person reads along and was not told yet.
    pub in_session: bool,
    surge: i64,
}

impl Gateway {
    /// What is said, and where.
    pub(super) fn notice(
        &self,
        surge: &SurgeNotice,
        quote: &Quote,
        incoming: &Incoming,
        usage_stream: &str,
    ) -> Notice {
        let told = self.told_of_surge.get(usage_stream) == Some(surge.surge());
        let in_session = !told && has_a_reader(&incoming.headers) && is_a_turn(&incoming.body);
        Notice { text: surge.text(quote), in_session, surge: surge.surge() }
    }

    /// The session of this conversation has been told.
    pub(super) fn told_of_surge(&self, usage_stream: &str, notice: &Notice) {
        self.told_of_surge.insert(usage_stream.to_owned(), notice.surge);
    }

    /// The plan that the customer's choice leaves, and what has to be said of it.
    ///
    /// # Errors
    /// The customer pauses during surges, or the budget model cannot be had.
    pub(super) async fn by_toolbox(
        &self,
        incoming: &Incoming,
        plan: Plan,
    ) -> Result<(Plan, Option<SurgeNotice>), GatewayError> {
        let Payer::Wallet { account_id } = incoming.payee.payer() else { return Ok((plan, None)) };
        let now = clock::now();
        let surge = self.log.read(BOOK_STREAM, |book: &PriceBook| {
            (book.mode(now) == Mode::Surge).then(|| Surge {
                end: book.mode_window(now).map(|window| window.end),
                touches: book.is_surging(&plan.model, now),
            })
        });
        let Some(surge) = surge.await.map_err(unavailable)? else { return Ok((plan, None)) };
        let choice = self.log.read(&account_id.to_string(), Account::toolbox).await.map_err(unavailable)?;
        match choice {
            ToolboxChoice::Stay => Ok((plan, None)),
            ToolboxChoice::Pause => Err(GatewayError::PausedBySurge {
                until: until(surge.end),
                retry_secs: surge.end.map(|end| end.secs_after(now)),
            }),
            ToolboxChoice::Deepseek if !surge.touches => Ok((plan, None)),
            ToolboxChoice::Deepseek => {
                let plan = self.budget_plan(incoming).await?;
                let notice = SurgeNotice { end: surge.end, model: plan.model.clone() };
                Ok((plan, Some(notice)))
            }
        }
    }

    async fn budget_plan(&self, incoming: &Incoming) -> Result<Plan, GatewayError> {
        let (catalog, region) = (self.providers.catalog(), self.settings.region.as_ref());
        let label = self.settings.budget_model.as_str();
        let planned = self.log.read(POLICY_STREAM, |policy: &RoutingPolicy| {
            policy.plan(catalog, &Ask { label, client: incoming.protocol, region })
        });
        planned.await.map_err(unavailable)?.map_err(|refusal| {
            tracing::warn!(%refusal, "customers have chosen a budget model that cannot be had");
            GatewayError::BudgetModelUnavailable { model: label.to_owned() }
        })
    }
}

/// ` until …`, where the end is known.
fn until(end: Option<Timestamp>) -> String {
    end.map_or(String::new(), |end| format!(" until {}", clock::rfc3339(end)))
}

/// Dollars per million tokens, with cents: 5 000 000 is `5.00`.
fn dollars(rate: i64) -> String {
    let text = codexapi_aggregates::money::MicroUsd(rate).to_string();
    let digits = text.trim_end_matches('0');
    let decimals = digits.len() - digits.find('.').map_or(digits.len(), |dot| dot + 1);
    format!("{digits}{}", "0".repeat(2_usize.saturating_sub(decimals)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_with_cents_and_with_no_more_than_they_have() {
        for (rate, text) in [(5_000_000, "5.00"), (4_500_000, "4.50"), (562_500, "0.5625"), (0, "0.00")] {
            assert_eq!(dollars(rate), text);
        }
    }
}
