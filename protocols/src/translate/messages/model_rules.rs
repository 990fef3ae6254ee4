//! What a model behind the Messages dialect takes, told by its name.
//!
//! One dialect, several generations: a request that one model needs, the next refuses outright. Names are
//! read as `claude`, a word for the size, and a version, in any order and with any separator, because
//! resellers spell them in their own way. A Claude without a version is taken for a new one. Whatever is
//! not a Claude is taken to speak the dialect as it was first: that form every imitation knows.

/// How a request for thinking is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThinkingForm {
    /// `thinking.type` is `enabled`, with a budget in tokens.
    Budget,
    /// `thinking.type` is `adaptive`; `output_config.effort` says how much.
    Adaptive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModelRules {
    pub(super) thinking: ThinkingForm,
    /// Whether thinking can be switched off.
    pub(super) may_not_think: bool,
    /// Whether it thinks where the request says nothing of it.
    pub(super) thinks_unasked: bool,
    pub(super) has_effort: bool,
    /// Whether `xhigh` stands between `high` and `max`.
    pub(super) has_xhigh: bool,
    /// `temperature`, `top_p` and `top_k`, while it does not think.
    pub(super) takes_sampling: bool,
    /// `output_config.format`.
    pub(super) takes_schema: bool,
    /// Claude's own rules: signatures are verified, an answer cannot be begun for it, and the like.
    pub(super) is_claude: bool,
    /// Whether the conversation may end in words of the assistant, to be continued.
    pub(super) takes_prefill: bool,
}

impl ModelRules {
    pub(super) fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        let Some(at) = model.find("claude") else { return Self::first_form() };
        let name = &model[at..];
        let version = version(name).unwrap_or((5, 0));
        let adaptive = version >= (4, 6);
        let always_thinks = name.contains("mythos") || name.contains("fable");
        Self {
            thinking: if adaptive { ThinkingForm::Adaptive } else { ThinkingForm::Budget },
            may_not_think: !always_thinks,
            thinks_unasked: always_thinks || version >= (5, 0),
            has_effort: adaptive,
            has_xhigh: version >= (4, 7),
            takes_sampling: version < (4, 7),
            takes_schema: version >= (4, 5),
            is_claude: true,
            takes_prefill: !adaptive,
        }
    }

    fn first_form() -> Self {
        Self {
            thinking: ThinkingForm::Budget,
            may_not_think: true,
            thinks_unasked: false,
            has_effort: true,
            has_xhigh: false,
            takes_sampling: true,
            takes_schema: false,
            is_claude: false,
            takes_prefill: true,
        }
    }
}

/// The first number of at most two digits, and the one right after it; a date is not a version.
fn version(name: &str) -> Option<(u32, u32)> {
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let number = |word: &str| (word.len() <= 2).then(|| word.parse::<u32>().ok()).flatten();
    let major = words.find_map(number)?;
    Some((major, words.next().and_then(number).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_however_a_reseller_spells_the_name() {
        let names = [
            ("claude-opus-4-8", Some((4, 8))),
            ("claude-opus-4.8", Some((4, 8))),
            ("claude-opus-4-6-v1:0", Some((4, 6))),
            ("claude-opus-4-20250514", Some((4, 0))),
            ("claude-3-5-sonnet-20241022", Some((3, 5))),
            ("claude-haiku-4-5@20251001", Some((4, 5))),
            ("claude-fable-5", Some((5, 0))),
            ("claude-mythos-preview", None),
        ];
        for (name, expected) in names {
            assert_eq!(version(name), expected, "{name}");
        }
    }

    #[test]
    fn each_generation_is_asked_in_its_own_form() {
        let rules = ModelRules::of("anthropic/Claude-Opus-4.8");
        assert_eq!(rules.thinking, ThinkingForm::Adaptive);
        assert!(rules.has_xhigh && !rules.takes_sampling && rules.may_not_think && !rules.thinks_unasked);
        let rules = ModelRules::of("claude-sonnet-4-6");
        assert!(!rules.has_xhigh && rules.takes_sampling && rules.has_effort);
        let rules = ModelRules::of("claude-haiku-4-5");
        assert!(rules.thinking == ThinkingForm::Budget && !rules.has_effort && rules.takes_schema);
        assert!(!ModelRules::of("claude-mythos-preview").may_not_think);
        assert!(!ModelRules::of("deepseek-v4-pro").is_claude);
    }
}
