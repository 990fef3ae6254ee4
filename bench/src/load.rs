//! A closed loop: each connection sends, reads the answer to its end, checks it, and sends again.
//!
//! Every request's own time is kept, from its first byte sent to the last byte read. Requests that begin in the
//! warm-up do not count; one that begins in time is finished, and its time counts whole.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answers::{PIECES, is_ended, marks};
use crate::summary::{self, micros};

/// For one request; a contender that is slower than this does not answer.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// Bad answers of one connection after which it stops: the row is void anyway.
const MAX_ERRORS: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Plan {
    /// `http://127.0.0.1:PORT/path`
    url: String,
    /// Tokens, of which each request takes the next one.
    tokens: Vec<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: serde_json::Value,
    stream: bool,
    connections: usize,
    warmup_secs: f64,
    secs: f64,
    /// Each connection leaves so manieth of its requests once the answer begins; 0: none.
    #[serde(default)]
    abort_every: usize,
}

struct Target {
    address: String,
    path: String,
    plan: Plan,
    body: Bytes,
}

#[derive(Default)]
struct Measured {
    latencies: Vec<u32>,
    first_bytes: Vec<u32>,
    gaps: Vec<u32>,
    aborted: usize,
    errors: Vec<String>,
}

pub async fn run(input: impl Read) -> anyhow::Result<()> {
    let plan: Plan = serde_json::from_reader(input).context("the plan")?;
    ensure!(plan.connections > 0 && !plan.tokens.is_empty(), "a connection and a token are needed");
    let rest = plan.url.strip_prefix("http://").context("only http:// is measured")?;
    let (address, path) = rest.split_once('/').context("a URL has a path")?;
    let (address, path) = (address.to_owned(), format!("/{path}"));
    let body = Bytes::from(serde_json::to_vec(&plan.body)?);
    let connections = plan.connections;
    let (warm_up, counted) = (Duration::from_secs_f64(plan.warmup_secs), Duration::from_secs_f64(plan.secs));
    let target: &'static Target = Box::leak(Box::new(Target { address, path, plan, body }));
    let begins = Instant::now() + warm_up;
    let ends = begins + counted;
    let mut workers = JoinSet::new();
    for number in 0..connections {
        workers.spawn(worker(target, number, begins, ends));
    }
    let mut all = Measured::default();
    while let Some(measured) = workers.join_next().await {
        let Measured { latencies, first_bytes, gaps, aborted, errors } =
            measured.context("a connection panicked")?;
        all.latencies.extend(latencies);
        all.first_bytes.extend(first_bytes);
        all.gaps.extend(gaps);
        all.aborted += aborted;
        all.errors.extend(errors);
    }
    // Those that ended late took time of their own: the rate is over what all of it took.
    let took = begins.elapsed();
    let requests = all.latencies.len();
    println!(
        "{}",
        serde_json::json!({
            "requests": requests,
            "seconds": took.as_secs_f64(),
            "aborted": all.aborted,
            "errors": all.errors.len(),
            "firstError": all.errors.first(),
            "latencyMicros": summary::of(all.latencies),
            "firstByteMicros": summary::of(all.first_bytes),
            "gapMicros": summary::of(all.gaps),
        })
    );
    Ok(())
}

async fn worker(target: &'static Target, number: usize, begins: Instant, ends: Instant) -> Measured {
    let mut measured = Measured::default();
    let mut connection = None;
    let (mut sent, mut asked_so_far) = (number, 0);
    while Instant::now() < ends && measured.errors.len() < MAX_ERRORS {
        let token = &target.plan.tokens[sent % target.plan.tokens.len()];
        sent += target.plan.connections;
        let counts = Instant::now() >= begins;
        asked_so_far += 1;
        let leaves = target.plan.abort_every > 0 && asked_so_far % target.plan.abort_every == 0;
        let asked = timeout(LONGEST_REQUEST, ask(target, &mut connection, token, leaves)).await;
        match asked.unwrap_or_else(|_| bail_late()) {
            Ok(None) => measured.aborted += 1,
            Ok(Some(Answered { latency, first_byte, gaps })) if counts => {
                measured.latencies.push(micros(latency));
                if target.plan.stream {
                    measured.first_bytes.push(micros(first_byte));
                    measured.gaps.extend(gaps);
                }
            }
            Ok(_) => {}
            // In the warm-up, too: whatever goes wrong makes the row void.
            Err(error) => {
                connection = None;
                measured.errors.push(format!("{error:#}"));
            }
        }
    }
    measured
}

fn bail_late() -> anyhow::Result<Option<Answered>> {
    bail!("no whole answer within {LONGEST_REQUEST:?}")
}

struct Answered {
    latency: Duration,
    first_byte: Duration,
    /// Microseconds between two arrivals of a streamed answer.
    gaps: Vec<u32>,
}

/// `None` where the client `leaves` as soon as the answer begins.
async fn ask(
    target: &Target,
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    token: &str,
    leaves: bool,
) -> anyhow::Result<Option<Answered>> {
    let mut sender = match connection.take().filter(|sender| !sender.is_closed()) {
        Some(sender) => sender,
        None => connect(&target.address).await?,
    };
    sender.ready().await.context("waiting for the connection")?;
    let request = request(target, token)?;
    let started = Instant::now();
    let response = sender.send_request(request).await.context("sending")?;
    if leaves {
        // With the last sender the connection goes.
        return Ok(None);
    }
    let status = response.status();
    let mut body = response.into_body();
    let (mut read, mut first_byte, mut last, mut gaps) = (Vec::new(), None, started, Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("reading the answer")?.into_data() else { continue };
        let now = Instant::now();
        if first_byte.is_some() {
            gaps.push(micros(now - last));
        }
        first_byte.get_or_insert(now - started);
        last = now;
        read.extend_from_slice(&data);
    }
    let latency = started.elapsed();
    *connection = Some(sender);
    check(target, status, &read)?;
    Ok(Some(Answered { latency, first_byte: first_byte.unwrap_or(latency), gaps }))
}

fn check(target: &Target, status: StatusCode, body: &[u8]) -> anyhow::Result<()> {
    let shown = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    ensure!(status == StatusCode::OK, "{status}: {}", shown());
    let wanted = if target.plan.stream { PIECES } else { 1 };
    let found = marks(body);
    ensure!(found == wanted, "{found} pieces of {wanted}: {}", shown());
    ensure!(!target.plan.stream || is_ended(body), "the stream has no end");
    Ok(())
}

async fn connect(address: &str) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.context("connecting")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.context("the handshake")?;
    // How it ends is seen by who sends on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn request(target: &Target, token: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::post(&target.path)
        .header(HOST, &target.address)
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, target.body.len())
        .header(AUTHORIZATION, format!("Bearer {token}"));
    for (name, value) in &target.plan.headers {
        request = request.header(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(request.body(Full::new(target.body.clone()))?)
}
