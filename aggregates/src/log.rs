//! The log's own aggregate: seals, so that a removed last event or a removed stream shows.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The one stream of seals of shard 0.
pub const SEAL_STREAM: &str = "shard-0";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum LogEvent {
    /// A running hash over every event up to and including `up_to_position`.
    Sealed {
        /// The position the previous seal ended at; 0 for the first.
        after_position: i64,
        up_to_position: i64,
        /// Events covered by all seals so far, this one included.
        event_count: i64,
        /// SHA-256 running hash, lower-case hex.
        running_hash: String,
    },
}

impl DomainEvent for LogEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Sealed { .. } => "log.sealed".into(),
        }
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SealRefusal {
    #[error("the log is sealed up to {sealed}; a seal after {after} would overlap or leave a gap")]
    NotAdjacent { sealed: i64, after: i64 },
    #[error("nothing was appended after position {sealed}")]
    NothingNew { sealed: i64 },
}

/// Where the log is sealed up to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogSeals {
    pub up_to_position: i64,
    pub event_count: i64,
    pub running_hash: String,
}

impl LogSeals {
    /// Seals the next stretch; the caller has computed the running hash over it.
    pub fn seal(
        &self,
        after_position: i64,
        up_to_position: i64,
        events: i64,
        running_hash: String,
    ) -> Result<Vec<LogEvent>, SealRefusal> {
        if after_position != self.up_to_position {
            return Err(SealRefusal::NotAdjacent { sealed: self.up_to_position, after: after_position });
        }
        if up_to_position <= after_position {
            return Err(SealRefusal::NothingNew { sealed: self.up_to_position });
        }
        let event_count = self.event_count + events;
        Ok(vec![LogEvent::Sealed { after_position, up_to_position, event_count, running_hash }])
    }
}

impl Aggregate for LogSeals {
    const TYPE: &'static str = "log";
    type Command = (i64, i64, i64, String);
    type Event = LogEvent;
    type Error = SealRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        (after, up_to, events, hash): Self::Command,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), SealRefusal> {
        for event in self.seal(after, up_to, events, hash)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: LogEvent) {
        let LogEvent::Sealed { up_to_position, event_count, running_hash, .. } = event;
        *self = Self { up_to_position, event_count, running_hash };
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn sealed(after_position: i64, up_to_position: i64, event_count: i64) -> LogEvent {
        LogEvent::Sealed { after_position, up_to_position, event_count, running_hash: "ab".into() }
    }

    async fn expect(
        given: Vec<LogEvent>,
        (after, up_to, events): (i64, i64, i64),
        then: Result<Vec<LogEvent>, SealRefusal>,
    ) {
        let seal = (after, up_to, events, "ab".into());
        let outcome = TestFramework::<LogSeals>::with(()).given(given).when_async(seal).await;
        assert_eq!(outcome.inspect_result(), then);
    }

    #[tokio::test]
    async fn each_seal_begins_where_the_one_before_ended() {
        expect(vec![], (0, 10, 8), Ok(vec![sealed(0, 10, 8)])).await;
        expect(vec![sealed(0, 10, 8)], (10, 12, 2), Ok(vec![sealed(10, 12, 10)])).await;
    }

    #[tokio::test]
    async fn a_seal_neither_overlaps_nor_leaves_a_gap() {
        for after in [9, 11, 0] {
            let refusal = Err(SealRefusal::NotAdjacent { sealed: 10, after });
            expect(vec![sealed(0, 10, 8)], (after, 20, 5), refusal).await;
        }
    }

    #[tokio::test]
    async fn nothing_new_is_not_sealed() {
        expect(vec![], (0, 0, 0), Err(SealRefusal::NothingNew { sealed: 0 })).await;
        expect(vec![sealed(0, 10, 8)], (10, 10, 0), Err(SealRefusal::NothingNew { sealed: 10 })).await;
    }
}
