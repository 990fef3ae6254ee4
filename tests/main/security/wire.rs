//! Bytes over TCP, with no HTTP client in between to mend them.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::PATIENCE;
use crate::money::Deployment;

/// After this long without a byte, what has come is the whole answer of a connection that stays open.
const QUIET: Duration = Duration::from_millis(400);

/// What came back before the connection ended, or went quiet.
#[derive(Debug)]
pub struct Heard {
    pub text: String,
    pub closed: bool,
}

impl Heard {
    /// The status of each answer.
    pub fn statuses(&self) -> Vec<u16> {
        let heads = self.text.match_indices("HTTP/1.1 ").chain(self.text.match_indices("HTTP/1.0 "));
        heads.filter_map(|(at, _)| self.text.get(at + 9..at + 12)?.parse().ok()).collect()
    }
}

pub fn address(deployment: &Deployment) -> &str {
    deployment.url.strip_prefix("http://").expect("a plain address")
}

pub async fn connect(deployment: &Deployment) -> TcpStream {
    TcpStream::connect(address(deployment)).await.expect("connected")
}

/// Sends all of `bytes` and reads what comes until the other side ends the connection.
pub async fn exchange(deployment: &Deployment, bytes: &[u8]) -> Heard {
    let (mut reading, mut writing) = connect(deployment).await.into_split();
    // The answer may come, and the connection end, before all is sent.
    let sending = async {
        let sent = writing.write_all(bytes).await;
        (sent, writing)
    };
    let (heard, (sent, _writing)) = tokio::join!(read_to_end(&mut reading), sending);
    assert!(heard.closed, "an answer, or an end, in time: {heard:?}, {sent:?}");
    heard
}

/// The same for a client that is gone once it has sent all.
pub async fn send_and_leave(deployment: &Deployment, bytes: &[u8]) -> Heard {
    let mut stream = connect(deployment).await;
    let (sent, ended) = (stream.write_all(bytes).await, stream.shutdown().await);
    let heard = read_to_end(&mut stream).await;
    assert!(heard.closed, "an end in time: {heard:?}, {sent:?}, {ended:?}");
    heard
}

/// Sends all of `bytes` and leaves the connection open: what comes until it is quiet.
pub async fn converse(stream: &mut TcpStream, bytes: &[u8]) -> Heard {
    stream.write_all(bytes).await.expect("sent");
    let mut heard = Vec::new();
    let mut closed = false;
    let mut piece = vec![0; 16 * 1024];
    loop {
        let patience = if heard.is_empty() { PATIENCE } else { QUIET };
        match tokio::time::timeout(patience, stream.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => {
                closed = true;
                break;
            }
            Ok(Ok(read)) => heard.extend_from_slice(&piece[..read]),
            Err(_) => break,
        }
    }
    Heard { text: String::from_utf8_lossy(&heard).into_owned(), closed }
}

/// What comes until the other side ends the connection, in whatever way.
pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Heard {
    let mut heard = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    let reading = async {
        loop {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(read) => heard.extend_from_slice(&piece[..read]),
            }
        }
    };
    let closed = tokio::time::timeout(PATIENCE, reading).await.is_ok();
    Heard { text: String::from_utf8_lossy(&heard).into_owned(), closed }
}

/// A request that is as it should be, but for what the caller changes of it.
pub fn post(path: &str, token: &str, body: &str) -> String {
    format!("{}Content-Length: {}\r\n\r\n{body}", head(path, token), body.len())
}

/// The head of a request after which nothing follows, without its last lines.
pub fn head(path: &str, token: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n"
    )
}
