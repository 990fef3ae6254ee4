//! Scheduling, calling off and ending windows of both timelines, and putting on record that they are over.

use std::collections::BTreeSet;

use super::cards::check_tariff;
use super::events::{InternalPlan, ModePlan, ModelTariff, PricingEvent};
use super::tariff::Mode;
use super::timeline::Span;
use super::{MAX_MODELS, PriceBook, PricingRefusal};
use crate::time::Timestamp;

/// Seconds of a mode window where nothing else is said.
pub const DEFAULT_MODE_SECS: i64 = 60 * 60;

/// Seconds of an internal window where nothing else is said.
pub const DEFAULT_INTERNAL_SECS: i64 = 12 * 60 * 60;

impl PriceBook {
    pub(super) fn schedule_mode(
        &self,
        span: Span,
        plan: ModePlan,
        now: Timestamp,
    ) -> Result<Vec<PricingEvent>, PricingRefusal> {
        let window = self.modes.place(span, plan, now)?;
        for mode in [plan.mode, plan.landing] {
            if !self.cards_in_force(span.start).any(|card| has_rates_of(card, mode)) {
                return Err(PricingRefusal::NoRatesOfMode { mode });
            }
        }
        Ok(vec![PricingEvent::ModeWindowScheduled { window, at: now }])
    }

    pub(super) fn cancel_mode(
        &self,
        number: u32,
        now: Timestamp,
    ) -> Result<Vec<PricingEvent>, PricingRefusal> {
        self.modes.refuse_cancel(number, now)?;
        Ok(vec![PricingEvent::ModeWindowCancelled { number, at: now }])
    }

    pub(super) fn end_mode(&self, number: u32, now: Timestamp) -> Result<Vec<PricingEvent>, PricingRefusal> {
        let landing = self.modes.to_end(number, now)?.plan.landing;
        Ok(vec![PricingEvent::ModeWindowEnded { number, end: now, landing, at: now }])
    }

    pub(super) fn schedule_internal(
        &self,
        span: Span,
        plan: InternalPlan,
        now: Timestamp,
    ) -> Result<Vec<PricingEvent>, PricingRefusal> {
        for tariffs in [&plan.rates, &plan.landing] {
            let models: BTreeSet<&str> = tariffs.iter().map(|of| of.model.as_str()).collect();
            if models.len() != tariffs.len() || !(1..=MAX_MODELS).contains(&tariffs.len()) {
                return Err(PricingRefusal::BadInternalRates);
            }
            for ModelTariff { model, tariff } in tariffs {
                if !self.cards.contains_key(model) {
                    return Err(PricingRefusal::UnknownModel { model: model.clone() });
                }
                check_tariff(model, tariff)?;
            }
        }
        let window = self.internals.place(span, plan, now)?;
        Ok(vec![PricingEvent::InternalWindowScheduled { window: Box::new(window), at: now }])
    }

    pub(super) fn cancel_internal(
        &self,
        number: u32,
        now: Timestamp,
    ) -> Result<Vec<PricingEvent>, PricingRefusal> {
        self.internals.refuse_cancel(number, now)?;
        Ok(vec![PricingEvent::InternalWindowCancelled { number, at: now }])
    }

    pub(super) fn end_internal(
        &self,
        number: u32,
        now: Timestamp,
    ) -> Result<Vec<PricingEvent>, PricingRefusal> {
        let landing = self.internals.to_end(number, now)?.plan.landing.clone();
        Ok(vec![PricingEvent::InternalWindowEnded { number, end: now, landing, at: now }])
    }

    /// What has ended by itself and is not on record, in the order in which it ended.
    pub(super) fn record_ends(&self, now: Timestamp) -> Vec<PricingEvent> {
        let modes = self.modes.over(now).map(|window| {
            let landing = window.plan.landing;
            let ended =
                PricingEvent::ModeWindowEnded { number: window.number, end: window.end, landing, at: now };
            (window.end, ended)
        });
        let internals = self.internals.over(now).map(|window| {
            let (number, end, landing) = (window.number, window.end, window.plan.landing.clone());
            (end, PricingEvent::InternalWindowEnded { number, end, landing, at: now })
        });
        let mut ended: Vec<_> = modes.chain(internals).collect();
        ended.sort_by_key(|(end, _)| *end);
        ended.into_iter().map(|(_, event)| event).collect()
    }
}

fn has_rates_of(card: &super::RateCard, mode: Mode) -> bool {
    match mode {
        Mode::Standard => true,
        Mode::Surge => card.surge.is_some(),
        Mode::Reduced => card.reduced.is_some(),
    }
}
