//! A client's legacy Completions request as a conversation of one message.

use serde_json::Value;

use super::ECHO;
use crate::conversation::{Conversation, Item, Message, Part, Role, Text, Untranslatable};
use crate::translate::chat::fields::Fields;
use crate::translate::chat::{read_limit, read_sampling, read_streaming, refuse_choices};

/// Tokens of an answer where the client names no limit, as OpenAI documents it.
pub const DEFAULT_MAX_TOKENS: u64 = 16;

/// Members that change nothing in the answer, each with the reason why it is left out. Members that
/// OpenAI does not have are left out too.
pub const DROPPED: &[(&str, &str)] = &[("user", "the caller's user, who is no business of another provider")];

const ONE_PROMPT: &str = "one text, or an array of one text";

/// Reads a request whose body is `body`.
///
/// # Errors
/// Where a member is not what OpenAI has there, or asks for what a chat model cannot give.
pub fn read_request(body: Value) -> Result<Conversation, Untranslatable> {
    let mut fields = Fields::of_body(body)?;
    refuse(&mut fields)?;
    let prompt = prompt(&mut fields)?;
    let mut conversation = Conversation {
        items: vec![Item::Message(Message {
            role: Role::User,
            parts: vec![Part::Text(Text::plain(prompt))],
        })],
        max_output_tokens: Some(read_limit(&mut fields, "max_tokens")?.unwrap_or(DEFAULT_MAX_TOKENS)),
        sampling: read_sampling(&mut fields)?,
        choices: 1,
        ..Conversation::default()
    };
    (conversation.stream, conversation.include_usage) = read_streaming(&mut fields)?;
    if fields.flag("echo")? == Some(true) {
        conversation.echo.insert(ECHO.into(), Value::Bool(true));
    }
    Ok(conversation)
}

fn refuse(fields: &mut Fields) -> Result<(), Untranslatable> {
    refuse_choices(fields, "n")?;
    refuse_choices(fields, "best_of")?;
    if fields.count("logprobs", 0)?.is_some() {
        return Err(fields.not_carried("logprobs", "it does not report probabilities; leave it out"));
    }
    if fields.map("logit_bias")?.is_some_and(|bias| !bias.is_empty()) {
        return Err(fields.not_carried("logit_bias", "its tokens are not OpenAI's; leave it out"));
    }
    if fields.text("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        let reason = "text before a suffix takes a fill-in-the-middle model; leave it out";
        return Err(fields.not_carried("suffix", reason));
    }
    Ok(())
}

fn prompt(fields: &mut Fields) -> Result<String, Untranslatable> {
    let (prompt, only) = match fields.take("prompt") {
        Some(Value::Array(mut list)) => {
            let last = list.pop();
            if list.is_empty() { (last, true) } else { (last, false) }
        }
        prompt => (prompt, true),
    };
    match prompt {
        Some(Value::String(text)) if only && text.is_empty() => {
            Err(fields.wrong("prompt", "a text that is not empty"))
        }
        Some(Value::String(text)) if only => Ok(text),
        Some(Value::String(_)) => {
            Err(fields.not_carried("prompt", "it answers one prompt at a time; send a request for each"))
        }
        Some(Value::Number(_) | Value::Array(_)) => {
            Err(fields.not_carried("prompt", "its tokens are not OpenAI's; send the prompt as text"))
        }
        _ => Err(fields.wrong("prompt", ONE_PROMPT)),
    }
}
