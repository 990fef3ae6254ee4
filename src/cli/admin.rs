//! `codexapi admin …`: the operator's commands, straight on the event log. They work while the service runs.

mod invoice;
mod limits;
mod plans;
mod prices;
mod reports;
mod resolve;
mod wallets;

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Subcommand};
use codexapi_aggregates::account::{KeyKind, RevealReason, RevocationReason, SuspensionReason};
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, KeyId, NodeIncarnation};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::time::Timestamp;
use codexapi_aggregates::wallet::events::GrantSource;
use codexapi_projections::api_keys::{self, ApiKey};
use codexapi_projections::page::Page;
use serde_json::{Value, json};

use super::SETTINGS;
use super::output::Output;
use super::words::{dollars, variant};
use crate::accounts::{self, GrantCredit, IssuedKey, NewCustomer, given};
use crate::app;
use crate::clock;
use crate::config::{CredentialSettings, DatabaseSettings, WalletSettings};
use crate::event_log::{EventLog, EventLogOptions};
use crate::named_moment::NamedMoment;

/// Rows listed at a time where the caller names no number.
const DEFAULT_ROWS: u32 = 50;

/// What the help says of ids.
const ACCOUNT: &str = "The customer's account id, as `customer list` shows it";
const KEY: &str = "The key's id, as `key list` shows it; never its secret";

#[derive(Args)]
pub struct AdminArguments {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Who you are; stands in the events this leaves
    #[arg(long, global = true, default_value = "cli", value_name = "NAME", value_parser = given::name)]
    operator: String,
    #[command(flatten, next_help_heading = SETTINGS)]
    database: DatabaseSettings,
    #[command(flatten)]
    credentials: CredentialSettings,
    #[command(flatten)]
    wallet: WalletSettings,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Subcommand)]
enum Noun {
    /// Customers: create, list, credit, keys, System Tokens
    #[command(subcommand)]
    Customer(CustomerVerb),
    /// The operator's own keys, linked to no customer; and the limits of any key
    #[command(subcommand)]
    Key(OperatorKeyVerb),
    /// The price book
    #[command(subcommand)]
    Pricing(Box<prices::PricingVerb>),
    /// The catalogue of plans
    #[command(subcommand)]
    Plans(plans::PlansVerb),
    /// What wants the operator's eye: expired holds, usage rejected or without input, repeated provider ids
    Queue(QueueArguments),
    /// Decide about entries of the queue, each once
    Resolve(resolve::ResolveArguments),
    /// Import a provider's invoice, once, and compare it with what the log says that its attempts cost
    Invoice(invoice::InvoiceArguments),
    /// Charges, provider cost, losses and margin, by day, model and provider
    Margin(MarginArguments),
    /// What serving each family of models costs and brings in, by day
    ServingUsage(MarginArguments),
}

#[derive(Args)]
struct QueueArguments {
    /// What is resolved, too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    page: ListArguments,
}

#[derive(Args)]
struct MarginArguments {
    /// The first day, such as 2026-11-01; by default 30 days ago
    #[arg(long)]
    from: Option<NaiveDate>,
    /// The last day; by default today
    #[arg(long)]
    to: Option<NaiveDate>,
    /// The time zone days are counted in
    #[arg(long, default_value = "UTC")]
    timezone: chrono_tz::Tz,
}

