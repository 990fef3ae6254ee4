//! Takes clients' connections, and lets none keep what it does not use.
//!
//! A head that does not come, an answer that nobody takes, and connections without number each have a limit here; a
//! body that trickles has its own in `http::arrival`. HTTP/1 alone is spoken: it has one request at a time on a
//! connection, which is what these limits count.

pub mod files;
mod places;
mod socket;

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use places::{Place, Places};
use socket::{Requests, Running, Socket};

use crate::config::{ConnectionSettings, HttpSettings};

/// The longest head of a request, and the most that is read of a body at a time. A longer head is a 431, as are more
/// than a hundred headers.
const BUFFER_BYTES: usize = 64 * 1024;

/// The pause after a connection could not be taken, for want of files mostly.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// What a listener goes by.
#[derive(Clone, Debug)]
pub struct Limits {
    pub connections: u32,
    pub connections_per_address: u32,
    /// Networks whose connections are not counted by address.
    pub trusted: Vec<IpNet>,
    pub times: Times,
}

/// What one connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub head: Duration,
    pub idle: Duration,
    pub stalled: Duration,
}

/// Connections as they are counted.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub open: Gauge,
    pub turned_away: Counter,
}

impl Limits {
    pub fn new(settings: &ConnectionSettings, http: &HttpSettings) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Self {
            connections: settings.client_connections,
            connections_per_address: settings.client_connections_per_address,
            trusted: http.trusted_proxies.clone(),
            times: Times {
                head: seconds(settings.client_head_seconds),
                idle: seconds(settings.client_idle_seconds),
                stalled: seconds(settings.client_stalled_seconds),
            },
        }
    }
}

/// Answers what comes, until `stop`, and then what is being answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    counted: Counted,
    stop: CancellationToken,
) {
    let router: Router = router.with_state(());
    let times = limits.times;
    let places = Places::new(&limits, counted);
    let connections = TaskTracker::new();
    while let Some((stream, peer, place)) = next(&listener, &places, &stop).await {
        connections.spawn(converse(stream, peer, place, times, router.clone(), stop.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection that has a place; `None` once stopped.
async fn next(
    listener: &TcpListener,
    places: &Places,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, Place)> {
    loop {
        let vacancy = stop.run_until_cancelled(places.vacancy()).await?;
        let (stream, peer) = stop.run_until_cancelled(accept(listener)).await?;
        if let Some(place) = places.take(vacancy, peer.ip()) {
            return Some((stream, peer, place));
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // That client has left already.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {
            }
            Err(error) => {
                tracing::error!(%error, "no connection can be taken at the moment");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Answers one connection's requests to its end.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    times: Times,
    router: Router,
    stop: CancellationToken,
) {
    // What is written is to leave: it is a frame that somebody waits for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection has ended before it began");
        return;
    }
    let requests = Arc::<Requests>::default();
    let socket = Socket::new(stream, times, Arc::clone(&requests));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let running = Running::new(&requests);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answering = router.clone().oneshot(request.map(Body::new));
        async move {
            let response = answering.await?;
            Ok::<_, Infallible>(response.map(|body| Answer { body, _running: running }))
        }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(BUFFER_BYTES).max_header_size(BUFFER_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    drop(place);
}

/// An answer; its request runs until this is dropped.
struct Answer {
    body: Body,
    _running: Running,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
