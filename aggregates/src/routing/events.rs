//! What the operator can decide about routing, and the events of it. Who decided stands in the
//! event's metadata.

use std::fmt;
use std::str::FromStr;

use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A place where the service runs, such as `canada`: 1 to 40 lower-case letters, digits and '-'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a region has 1 to 40 lower-case letters, digits and '-'; {0:?} has not")]
pub struct NotARegion(String);

impl Region {
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Region {
    type Error = NotARegion;

    fn try_from(name: String) -> Result<Self, NotARegion> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=40).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(NotARegion(name))
        }
    }
}

impl FromStr for Region {
    type Err = NotARegion;

    fn from_str(name: &str) -> Result<Self, NotARegion> {
        name.to_owned().try_into()
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Models that are bought alike, told by how their names begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelFamily {
    Gpt,
    Claude,
    Deepseek,
}

impl ModelFamily {
    pub const ALL: [Self; 3] = [Self::Gpt, Self::Claude, Self::Deepseek];

    /// The family of a model; `None` for models that no family rule touches.
    pub fn of(model: &str) -> Option<Self> {
        // `o3` and `o4-mini` are of the family, `opus` would not be.
        let numbered =
            model.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        match model {
            _ if model.starts_with("gpt-") || numbered => Some(Self::Gpt),
            _ if model.starts_with("claude-") => Some(Self::Claude),
            _ if model.starts_with("deepseek-") => Some(Self::Deepseek),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt => "gpt",
            Self::Claude => "claude",
            Self::Deepseek => "deepseek",
        }
    }
}

/// Where a family is bought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderSource {
    /// The configured providers that sell the model, in their order.
    Configured,
    /// The signed-in Codex account.
    SignedIn,
    External {
        provider: String,
    },
}

/// Whether one of two models answers for the other. What is billed stays what the client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CrossModel {
    #[default]
    Native,
    Gpt55ViaOpus48,
    Opus48ViaGpt55,
}

/// One provider that may serve a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetRule {
    pub provider: String,
    /// The provider's name of the model; absent for the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_model: Option<String>,
    /// Its share of first attempts beside the others' weights; 0 serves only when others fail.
    pub weight: u32,
}

/// What the operator has set for one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelRule {
    pub enabled: bool,
    /// What it is shown as, and may be asked for by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Further names it may be asked for by, in alphabetical order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The longest a generation may take, every attempt included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_secs: Option<u32>,
    /// The longest a provider may say nothing in a stream, before it begins or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_secs: Option<u32>,
}

impl Default for ModelRule {
    fn default() -> Self {
        Self { enabled: true, label: None, aliases: vec![], deadline_secs: None, idle_secs: None }
    }
}

/// How providers are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthSettings {
    /// Probes are real generations at the operator's cost, so they begin only when asked for.
    pub enabled: bool,
    pub interval_secs: u32,
    pub prompt: String,
    /// Failures in a row after which a provider is avoided.
    pub failures_to_open: u32,
    /// An answer slower than this counts as a failure.
    pub latency_threshold_ms: u32,
    /// No probes until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asleep_until: Option<Timestamp>,
}

impl HealthSettings {
    /// Whether probes are due at `now`.
    pub fn is_awake(&self, now: Timestamp) -> bool {
        self.enabled && self.asleep_until.is_none_or(|until| until <= now)
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            interval_secs: 300,
            prompt: "Reply with the word OK.".into(),
            failures_to_open: 3,
            latency_threshold_ms: 30_000,
            asleep_until: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum RoutingEvent {
    /// Which providers serve a model, first to last; none leaves it to the rules below this one.
    TargetsSet {
        model: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<Region>,
        targets: Vec<TargetRule>,
        at: Timestamp,
    },
    /// Without a source the rule is gone: a region follows the global one again.
    FamilyProviderSet {
        family: ModelFamily,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<Region>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<ProviderSource>,
        at: Timestamp,
    },
    /// Without a mode the rule is gone: a region follows the global one again.
    CrossModelSet {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<Region>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<CrossModel>,
        at: Timestamp,
    },
    ModelSet {
        model: String,
        rule: ModelRule,
        at: Timestamp,
    },
    HealthSettingsSet {
        settings: HealthSettings,
        at: Timestamp,
    },
    /// Probes go on although `asleep_until` has not come.
    HealthMonitorWoken {
        at: Timestamp,
    },
}

impl DomainEvent for RoutingEvent {
    fn event_type(&self) -> String {
        match self {
            Self::TargetsSet { .. } => "routing.targets_set",
            Self::FamilyProviderSet { .. } => "routing.family_provider_set",
            Self::CrossModelSet { .. } => "routing.cross_model_set",
            Self::ModelSet { .. } => "routing.model_set",
            Self::HealthSettingsSet { .. } => "routing.health_settings_set",
            Self::HealthMonitorWoken { .. } => "routing.health_monitor_woken",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}