#[derive(Subcommand)]
enum CustomerVerb {
    /// Register a customer and issue the System Token, which is printed
    Create {
        /// What operators and invoices call the customer
        #[arg(long, value_parser = given::name)]
        name: Option<String>,
        /// The customer's e-mail address
        #[arg(long, value_parser = given::email)]
        email: Option<String>,
    },
    /// List customers, newest first, with their balances
    List {
        /// How an id, a name or an e-mail address begins, whatever its case
        #[arg(long)]
        search: Option<String>,
        #[command(flatten)]
        page: ListArguments,
    },
    /// Grant credit, once per idempotency key
    Credit {
        #[arg(help = ACCOUNT)]
        account: AccountId,
        /// Dollars, such as 10 or 2.50
        #[arg(value_parser = dollars)]
        dollars: MicroUsd,
        /// top-up, admin, share-credit, gumroad, referral or promo
        #[arg(long, default_value = "admin", value_parser = variant::<GrantSource>)]
        source: GrantSource,
        /// The same key with the same inputs grants once, however often it is sent
        #[arg(long = "key", value_name = "IDEMPOTENCY_KEY", value_parser = given::idempotency_key)]
        idempotency_key: String,
        /// When what is left of it expires, such as 2027-01-31T00:00:00Z
        #[arg(long)]
        expires: Option<NamedMoment>,
    },
    /// Take credit away, once per idempotency key; never more than there is
    Take(wallets::TakeArguments),
    /// Set the balance by a grant or an adjustment of the difference
    SetBalance(wallets::SetBalanceArguments),
    /// Every movement of a customer's credit, newest first
    Transactions {
        #[arg(help = ACCOUNT)]
        account: AccountId,
        #[command(flatten)]
        page: ListArguments,
    },
    /// Stop every key of a customer from working
    Suspend {
        #[arg(help = ACCOUNT)]
        account: AccountId,
        /// requested, abuse, payment-dispute, compromised or investigation
        #[arg(long, value_parser = variant::<SuspensionReason>)]
        reason: SuspensionReason,
    },
    /// Let a suspended customer's keys work again
    Reinstate {
        #[arg(help = ACCOUNT)]
        account: AccountId,
    },
    /// API keys of a customer
    #[command(subcommand)]
    Key(CustomerKeyVerb),
    /// The System Token of a customer
    #[command(subcommand)]
    Token(TokenVerb),
}

#[derive(Subcommand)]
enum CustomerKeyVerb {
    /// Issue a key, which is printed
    Issue {
        #[arg(help = ACCOUNT)]
        account: AccountId,
    },
    /// Revoke a key for ever
    Revoke {
        #[arg(help = ACCOUNT)]
        account: AccountId,
        #[arg(help = KEY)]
        key: KeyId,
        /// requested, rotated, compromised or account-closed
        #[arg(long, default_value = "requested", value_parser = variant::<RevocationReason>)]
        reason: RevocationReason,
    },
    /// List keys, newest first, revoked ones included
    List {
        #[arg(help = ACCOUNT)]
        account: AccountId,
        #[command(flatten)]
        page: ListArguments,
    },
    /// Show a key again; leaves an event with your name and the reason
    Reveal {
        #[arg(help = ACCOUNT)]
        account: AccountId,
        #[arg(help = KEY)]
        key: KeyId,
        /// delivery, support or investigation
        #[arg(long, value_parser = variant::<RevealReason>)]
        reason: RevealReason,
    },
}

#[derive(Subcommand)]
enum TokenVerb {
    /// Issue a new System Token, which is printed; the one before stops working
    Rotate {
        #[arg(help = ACCOUNT)]
        account: AccountId,
    },
    /// Show the System Token again; leaves an event with your name and the reason
    Reveal {
        #[arg(help = ACCOUNT)]
        account: AccountId,
        /// delivery, support or investigation
        #[arg(long, value_parser = variant::<RevealReason>)]
        reason: RevealReason,
    },
}

#[derive(Subcommand)]
enum OperatorKeyVerb {
    /// Issue a key, which is printed
    Create {
        /// admin opens the operator's routes; operator runs generations at the operator's cost
        #[arg(long, value_parser = operator_key_kind)]
        kind: KeyKind,
    },
    /// Revoke a key for ever
    Revoke {
        #[arg(help = KEY)]
        key: KeyId,
        /// requested, rotated or compromised
        #[arg(long, default_value = "requested", value_parser = variant::<RevocationReason>)]
        reason: RevocationReason,
    },
    /// List keys, newest first, revoked ones included
    List(ListArguments),
    /// Set the whole of what any key, a customer's too, may use; what is not named is not limited
    Limits(Box<limits::LimitsArguments>),
}

#[derive(Args)]
struct ListArguments {
    /// At most this many rows, 1 to 200
    #[arg(long, default_value_t = DEFAULT_ROWS, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Rows before this position, for the next page
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    before: Option<i64>,
}

/// What every verb works with.
struct Desk {
    log: EventLog,
    credentials: CredentialSettings,
    wallet: WalletSettings,
    metadata: Metadata,
    output: Output,
}

