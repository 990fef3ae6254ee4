//! One generation from request to settlement.
//!
//! From the hold on, a generation belongs to a task of its own and not to the client's connection: a
//! client that leaves can neither free its bill nor lose it. The handler waits for that task's
//! answer; when the client is gone, nobody waits, and the task ends what it has begun.

pub mod admission;
mod asked;
mod begin;
mod carry;
mod client;
mod conclude;
mod dispatch;
mod door;
mod drains;
mod failure;
mod generation;
mod hold;
pub mod refusal;
mod routing;
pub mod settlement;
mod stream;
mod told;
mod toolbox;
mod traffic;
mod verdict;
mod wait;
mod whole;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use bytes::Bytes;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, KeyId, NodeIncarnation};
use codexapi_aggregates::routing::{HealthSettings, Region};
use codexapi_aggregates::usage::{Payer, Protocol};
use codexapi_aggregates::wallet::WalletTerms;
use codexapi_protocols::request::ParsedRequest;
use http::HeaderMap;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::{Admission, WaitingLimits};
pub use self::door::{KeyAccess, KeyRefusal};
pub use self::drains::DrainLimits;
use self::drains::Drains;
pub use self::failure::FailureClass;
use self::refusal::{Caller, GatewayError, respond};
pub use self::routing::CheckedTarget;
use self::routing::Sticky;
pub use self::settlement::SettlementLimits;
use self::settlement::Settlements;
pub use self::traffic::{AttemptLabels, Traffic, UsageReportLabels};
use crate::event_log::EventLog;
use crate::nodes::Homes;
use crate::upstream::Providers;
use crate::upstream::circuits::Circuits;

/// How long input counts as recently sent, and so as probably cached by the provider.
const RECENT_INPUT: Duration = Duration::from_secs(300);

/// How long a conversation that pauses keeps its provider; providers forget their prompt cache sooner.
const STICKY_FOR: Duration = Duration::from_secs(3_600);

/// Conversations of which the recent input is remembered.
const RECENT_CONVERSATIONS: u64 = 100_000;

/// What the operator has set.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    pub node: NodeIncarnation,
    pub terms: WalletTerms,
    pub waiting: WaitingLimits,
    pub drain: DrainLimits,
    pub settlement: SettlementLimits,
    /// Silence after which a client is sent a sign of life.
    pub keepalive: Duration,
    /// Where this node stands, for routing by region.
    pub region: Option<Region>,
    /// Failures in a row that open a circuit on this node, in place of the policy's; 0 is never.
    pub failures_to_open: Option<u32>,
    /// The model that customers may choose during surges.
    pub budget_model: String,
    /// Keys conversation ids and input digests, so that the log says nothing about prompts.
    pub conversation_key: [u8; 32],
}

/// Serves generations.
pub struct Gateway {
    log: EventLog,
    homes: Homes,
    providers: Providers,
    circuits: Circuits,
    settings: GatewaySettings,
    admission: Arc<Admission>,
    settlements: Settlements,
    drains: Drains,
    traffic: Traffic,
    tasks: TaskTracker,
    /// What still runs is ended.
    cut_off: CancellationToken,
    /// Usage stream → estimated input tokens of its last request.
    recent_inputs: moka::sync::Cache<String, u64>,
    /// Usage stream → the target that served it last.
    sticky: moka::sync::Cache<String, Sticky>,
    /// Usage stream → the surge that its session was last told of.
    told_of_surge: moka::sync::Cache<String, i64>,
}

/// Who pays and who asks, as authenticated.
#[derive(Clone, Copy, Debug)]
pub enum Payee {
    Customer { account_id: AccountId, key_id: KeyId },
    Operator { key_id: KeyId },
}

impl Payee {
    fn payer(self) -> Payer {
        match self {
            Self::Customer { account_id, .. } => Payer::Wallet { account_id },
            Self::Operator { .. } => Payer::Operator,
        }
    }

    fn key_id(self) -> KeyId {
        match self {
            Self::Customer { key_id, .. } | Self::Operator { key_id } => key_id,
        }
    }

    fn metadata(self, request_id: &str) -> Metadata {
        let actor = match self {
            Self::Customer { account_id, .. } => format!("customer:{account_id}"),
            Self::Operator { key_id } => format!("key:{key_id}"),
        };
        Metadata { actor, request_id: Some(request_id.to_owned()), cause: None }
    }
}

