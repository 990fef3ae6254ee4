//! The line between two programs, as a small TCP proxy that can cut it, hold it up, or slow it down.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

const BUFFER_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// What is open is closed, and what comes is turned away.
    Cut,
    /// Everything stays open and nothing passes.
    Hung,
    /// Every piece waits so long, in each direction.
    Slow(Duration),
}

/// Dropping it ends it.
pub struct Link {
    port: u16,
    state: watch::Sender<State>,
    _stop: DropGuard,
}

impl Link {
    /// Forwards to a port of this machine.
    pub async fn to(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let ours = listener.local_addr()?.port();
        let (state, stop) = (watch::Sender::new(State::Open), CancellationToken::new());
        let accepting = accept(listener, port, state.subscribe(), stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
        Ok(Self { port: ours, state, _stop: stop.drop_guard() })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn accept(listener: TcpListener, port: u16, state: watch::Receiver<State>, stop: CancellationToken) {
    loop {
        // What fails to be accepted is lost like any line.
        let Ok((client, _)) = listener.accept().await else { continue };
        if *state.borrow() == State::Cut {
            continue;
        }
        let forwarding = forward(client, port, state.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(forwarding));
    }
}

async fn forward(client: TcpStream, port: u16, state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::join!(carry(from_client, to_server, state.clone()), carry(from_server, to_client, state));
}

/// Passes one direction on until its source ends, its sink is gone, or the line is cut.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = tokio::select! {
            () = cut(state.clone()) => return,
            read = from.read(&mut buffer) => read,
        };
        let count = match read {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        if !passes(&mut state).await || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    // The end of a source passes like its bytes; a sink that is gone needs no telling.
    if passes(&mut state).await {
        let _gone = to.shutdown().await;
    }
}

async fn cut(mut state: watch::Receiver<State>) {
    // `Err`: the link was dropped, which cuts it too.
    let _dropped = state.wait_for(|state| *state == State::Cut).await;
}

/// Waits until the line lets a piece through; `false` where it was cut meanwhile.
async fn passes(state: &mut watch::Receiver<State>) -> bool {
    let now = *state.borrow();
    if let State::Slow(delay) = now {
        tokio::time::sleep(delay).await;
    }
    match state.wait_for(|state| *state != State::Hung).await {
        Ok(state) => *state != State::Cut,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        port
    }

    async fn say(stream: &mut TcpStream, word: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(word).await?;
        let mut heard = vec![0; word.len()];
        stream.read_exact(&mut heard).await?;
        Ok(heard)
    }

    #[tokio::test]
    async fn a_line_passes_everything_on_until_it_is_cut() {
        let link = Link::to(echo().await).await.expect("a link");
        let mut stream = TcpStream::connect(("127.0.0.1", link.port())).await.expect("connected");
        assert_eq!(say(&mut stream, b"hello").await.expect("heard"), b"hello");
        link.set(State::Slow(Duration::from_millis(1)));
        assert_eq!(say(&mut stream, b"slow").await.expect("heard"), b"slow");
        link.set(State::Cut);
        say(&mut stream, b"lost").await.expect_err("the line is cut");
        let mut next = TcpStream::connect(("127.0.0.1", link.port())).await.expect("accepted");
        say(&mut next, b"lost").await.expect_err("what comes is turned away");
        link.set(State::Open);
        let mut again = TcpStream::connect(("127.0.0.1", link.port())).await.expect("connected");
        assert_eq!(say(&mut again, b"back").await.expect("heard"), b"back");
    }

    #[tokio::test]
    async fn a_hung_line_loses_nothing() {
        let link = Link::to(echo().await).await.expect("a link");
        let mut stream = TcpStream::connect(("127.0.0.1", link.port())).await.expect("connected");
        link.set(State::Hung);
        stream.write_all(b"later").await.expect("written");
        let mut heard = [0; 5];
        let waited = tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut heard)).await;
        waited.expect_err("nothing passes");
        link.set(State::Open);
        stream.read_exact(&mut heard).await.expect("heard");
        assert_eq!(&heard, b"later");
    }
}