impl Desk {
    /// A page of a list; where there is more, how to come by it stands beside the output.
    fn list<Row>(&self, page: &Page<Row>, shown: impl Fn(&Row) -> Value) {
        self.output.table(&page.rows.iter().map(shown).collect::<Vec<_>>());
        if let Some(next) = page.next {
            eprintln!("more: --before {next}");
        }
    }

    /// Whether a change of keys or accounts counts on every node. Where it does not yet, that is said beside the
    /// output: with no service running, nothing is read from the log, and the change counts once one is started.
    async fn in_force(&self, position: i64) -> bool {
        let in_force = accounts::wait_until_in_force(self.log.pool(), position).await;
        if !in_force {
            let waited = accounts::WAIT.as_secs();
            eprintln!(
                "done, but not in force within {waited} s: it counts once a running service has read it"
            );
        }
        in_force
    }
}

/// How long a command that was given up may still keep the process.
const DRAINED_WITHIN: Duration = Duration::from_secs(5);

/// Does what was asked and prints what came of it.
pub async fn run(arguments: AdminArguments) -> anyhow::Result<()> {
    let pool = app::connect(&arguments.database).await?;
    app::check_digest_key(&pool, &arguments.credentials).await?;
    let log = EventLog::open(pool, EventLogOptions::new(NodeIncarnation(clock::new_id()))).await?;
    let desk = Desk {
        log,
        credentials: arguments.credentials,
        wallet: arguments.wallet,
        metadata: Metadata { actor: format!("operator:{}", arguments.operator), ..Metadata::default() },
        output: if arguments.json { Output::Json } else { Output::Text },
    };
    let done = carry_out(&desk, arguments.noun).await;
    // Running nodes hear of it before this process is gone.
    let _all_were_answered = desk.log.drain(DRAINED_WITHIN).await;
    done
}

async fn carry_out(desk: &Desk, noun: Noun) -> anyhow::Result<()> {
    match noun {
        Noun::Customer(verb) => customer(desk, verb).await,
        Noun::Key(verb) => operator_key(desk, verb).await,
        Noun::Pricing(verb) => prices::run(desk, *verb).await,
        Noun::Plans(verb) => plans::run(desk, verb).await,
        Noun::Queue(arguments) => reports::queue(desk, arguments.all, &arguments.page).await,
        Noun::Resolve(arguments) => resolve::run(desk, arguments).await,
        Noun::Invoice(arguments) => invoice::run(desk, arguments).await,
        Noun::Margin(MarginArguments { from, to, timezone }) => {
            reports::margin(desk, from, to, timezone).await
        }
        Noun::ServingUsage(MarginArguments { from, to, timezone }) => {
            reports::serving_usage(desk, from, to, timezone).await
        }
    }
}

async fn customer(desk: &Desk, verb: CustomerVerb) -> anyhow::Result<()> {
    match verb {
        CustomerVerb::Create { name, email } => {
            let new = NewCustomer { name, email, ..NewCustomer::default() };
            let created =
                accounts::create_customer(&desk.log, &desk.credentials, &desk.metadata, new).await?;
            let in_force = desk.in_force(created.system_token.position).await;
            let token = created.system_token.token.reveal();
            desk.output.record(&json!({
                "account": created.account_id, "systemToken": token, "inForce": in_force,
            }));
            Ok(())
        }
        CustomerVerb::List { search, page } => wallets::list(desk, search.as_deref(), &page).await,
        CustomerVerb::Credit { account, dollars, source, idempotency_key, expires } => {
            let expires_at = expires.map(|named| named.0);
            let grant = GrantCredit {
                account_id: account,
                source,
                amount_micro: dollars,
                expires_at,
                idempotency_key,
            };
            let granted =
                accounts::grant_credit(&desk.log, &desk.wallet.terms(), &desk.metadata, grant).await?;
            desk.output.record(&json!({
                "grant": granted.movement_id,
                "balanceUsd": granted.balance_micro.to_string(),
                "balanceMicro": granted.balance_micro,
                "replayed": granted.replayed,
            }));
            Ok(())
        }
        CustomerVerb::Take(arguments) => wallets::take(desk, arguments).await,
        CustomerVerb::SetBalance(arguments) => wallets::set_balance(desk, arguments).await,
        CustomerVerb::Transactions { account, page } => wallets::transactions(desk, account, &page).await,
        CustomerVerb::Suspend { account, reason } => limits::suspend(desk, account, reason).await,
        CustomerVerb::Reinstate { account } => limits::reinstate(desk, account).await,
        CustomerVerb::Key(verb) => customer_key(desk, verb).await,
        CustomerVerb::Token(verb) => system_token(desk, verb).await,
    }
}

