//! What is charged when things go wrong: how an answer ended × what was reported → the bill.
//!
//! One pure function, so that the whole table can be read, and tested, in one place.

use codexapi_aggregates::usage::{Outcome, Usage, UsageSource};
use codexapi_aggregates::wallet::ReleaseReason;

/// How the provider's answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerEnd {
    /// In its dialect's own way: completed, incomplete, stopped, filtered, refused.
    Finished,
    /// It said that it failed, or the connection ended before it said anything final.
    Failed,
    /// We stopped reading for a client that had left.
    DrainLimit,
    /// We stopped reading because this service ends; the client is told that it pays nothing.
    CutOff,
}

/// The provider's report of usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Given(Usage),
    /// Negative, absurd or inconsistent.
    Rejected,
    Absent,
}

impl Report {
    /// The name in metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Given(usage) if usage.lacks_input() => "zero",
            Self::Given(_) => "given",
            Self::Rejected => "rejected",
            Self::Absent => "absent",
        }
    }
}

/// Everything the bill depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    pub end: AnswerEnd,
    pub report: Report,
    pub client_left: bool,
    /// Some output reached us, or the provider gave a reason to finish.
    pub delivered: bool,
    /// The output that reached us, and the input as the provider reported it before its answer ended
    /// (Anthropic's `message_start`), else as we count it.
    pub estimate: Usage,
}

/// What becomes of the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Settle { outcome: Outcome, usage_source: UsageSource, usage: Usage },
    Release(ReleaseReason),
}

pub(super) fn verdict(observed: &Observed) -> Verdict {
    let outcome = match observed.end {
        AnswerEnd::Failed | AnswerEnd::CutOff if !observed.delivered => {
            return Verdict::Release(ReleaseReason::NothingDelivered);
        }
        AnswerEnd::Failed => Outcome::UpstreamFailed,
        AnswerEnd::CutOff => Outcome::ToldFailed,
        AnswerEnd::DrainLimit => Outcome::DrainLimit,
        AnswerEnd::Finished if observed.client_left => Outcome::ClientLeft,
        AnswerEnd::Finished => Outcome::Completed,
    };
    let (usage_source, usage) = match (observed.end, observed.report) {
        // Cut off half-way, a report is of the input only; the output is what we received.
        (AnswerEnd::DrainLimit | AnswerEnd::CutOff, Report::Given(_) | Report::Absent) => {
            (UsageSource::Estimated, observed.estimate)
        }
        (AnswerEnd::Finished | AnswerEnd::Failed, Report::Given(usage)) => (UsageSource::Reported, usage),
        (AnswerEnd::Finished | AnswerEnd::Failed, Report::Absent) => {
            (UsageSource::Estimated, observed.estimate)
        }
        (_, Report::Rejected) => (UsageSource::Rejected, observed.estimate),
    };
    Verdict::Settle { outcome, usage_source, usage }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORTED: Usage = Usage {
        input: 100,
        cached_input: 40,
        cache_write_5m: 0,
        cache_write_1h: 0,
        output: 30,
        reasoning: 10,
        web_search_calls: 0,
    };

    const ESTIMATE: Usage = Usage {
        input: 90,
        cached_input: 0,
        cache_write_5m: 0,
        cache_write_1h: 0,
        output: 7,
        reasoning: 0,
        web_search_calls: 0,
    };

    fn observed(end: AnswerEnd, report: Report) -> Observed {
        Observed { end, report, client_left: false, delivered: true, estimate: ESTIMATE }
    }

    fn settled(observed: &Observed) -> (Outcome, UsageSource, Usage) {
        match verdict(observed) {
            Verdict::Settle { outcome, usage_source, usage } => (outcome, usage_source, usage),
            Verdict::Release(reason) => panic!("released: {reason:?}"),
        }
    }

    #[test]
    fn reported_usage_is_the_bill_of_every_finished_answer() {
        for (client_left, outcome) in [(false, Outcome::Completed), (true, Outcome::ClientLeft)] {
            let seen = Observed { client_left, ..observed(AnswerEnd::Finished, Report::Given(REPORTED)) };
            assert_eq!(settled(&seen), (outcome, UsageSource::Reported, REPORTED));
        }
    }

    #[test]
    fn zero_is_a_fact_and_absence_is_estimated() {
        let zero = observed(AnswerEnd::Finished, Report::Given(Usage::default()));
        assert_eq!(settled(&zero), (Outcome::Completed, UsageSource::Reported, Usage::default()));
        let absent = observed(AnswerEnd::Finished, Report::Absent);
        assert_eq!(settled(&absent), (Outcome::Completed, UsageSource::Estimated, ESTIMATE));
    }

    #[test]
    fn garbage_is_estimated_and_marked() {
        let garbage = observed(AnswerEnd::Finished, Report::Rejected);
        assert_eq!(settled(&garbage).1, UsageSource::Rejected);
        assert_eq!(settled(&garbage).2.total_tokens(), 97);
    }

    #[test]
    fn a_failure_before_any_output_charges_nothing_whatever_was_reported() {
        for report in [Report::Given(REPORTED), Report::Rejected, Report::Absent] {
            let nothing = Observed { delivered: false, ..observed(AnswerEnd::Failed, report) };
            assert_eq!(verdict(&nothing), Verdict::Release(ReleaseReason::NothingDelivered));
        }
    }

    #[test]
    fn a_failure_after_output_is_the_providers_whether_it_reports_or_not() {
        let reported = observed(AnswerEnd::Failed, Report::Given(REPORTED));
        assert_eq!(settled(&reported), (Outcome::UpstreamFailed, UsageSource::Reported, REPORTED));
        let silent = observed(AnswerEnd::Failed, Report::Absent);
        assert_eq!(settled(&silent).1, UsageSource::Estimated);
    }

    #[test]
    fn what_ends_with_the_service_is_told_to_have_failed_and_counts_what_was_received() {
        for report in [Report::Given(REPORTED), Report::Absent] {
            let cut = observed(AnswerEnd::CutOff, report);
            assert_eq!(settled(&cut), (Outcome::ToldFailed, UsageSource::Estimated, ESTIMATE));
            let nothing = Observed { delivered: false, ..cut };
            assert_eq!(verdict(&nothing), Verdict::Release(ReleaseReason::NothingDelivered));
        }
    }

    #[test]
    fn a_cut_drain_bills_what_was_received_whatever_was_reported_before() {
        for report in [Report::Given(REPORTED), Report::Absent] {
            let cut = Observed { client_left: true, ..observed(AnswerEnd::DrainLimit, report) };
            assert_eq!(settled(&cut), (Outcome::DrainLimit, UsageSource::Estimated, ESTIMATE));
        }
    }
}
