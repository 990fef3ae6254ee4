//! A client's connection that ends by itself when the client does nothing.
//!
//! Between requests it is idle for a while; once the first byte of a head is there, the whole head must follow in time,
//! however it trickles. While a request is answered, nothing is expected of the client but that it takes what is
//! written.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Times;

/// What is known of a connection's requests, to the socket and to who answers.
#[derive(Default)]
pub(super) struct Requests {
    /// How many there were, which tells one wait for a head from the next.
    begun: AtomicU64,
    /// One is being answered.
    running: AtomicBool,
    /// Who reads, while one is being answered: nothing is due then, and something is as soon as it is over.
    reader: AtomicWaker,
}

/// A request that is being answered, until this is dropped.
pub(super) struct Running(Arc<Requests>);

impl Running {
    pub fn new(requests: &Arc<Requests>) -> Self {
        requests.begun.fetch_add(1, Ordering::Relaxed);
        requests.running.store(true, Ordering::Release);
        Self(Arc::clone(requests))
    }
}

impl Requests {
    /// Whether one is being answered; if so, `context` is woken when it is no more.
    fn poll_running(&self, context: &Context<'_>) -> bool {
        self.reader.register(context.waker());
        self.running.load(Ordering::Acquire)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
        self.0.reader.wake();
    }
}

pub(super) struct Socket {
    stream: TcpStream,
    times: Times,
    requests: Arc<Requests>,
    expected: Expected,
    /// Set while something cannot be written.
    stalls: Option<Pin<Box<Sleep>>>,
}

/// The head that is waited for.
struct Expected {
    /// Requests that had begun when this wait did.
    after: u64,
    /// Something of it is there.
    begun: bool,
    until: Instant,
    due: Pin<Box<Sleep>>,
}

impl Socket {
    /// Whoever connects has something to ask: the first head is expected at once.
    pub fn new(stream: TcpStream, times: Times, requests: Arc<Requests>) -> Self {
        let until = Instant::now() + times.head;
        let expected = Expected { after: 0, begun: true, until, due: Box::pin(sleep_until(until)) };
        Self { stream, times, requests, expected, stalls: None }
    }

    /// What is expected now; after a request, that the next one begins.
    fn expected(&mut self) -> &mut Expected {
        let begun = self.requests.begun.load(Ordering::Relaxed);
        if self.expected.after != begun {
            self.expected.after = begun;
            self.expected.begun = false;
            self.expected.until = Instant::now() + self.times.idle;
        }
        &mut self.expected
    }

    fn some_has_come(&mut self) {
        let within = self.times.head;
        let expected = self.expected();
        if !expected.begun {
            expected.begun = true;
            expected.until = Instant::now() + within;
        }
    }

    fn poll_written<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalls = None;
            return polled;
        }
        let until = self.times.stalled;
        let stalls = self.stalls.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + until)));
        ready!(stalls.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl Expected {
    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if self.due.deadline() != self.until {
            self.due.as_mut().reset(self.until);
        }
        ready!(self.due.as_mut().poll(context));
        let what = if self.begun { "the head did not come in time" } else { "nothing was asked for long" };
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, what))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let before = into.filled().len();
        let polled = Pin::new(&mut socket.stream).poll_read(context, into);
        if socket.requests.poll_running(context) {
            return polled;
        }
        if polled.is_pending() {
            return socket.expected().poll_due(context).map(Err);
        }
        if into.filled().len() > before {
            socket.some_has_come();
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let polled = Pin::new(&mut socket.stream).poll_write(context, bytes);
        socket.poll_written(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let polled = Pin::new(&mut socket.stream).poll_write_vectored(context, slices);
        socket.poll_written(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let polled = Pin::new(&mut socket.stream).poll_flush(context);
        socket.poll_written(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
