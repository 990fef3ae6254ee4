//! Publishing and withdrawing rate cards.

use super::refusal::MOST_SCHEDULED;
use super::tariff::Tariff;
use super::{
    MAX_MODELS, MAX_MODELS_EVER, MAX_RATE, PriceBook, PricingEvent, PricingRefusal, PublishRateCard, RateCard,
};
use crate::time::Timestamp;

impl PriceBook {
    pub(super) fn publish(&self, command: PublishRateCard) -> Result<Vec<PricingEvent>, PricingRefusal> {
        let PublishRateCard {
            model,
            effective_at,
            display,
            surge,
            reduced,
            internal,
            cost,
            context_tokens,
            max_output_tokens,
            now,
        } = command;
        if !is_model_name(&model) {
            return Err(PricingRefusal::BadModelName { model });
        }
        let tariffs = [Some(&display), surge.as_ref(), reduced.as_ref(), internal.as_ref(), Some(&cost)];
        for tariff in tariffs.into_iter().flatten() {
            check_tariff(&model, tariff)?;
        }
        if context_tokens == 0 || max_output_tokens == 0 {
            return Err(PricingRefusal::NoContext { model });
        }
        let version = self.versions.get(&model).map_or(1, |version| version + 1);
        let card = RateCard {
            model,
            version,
            effective_at,
            display,
            surge,
            reduced,
            internal,
            cost,
            context_tokens,
            max_output_tokens,
        };
        if let Some(latest) = self.cards.get(&card.model).and_then(|cards| cards.last()) {
            if latest.effective_at <= effective_at && self.is_same(latest, &card) {
                return Ok(vec![]);
            }
            if latest.effective_at > effective_at {
                let (model, latest) = (card.model, latest.effective_at);
                return Err(PricingRefusal::EffectiveBeforeLatest { model, latest, effective_at });
            }
        }
        self.refuse_without_room(&card.model, now)?;
        Ok(vec![PricingEvent::RateCardPublished { card: Box::new(card), at: now }])
    }

    /// Whether the new card says what already counts from its time on. What is deducted may have been changed since
    /// the latest card, by a window's landing or an adjustment.
    fn is_same(&self, latest: &RateCard, card: &RateCard) -> bool {
        let internal = self.internal_base(&card.model, card.effective_at);
        let as_latest = RateCard {
            version: latest.version,
            effective_at: latest.effective_at,
            internal: latest.internal.clone(),
            ..card.clone()
        };
        as_latest == *latest && internal == card.internal.as_ref()
    }

    fn refuse_without_room(&self, model: &str, now: Timestamp) -> Result<(), PricingRefusal> {
        let is_new = !self.versions.contains_key(model);
        let Some(cards) = self.cards.get(model) else {
            let full = self.cards.len() >= MAX_MODELS || (is_new && self.versions.len() >= MAX_MODELS_EVER);
            return if full { Err(PricingRefusal::BookFull) } else { Ok(()) };
        };
        let scheduled = cards.iter().filter(|card| card.effective_at > now).count();
        if scheduled < MOST_SCHEDULED {
            return Ok(());
        }
        Err(PricingRefusal::TooManyScheduled { model: model.into(), most: MOST_SCHEDULED })
    }

    pub(super) fn withdraw(
        &self,
        model: String,
        now: Timestamp,
    ) -> Result<Vec<PricingEvent>, PricingRefusal> {
        if !self.cards.contains_key(&model) {
            return Err(PricingRefusal::UnknownModel { model });
        }
        Ok(vec![PricingEvent::RateCardWithdrawn { model, at: now }])
    }
}

/// Whether `name` may name a model anywhere here.
pub fn is_model_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:/".contains(c);
    (1..=100).contains(&name.len()) && name.chars().all(allowed)
}

pub(super) fn check_tariff(model: &str, tariff: &Tariff) -> Result<(), PricingRefusal> {
    if let Some(amount) = tariff.amounts().into_iter().find(|amount| !(0..=MAX_RATE).contains(amount)) {
        return Err(PricingRefusal::RateOutOfRange { amount });
    }
    let rising = tariff.tiers.windows(2).all(|pair| pair[0].threshold_tokens < pair[1].threshold_tokens);
    if rising { Ok(()) } else { Err(PricingRefusal::TiersOutOfOrder { model: model.into() }) }
}
