//! How much a model is to think, in the form it takes.

use serde_json::{Value, json};

use super::model_rules::{ModelRules, ThinkingForm};
use crate::conversation::{Thinking, ThinkingMode};

/// The smallest budget a provider takes, tokens.
const LEAST_BUDGET_TOKENS: u64 = 1_024;

/// What goes with a request for thinking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// Tokens.
    pub(super) max_output_tokens: u64,
    /// The choice of tools forces one to be called, which excludes thinking.
    pub(super) forced_tool: bool,
    /// The answer goes on after calls that no thinking precedes, which a budget excludes.
    pub(super) amid_unthought_calls: bool,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct WrittenThinking {
    pub(super) thinking: Option<Value>,
    pub(super) effort: Option<&'static str>,
    /// Whether the model will think, so far as the request decides.
    pub(super) is_on: bool,
}

pub(super) fn write_thinking(
    thinking: &Thinking,
    rules: &ModelRules,
    circumstances: Circumstances,
) -> WrittenThinking {
    let unwanted =
        thinking.mode == Some(ThinkingMode::Disabled) || thinking.effort.as_deref() == Some("none");
    let wanted = !unwanted && (thinking.mode.is_some() || thinking.effort.is_some());
    let would_think = wanted || (rules.thinks_unasked && !unwanted);
    let written = match rules.thinking {
        _ if circumstances.forced_tool && would_think => None,
        ThinkingForm::Adaptive => wanted.then(|| adaptive(thinking)),
        ThinkingForm::Budget => wanted.then(|| budgeted(thinking, rules, circumstances)).flatten(),
    };
    let is_on = written.is_some();
    let is_off = !is_on && (unwanted || wanted || (circumstances.forced_tool && would_think));
    let says_so = is_off && rules.may_not_think;
    WrittenThinking {
        thinking: written.or_else(|| says_so.then(|| json!({ "type": "disabled" }))),
        effort: effort(thinking, rules, is_off),
        is_on,
    }
}

fn adaptive(thinking: &Thinking) -> Value {
    match thinking.summary {
        Some(_) => json!({ "type": "adaptive", "display": "summarized" }),
        None => json!({ "type": "adaptive" }),
    }
}

/// `None` where the answer has no room for the least budget.
fn budgeted(thinking: &Thinking, rules: &ModelRules, circumstances: Circumstances) -> Option<Value> {
    if rules.is_claude && circumstances.amid_unthought_calls {
        return None;
    }
    let wished = thinking.budget_tokens.unwrap_or_else(|| budget_of(thinking.effort.as_deref()));
    let budget = wished.max(LEAST_BUDGET_TOKENS).min(circumstances.max_output_tokens.saturating_sub(1));
    (budget >= LEAST_BUDGET_TOKENS).then(|| json!({ "type": "enabled", "budget_tokens": budget }))
}

/// Tokens; each effort about twice the one below it.
fn budget_of(effort: Option<&str>) -> u64 {
    match effort {
        Some("minimal") => LEAST_BUDGET_TOKENS,
        Some("low") => 4_096,
        Some("high") => 16_384,
        Some("xhigh") => 24_576,
        Some("max") => 31_999,
        // `medium`, or none said.
        Some(_) | None => 8_192,
    }
}

/// Without thinking, more than `high` is refused.
fn effort(thinking: &Thinking, rules: &ModelRules, is_off: bool) -> Option<&'static str> {
    if !rules.has_effort {
        return None;
    }
    match thinking.effort.as_deref()? {
        "minimal" | "low" => Some("low"),
        "medium" => Some("medium"),
        "high" => Some("high"),
        "xhigh" | "max" if is_off => Some("high"),
        "xhigh" if rules.has_xhigh => Some("xhigh"),
        "xhigh" | "max" => Some("max"),
        // `none`; no other word is read.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EASY: Circumstances =
        Circumstances { max_output_tokens: 64_000, forced_tool: false, amid_unthought_calls: false };

    fn effort_of(word: &str) -> Thinking {
        Thinking { effort: Some(word.into()), ..Thinking::default() }
    }

    fn written(
        model: &str,
        thinking: &Thinking,
        circumstances: Circumstances,
    ) -> (Value, Option<&'static str>) {
        let written = write_thinking(thinking, &ModelRules::of(model), circumstances);
        (written.thinking.unwrap_or(Value::Null), written.effort)
    }

    #[test]
    fn opus_4_8_takes_every_effort_adaptively() {
        let cases = [("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high")];
        for (asked, told) in cases.into_iter().chain([("xhigh", "xhigh"), ("max", "max")]) {
            let expected = (json!({ "type": "adaptive" }), Some(told));
            assert_eq!(written("claude-opus-4-8", &effort_of(asked), EASY), expected, "{asked}");
        }
        assert_eq!(written("claude-opus-4-6", &effort_of("xhigh"), EASY).1, Some("max"));
    }

    #[test]
    fn no_effort_switches_thinking_off_and_no_word_leaves_it_to_the_provider() {
        let off = json!({ "type": "disabled" });
        for model in ["claude-opus-4-8", "claude-haiku-4-5", "deepseek-v4-pro"] {
            assert_eq!(written(model, &effort_of("none"), EASY), (off.clone(), None), "{model}");
            assert_eq!(written(model, &Thinking::default(), EASY), (Value::Null, None), "{model}");
        }
        assert_eq!(written("claude-fable-5", &effort_of("none"), EASY), (Value::Null, None));
    }

    #[test]
    fn an_older_model_gets_a_budget_below_its_limit() {
        let small = Circumstances { max_output_tokens: 3_000, ..EASY };
        let told = written("claude-haiku-4-5", &effort_of("high"), small);
        assert_eq!(told, (json!({ "type": "enabled", "budget_tokens": 2_999 }), None));
        let tiny = Circumstances { max_output_tokens: 1_024, ..EASY };
        let told = written("claude-haiku-4-5", &effort_of("high"), tiny);
        assert_eq!(told, (json!({ "type": "disabled" }), None));
    }

    #[test]
    fn a_forced_tool_or_calls_made_without_thinking_exclude_it() {
        let off = json!({ "type": "disabled" });
        let forced = Circumstances { forced_tool: true, ..EASY };
        assert_eq!(written("claude-opus-4-8", &effort_of("high"), forced), (off.clone(), Some("high")));
        assert_eq!(written("claude-opus-4-8", &Thinking::default(), forced), (Value::Null, None));
        assert_eq!(written("claude-opus-5", &Thinking::default(), forced), (off.clone(), None));
        let amid = Circumstances { amid_unthought_calls: true, ..EASY };
        assert_eq!(written("claude-haiku-4-5", &effort_of("high"), amid), (off, None));
        assert_eq!(written("claude-opus-4-8", &effort_of("high"), amid).0, json!({ "type": "adaptive" }));
    }
}
