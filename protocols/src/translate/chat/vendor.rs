//! Where providers of this dialect differ in what they take.
//!
//! A provider is told by the name of its model, because resellers serve the models of several makers under
//! one address, and it is the model's maker whose rules hold.

use crate::conversation::{Thinking, ThinkingMode};

/// Tokens of thinking (Anthropic's `budget_tokens`) up to which the effort counts as low, and as medium.
const LOW_BUDGET_TOKENS: u64 = 4_096;
const MEDIUM_BUDGET_TOKENS: u64 = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    OpenAi,
    Deepseek,
    /// Taken to speak OpenAI's dialect, with thinking that is shown and wanted back.
    Other,
}

impl Vendor {
    pub fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        if model.contains("deepseek") {
            return Self::Deepseek;
        }
        let own = model.rsplit('/').next().unwrap_or_default();
        let mut letters = own.chars();
        let numbered = letters.next() == Some('o') && letters.next().is_some_and(|c| c.is_ascii_digit());
        if numbered || ["gpt", "chatgpt", "codex"].iter().any(|name| own.starts_with(name)) {
            Self::OpenAi
        } else {
            Self::Other
        }
    }

    /// The member that limits the output.
    pub fn limit_member(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Other => "max_completion_tokens",
            Self::Deepseek => "max_tokens",
        }
    }

    /// The effort in this vendor's words; `None` leaves it to the provider.
    pub fn effort(self, thinking: &Thinking) -> Option<String> {
        if thinking.mode == Some(ThinkingMode::Disabled) {
            return Some("none".into());
        }
        let asked = thinking.effort.clone().or_else(|| thinking.budget_tokens.map(effort_of_budget))?;
        match self {
            // Deepseek maps OpenAI's words to its own.
            Self::Deepseek => Some(asked),
            Self::OpenAi | Self::Other if asked == "max" => Some("xhigh".into()),
            Self::OpenAi | Self::Other => Some(asked),
        }
    }
}

fn effort_of_budget(tokens: u64) -> String {
    let effort = if tokens <= LOW_BUDGET_TOKENS {
        "low"
    } else if tokens <= MEDIUM_BUDGET_TOKENS {
        "medium"
    } else {
        "high"
    };
    effort.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maker_of_a_model_is_told_by_its_name() {
        for (model, vendor) in [
            ("gpt-5.5", Vendor::OpenAi),
            ("openai/gpt-5.5", Vendor::OpenAi),
            ("o3-mini", Vendor::OpenAi),
            ("deepseek-v4-pro", Vendor::Deepseek),
            ("deepseek-ai/DeepSeek-V4", Vendor::Deepseek),
            ("kimi-k2.6", Vendor::Other),
            ("olmo", Vendor::Other),
            ("", Vendor::Other),
        ] {
            assert_eq!(Vendor::of(model), vendor, "{model}");
        }
    }

    #[test]
    fn a_budget_of_thinking_is_an_effort() {
        let effort = |budget_tokens| {
            let thinking = Thinking { budget_tokens: Some(budget_tokens), ..Thinking::default() };
            Vendor::OpenAi.effort(&thinking)
        };
        assert_eq!(effort(1_024).as_deref(), Some("low"));
        assert_eq!(effort(10_000).as_deref(), Some("medium"));
        assert_eq!(effort(32_000).as_deref(), Some("high"));
    }
}
