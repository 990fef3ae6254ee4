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

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;

use crate::conversation::{Answer, BadAnswer, Conversation, Event, ToolNames, Untranslatable};
use crate::json;
use crate::sse::Frame;
use stop::StopCutter;

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

/// A request in the provider's dialect, and what its answer needs to be carried back.
pub struct Translated {
    pub body: Bytes,
    pub back: AnswerTranslation,
}

/// Carries one answer back.
pub struct AnswerTranslation {
    client: Protocol,
    upstream: Protocol,
    names: ToolNames,
    context: AnswerContext,
}

/// Carries a streamed answer back, frame by frame.
pub struct StreamTranslation {
    reader: Reader,
    cutter: Option<StopCutter>,
    writer: Writer,
}

enum Reader {
    Responses(responses::StreamReader),
    Chat(chat::StreamReader),
    Messages(messages::StreamReader),
}

enum Writer {
    Responses(Box<responses::StreamWriter>),
    Chat(Box<chat::StreamWriter>),
    Completions(Box<completions::StreamWriter>),
    Messages(Box<messages::StreamWriter>),
}

/// Carries a request from a client's dialect to a provider's.
///
/// # Errors
/// The body is not one of the client's dialect, or asks for what the provider's cannot say.
pub fn request(
    client: Protocol,
    upstream: Protocol,
    body: &[u8],
    model: &UpstreamModel,
    frame: AnswerFrame,
) -> Result<Translated, Untranslatable> {
    let body =
        json::value(body).map_err(|error| Untranslatable::NotReadable { reason: error.to_string() })?;
    let mut conversation = match client {
        Protocol::Responses => responses::read_request(body)?,
        Protocol::Chat => chat::read_request(body)?,
        Protocol::Completions => completions::read_request(body)?,
        Protocol::Messages => messages::read_request(body)?,
    };
    let body = match upstream {
        Protocol::Responses => responses::write_request(&conversation, model)?,
        Protocol::Chat => chat::write_request(&conversation, model)?,
        Protocol::Messages => messages::write_request(&conversation, model)?,
        Protocol::Completions => unreachable!("no provider is configured with a client's dialect"),
    };
    let names = ToolNames::new(&conversation.tools);
    if client != Protocol::Completions {
        // A prompt may be large and no answer repeats it; but an echo does.
        conversation.items = Vec::new();
        conversation.instructions = Vec::new();
    }
    let context = AnswerContext { frame, conversation };
    let body = serde_json::to_vec(&body).expect("values are JSON").into();
    Ok(Translated { body, back: AnswerTranslation { client, upstream, names, context } })
}

impl AnswerTranslation {
    /// A whole answer in the client's dialect.
    ///
    /// # Errors
    /// It is not an answer of the provider's dialect.
    pub fn answer(&self, body: &[u8]) -> Result<Bytes, BadAnswer> {
        let mut answer: Answer = match self.upstream {
            Protocol::Responses => responses::read_answer(body, &self.names)?,
            Protocol::Chat => chat::read_answer(body, &self.names)?,
            Protocol::Messages => messages::read_answer(body, &self.names)?,
            Protocol::Completions => unreachable!("no provider is configured with a client's dialect"),
        };
        if self.cuts() {
            stop::cut_answer(&mut answer, &self.context.conversation.sampling.stop);
        }
        let written = match self.client {
            Protocol::Responses => responses::write_answer(&answer, &self.context),
            Protocol::Chat => chat::write_answer(&answer, &self.context),
            Protocol::Completions => completions::write_answer(&answer, &self.context),
            Protocol::Messages => messages::write_answer(&answer, &self.context),
        };
        Ok(serde_json::to_vec(&written).expect("values are JSON").into())
    }

    /// For a streamed answer.
    pub fn stream(&self) -> StreamTranslation {
        let names = self.names.clone();
        let reader = match self.upstream {
            Protocol::Responses => Reader::Responses(responses::StreamReader::new(names)),
            Protocol::Chat => Reader::Chat(chat::StreamReader::new(names)),
            Protocol::Messages => Reader::Messages(messages::StreamReader::new(names)),
            Protocol::Completions => unreachable!("no provider is configured with a client's dialect"),
        };
        let writer = match self.client {
            Protocol::Responses => Writer::Responses(Box::new(responses::StreamWriter::new(&self.context))),
            Protocol::Chat => Writer::Chat(Box::new(chat::StreamWriter::new(&self.context))),
            Protocol::Completions => {
                Writer::Completions(Box::new(completions::StreamWriter::new(&self.context)))
            }
            Protocol::Messages => Writer::Messages(Box::new(messages::StreamWriter::new(&self.context))),
        };
        let cutter = self.cuts().then(|| StopCutter::new(&self.context.conversation.sampling.stop));
        StreamTranslation { reader, cutter, writer }
    }

    /// Responses knows no stop texts: the answer is cut here.
    fn cuts(&self) -> bool {
        self.upstream == Protocol::Responses && !self.context.conversation.sampling.stop.is_empty()
    }
}

impl StreamTranslation {
    /// A provider's frame as the client's: several frames, or none.
    ///
    /// # Errors
    /// It is not a frame of the provider's dialect.
    pub fn frame(&mut self, frame: &Frame) -> Result<Bytes, BadAnswer> {
        let events = match &mut self.reader {
            Reader::Responses(reader) => reader.read(frame)?,
            Reader::Chat(reader) => reader.read(frame)?,
            Reader::Messages(reader) => reader.read(frame)?,
        };
        Ok(self.write(events))
    }

    /// What is left when the provider has closed the stream in good order.
    ///
    /// # Errors
    /// It ended before its dialect's own end.
    pub fn end(&mut self) -> Result<Bytes, BadAnswer> {
        let events = match &mut self.reader {
            Reader::Responses(reader) => reader.end()?,
            Reader::Chat(reader) => reader.end()?,
            Reader::Messages(reader) => reader.end()?,
        };
        Ok(self.write(events))
    }

    /// The number of the next frame of a Responses stream; `None` in other dialects.
    pub fn sequence_number(&self) -> Option<u64> {
        match &self.writer {
            Writer::Responses(writer) => Some(writer.sequence_number()),
            Writer::Chat(_) | Writer::Completions(_) | Writer::Messages(_) => None,
        }
    }

    /// The id the client has seen; `None` in dialects whose failures do not name it.
    pub fn response_id(&self) -> Option<&str> {
        match &self.writer {
            Writer::Responses(writer) => Some(writer.response_id()),
            Writer::Chat(_) | Writer::Completions(_) | Writer::Messages(_) => None,
        }
    }

    fn write(&mut self, events: Vec<Event>) -> Bytes {
        let mut out = Vec::new();
        for event in events {
            let mut cut = Vec::new();
            match &mut self.cutter {
                Some(cutter) => cutter.cut(event, &mut cut),
                None => cut.push(event),
            }
            for event in &cut {
                match &mut self.writer {
                    Writer::Responses(writer) => writer.write(event, &mut out),
                    Writer::Chat(writer) => writer.write(event, &mut out),
                    Writer::Completions(writer) => writer.write(event, &mut out),
                    Writer::Messages(writer) => writer.write(event, &mut out),
                }
            }
        }
        out.into()
    }
}

#[cfg(test)]
mod tests;
