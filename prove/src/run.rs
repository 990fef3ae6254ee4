//! One run: everything is started, the plan is carried out, everything is mended, and the money is compared.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use codexapi::event_log::read::{self, SHARD};
use codexapi_aggregates::wallet::Wallet;
use codexapi_projections::{balances, checkpoint};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio::time::{sleep, sleep_until};

use crate::books::Books;
use crate::driver::{self, Came, Order, Record, answer, carry_out, until_done};
use crate::oracle::{self, Balance, Bill, Evidence, Finding, Payment};
use crate::plan::{Act, Dialect, Fault, Generate, Model, Plan, Provider, Step};
use crate::told::Told;
use crate::world::{Ground, World, tail};

/// Bills read at a time.
const PAGE: i64 = 1_000;

const SUPERVISED_EVERY: Duration = Duration::from_millis(300);

/// After everything was mended: until the last hold is closed and every payment credited.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(250);

/// After everything was mended: until each node completes a generation again.
const SERVES_WITHIN: Duration = Duration::from_secs(30);

/// How long it may take to prove everything.
const VERIFIED_WITHIN: Duration = Duration::from_secs(300);

/// Steps that ask whether a node serves have numbers from here.
const PROBES: u32 = 1_000_000;

/// How runs are made.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Of each node, besides ours.
    pub environment: Vec<(String, String)>,
    /// The oracle forgets one bill, to show that it is missed.
    pub drop_bill: bool,
    /// Says how it goes.
    pub progress: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    pub findings: Vec<Finding>,
    told: BTreeMap<String, usize>,
    /// Bills of the provider, and charges for them.
    bills: usize,
    charges: usize,
    payments: usize,
    /// Nodes that ended by themselves and were started again.
    pub ended: Vec<String>,
    /// What each node wrote, where something was found.
    pub logs: Vec<String>,
    took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (told, times) in &self.told {
            write!(formatter, "{times} {told}, ")?;
        }
        write!(
            formatter,
            "{} bills, {} charges, {} payments; {} s",
            self.bills,
            self.charges,
            self.payments,
            self.took.as_secs()
        )
    }
}

/// # Errors
/// The run could not be made; that says nothing about the service.
pub async fn run(ground: &Ground, plan: &Plan, settings: &Settings) -> anyhow::Result<Report> {
    plan.check()?;
    let started = Instant::now();
    let world = World::start(ground, plan, &settings.environment).await.context("starting everything")?;
    let mut plan = plan.clone();
    let (mut records, ended) = carry_out_all(&world, &plan, settings).await?;
    let mut findings = Vec::new();
    if let Err(error) = world.heal().await {
        findings.push(Finding { step: None, what: format!("not back after all was mended: {error:#}") });
    }
    for number in 0..plan.nodes {
        if !serves(&world, number, &mut plan, &mut records).await {
            let what = format!("node {number} completes no generation although all was mended");
            findings.push(Finding { step: None, what });
        }
    }
    let report = compare(&world, &plan, records, settings, findings).await;
    let mut report = report.context("comparing the money")?;
    let mut logs = Vec::new();
    for (number, node) in world.nodes.iter().enumerate() {
        let logged = node.service.lock().await.logged();
        if logged.contains("panicked at") {
            let what = format!("node {number} panicked:\n{}", tail(&logged));
            report.findings.push(Finding { step: None, what });
        }
        logs.push(logged);
    }
    if report.findings.is_empty() {
        logs.clear();
    }
    world.end().await?;
    Ok(Report { ended, logs, took: started.elapsed(), ..report })
}

/// What came of every step, and which nodes had to be started again meanwhile.
async fn carry_out_all(
    world: &World<'_>,
    plan: &Plan,
    settings: &Settings,
) -> anyhow::Result<(Vec<Record>, Vec<String>)> {
    let (order, began) = (Order::default(), tokio::time::Instant::now());
    let (order, mut ended) = (&order, Vec::new());
    let mut steps: FuturesUnordered<_> = plan
        .steps
        .iter()
        .map(|step| async move {
            sleep_until(began + Duration::from_millis(step.at_ms)).await;
            carry_out(world, order, step).await
        })
        .collect();
    let mut supervised = tokio::time::interval(SUPERVISED_EVERY);
    let mut told = tokio::time::interval(Duration::from_secs(10));
    let mut records = Vec::new();
    loop {
        tokio::select! {
            record = steps.next() => match record {
                Some(record) => records.push(record),
                None => return Ok((records, ended)),
            },
            _ = supervised.tick() => ended.extend(supervise(world).await?),
            _ = told.tick() => if settings.progress && !records.is_empty() {
                println!("  {} of {} steps have ended", records.len(), plan.steps.len());
            },
        }
    }
}

