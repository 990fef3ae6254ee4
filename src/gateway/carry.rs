//! A streamed answer on its way to the client: its own bytes where provider and client speak one dialect, else
//! translated frame by frame.

use bytes::Bytes;
use codexapi_aggregates::usage::Protocol;
use codexapi_protocols::conversation::BadAnswer;
use codexapi_protocols::meter::Metered;
use codexapi_protocols::relabel::Relabeler;
use codexapi_protocols::sse::Frame;
use codexapi_protocols::translate::StreamTranslation;

use super::asked::Back;

pub(super) enum Carrier {
    Native(Relabeler),
    Translated(Box<StreamTranslation>),
}

impl Carrier {
    /// `label` is the client's name of the model.
    pub fn new(back: &Back, client: Protocol, label: &str) -> Self {
        match back {
            Back::Native => Self::Native(Relabeler::new(client, label)),
            Back::Translated(translation) => Self::Translated(Box::new(translation.stream())),
        }
    }

    /// A provider's frame as the client gets it; nothing where it has nothing to say to the client.
    pub fn frame(&mut self, frame: &Frame) -> Result<Bytes, BadAnswer> {
        match self {
            Self::Native(relabeler) => Ok(relabeler.frame(frame)),
            Self::Translated(translation) => translation.frame(frame),
        }
    }

    /// Whether frames that are not for the client must be seen all the same.
    pub fn wants_hidden(&self) -> bool {
        matches!(self, Self::Translated(_))
    }

    /// What is left when the provider has closed the stream in good order.
    pub fn end(&mut self) -> Result<Bytes, BadAnswer> {
        match self {
            Self::Native(_) => Ok(Bytes::new()),
            Self::Translated(translation) => translation.end(),
        }
    }

    /// The number of the next frame of a Responses stream, as the client counts.
    pub fn sequence_number(&self, metered: &Metered) -> u64 {
        match self {
            Self::Native(_) => metered.events_seen,
            Self::Translated(translation) => translation.sequence_number().unwrap_or(metered.events_seen),
        }
    }

    /// The response's id as the client has seen it.
    pub fn response_id<'a>(&'a self, metered: &'a Metered) -> Option<&'a str> {
        match self {
            Self::Native(_) => metered.response_id.as_deref(),
            Self::Translated(translation) => translation.response_id(),
        }
    }
}