/// A request for a generation, authenticated and not yet parsed.
pub struct Incoming {
    pub payee: Payee,
    pub access: Arc<KeyAccess>,
    /// Where the client is, as far as it is known.
    pub address: Option<IpAddr>,
    pub protocol: Protocol,
    pub headers: HeaderMap,
    /// Without `?`.
    pub query: Option<String>,
    pub body: Bytes,
    /// The body as it was read already, by whoever had to.
    pub parsed: Option<ParsedRequest>,
    pub request_id: String,
    pub arrived: Instant,
    /// A health check of one target, by the operator.
    pub checked: Option<CheckedTarget>,
    /// Told when the generation is held: nothing is refused at the door any more. Of a response in the
    /// background, whose refusals before are those of a request that is not streamed, whatever its body says.
    pub admitted: Option<Arc<Notify>>,
}

/// Where the answer goes; closed when the client has left.
type Answer = oneshot::Sender<Response>;

impl Gateway {
    pub fn new(
        log: EventLog,
        homes: Homes,
        providers: Providers,
        settings: GatewaySettings,
        tasks: TaskTracker,
    ) -> Self {
        let admission = Arc::new(Admission::new(settings.waiting));
        let settlements = Settlements::new(
            homes.clone(),
            settings.terms.clone(),
            settings.settlement,
            admission.clone(),
            tasks.clone(),
        );
        let recent_inputs = moka::sync::Cache::builder()
            .max_capacity(RECENT_CONVERSATIONS)
            .time_to_live(RECENT_INPUT)
            .build();
        let sticky =
            moka::sync::Cache::builder().max_capacity(RECENT_CONVERSATIONS).time_to_idle(STICKY_FOR).build();
        let told_of_surge =
            moka::sync::Cache::builder().max_capacity(RECENT_CONVERSATIONS).time_to_idle(STICKY_FOR).build();
        let drains = Drains::new(settings.drain);
        let circuits = Circuits::new(HealthSettings::default().failures_to_open);
        if let Some(failures) = settings.failures_to_open {
            circuits.always_open_after(failures);
        }
        Self {
            log,
            homes,
            providers,
            circuits,
            settings,
            admission,
            settlements,
            drains,
            traffic: Traffic::default(),
            tasks,
            cut_off: CancellationToken::new(),
            recent_inputs,
            sticky,
            told_of_surge,
        }
    }

    /// Ends what still runs: whoever listens is told so and pays nothing, and no hold is left behind.
    pub fn cut_off(&self) {
        self.cut_off.cancel();
    }

    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    pub fn settlements(&self) -> &Settlements {
        &self.settlements
    }

    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// The health of each provider as this node sees it.
    pub fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// What was sent to providers so far, counted.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Where this node stands.
    pub fn region(&self) -> Option<&Region> {
        self.settings.region.as_ref()
    }

    /// Serves one generation. Dropping the future means that the client has left.
    pub async fn serve(self: &Arc<Self>, incoming: Incoming) -> Response {
        let caller = Caller::unparsed(incoming.protocol, &incoming.headers, &incoming.request_id);
        let (answer, answered) = oneshot::channel();
        let (gateway, its_caller) = (self.clone(), caller.clone());
        // Boxed, since a task as large as this one would be copied several times on its way into the runtime.
        self.tasks.spawn(Box::pin(async move { gateway.run(incoming, its_caller, answer).await }));
        // The task always answers; it is only dropped unanswered by a panic, which is logged there.
        answered.await.unwrap_or_else(|_| respond(&GatewayError::Internal, &caller))
    }

    async fn run(&self, incoming: Incoming, caller: Caller, mut answer: Answer) {
        match self.begin(incoming, caller, &mut answer).await {
            begin::Begun::Held(held) => self.dispatch(*held, answer).await,
            begin::Begun::Refused(error, caller) => refuse(answer, &error, &caller),
            begin::Begun::ClientLeft => {}
        }
    }
}

/// Answers that the last attempt failed; how is in the answer's extensions.
fn refuse_after(answer: Answer, error: &GatewayError, caller: &Caller, class: FailureClass) {
    let mut response = respond(error, caller);
    response.extensions_mut().insert(class);
    let _client_left = answer.send(response).is_err();
}

/// Answers with an error; a client that has left hears nothing, which is as it should be.
fn refuse(answer: Answer, error: &GatewayError, caller: &Caller) {
    let _client_left = answer.send(respond(error, caller)).is_err();
}
