//! The service as a whole: whether it is under maintenance, and what is said of it.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::printable::shows;
use crate::time::Timestamp;

/// The one stream of the service.
pub const SERVICE_STREAM: &str = "service";

/// Characters of a maintenance message.
pub const MAX_MESSAGE_CHARS: usize = 500;

/// What clients are told to wait where no end is known, in seconds.
const RETRY_SECS: u32 = 60;

// Events

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceEvent {
    /// New requests are turned away with `message` until it is cleared, or until `until`.
    MaintenanceSet {
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        at: Timestamp,
    },
    MaintenanceCleared {
        at: Timestamp,
    },
}

// Commands

#[derive(Clone, Debug, PartialEq)]
pub enum ServiceCommand {
    SetMaintenance { message: String, until: Option<Timestamp>, now: Timestamp },
    ClearMaintenance { now: Timestamp },
}

// Refusals

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceRefusal {
    #[error("a maintenance message has 1 to {most} characters, not {got}")]
    MessageLength { got: usize, most: usize },
    #[error("a maintenance message has no control or invisible characters but ends of lines")]
    MessageHides,
    #[error("maintenance cannot end in the past")]
    EndsInThePast,
}

// State

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    maintenance: Option<Planned>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Planned {
    message: String,
    until: Option<Timestamp>,
}

/// Maintenance going on at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    pub message: String,
    pub until: Option<Timestamp>,
    /// When a client should try again, in seconds; at least 1.
    pub retry_secs: u32,
}

impl Service {
    /// The maintenance going on at `now`; it is over by itself once `until` has come.
    pub fn maintenance(&self, now: Timestamp) -> Option<Maintenance> {
        let planned = self.maintenance.as_ref()?;
        let retry_secs = planned.until.map_or(RETRY_SECS, |until| until.secs_after(now));
        let goes_on = retry_secs > 0;
        goes_on.then(|| Maintenance { message: planned.message.clone(), until: planned.until, retry_secs })
    }

    // Rules

    /// No event where nothing changes.
    pub fn decide(&self, command: ServiceCommand) -> Result<Vec<ServiceEvent>, ServiceRefusal> {
        match command {
            ServiceCommand::SetMaintenance { message, until, now } => self.set(message, until, now),
            ServiceCommand::ClearMaintenance { now } if self.maintenance(now).is_none() => Ok(vec![]),
            ServiceCommand::ClearMaintenance { now } => {
                Ok(vec![ServiceEvent::MaintenanceCleared { at: now }])
            }
        }
    }

    fn set(
        &self,
        message: String,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<ServiceEvent>, ServiceRefusal> {
        let got = message.trim().chars().count();
        if !(1..=MAX_MESSAGE_CHARS).contains(&got) {
            return Err(ServiceRefusal::MessageLength { got, most: MAX_MESSAGE_CHARS });
        }
        if !message.lines().all(shows) {
            return Err(ServiceRefusal::MessageHides);
        }
        if until.is_some_and(|until| until <= now) {
            return Err(ServiceRefusal::EndsInThePast);
        }
        let message = message.trim().to_owned();
        let planned = Planned { message, until };
        if self.maintenance.as_ref() == Some(&planned) {
            return Ok(vec![]);
        }
        let Planned { message, until } = planned;
        Ok(vec![ServiceEvent::MaintenanceSet { message, until, at: now }])
    }
}

// cqrs-es

impl DomainEvent for ServiceEvent {
    fn event_type(&self) -> String {
        match self {
            Self::MaintenanceSet { .. } => "service.maintenance_set",
            Self::MaintenanceCleared { .. } => "service.maintenance_cleared",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl Aggregate for Service {
    const TYPE: &'static str = "service";
    type Command = ServiceCommand;
    type Event = ServiceEvent;
    type Error = ServiceRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: ServiceCommand,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ServiceRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ServiceEvent) {
        self.maintenance = match event {
            ServiceEvent::MaintenanceSet { message, until, .. } => Some(Planned { message, until }),
            ServiceEvent::MaintenanceCleared { .. } => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;
    use crate::examples::second;

    fn set(message: &str, until: Option<i64>) -> ServiceCommand {
        ServiceCommand::SetMaintenance { message: message.into(), until: until.map(second), now: second(10) }
    }

    fn was_set(message: &str, until: Option<i64>) -> ServiceEvent {
        ServiceEvent::MaintenanceSet { message: message.into(), until: until.map(second), at: second(10) }
    }

    fn clear(now: i64) -> ServiceCommand {
        ServiceCommand::ClearMaintenance { now: second(now) }
    }

    async fn expect(
        given: Vec<ServiceEvent>,
        when: ServiceCommand,
        then: Result<Vec<ServiceEvent>, ServiceRefusal>,
    ) {
        let outcome = TestFramework::<Service>::with(()).given(given).when_async(when).await;
        assert_eq!(outcome.inspect_result(), then);
    }

    #[tokio::test]
    async fn maintenance_is_set_changed_and_cleared_and_saying_it_twice_changes_nothing() {
        expect(vec![], set(" Back soon. ", None), Ok(vec![was_set("Back soon.", None)])).await;
        expect(vec![was_set("Back soon.", None)], set("Back soon.", None), Ok(vec![])).await;
        let longer = Ok(vec![was_set("Back soon.", Some(60))]);
        expect(vec![was_set("Back soon.", None)], set("Back soon.", Some(60)), longer).await;
        let cleared = ServiceEvent::MaintenanceCleared { at: second(20) };
        expect(vec![was_set("Back soon.", None)], clear(20), Ok(vec![cleared.clone()])).await;
        expect(vec![was_set("Back soon.", None), cleared], clear(20), Ok(vec![])).await;
        expect(vec![], clear(20), Ok(vec![])).await;
    }

    #[tokio::test]
    async fn a_message_must_say_something_and_an_end_must_be_ahead() {
        let most = MAX_MESSAGE_CHARS;
        expect(vec![], set("  ", None), Err(ServiceRefusal::MessageLength { got: 0, most })).await;
        let long = "é".repeat(501);
        expect(vec![], set(&long, None), Err(ServiceRefusal::MessageLength { got: 501, most })).await;
        expect(vec![], set("Back \u{202e}soon.", None), Err(ServiceRefusal::MessageHides)).await;
        expect(vec![], set("Back\nsoon.", None), Ok(vec![was_set("Back\nsoon.", None)])).await;
        assert!(Service::default().decide(set(&"é".repeat(500), None)).is_ok());
        expect(vec![], set("Back soon.", Some(10)), Err(ServiceRefusal::EndsInThePast)).await;
    }

    #[test]
    fn maintenance_is_over_by_itself_at_its_end() {
        let mut service = Service::default();
        assert_eq!(service.maintenance(second(10)), None);
        service.apply(was_set("Back soon.", Some(60)));
        let going_on = service.maintenance(second(15)).unwrap();
        assert_eq!((going_on.message.as_str(), going_on.retry_secs), ("Back soon.", 45));
        assert_eq!(service.maintenance(second(60)), None);
        assert_eq!(service.decide(clear(60)), Ok(vec![]));
        service.apply(was_set("Back soon.", None));
        assert_eq!(service.maintenance(second(1_000_000)).unwrap().retry_secs, RETRY_SECS);
    }
}
