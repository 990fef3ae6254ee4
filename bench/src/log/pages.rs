//! Every report and list that customers and operators read, asked for over HTTP.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use codexapi::clock;
use serde::Serialize;

use super::business::Business;
use super::say;
use super::service::{ADMIN_TOKEN, World};
use crate::summary::{self, Summary};

const TIMES: usize = 40;
/// Of the longest exports: half a gigabyte each, where the largest customer has a million generations.
const EXPORT_TIMES: usize = 6;
/// The longest silence; an export of a million rows takes as long as it takes.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Who asks.
enum Reader {
    Operator,
    /// The one with a seventh of all generations, and another one.
    Customers,
}

/// `{user}` is the customer with a seventh of all generations; `{from}` is thirty days ago.
const PAGES: [(Reader, &str); 22] = [
    (Reader::Operator, "/admin-api/v1/billing"),
    (Reader::Operator, "/admin-api/v1/billing?limit=200"),
    (Reader::Operator, "/admin-api/v1/users"),
    (Reader::Operator, "/admin-api/v1/users?limit=200"),
    (Reader::Operator, "/admin-api/v1/users/{user}/wallet/transactions?limit=200"),
    (Reader::Operator, "/admin-api/v1/model-usage"),
    (Reader::Operator, "/admin-api/v1/model-usage?from={from}"),
    (Reader::Operator, "/admin-api/v1/model-usage?from={from}&timezone=Asia/Kathmandu"),
    (Reader::Operator, "/admin-api/v1/serving-usage?family=claude&from={from}"),
    (Reader::Operator, "/admin-api/v1/serving-usage?family=gpt&from={from}"),
    (Reader::Operator, "/admin-api/v1/queue"),
    (Reader::Operator, "/admin-api/v1/payments"),
    (Reader::Operator, "/admin-api/v1/models"),
    (Reader::Operator, "/admin-api/v1/manage-models"),
    (Reader::Customers, "/api/v1/me"),
    (Reader::Customers, "/api/v1/key"),
    (Reader::Customers, "/api/v1/generations"),
    (Reader::Customers, "/api/v1/generations?limit=200"),
    (Reader::Customers, "/api/v1/billing/token-usage"),
    (Reader::Customers, "/api/v1/billing/token-usage?from={from}&timezone=America/New_York"),
    (Reader::Customers, "/api/v1/billing/statement?from={from}"),
    (Reader::Customers, "/api/v1/wallet/status"),
];

/// Written as it is read, however long it is: what counts is the longest wait for more of it.
const EXPORT: &str = "/api/v1/billing/statement";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    path: String,
    bytes: usize,
    micros: Option<Summary>,
}

pub async fn measure(world: &World, business: &Business) -> anyhow::Result<Vec<Page>> {
    let http = codexapi::tls::http_client_builder().read_timeout(READ_TIMEOUT).build()?;
    let now =
        chrono::DateTime::from_timestamp_micros(clock::now().0).context("a time beyond the calendar")?;
    let from = now.date_naive() - chrono::Days::new(30);
    let user = business.customers[0].account_id.to_string();
    let mut pages = vec![];
    for (reader, path) in PAGES {
        let asked = path.replace("{user}", &user).replace("{from}", &from.to_string());
        let tokens = match reader {
            Reader::Operator => vec![ADMIN_TOKEN],
            Reader::Customers => vec![&*business.customers[0].token, &*business.customers[1].token],
        };
        let export = path.starts_with(EXPORT);
        let (mut times, mut bytes) = (vec![], 0);
        for number in 0..if export { EXPORT_TIMES } else { TIMES } {
            let token = tokens[number % tokens.len()];
            let started = Instant::now();
            let mut answer = http.get(format!("{}{asked}", world.base_url)).bearer_auth(token).send().await?;
            let status = answer.status();
            if !status.is_success() {
                bail!("{path}: {status}: {}", answer.text().await?);
            }
            let (mut since, mut longest_wait, mut length) = (started, Duration::ZERO, 0);
            while let Some(chunk) = answer.chunk().await? {
                longest_wait = longest_wait.max(since.elapsed());
                since = Instant::now();
                length += chunk.len();
            }
            times.push(summary::micros(if export { longest_wait } else { started.elapsed() }));
            bytes = bytes.max(length);
        }
        let page = Page { path: path.to_owned(), bytes, micros: summary::of(times) };
        say(&serde_json::to_string(&page)?);
        pages.push(page);
    }
    pages.sort_by_key(|page| std::cmp::Reverse(page.micros.as_ref().map(|micros| micros.p95)));
    Ok(pages)
}