/// Starts again what has ended by itself, as whatever runs a service does.
async fn supervise(world: &World<'_>) -> anyhow::Result<Vec<String>> {
    let mut ended = Vec::new();
    for (number, node) in world.nodes.iter().enumerate() {
        let Ok(mut service) = node.service.try_lock() else { continue };
        if let Some(status) = service.has_ended()? {
            let logged = service.logged();
            ended.push(format!("node {number} ended by itself ({status}): {}", last_line(&logged)));
            service.start()?;
        }
    }
    Ok(ended)
}

fn last_line(log: &str) -> &str {
    log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
}

/// Whether a node completes a generation; what was asked and told is added.
async fn serves(world: &World<'_>, node: usize, plan: &mut Plan, records: &mut Vec<Record>) -> bool {
    let (order, started) = (Order::default(), Instant::now());
    // The first customer may have run out of credit.
    let customer = plan.customers - 1;
    while started.elapsed() < SERVES_WITHIN {
        let generate = Generate {
            customer,
            with_key: false,
            node,
            dialect: Dialect::Responses,
            model: Model::Gpt,
            stream: true,
            input_tokens: 100,
            cached_tokens: 0,
            output_tokens: 10,
            deltas: 2,
            first_byte_ms: 0,
            chunk_ms: 0,
            provider: Provider::Answers,
            abort: None,
        };
        let id = PROBES + u32::try_from(plan.steps.len()).unwrap_or(0);
        let step = Step { id, at_ms: 0, act: Act::Generate(Box::new(generate)) };
        let record = carry_out(world, &order, &step).await;
        let complete = matches!(record.came, Came::Told { told: Told::Complete { .. }, .. });
        plan.steps.push(step);
        records.push(record);
        if complete {
            return true;
        }
        sleep(POLL).await;
    }
    false
}

async fn compare(
    world: &World<'_>,
    plan: &Plan,
    records: Vec<Record>,
    settings: &Settings,
    mut findings: Vec<Finding>,
) -> anyhow::Result<Report> {
    let payments = payments(world, plan, &records).await?;
    if let Some(waiting) = wait_until_settled(world, &payments).await? {
        let what = format!("not settled {} s after all was mended: {waiting}", SETTLED_WITHIN.as_secs());
        findings.push(Finding { step: None, what });
    }
    let books = Books::read(world.pool()).await?;
    let mut bills = bills(world).await?;
    if settings.drop_bill {
        let of_a_step = |bill: &Bill| bill.step().is_some_and(|step| step < PROBES);
        if let Some(place) = bills.iter().position(of_a_step) {
            bills.remove(place);
        }
    }
    let accounts: Vec<(String, i64)> = world
        .customers
        .iter()
        .map(|customer| (customer.account_id.to_string(), customer.granted_micro))
        .collect();
    let balances = each_way(world).await?;
    let keys: Vec<_> = world.customers.iter().map(|customer| customer.key_id).collect();
    let evidence = Evidence {
        plan,
        records: &records,
        bills: &bills,
        payments: &payments,
        books: &books,
        accounts: &accounts,
        balances: &balances,
        keys: &keys,
    };
    findings.extend(oracle::judge(&evidence));
    if let Some(what) = verify(world).await? {
        findings.push(Finding { step: None, what });
    }
    let mut told = BTreeMap::new();
    for record in &records {
        let Came::Told { told: one, .. } = &record.came else { continue };
        let name = match one {
            Told::Complete { .. } => "told finished".to_owned(),
            Told::Failed { .. } => "told failed".to_owned(),
            Told::Refused { status, .. } => format!("refused by {}", status.as_u16()),
            Told::Cut => "gone or cut off".to_owned(),
        };
        *told.entry(name).or_insert(0) += 1;
    }
    Ok(Report {
        logs: vec![],
        findings,
        told,
        bills: bills.len(),
        charges: books.charged.len(),
        payments: payments.len(),
        ended: Vec::new(),
        took: Duration::ZERO,
    })
}

/// Until nothing is on its way any more; what still is, where that takes too long.
async fn wait_until_settled(world: &World<'_>, payments: &[Payment]) -> anyhow::Result<Option<String>> {
    let started = Instant::now();
    loop {
        let waiting = on_its_way(world, payments).await?;
        if waiting.is_none() || started.elapsed() > SETTLED_WITHIN {
            return Ok(waiting);
        }
        sleep(POLL).await;
    }
}

