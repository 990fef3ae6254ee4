//! A proxy between the log and Postgres that can swallow the answer to a commit, or cut the line.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Only the writer's connections name themselves so.
const WRITER: &[u8] = b"codexapi event log";

/// Forwards to Postgres.
pub struct Proxy {
    pub port: u16,
    swallow: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

impl Proxy {
    pub async fn start(postgres_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let swallow = Arc::new(AtomicUsize::new(0));
        let cut = Arc::new(Notify::new());
        tokio::spawn({
            let (swallow, cut) = (Arc::clone(&swallow), Arc::clone(&cut));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(("127.0.0.1", postgres_port)).await.expect("connected");
                    tokio::spawn(forward(client, server, Arc::clone(&swallow), Arc::clone(&cut)));
                }
            }
        });
        Self { port, swallow, cut }
    }

    /// The pool of `direct`, through this proxy.
    pub async fn pool(&self, direct: &PgPool) -> PgPool {
        let options = (*direct.connect_options()).clone().port(self.port);
        PgPoolOptions::new().max_connections(8).connect_with(options).await.expect("connected")
    }

    /// Closes the writer's connection instead of passing the next answer on.
    pub fn swallow_next_answer(&self) {
        self.swallow.fetch_add(1, Ordering::SeqCst);
    }

    /// Closes the writer's connection now. Its server process, busy, does not notice.
    pub fn cut_writer(&self) {
        self.cut.notify_waiters();
    }

    /// Answers still to be swallowed.
    pub fn to_swallow(&self) -> usize {
        self.swallow.load(Ordering::SeqCst)
    }
}

/// Passes bytes on in both directions until either side closes, or an answer is to be swallowed.
async fn forward(mut client: TcpStream, mut server: TcpStream, swallow: Arc<AtomicUsize>, cut: Arc<Notify>) {
    let mut from_client = vec![0; 64 * 1024];
    let mut from_server = vec![0; 64 * 1024];
    let mut is_writer = false;
    loop {
        tokio::select! {
            () = cut.notified(), if is_writer => return,
            read = client.read(&mut from_client) => {
                let Ok(count @ 1..) = read else { return };
                is_writer |= from_client[..count].windows(WRITER.len()).any(|bytes| bytes == WRITER);
                if server.write_all(&from_client[..count]).await.is_err() { return }
            }
            read = server.read(&mut from_server) => {
                let Ok(count @ 1..) = read else { return };
                let take_one = |left: usize| left.checked_sub(1);
                if is_writer && swallow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok() {
                    return;
                }
                if client.write_all(&from_server[..count]).await.is_err() { return }
            }
        }
    }
}
