//! What a provider reported, in disjoint buckets.
//!
//! Providers disagree about inclusion (OpenAI's input contains the cached tokens, Anthropic's does
//! not); after the edge has parsed a report, nothing here overlaps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most tokens a bucket may hold; a report beyond it is absurd, whatever the model's context.
/// At the dearest rate a card may have, this many are still far from the range of micro-USD.
pub const MAX_TOKENS: u64 = 1_000_000_000;

/// The most calls a bucket may hold.
pub const MAX_CALLS: u64 = 10_000;

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Tokens and calls of one generation, disjoint and non-negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Input tokens that were neither read from nor written to a cache.
    pub input: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_input: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_5m: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// The part of `output` that was reasoning, where reported; never priced by itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub web_search_calls: u64,
}

impl Usage {
    /// Every input token the provider reported: the size of the context.
    pub fn total_input(&self) -> u64 {
        [self.cached_input, self.cache_write_5m, self.cache_write_1h]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    /// Whether it has no token of input, which every request has: such a report is taken for a fact, and looked at.
    pub fn lacks_input(&self) -> bool {
        self.total_input() == 0
    }

    pub fn total_tokens(&self) -> u64 {
        self.total_input().saturating_add(self.output)
    }

    /// Whether no generation can have used this: a priced bucket is over its cap. The gateway also
    /// holds it against the model's context.
    pub fn is_absurd(&self) -> bool {
        let tokens = [self.input, self.cached_input, self.cache_write_5m, self.cache_write_1h, self.output];
        tokens.into_iter().any(|bucket| bucket > MAX_TOKENS) || self.web_search_calls > MAX_CALLS
    }

    /// The same usage less `already_billed` input tokens, taken off in the order cached, cache
    /// writes, uncached: what is cheapest for the provider was most likely sent before.
    pub fn beyond(&self, already_billed: u64) -> Usage {
        let mut rest = already_billed;
        let mut take = |bucket: u64| {
            let taken = bucket.min(rest);
            rest -= taken;
            bucket - taken
        };
        let cached_input = take(self.cached_input);
        let cache_write_5m = take(self.cache_write_5m);
        let cache_write_1h = take(self.cache_write_1h);
        let input = take(self.input);
        Usage { input, cached_input, cache_write_5m, cache_write_1h, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_billed_before_comes_off_cached_then_writes_then_uncached() {
        let usage = Usage {
            input: 10,
            cached_input: 100,
            cache_write_5m: 20,
            cache_write_1h: 5,
            output: 7,
            ..Usage::default()
        };
        assert_eq!(usage.beyond(0), usage);
        assert_eq!(usage.beyond(110), Usage { cached_input: 0, cache_write_5m: 10, ..usage });
        assert_eq!(usage.beyond(1_000).total_input(), 0);
        assert_eq!(usage.beyond(1_000).output, 7);
    }
}
