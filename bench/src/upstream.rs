//! The provider behind every contender: it reads a request whole and answers at once.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::answers::{PIECE_GAP, pieces, whole};

type Body = Either<Full<Bytes>, Channel<Bytes, Infallible>>;

/// Tells answers apart: a gateway may look at a response's id.
static NUMBER: AtomicU64 = AtomicU64::new(1);

pub async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!(
        "{}",
        serde_json::json!({ "ready": true, "baseUrl": format!("http://{}", listener.local_addr()?) })
    );
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream));
    }
}

async fn connection(stream: TcpStream) {
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    if let Err(error) = serving.await
        && !error.is_incomplete_message()
    {
        eprintln!("a connection ended: {error}");
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    if !request.uri().path().ends_with("/chat/completions") {
        let mut absent = Response::new(Either::Left(Full::from(r#"{"error":{"message":"no such path"}}"#)));
        *absent.status_mut() = StatusCode::NOT_FOUND;
        return Ok(absent);
    }
    let body = request.into_body().collect().await?.to_bytes();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let compact: bool = memchr::memmem::find(&body, br#""stream":true"#).is_some();
    let spaced: bool = memchr::memmem::find(&body, br#""stream": true"#).is_some();
    let (kind, body) = match compact || spaced {
        true => ("text/event-stream", Either::Right(streamed(number, body.len()))),
        false => ("application/json", Either::Left(Full::new(whole(number, body.len())))),
    };
    let response = Response::builder().header(CONTENT_TYPE, kind).body(body);
    Ok(response.expect("a status and a header that are sound"))
}

fn streamed(number: u64, request_bytes: usize) -> Channel<Bytes, Infallible> {
    let (mut sender, body) = Channel::new(2);
    tokio::spawn(async move {
        for (place, piece) in pieces(number, request_bytes).into_iter().enumerate() {
            if place > 0 {
                sleep(PIECE_GAP).await;
            }
            if sender.send(Frame::data(piece)).await.is_err() {
                // The other side left.
                return;
            }
        }
    });
    body
}
