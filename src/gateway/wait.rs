//! The wait for a provider's response: how long it may take, and what becomes of it when the client leaves
//! meanwhile.
//!
//! A stream begins at once, or its provider is silent: the silence that the operator allows bounds the wait for its
//! headers as it bounds every later pause. An answer that is not streamed says nothing before it is whole, however
//! long the model thinks: there the deadline alone bounds the wait.

use std::pin::pin;
use std::time::{Duration, Instant};

use super::generation::Generation;
use super::verdict::AnswerEnd;
use super::{Answer, Gateway};
use crate::upstream::SendError;
use codexapi_protocols::meter::Metered;

/// What a request that was sent came to.
type Sent = Result<reqwest::Response, SendError>;

pub(super) enum Waited {
    Sent {
        sent: Sent,
        /// When the client left, if it did.
        left_at: Option<Instant>,
    },
    /// The client has left, and nothing came within what may be spent on it.
    GivenUp,
    /// The service ends.
    CutOff,
}

/// How long a response's headers are waited for, of what is `left` until the deadline.
pub(super) fn longest_wait(generation: &Generation, streamed: bool, left: Duration) -> Duration {
    match streamed {
        true => left.min(generation.idle),
        false => left,
    }
}

impl Gateway {
    /// Waits for `sent`, and for no longer than a drain once the client has left.
    pub(super) async fn wait(
        &self,
        sent: impl Future<Output = Sent>,
        generation: &Generation,
        streamed: bool,
        answer: &mut Answer,
    ) -> Waited {
        let mut sent = pin!(sent);
        tokio::select! {
            biased;
            sent = &mut sent => return Waited::Sent { sent, left_at: None },
            () = answer.closed() => {}
            () = self.cut_off.cancelled() => return Waited::CutOff,
        }
        let left_at = Instant::now();
        let limits = self.drains.limits();
        let (longest, permission) = match streamed {
            true => (limits.longest, self.drains.begin(generation.payer)),
            false => (limits.longest_unstreamed, None),
        };
        if streamed && permission.is_none() {
            return Waited::GivenUp;
        }
        tokio::select! {
            biased;
            sent = sent => Waited::Sent { sent, left_at: Some(left_at) },
            () = tokio::time::sleep(longest) => Waited::GivenUp,
            () = self.cut_off.cancelled() => Waited::GivenUp,
        }
    }

    /// Ends a generation whose client has left before its provider said anything.
    pub(super) async fn give_up(&self, generation: &Generation) {
        let nothing = Metered::default();
        // There is nobody to be told how it went.
        let _untold = self.conclude(generation, AnswerEnd::DrainLimit, &nothing, true, None, None).await;
    }
}
