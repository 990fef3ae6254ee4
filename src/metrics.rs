//! Every metric, in one table, and the listener Prometheus scrapes. Labels are closed sets, never ids.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use codexapi_projections::open_holds;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::clock;
use crate::gateway::Traffic;
use crate::listener::{self, Counted, Limits};
use crate::nodes::CommandLabels;
use crate::upstream::circuits::Standing;

/// What Prometheus reads.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections of those who read metrics, at most.
const SCRAPERS: u32 = 64;

/// Every metric of this process.
pub struct Metrics {
    registry: Registry,
    /// Requests answered, by route pattern and class of status.
    pub requests: Family<RequestLabels, Counter>,
    /// How far each read model is behind the log.
    pub projection_lag: Family<ProjectionLabels, Gauge>,
    /// Commands waiting for the log's writer.
    pub queued_commands: Gauge,
    /// Aggregates kept live in memory.
    pub live_streams: Gauge,
    /// 1 while connected.
    pub nats_connected: Gauge,
    /// Positions of the log that this node's relay has yet to publish.
    pub relay_lag: Gauge,
    /// Ended generations whose settlement is not durable yet.
    pub unfinished_settlements: Gauge,
    /// Circuits of this node: 0 closed, 1 probing, 2 open.
    pub circuits: Family<CircuitLabels, Gauge>,
    /// Requests that wait for credit that others of their wallet hold, on this node.
    pub waiting_requests: Gauge,
    /// Nodes that take each other's commands, as this one sees them.
    pub live_nodes: Gauge,
    /// Holds of all nodes that are neither settled, released nor expired, as far as the read model is.
    pub open_holds: Gauge,
    /// What Stripe told us, by what came of it.
    pub stripe_webhooks: Family<WebhookLabels, Counter>,
    /// Since this node last compared its payments with Stripe's; −1 before the first time.
    pub reconciler_age: Gauge,
    /// Payments that the reconciler brought to where Stripe had them.
    pub reconciler_gaps: Gauge,
    /// Clients' connections to this node.
    pub connections: Counted,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's pattern.
    pub route: String,
    /// `2xx`, `4xx` and so on.
    pub status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProjectionLabels {
    pub projection: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CircuitLabels {
    pub provider: String,
    /// The provider's name of it.
    pub model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabels {
    pub effect: &'static str,
}

impl RequestLabels {
    pub fn new(route: String, status: http::StatusCode) -> Self {
        let status = match status.as_u16() {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        Self { route, status }
    }
}

impl Metrics {
    /// Every metric; those of `traffic` are counted by the gateway, `commands` where they run.
    pub fn new(traffic: &Traffic, commands: &Family<CommandLabels, Counter>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("codexapi"),
            requests: Family::default(),
            projection_lag: Family::default(),
            queued_commands: Gauge::default(),
            live_streams: Gauge::default(),
            nats_connected: Gauge::default(),
            relay_lag: Gauge::default(),
            unfinished_settlements: Gauge::default(),
            circuits: Family::default(),
            waiting_requests: Gauge::default(),
            live_nodes: Gauge::default(),
            open_holds: Gauge::default(),
            stripe_webhooks: Family::default(),
            reconciler_age: Gauge::default(),
            reconciler_gaps: Gauge::default(),
            connections: Counted::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Requests answered", metrics.requests.clone());
        registry.register(
            "projection_lag_events",
            "Positions a read model is behind the event log",
            metrics.projection_lag.clone(),
        );
        registry.register(
            "event_log_queued_commands",
            "Commands waiting for the event log's writer",
            metrics.queued_commands.clone(),
        );
        registry.register(
            "event_log_live_streams",
            "Aggregates kept live in memory",
            metrics.live_streams.clone(),
        );
        registry.register(
            "relay_lag_events",
            "Positions of the event log not yet published to JetStream",
            metrics.relay_lag.clone(),
        );
        registry.register(
            "unfinished_settlements",
            "Ended generations whose settlement is not durable yet",
            metrics.unfinished_settlements.clone(),
        );
        registry.register(
            "upstream_attempts",
            "Requests sent to providers, by how they ended or that an answer began",
            traffic.attempts.clone(),
        );
        registry.register(
            "upstream_failovers",
            "Generations that went on at another provider, by the one that was left",
            traffic.failovers.clone(),
        );
        registry.register(
            "usage_reports",
            "Finished answers, by what the provider said of their usage: given, zero, absent, or rejected since it \
             cannot be true",
            traffic.usage_reports.clone(),
        );
        registry.register(
            "circuit_standing",
            "Circuits of this node: 0 closed, 1 probing, 2 open",
            metrics.circuits.clone(),
        );
        registry.register(
            "waiting_requests",
            "Requests that wait for credit that others of their wallet hold",
            metrics.waiting_requests.clone(),
        );
        registry.register(
            "live_nodes",
            "Nodes that take each other's commands, as this one sees them",
            metrics.live_nodes.clone(),
        );
        registry.register(
            "node_commands",
            "Commands of generations, by where they ran: here, forwarded to the wallet's home, instead of a home \
             that did not answer, or for another node",
            commands.clone(),
        );
        registry.register(
            "open_holds",
            "Holds of all nodes that are neither settled, released nor expired",
            metrics.open_holds.clone(),
        );
        registry.register(
            "stripe_webhooks",
            "Deliveries of Stripe's, by what came of them",
            metrics.stripe_webhooks.clone(),
        );
        registry.register(
            "reconciler_age_seconds",
            "Since this node last compared its payments with Stripe's; -1 before the first time",
            metrics.reconciler_age.clone(),
        );
        registry.register(
            "reconciler_gaps_closed",
            "Payments that this node's reconciler brought to where Stripe had them",
            metrics.reconciler_gaps.clone(),
        );
        registry.register(
            "client_connections",
            "Clients' connections to this node",
            metrics.connections.open.clone(),
        );
        registry.register(
            "client_connections_turned_away",
            "Connections closed at once, since their address had as many as it may",
            metrics.connections.turned_away.clone(),
        );
        registry.register("nats_connected", "1 while connected to NATS", metrics.nats_connected.clone());
        metrics
    }
}

/// Serves `/metrics`, and nothing else, until `stop`.
pub async fn serve(app: Arc<App>, listener: TcpListener, stop: CancellationToken) {
    let router = Router::new().route("/metrics", get(scrape)).with_state(Arc::clone(&app));
    let limits = Limits { connections: SCRAPERS, ..Limits::new(&app.config.connections, &app.config.http) };
    listener::serve(listener, router, limits, Counted::default(), stop).await;
}

fn scrape_gateway(app: &App) {
    let waiting = app.gateway.admission().waiting();
    app.metrics.waiting_requests.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    for report in app.gateway.circuits().report() {
        let labels = CircuitLabels { provider: report.key.provider, model: report.key.upstream_model };
        app.metrics.circuits.get_or_create(&labels).set(match report.standing {
            Standing::Closed => 0,
            Standing::Probing => 1,
            Standing::Open { .. } => 2,
        });
    }
}

async fn scrape(State(app): State<Arc<App>>) -> Response {
    let metrics = &app.metrics;
    metrics.queued_commands.set(i64::try_from(app.log.queued_commands()).unwrap_or(i64::MAX));
    metrics.live_streams.set(i64::try_from(app.log.cached_streams()).unwrap_or(i64::MAX));
    metrics.nats_connected.set(i64::from(app.nats_is_connected()));
    metrics.relay_lag.set(app.relay.borrow().lag());
    let unfinished = app.gateway.settlements().unfinished();
    metrics.unfinished_settlements.set(i64::try_from(unfinished).unwrap_or(i64::MAX));
    scrape_gateway(&app);
    if let Some(payments) = &app.payments {
        metrics.reconciler_age.set(payments.reconciled.age_secs(clock::now()).unwrap_or(-1));
        let gaps = payments.reconciled.gaps_closed();
        metrics.reconciler_gaps.set(i64::try_from(gaps).unwrap_or(i64::MAX));
    }
    let live_nodes = app.homes.view().borrow().nodes().len();
    metrics.live_nodes.set(i64::try_from(live_nodes).unwrap_or(i64::MAX));
    match open_holds::count(&app.pool).await {
        Ok(holds) => {
            metrics.open_holds.set(holds);
        }
        Err(error) => tracing::warn!(%error, "open holds cannot be counted"),
    }
    match app.projector.lags(&app.pool).await {
        Ok(lags) => {
            for lag in lags {
                let labels = ProjectionLabels { projection: lag.projection.clone() };
                metrics.projection_lag.get_or_create(&labels).set(lag.positions());
            }
        }
        // The other metrics are worth having while Postgres is away.
        Err(error) => tracing::warn!(%error, "the read models' lag cannot be read"),
    }
    let mut text = String::new();
    encode(&mut text, &metrics.registry).expect("writing to a string");
    ([(CONTENT_TYPE, OPENMETRICS)], text).into_response()
}
