//! From a client's dialect to a provider's and back, where they differ. Pure.
//!
//! A request is read into a `Conversation` and written in the provider's dialect; the answer, whole or
//! streamed, is read into the model and written in the client's. What a dialect cannot say is refused or
//! dropped where it is written, by the rules that docs/translation.md lists.

pub mod chat;
pub mod completions;
pub mod messages;
pub mod responses;
pub mod stop;

use crate::conversation::Conversation;

/// What a provider's dialect wants that the client's may leave out.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamModel<'a> {
    /// The provider's name of the model.
    pub name: &'a str,
    /// Tokens; what an answer has at most where the client names no limit.
    pub max_output_tokens: u64,
}

/// What an answer in the client's dialect says of itself.
#[derive(Clone, Debug, Default)]
pub struct AnswerFrame {
    /// Hex, from which every id of the answer is made, so that ids are stable.
    pub id: String,
    /// The client's label.
    pub model: String,
    pub created_at_secs: i64,
}

/// What a writer of answers is given beside the answer.
#[derive(Clone, Debug)]
pub struct AnswerContext {
    pub frame: AnswerFrame,
    /// What was asked, for what the dialect repeats of it.
    pub conversation: Conversation,
}
