//! Raising or lowering internal rates by a percentage; what is displayed stays as it is.

use super::cards::check_tariff;
use super::events::{AdjustedWindow, InternalPlan, InternalWindow, ModelTariff, PricingEvent, RateCard};
use super::tariff::{Rates, Tariff, Tier};
use super::{MAX_BASIS_POINTS, MIN_BASIS_POINTS, PriceBook, PricingRefusal};
use crate::money::Rate;
use crate::time::Timestamp;

/// The whole, in basis points.
const WHOLE: i128 = 10_000;

impl PriceBook {
    /// Adjusts what is deducted: the internal base (or the display rates of the standard mode where there is none), and
    /// the rates of an internal window going on. Fees per call are no rates and stay. Refused for a model that a mode's
    /// rates are deducted for at the moment.
    pub(super) fn adjust(
        &self,
        basis_points: i32,
        models: &[String],
        now: Timestamp,
    ) -> Result<Vec<PricingEvent>, PricingRefusal> {
        if basis_points == 0 || !(MIN_BASIS_POINTS..=MAX_BASIS_POINTS).contains(&basis_points) {
            return Err(PricingRefusal::AdjustmentOutOfRange { basis_points });
        }
        if let Some(model) = models.iter().find(|model| self.card(model, now).is_none()) {
            return Err(PricingRefusal::UnknownModel { model: model.clone() });
        }
        let named = |model: &str| models.is_empty() || models.iter().any(|named| named == model);
        let cards: Vec<_> = self.cards_in_force(now).filter(|card| named(&card.model)).collect();
        if cards.is_empty() {
            return Err(PricingRefusal::NothingToAdjust);
        }
        let mode = self.mode(now);
        // Ten percent more than the standard rates may be less than the surge's.
        let by_mode = |card: &&RateCard| {
            let in_window =
                |window: &InternalWindow| window.plan.rates.iter().any(|of| of.model == card.model);
            let internal = self.internal_base(&card.model, now).is_some()
                || self.internal_window(now).is_some_and(in_window);
            !internal && card.display_in(mode) != &card.display
        };
        if let Some(card) = cards.iter().copied().find(by_mode) {
            return Err(PricingRefusal::BilledByMode { model: card.model.clone(), mode });
        }
        let adjusted = |model: &str, tariff: &Tariff| {
            let tariff = adjusted(tariff, basis_points);
            check_tariff(model, &tariff)?;
            Ok(ModelTariff { model: model.to_owned(), tariff })
        };
        let base = cards
            .iter()
            .map(|card| {
                let before = self.internal_base(&card.model, now).unwrap_or(&card.display);
                adjusted(&card.model, before)
            })
            .collect::<Result<Vec<_>, PricingRefusal>>()?;
        let replanned = |tariffs: &[ModelTariff]| {
            let of = |of: &ModelTariff| match named(&of.model) {
                true => adjusted(&of.model, &of.tariff),
                false => Ok(of.clone()),
            };
            tariffs.iter().map(of).collect::<Result<Vec<_>, PricingRefusal>>()
        };
        let window = match self.internals.on(now) {
            Some(window) => {
                let plan = InternalPlan {
                    rates: replanned(&window.plan.rates)?,
                    landing: replanned(&window.plan.landing)?,
                };
                (plan != window.plan).then_some(AdjustedWindow { number: window.number, plan })
            }
            None => None,
        };
        Ok(vec![PricingEvent::InternalRatesAdjusted { basis_points, base, window, at: now }])
    }
}

/// The tariff with every rate raised or lowered, each rounded once, half to even.
pub fn adjusted(tariff: &Tariff, basis_points: i32) -> Tariff {
    let rate = |rate: Rate| scaled(rate, basis_points);
    let rates = |rates: &Rates| Rates {
        input: rate(rates.input),
        cached_input: rates.cached_input.map(rate),
        cache_write_5m: rates.cache_write_5m.map(rate),
        cache_write_1h: rates.cache_write_1h.map(rate),
        output: rate(rates.output),
    };
    let tiers = tariff.tiers.iter().map(|tier| Tier { rates: rates(&tier.rates), ..*tier }).collect();
    Tariff { rates: rates(&tariff.rates), tiers, fees: tariff.fees }
}

/// Both factors are far from the range of i128; what leaves the range of rates is refused by whoever asked.
fn scaled(rate: Rate, basis_points: i32) -> Rate {
    let exact = i128::from(rate.0) * (WHOLE + i128::from(basis_points));
    let floor = exact.div_euclid(WHOLE);
    let rest = exact.rem_euclid(WHOLE);
    let up = rest > WHOLE / 2 || (rest == WHOLE / 2 && floor.rem_euclid(2) == 1);
    Rate(i64::try_from(floor + i128::from(up)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_scaled_exactly_and_a_half_goes_to_the_even_neighbour() {
        assert_eq!(scaled(Rate(8_000_000), 1_000), Rate(8_800_000));
        assert_eq!(scaled(Rate(45_000_000), -2_500), Rate(33_750_000));
        assert_eq!(scaled(Rate(1), 5_000), Rate(2), "1.5");
        assert_eq!(scaled(Rate(1), -5_000), Rate(0), "0.5");
        assert_eq!(scaled(Rate(3), -5_000), Rate(2), "1.5");
        assert_eq!(scaled(Rate(0), 10_000), Rate(0));
    }
}
