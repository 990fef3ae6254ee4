//! What the book says of a moment: cards, mode, internal rates, and the quote that a hold freezes.

use super::events::{InternalWindow, ModeWindow, RateCard};
use super::tariff::{Mode, Quote, Tariff};
use super::{PriceBook, Timeline};
use crate::money::MicroUsd;
use crate::time::Timestamp;

impl PriceBook {
    /// The card in force for `model` at `now`.
    pub fn card(&self, model: &str, now: Timestamp) -> Option<&RateCard> {
        self.cards.get(model)?.iter().rev().find(|card| card.effective_at <= now)
    }

    /// Every card in force at `now`, by model name.
    pub fn cards_in_force(&self, now: Timestamp) -> impl Iterator<Item = &RateCard> {
        self.cards.keys().filter_map(move |model| self.card(model, now))
    }

    /// The mode in force at `now`: the window's that is on, else the landing of the one that was over last.
    pub fn mode(&self, now: Timestamp) -> Mode {
        match (self.modes.on(now), self.modes.over(now).next()) {
            (Some(window), _) => window.plan.mode,
            (None, Some(over)) => over.plan.landing,
            (None, None) => self.base_mode,
        }
    }

    /// The window of the mode in force, where one is on.
    pub fn mode_window(&self, now: Timestamp) -> Option<&ModeWindow> {
        self.modes.on(now)
    }

    /// The internal window that is on.
    pub fn internal_window(&self, now: Timestamp) -> Option<&InternalWindow> {
        self.internals.on(now)
    }

    pub fn modes(&self) -> &Timeline<super::events::ModePlan> {
        &self.modes
    }

    pub fn internals(&self) -> &Timeline<super::events::InternalPlan> {
        &self.internals
    }

    /// What is deducted at `now` apart from internal windows, where the operator has set it apart from what is
    /// displayed: by the card in force, a window's landing or an adjustment, whichever came last.
    pub fn internal_base(&self, model: &str, now: Timestamp) -> Option<&Tariff> {
        let card = self.card(model, now)?;
        let landed = self.internals.over(now).find_map(|window| {
            let of = window.plan.landing.iter().find(|of| of.model == model)?;
            (window.end >= card.effective_at).then_some(&of.tariff)
        });
        if landed.is_some() {
            return landed;
        }
        match self.bases.get(model) {
            Some(base) if base.counts_before(card) => Some(&base.tariff),
            Some(_) | None => card.internal.as_ref(),
        }
    }

    /// The prices a hold placed at `now` freezes; `None` where the model is not sold.
    pub fn quote(&self, model: &str, now: Timestamp) -> Option<Quote> {
        let card = self.card(model, now)?;
        let mode = self.mode(now);
        let in_window = self.internal_window(now).and_then(|window| {
            let of = window.plan.rates.iter().find(|of| of.model == model)?;
            Some((window.number, &of.tariff))
        });
        let internal = in_window.map(|(_, tariff)| tariff).or_else(|| self.internal_base(model, now));
        let shown = self.shown(card, mode);
        let (billed, display) = match internal {
            Some(internal) => (self.with_call(internal), Some(shown)),
            None => (shown, None),
        };
        Some(Quote {
            model: card.model.clone(),
            card_version: card.version,
            mode,
            internal_window: in_window.map(|(number, _)| number),
            billed,
            display,
            cost: card.cost.clone(),
        })
    }

    /// The prices of a generation that is billed as one model and served by another: what is
    /// deducted and shown is the billed model's, what the provider charges is the served one's.
    /// `None` where either is not sold.
    pub fn quote_served(&self, billed_model: &str, served_model: &str, now: Timestamp) -> Option<Quote> {
        let cost = self.cost_tariff(served_model, now)?.clone();
        Some(Quote { cost, ..self.quote(billed_model, now)? })
    }

    /// What providers charge for `served_model` at `now`; for an attempt at another model than the
    /// one the hold was quoted with.
    pub fn cost_tariff(&self, served_model: &str, now: Timestamp) -> Option<&Tariff> {
        Some(&self.card(served_model, now)?.cost)
    }

    /// Whether the surge that customers see touches the model at `now`.
    pub fn is_surging(&self, model: &str, now: Timestamp) -> bool {
        let surges = |card: &RateCard| card.surge.is_some();
        self.mode(now) == Mode::Surge && self.card(model, now).is_some_and(surges)
    }

    /// What is published of a card in a mode, the price of a call included.
    pub fn shown(&self, card: &RateCard, mode: Mode) -> Tariff {
        self.with_call(card.display_in(mode))
    }

    /// A tariff with the price of every call on top of its own.
    fn with_call(&self, tariff: &Tariff) -> Tariff {
        let mut tariff = tariff.clone();
        if self.per_call_micro != MicroUsd::ZERO {
            tariff.fees.per_call_micro += self.per_call_micro;
        }
        tariff
    }
}
