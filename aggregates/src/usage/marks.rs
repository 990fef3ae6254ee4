//! How far a conversation has been billed, per billed model.
//!
//! A mark counts everything its prefix was billed for, by whichever generations. Each generation's
//! part can therefore be taken out of every mark that contains it: a reversed generation's input is
//! billed again, and what others paid for stays billed. The way from a mark to the generations in
//! it leads over `continues`, so that a mark stays one number however long the conversation is.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::settle::InputPrefix;
use super::{Mark, Settled};
use crate::ids::GenerationId;
use crate::time::Timestamp;

/// Marks kept per billed model.
const KEPT_MARKS: usize = 8;

/// Billed models whose marks are kept; the one not used longest goes first.
const KEPT_MODELS: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Marks(BTreeMap<String, ModelMarks>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct ModelMarks {
    marks: VecDeque<KeptMark>,
    used_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptMark {
    /// The generation that set it.
    generation_id: GenerationId,
    mark: Mark,
}

impl Marks {
    /// Tokens of `prefix` that were billed for, by the longest mark that it begins with, and who set that.
    pub fn billed_before(&self, model: &str, prefix: &InputPrefix) -> Option<(GenerationId, u64)> {
        let kept = self
            .0
            .get(model)?
            .marks
            .iter()
            .filter(|kept| prefix.digest_after(kept.mark.items) == Some(kept.mark.digest.as_str()))
            .max_by_key(|kept| (kept.mark.items, kept.mark.input_tokens))?;
        let shrunk = kept.mark.fixed_tokens.saturating_sub(prefix.fixed_tokens);
        Some((kept.generation_id, kept.mark.input_tokens.saturating_sub(shrunk)))
    }

    pub fn set(&mut self, model: String, mark: Mark, generation_id: GenerationId, at: Timestamp) {
        let known = self.0.entry(model).or_default();
        known.used_at = at;
        known.marks.retain(|old| (old.mark.items, &old.mark.digest) != (mark.items, &mark.digest));
        known.marks.push_back(KeptMark { generation_id, mark });
        if known.marks.len() > KEPT_MARKS {
            known.marks.pop_front();
        }
        if self.0.len() > KEPT_MODELS {
            let oldest = self.0.iter().min_by_key(|(_, known)| known.used_at).map(|(model, _)| model.clone());
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
    }

    /// Takes what `reversed` was billed for out of every mark that counts it; a mark with nothing
    /// left goes.
    pub fn take_back(&mut self, reversed: GenerationId, settled: &VecDeque<Settled>) {
        let by_id: HashMap<GenerationId, &Settled> =
            settled.iter().map(|settled| (settled.generation_id, settled)).collect();
        for known in self.0.values_mut() {
            for kept in &mut known.marks {
                let part = part_of(reversed, kept.generation_id, &by_id);
                kept.mark.input_tokens = kept.mark.input_tokens.saturating_sub(part);
            }
            known.marks.retain(|kept| kept.mark.input_tokens > 0);
        }
        self.0.retain(|_, known| !known.marks.is_empty());
    }
}

/// How many of the tokens in the mark that `setter` set were billed by `reversed`: at most what each
/// generation in between still found billed.
fn part_of(reversed: GenerationId, setter: GenerationId, settled: &HashMap<GenerationId, &Settled>) -> u64 {
    let (mut at, mut passed_on) = (setter, u64::MAX);
    // A generation continues an earlier one, so the way is no longer than there are generations.
    for _ in 0..settled.len() {
        let Some(generation) = settled.get(&at) else { return 0 };
        if at == reversed {
            let billed = generation.usage.total_input().saturating_sub(generation.already_billed_tokens);
            return billed.min(passed_on);
        }
        passed_on = passed_on.min(generation.already_billed_tokens);
        let Some(before) = generation.continues else { return 0 };
        at = before;
    }
    0
}