async fn on_its_way(world: &World<'_>, payments: &[Payment]) -> anyhow::Result<Option<String>> {
    let pool = world.pool();
    let head = read::head(pool, SHARD).await.context("the log's head")?;
    let behind = checkpoint::all(pool).await.context("the checkpoints")?;
    if let Some(behind) = behind.iter().find(|checkpoint| checkpoint.position != head) {
        return Ok(Some(format!("{} is at {} of {head}", behind.projection, behind.position)));
    }
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM open_holds").fetch_one(pool).await?;
    if open > 0 {
        return Ok(Some(format!("{open} holds are open")));
    }
    let credited = count(world, "payment.payment_credited").await?;
    if credited < i64::try_from(payments.len())? {
        return Ok(Some(format!("{credited} of {} payments are credited", payments.len())));
    }
    let refunds = payments.iter().filter(|payment| payment.refunded_cents > 0).count();
    let reversed = count(world, "wallet.payment_reversed").await?;
    if reversed < i64::try_from(refunds)? {
        return Ok(Some(format!("{reversed} of {refunds} refunds are taken back")));
    }
    Ok(None)
}

async fn count(world: &World<'_>, event_type: &str) -> anyhow::Result<i64> {
    let counted = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1");
    counted.bind(event_type).fetch_one(world.pool()).await.context("counting events")
}

/// What Stripe says of every session that was paid.
async fn payments(world: &World<'_>, plan: &Plan, records: &[Record]) -> anyhow::Result<Vec<Payment>> {
    let mut payments = Vec::new();
    for record in records {
        let Came::Paid { session_id } = &record.came else { continue };
        let session = driver::session(world, session_id).await.map_err(anyhow::Error::msg)?;
        ensure!(session["amount_total"] == oracle::PLAN_CENTS, "another price: {session}");
        let intent = session["payment_intent"].as_str().context("a paid session has an intent")?;
        let refunded_cents = driver::refunded(world, intent).await.map_err(anyhow::Error::msg)?;
        let customer = plan.steps.iter().find_map(|step| match step.act {
            Act::TopUp { customer, .. } if step.id == record.step => Some(customer),
            _ => None,
        });
        let customer = customer.context("a payment has its step")?;
        payments.push(Payment { customer, refunded_cents });
    }
    Ok(payments)
}

async fn bills(world: &World<'_>) -> anyhow::Result<Vec<Bill>> {
    let (mut bills, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let url = format!("{}/_bills?after={from}&limit={PAGE}", world.simulator.base_url());
        let page =
            until_done(async || answer(world.http.get(&url)).await).await.map_err(anyhow::Error::msg)?;
        let listed: Vec<Bill> = serde_json::from_value(page["bills"].clone()).context("bills")?;
        bills.extend(listed);
        after = page["next"].as_i64();
    }
    Ok(bills)
}

/// Every customer's balance by the aggregate, by the read table, and by what each node answers.
async fn each_way(world: &World<'_>) -> anyhow::Result<Vec<Balance>> {
    let mut ways = Vec::new();
    for (customer, registered) in world.customers.iter().enumerate() {
        let account = registered.account_id;
        let look = |wallet: &Wallet| (wallet.balance() - wallet.debt(), wallet.held());
        let (net, held) = world.log.read(&account.to_string(), look).await?;
        let mut add = |way: String, net_micro: i64, held_micro: i64| {
            ways.push(Balance { way, customer, net_micro, held_micro });
        };
        add("the aggregate".into(), net.0, held.0);
        let row = balances::get(world.pool(), account.0).await?.context("a customer has a balance")?;
        add("the read table".into(), row.balance_micro.0 - row.debt_micro.0, row.held_micro.0);
        for (number, node) in world.nodes.iter().enumerate() {
            let url = format!("{}/api/v1/wallet/status", node.base_url);
            let status = answer(world.http.get(url).bearer_auth(&registered.system_token)).await;
            let status = status.map_err(anyhow::Error::msg)?;
            let amount = |name: &str| -> anyhow::Result<i64> {
                status[name].as_i64().with_context(|| format!("{name} in {status}"))
            };
            let net = amount("balanceMicro")? - amount("debtMicro")?;
            add(format!("node {number}"), net, amount("heldMicro")?);
        }
    }
    Ok(ways)
}

/// What `codexapi verify` finds wrong, if anything.
async fn verify(world: &World<'_>) -> anyhow::Result<Option<String>> {
    let command = world.nodes[0].service.lock().await.command(&["verify", "--json"]);
    let verifying = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output =
        tokio::time::timeout(VERIFIED_WITHIN, verifying).await.context("verify takes too long")??;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let difference = serde_json::from_str::<Value>(&said).ok().map(|said| said["difference"].to_string());
    let errors = String::from_utf8_lossy(&output.stderr);
    Ok(Some(format!("verify: {}", difference.unwrap_or_else(|| format!("{said}{errors}")))))
}

/// Whether a run of this plan will leave something out on a machine without a small disk.
pub fn wants_disk(plan: &Plan) -> bool {
    plan.faults().any(|fault| matches!(fault, Fault::FillDisk { .. }))
}
