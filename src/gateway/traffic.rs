//! Counts of what was sent to providers, for metrics. Labels come from the configuration and the routing policy, so
//! there are as many as the operator has made.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::failure::FailureClass;
use super::verdict::Report;
use crate::upstream::Target;

/// Shared on clone.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Requests sent to providers, by how each ended or that its answer began.
    pub attempts: Family<AttemptLabels, Counter>,
    /// Generations that went on at another provider, by the one that was left.
    pub failovers: Family<ProviderLabels, Counter>,
    /// Answers that finished, by what the provider said of their usage.
    pub usage_reports: Family<UsageReportLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabels {
    pub provider: String,
    pub model: String,
    /// `answered`, `given_up`, or a failure's class.
    pub outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProviderLabels {
    pub provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UsageReportLabels {
    pub provider: String,
    /// `given`, `zero`, `absent` or `rejected`.
    pub report: &'static str,
}

impl Traffic {
    /// `failure`: `None` where the provider's answer began.
    pub(super) fn attempted(&self, target: &Target, failure: Option<FailureClass>) {
        self.ended(target, failure.map_or("answered", FailureClass::name));
    }

    /// The client left, and the provider had not answered when the wait for it was over.
    pub(super) fn given_up(&self, target: &Target) {
        self.ended(target, "given_up");
    }

    fn ended(&self, target: &Target, outcome: &'static str) {
        let labels = AttemptLabels {
            provider: target.provider.name().to_owned(),
            model: target.upstream_model.clone(),
            outcome,
        };
        self.attempts.get_or_create(&labels).inc();
    }

    pub(super) fn finished(&self, target: &Target, report: Report) {
        let labels = UsageReportLabels { provider: target.provider.name().to_owned(), report: report.name() };
        self.usage_reports.get_or_create(&labels).inc();
    }

    pub(super) fn failed_over(&self, from: &str) {
        self.failovers.get_or_create(&ProviderLabels { provider: from.to_owned() }).inc();
    }
}
