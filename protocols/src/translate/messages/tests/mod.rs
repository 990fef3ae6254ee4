mod answers;
mod reading;
mod round_trips;
mod strategies;
mod streams;
mod writing;

use serde_json::Value;

use super::*;
use crate::conversation::{Conversation, Untranslatable};
use crate::translate::{AnswerContext, AnswerFrame, UpstreamModel};

const OPUS: &str = "claude-opus-4-8";

fn upstream(name: &str) -> UpstreamModel<'_> {
    UpstreamModel { name, max_output_tokens: 32_000 }
}

fn written(conversation: &Conversation) -> Value {
    write_request(conversation, &upstream(OPUS)).expect("it can be carried")
}

fn context() -> AnswerContext {
    let frame = AnswerFrame { id: "01ab".into(), model: "codex-large".into(), created_at_secs: 0 };
    AnswerContext { frame, conversation: Conversation::default() }
}

fn field_of(refusal: &Untranslatable) -> &str {
    refusal.field().unwrap_or_default()
}
