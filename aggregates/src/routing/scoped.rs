//! A rule that may differ from region to region.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Region;

/// A global rule, and those of regions in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scoped<T> {
    pub global: Option<T>,
    pub regional: BTreeMap<Region, T>,
}

impl<T> Default for Scoped<T> {
    fn default() -> Self {
        Self { global: None, regional: BTreeMap::new() }
    }
}

impl<T> Scoped<T> {
    /// The rule of exactly this scope.
    pub fn get(&self, region: Option<&Region>) -> Option<&T> {
        match region {
            Some(region) => self.regional.get(region),
            None => self.global.as_ref(),
        }
    }

    /// The rules that count in a region, the nearest first.
    pub fn nearest_first(&self, region: Option<&Region>) -> impl Iterator<Item = &T> {
        region.and_then(|region| self.regional.get(region)).into_iter().chain(&self.global)
    }

    pub fn set(&mut self, region: Option<Region>, rule: Option<T>) {
        match (region, rule) {
            (None, rule) => self.global = rule,
            (Some(region), Some(rule)) => {
                self.regional.insert(region, rule);
            }
            (Some(region), None) => {
                self.regional.remove(&region);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.global.is_none() && self.regional.is_empty()
    }

    /// Every rule with its region, the global one first.
    pub fn every(&self) -> impl Iterator<Item = (Option<&Region>, &T)> {
        let global = self.global.iter().map(|rule| (None, rule));
        global.chain(self.regional.iter().map(|(region, rule)| (Some(region), rule)))
    }
}
