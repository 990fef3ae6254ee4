//! Asking a wallet's home to run a command.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use codexapi_aggregates::ids::NodeIncarnation;
use http::StatusCode;
use http::header::AUTHORIZATION;

use super::command::{Answer, NodeCommand};
use super::members::{DatabaseClock, LiveNode};
use super::signed::{ANSWER_MAC, NodeKey, Signature};
use crate::tls;

/// A home that was silent or unreachable is not asked for this long.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// A larger command is not sent: a conversation of thousands of turns carries a digest of each.
pub(super) const MOST_BYTES: usize = 1024 * 1024;

const MOST_ANSWER_BYTES: u64 = 64 * 1024;

/// Connections kept open to one node.
const IDLE_CONNECTIONS: usize = 128;

pub(super) struct Remote {
    client: reqwest::Client,
    key: NodeKey,
    /// Homes that are left alone, and until when.
    silent: Mutex<HashMap<NodeIncarnation, Instant>>,
}

/// Why a home has not decided, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// It was not asked, or not heard.
    NotRun,
    /// It may have run the command, or may yet.
    Unknown,
}

impl Remote {
    pub fn new(key: NodeKey, patience: Duration) -> anyhow::Result<Self> {
        let client = tls::http_client_builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(patience)
            .connect_timeout(patience)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build()
            .context("making the client for other nodes")?;
        Ok(Self { client, key, silent: Mutex::default() })
    }

    pub async fn ask<C: NodeCommand>(
        &self,
        home: &LiveNode,
        clock: DatabaseClock,
        command: &C,
    ) -> Result<Answer<C::Done, C::Refusal>, NoAnswer> {
        if self.is_left_alone(home.incarnation) {
            return Err(NoAnswer::NotRun);
        }
        let body = match serde_json::to_vec(command) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, command = C::NAME, "a command cannot be sent");
                return Err(NoAnswer::NotRun);
            }
        };
        if body.len() > MOST_BYTES {
            return Err(NoAnswer::NotRun);
        }
        let signature = self.key.sign(home.incarnation, C::NAME, &body, clock.now());
        let sent = self
            .client
            .post(format!("http://{}/{}", home.address, C::NAME))
            .header(AUTHORIZATION, signature.header())
            .body(body)
            .send()
            .await;
        let error = match sent {
            Ok(response) => match self.read(response, &signature).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            },
            Err(error) if error.is_connect() => {
                self.leave_alone(home, &error.into());
                return Err(NoAnswer::NotRun);
            }
            Err(error) => error.into(),
        };
        self.leave_alone(home, &error);
        Err(NoAnswer::Unknown)
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        response: reqwest::Response,
        request: &Signature,
    ) -> anyhow::Result<T> {
        let status = response.status();
        ensure!(status == StatusCode::OK, "it answers {status}");
        let length = response.content_length();
        ensure!(length.is_some_and(|length| length <= MOST_ANSWER_BYTES), "an answer of {length:?} bytes");
        let mac = response.headers().get(ANSWER_MAC).and_then(|mac| mac.to_str().ok()).map(str::to_owned);
        let body: Bytes = response.bytes().await?;
        let mac = blake3::Hash::from_hex(mac.unwrap_or_default()).context("an unsigned answer")?;
        ensure!(mac == self.key.answer_mac(request, &body), "a forged answer");
        serde_json::from_slice(&body).context("an answer that cannot be read")
    }

    fn is_left_alone(&self, home: NodeIncarnation) -> bool {
        self.silent().get(&home).is_some_and(|until| Instant::now() < *until)
    }

    fn leave_alone(&self, home: &LiveNode, error: &anyhow::Error) {
        let now = Instant::now();
        let mut silent = self.silent();
        // Of the many that found out at once, one says so.
        if silent.get(&home.incarnation).is_none_or(|until| *until <= now) {
            tracing::warn!(address = home.address, error = %format!("{error:#}"), "another node does not answer");
        }
        silent.retain(|_, until| *until > now);
        silent.insert(home.incarnation, now + LEFT_ALONE);
    }

    /// Nothing done under this lock can leave the map half changed.
    fn silent(&self) -> MutexGuard<'_, HashMap<NodeIncarnation, Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