async fn customer_key(desk: &Desk, verb: CustomerKeyVerb) -> anyhow::Result<()> {
    match verb {
        CustomerKeyVerb::Issue { account } => issue(desk, Some(account), KeyKind::Api).await,
        CustomerKeyVerb::Revoke { account, key, reason } => revoke(desk, Some(account), key, reason).await,
        CustomerKeyVerb::List { account, page } => {
            let page = api_keys::of_account(desk.log.pool(), account.0, page.before, page.limit).await?;
            desk.list(&page, key_row);
            Ok(())
        }
        CustomerKeyVerb::Reveal { account, key, reason } => reveal(desk, account, key, reason).await,
    }
}

async fn system_token(desk: &Desk, verb: TokenVerb) -> anyhow::Result<()> {
    match verb {
        TokenVerb::Rotate { account } => issue(desk, Some(account), KeyKind::SystemToken).await,
        TokenVerb::Reveal { account, reason } => {
            let key = api_keys::system_token(desk.log.pool(), account.0)
                .await?
                .with_context(|| format!("account {account} has no System Token, or the read models lag"))?;
            reveal(desk, account, KeyId(key.key_id), reason).await
        }
    }
}

async fn operator_key(desk: &Desk, verb: OperatorKeyVerb) -> anyhow::Result<()> {
    match verb {
        OperatorKeyVerb::Create { kind } => issue(desk, None, kind).await,
        OperatorKeyVerb::Revoke { key, reason } => revoke(desk, None, key, reason).await,
        OperatorKeyVerb::Limits(arguments) => limits::set(desk, *arguments).await,
        OperatorKeyVerb::List(page) => {
            let page = api_keys::of_operator(desk.log.pool(), page.before, page.limit).await?;
            desk.list(&page, key_row);
            Ok(())
        }
    }
}

async fn issue(desk: &Desk, account: Option<AccountId>, kind: KeyKind) -> anyhow::Result<()> {
    let IssuedKey { key_id, kind, token, position } =
        accounts::issue_key(&desk.log, &desk.credentials, &desk.metadata, account, kind).await?;
    let in_force = desk.in_force(position).await;
    desk.output.record(&json!({
        "key": key_id, "kind": kind.name(), "token": token.reveal(), "inForce": in_force,
    }));
    Ok(())
}

async fn revoke(
    desk: &Desk,
    account: Option<AccountId>,
    key: KeyId,
    reason: RevocationReason,
) -> anyhow::Result<()> {
    let position = accounts::revoke_key(&desk.log, &desk.metadata, account, key, reason).await?;
    let in_force = desk.in_force(position).await;
    desk.output.record(&json!({ "key": key, "revoked": true, "inForce": in_force }));
    Ok(())
}

async fn reveal(desk: &Desk, account: AccountId, key: KeyId, reason: RevealReason) -> anyhow::Result<()> {
    let (log, metadata) = (&desk.log, &desk.metadata);
    let token = accounts::reveal_token(log, &desk.credentials, metadata, Some(account), key, reason).await?;
    desk.output.record(&json!({ "key": key, "token": token.reveal() }));
    Ok(())
}

/// For people; the calendar's own form.
fn moment(at: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(at.0)
}

fn key_row(key: &ApiKey) -> Value {
    json!({
        "key": key.key_id,
        "kind": key.kind.name(),
        "prefix": key.prefix,
        "issuedAt": key.issued_at,
        "revokedAt": key.revoked_at,
        "position": key.position,
    })
}

fn operator_key_kind(text: &str) -> Result<KeyKind, String> {
    match variant(text) {
        Ok(kind @ (KeyKind::Operator | KeyKind::Admin)) => Ok(kind),
        Ok(KeyKind::SystemToken | KeyKind::Api) => Err("that is a customer's key: see `customer key`".into()),
        Err(_) => Err("it is admin or operator".into()),
    }
}
